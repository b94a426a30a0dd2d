use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use images::RgbImage;
use tensor::ops::{Activation, PadMode};
use tensor::{Device, Result, Tensor, no_grad};

use super::{Weights, input, same};
use crate::{Error, text};

/// The side of the pictures that the network takes, in pixels.
pub(super) const SIDE: usize = 150;

pub(super) const MEAN: [f32; 3] = [122.782, 117.001, 104.298];

/// The most bytes of its manifest; face-api.js's has 20 thousand.
const LONGEST_MANIFEST: u64 = 1 << 20;
/// The most bytes of its weights; face-api.js's are 6 million.
const MOST_WEIGHTS: u64 = 64 << 20;

/// The most channels of a layer; face-api.js's has 256.
const MOST_CHANNELS: usize = 1024;

/// Residual blocks and whether each halves its picture, in order.
const BLOCKS: [(&str, bool); 14] = [
    ("conv32_1", false),
    ("conv32_2", false),
    ("conv32_3", false),
    ("conv64_down", true),
    ("conv64_1", false),
    ("conv64_2", false),
    ("conv64_3", false),
    ("conv128_down", true),
    ("conv128_1", false),
    ("conv128_2", false),
    ("conv256_down", true),
    ("conv256_1", false),
    ("conv256_2", false),
    ("conv256_down_out", true),
];

/// face-api.js's network that tells people apart, dlib's of 2017 with 29 convolutions: descriptors of photographs of
/// one person are closer to each other, by Euclidean distance, than 0.6. What it makes of drawings nobody trained it
/// for. Its weights are in the npm package `@vladmandic/face-api` (MIT), not here.
pub struct Recognition {
    stem: Scaled,
    blocks: Vec<Residual>,
    matrix: Tensor,
}

/// A convolution, its bias, and what multiplies and shifts its outputs behind that, in one.
struct Scaled {
    filters: Tensor,
    bias: Tensor,
}

/// Two 3×3 convolutions beside the picture itself.
struct Residual {
    convolutions: [Scaled; 2],
    halves: bool,
}

impl Recognition {
    /// What figures by it are said to be by.
    pub const NAME: &str = "face-api-recognition";

    /// Reads `face_recognition_model.bin`, and `face_recognition_model-weights_manifest.json` beside it, whatever they
    /// are called before their endings. Either may be given.
    ///
    /// # Errors
    /// When one can't be read, or they are not this network's.
    pub fn load(path: &Path) -> crate::Result<Self> {
        const MANIFEST: &str = "-weights_manifest.json";
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(MANIFEST).or(name.strip_suffix(".bin"));
        let refused = |path: PathBuf, reason: String| Error::Weights { path, reason };
        let Some(name) = name else {
            let reason = format!("it ends neither in .bin nor in {MANIFEST}");
            return Err(refused(path.into(), reason));
        };
        let [manifest, weights] =
            [MANIFEST, ".bin"].map(|ending| path.with_file_name(format!("{name}{ending}")));
        let text = text::read(&manifest, LONGEST_MANIFEST)
            .map_err(|error| refused(manifest, format!("it can't be read ({error})")))?;
        let mut bytes = Vec::new();
        File::open(&weights)
            .and_then(|file| file.take(MOST_WEIGHTS + 1).read_to_end(&mut bytes))
            .map_err(|error| refused(weights.clone(), format!("it can't be read ({error})")))?;
        let network = Weights::read(&text, &bytes).and_then(|weights| Self::new(&weights));
        network.map_err(|reason| refused(weights, reason))
    }

    /// Takes it from weights, if they fit together.
    pub(super) fn new(weights: &Weights) -> std::result::Result<Self, String> {
        let block = |(name, halves): (&str, bool)| {
            let convolution = |i: usize| Scaled::new(weights, &format!("{name}/conv{i}"), 3);
            Ok(Residual {
                convolutions: [convolution(1)?, convolution(2)?],
                halves,
            })
        };
        let blocks = BLOCKS.into_iter().map(block);
        let network = Recognition {
            stem: Scaled::new(weights, "conv32_down", 7)?,
            blocks: blocks.collect::<std::result::Result<_, String>>()?,
            matrix: weights.matrix("fc")?,
        };
        // Shapes that don't go together are found by going through.
        no_grad(|| network.forward(&Tensor::zeros([1, 3, SIDE, SIDE], &Device::Cpu)?))
            .map_err(|error| error.to_string())?;
        Ok(network)
    }

    /// The descriptor of the face that fills a picture: 128 values.
    ///
    /// # Errors
    /// When there is no room.
    pub fn descriptor(&self, picture: &RgbImage) -> crate::Result<Vec<f32>> {
        let resized = images::resize(picture, SIDE as u32, SIDE as u32);
        let descriptor = no_grad(|| self.forward(&input(&resized, MEAN)?)?.to_vec());
        Ok(descriptor?)
    }

    /// From N×3×150×150 to N×128.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(x, 2)?.activation(Activation::Relu)?;
        let mut x = x.max_pool2d(3, 2, [0, 0])?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let [n, c, _, _] = x.shape().nchw();
        let means = x.mean_to([n, c, 1, 1])?.reshape([n, c])?;
        means.linear(&self.matrix, None)
    }
}

impl Scaled {
    /// With kernels of `side`×`side`.
    fn new(weights: &Weights, name: &str, side: usize) -> std::result::Result<Self, String> {
        let filters = weights.filters(&format!("{name}/conv/filters"))?;
        let [channels, _, down, across] = filters.shape().nchw();
        if [down, across] != [side; 2] || channels > MOST_CHANNELS {
            return Err(format!(
                "{name}/conv/filters are {channels} of {down}×{across}, not up to {MOST_CHANNELS} of {side}×{side}"
            ));
        }
        let [bias, scale, shift] = [
            weights.vector(&format!("{name}/conv/bias"))?,
            weights.vector(&format!("{name}/scale/weights"))?,
            weights.vector(&format!("{name}/scale/biases"))?,
        ];
        let folded = || -> Result<Self> {
            let each = scale.reshape([scale.shape().len(), 1, 1, 1])?;
            Ok(Scaled {
                filters: filters.mul(&each.expand(filters.shape())?)?,
                bias: bias.mul(&scale)?.add(&shift)?,
            })
        };
        folded().map_err(|error| format!("{name} does not fit together: {error}"))
    }

    /// With nothing around the picture.
    fn forward(&self, x: &Tensor, stride: usize) -> Result<Tensor> {
        x.conv2d(&self.filters, Some(&self.bias), stride, 0)
    }
}

impl Residual {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.convolutions;
        let inner = match self.halves {
            true => first.forward(x, 2)?,
            false => first.forward(&same(x, 1)?, 1)?,
        };
        let inner = same(&inner.activation(Activation::Relu)?, 1)?;
        let mut out = second.forward(&inner, 1)?;
        let mut beside = x.clone();
        if self.halves {
            beside = x.avg_pool2d(2)?;
            let ([_, c, h, w], [n, wide, height, width]) =
                (beside.shape().nchw(), out.shape().nchw());
            // Zeros make both of one shape: behind the pixels of the one, behind the channels of the other.
            let sides = [0, w.saturating_sub(width), 0, h.saturating_sub(height)];
            if sides != [0; 4] {
                out = out.pad(PadMode::Zero, sides)?;
            }
            if wide > c {
                let zeros = Tensor::zeros([n, wide - c, h, w], x.device())?;
                beside = Tensor::concat(&[&beside, &zeros], 1)?;
            }
        }
        out.add(&beside)?.activation(Activation::Relu)
    }
}
