use images::RgbImage;
use tensor::ops::Activation;
use tensor::{Result, Tensor};

use super::{Convolution, Separable, Weights, answer, input, same};

/// The side of the pictures that the network takes, in pixels.
pub const LANDMARKS_SIDE: u32 = 112;

pub(super) const MEAN: [f32; 3] = [122.782, 117.001, 104.298];

/// 68 landmarks: four dense blocks of separable convolutions, and a fully connected layer.
pub struct LandmarkNetwork {
    stem: Convolution,
    blocks: [Block; 4],
    matrix: Tensor,
    bias: Tensor,
}

/// Convolutions that each see the sum of all before.
struct Block {
    /// Strided; the first block has the stem instead.
    first: Option<Separable>,
    others: [Separable; 3],
}

impl LandmarkNetwork {
    pub fn new(weights: &Weights) -> std::result::Result<Self, String> {
        let block = |i: usize| {
            let separable = |j: usize| Separable::new(weights, &format!("dense{i}/conv{j}"));
            Ok::<_, String>(Block {
                first: (i > 0).then(|| separable(0)).transpose()?,
                others: [separable(1)?, separable(2)?, separable(3)?],
            })
        };
        Ok(LandmarkNetwork {
            stem: Convolution::new(weights, "dense0/conv0")?,
            blocks: [block(0)?, block(1)?, block(2)?, block(3)?],
            matrix: weights.matrix("fc/weights")?,
            bias: weights.vector("fc/bias")?,
        })
    }

    /// The landmarks of the face that fills a picture of [`LANDMARKS_SIDE`], as shares of its side.
    pub fn landmarks(&self, face: &RgbImage) -> Vec<[f32; 2]> {
        let values = answer(|| self.forward(&input(face, MEAN)?));
        let (points, _) = values.as_chunks::<2>();
        points.to_vec()
    }

    /// The features of a picture of [`LANDMARKS_SIDE`] that tell textures apart, C planes of 28×28 after the
    /// second block, and C.
    pub fn texture(&self, picture: &RgbImage) -> (Vec<f32>, usize) {
        let values = answer(|| self.features(&input(picture, MEAN)?, 2));
        let area = (LANDMARKS_SIDE / 4).pow(2) as usize;
        let channels = values.len() / area;
        (values, channels)
    }

    /// From N×3×112×112 to N×136, x and y by turns.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let features = self.features(x, self.blocks.len())?;
        let [n, c, h, _] = features.shape().nchw();
        let means = features.avg_pool2d(h)?;
        means
            .reshape([n, c])?
            .linear(&self.matrix, Some(&self.bias))
    }

    /// What comes out of the first `blocks` blocks.
    fn features(&self, x: &Tensor, blocks: usize) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks[..blocks] {
            x = block.forward(&x, &self.stem)?;
        }
        Ok(x)
    }
}

impl Block {
    fn forward(&self, x: &Tensor, stem: &Convolution) -> Result<Tensor> {
        let first = match &self.first {
            Some(first) => first.forward(x, 2)?,
            None => stem.forward(&same(x, 2)?, 2)?,
        };
        let mut sum = first.activation(Activation::Relu)?;
        let mut seen = sum.clone();
        for other in &self.others {
            sum = sum.add(&other.forward(&seen, 1)?)?;
            seen = sum.activation(Activation::Relu)?;
        }
        Ok(seen)
    }
}
