use images::{Rgb, RgbImage};
use tensor::ops::Activation;
use tensor::{Result, Tensor};

use super::{Convolution, Separable, Weights, answer, input};

/// The side of the squares that the network divides a picture into, in pixels.
const CELL: u32 = 32;

pub(super) const MEAN: [f32; 3] = [117.001, 114.697, 97.404];

const LEAKY: Activation = Activation::LeakyRelu(0.1);

/// Widths and heights of the boxes that a cell's answers are relative to, in cells.
const ANCHORS: [[f32; 2]; 5] = [
    [1.603_231, 2.094_468],
    [6.041_143, 7.080_126],
    [2.882_459, 3.518_061],
    [4.266_906, 5.178_857],
    [9.041_765, 10.663_08],
];

/// A face detector of the kind of YOLO v2: five boxes a cell, each with how sure it is.
pub struct DetectorNetwork {
    stem: Convolution,
    layers: [Separable; 5],
    head: Convolution,
}

/// A box that may hold a face, in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub centre: [f32; 2],
    pub size: [f32; 2],
    /// From 0 to 1.
    pub score: f32,
}

impl DetectorNetwork {
    pub fn new(weights: &Weights) -> std::result::Result<Self, String> {
        let layer = |i: usize| Separable::new(weights, &format!("conv{i}"));
        Ok(DetectorNetwork {
            stem: Convolution::new(weights, "conv0")?,
            layers: [layer(1)?, layer(2)?, layer(3)?, layer(4)?, layer(5)?],
            head: Convolution::new(weights, "conv8")?,
        })
    }

    /// Every box of a picture that scores at least `min_score`.
    pub fn candidates(&self, picture: &RgbImage, min_score: f32) -> Vec<Candidate> {
        let (width, height) = picture.dimensions();
        let whole = |side: u32| side.next_multiple_of(CELL);
        let padded = match (whole(width), whole(height)) {
            (w, h) if (w, h) == (width, height) => None,
            (w, h) => Some(RgbImage::from_fn(w, h, |x, y| {
                picture
                    .get_pixel_checked(x, y)
                    .copied()
                    .unwrap_or(Rgb([0; 3]))
            })),
        };
        let picture = padded.as_ref().unwrap_or(picture);
        let across = (picture.width() / CELL) as usize;
        let cells = across * (picture.height() / CELL) as usize;
        let map = answer(|| self.forward(&input(picture, MEAN)?));
        let mut found = Vec::new();
        for (anchor, values) in ANCHORS.iter().zip(map.chunks_exact(5 * cells)) {
            for cell in 0..cells {
                let [x, y, w, h, sure] = [0, 1, 2, 3, 4].map(|i| values[i * cells + cell]);
                let score = sigmoid(sure);
                // Not a number: no face.
                if score >= min_score {
                    let at = [cell % across, cell / across].map(|at| at as f32);
                    let side = CELL as f32;
                    found.push(Candidate {
                        centre: [(at[0] + sigmoid(x)) * side, (at[1] + sigmoid(y)) * side],
                        size: [
                            w.clamp(-8.0, 8.0).exp() * anchor[0] * side,
                            h.clamp(-8.0, 8.0).exp() * anchor[1] * side,
                        ],
                        score,
                    });
                }
            }
        }
        found
    }

    /// From N×3×H×W to N×25×H/32×W/32, both sides multiples of [`CELL`]: for each box x, y, width, height
    /// and score.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = halved(&self.stem.forward(x, 1)?.activation(LEAKY)?)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let next = layer.forward(&x, 1)?.activation(LEAKY)?;
            x = match i {
                0..4 => halved(&next)?,
                _ => next.max_pool2d(2, 1, [0, 1])?,
            };
        }
        self.head.forward(&x, 1)
    }
}

/// The largest of two by two, of an odd end of what there is.
fn halved(x: &Tensor) -> Result<Tensor> {
    let [_, _, h, w] = x.shape().nchw();
    // On an even side a window behind the end would need two pixels.
    debug_assert_eq!(h % 2, w % 2, "one padding serves both axes");
    x.max_pool2d(2, 2, [0, h % 2])
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
