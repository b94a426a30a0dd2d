use std::path::{Path, PathBuf};

use images::RgbImage;
use tensor::ops::{Activation, PadMode};
use tensor::{Device, Shape, Tensor, no_grad};

use crate::vgg::{BLOCKS, Kind, Vgg};

/// Mean and standard deviation of ImageNet's red, green and blue, for pixels in −1…1.
const MEAN: [f32; 3] = [-0.030, -0.088, -0.188];
const DEVIATION: [f32; 3] = [0.458, 0.448, 0.450];
/// What keeps the direction of a pixel without any activation finite, as in LPIPS.
const EPSILON: f32 = 1e-10;
/// A blur of [1, 2, 1] / 4 along both axes.
const BLUR: [f32; 9] = [
    0.0625, 0.125, 0.0625, 0.125, 0.25, 0.125, 0.0625, 0.125, 0.0625,
];

/// Why a network can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be read.
    #[error(transparent)]
    Exchange(#[from] exchange::Error),

    /// It holds something else.
    #[error("{} holds no VGG16: {reason}", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The device failed, or a picture is too small.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
}

/// A VGG16 that makes features of pictures.
pub struct Network {
    kind: Kind,
    /// Weight and bias.
    convolutions: Vec<[Tensor; 2]>,
    /// Filters before each pooling thins out, where it does so blurred.
    blurs: Vec<Tensor>,
    /// How much each channel counts in LPIPS.
    heads: Option<Vec<Tensor>>,
    device: Device,
}

/// What a network sees in a picture.
pub struct Look {
    /// Behind each block's last relu (1×C×H×W).
    blocks: Vec<Tensor>,
}

impl Network {
    /// Reads a network from a state dict of `stlpips-pytorch` or torchvision, in a format that
    /// [`exchange::read`] takes.
    ///
    /// # Errors
    /// When the file can't be read or holds no VGG16, or the device has no room.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        let weights = exchange::read(path)?;
        let found = Vgg::find(&weights).map_err(|reason| Error::Network {
            path: path.to_owned(),
            reason,
        })?;
        let tensor = |array: &exchange::Array| {
            let shape = Shape::try_from(&array.shape[..])?;
            Tensor::from_slice(&array.values, shape, device)
        };
        let convolutions = found
            .convolutions
            .iter()
            .map(|[weight, bias]| Ok([tensor(weight)?, tensor(bias)?]));
        let convolutions = convolutions.collect::<tensor::Result<Vec<_>>>()?;
        let heads = match &found.heads {
            Some(heads) => Some(
                heads
                    .iter()
                    .map(|head| tensor(head))
                    .collect::<tensor::Result<_>>()?,
            ),
            None => None,
        };
        let mut ends = BLOCKS[..4].iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        let blur = |end: usize| {
            let channels = found.convolutions[end - 1][1].values.len();
            Tensor::from_slice(&BLUR.repeat(channels), [channels, 1, 3, 3], device)
        };
        let blurs = match found.kind {
            Kind::ShiftTolerant => ends.by_ref().map(blur).collect::<tensor::Result<_>>()?,
            Kind::Torchvision => Vec::new(),
        };
        Ok(Network {
            kind: found.kind,
            convolutions,
            blurs,
            heads,
            device: device.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The name of what features are: the directions of the last relu's pixels, see [`Look::features`].
    pub fn layer(&self) -> String {
        format!("{}/relu5_3:unit", self.name())
    }

    /// Side of the pictures that it should see, in pixels, unless another is asked for.
    pub fn size(&self) -> u32 {
        128
    }

    /// Whether it can tell LPIPS.
    pub fn has_heads(&self) -> bool {
        self.heads.is_some()
    }

    /// What it sees in a picture brought to `size`×`size` pixels, bicubic with antialiasing and in 256 levels.
    ///
    /// # Errors
    /// When the size is less than about 32, or the device fails.
    pub fn look_at(&self, picture: &RgbImage, size: u32) -> Result<Look, Error> {
        let resized;
        let picture = match picture.dimensions() == (size, size) {
            true => picture,
            false => {
                resized = images::resize(picture, size, size);
                &resized
            }
        };
        self.look(&images::to_chw(picture, 3), [size as usize; 2])
    }

    /// What it sees in 3×height×width values in −1…1.
    ///
    /// # Errors
    /// When there are not as many, they are too few for five blocks, or the device fails.
    pub fn look(&self, planes: &[f32], [height, width]: [usize; 2]) -> Result<Look, Error> {
        let area = (height * width).max(1);
        let normalised = planes.chunks(area).zip(MEAN.iter().zip(&DEVIATION));
        let normalised: Vec<f32> = normalised
            .flat_map(|(plane, (mean, deviation))| {
                plane.iter().map(move |v| (v - mean) / deviation)
            })
            .collect();
        let pixels = Tensor::from_slice(&normalised, [1, 3, height, width], &self.device)?;
        Ok(no_grad(|| self.blocks(pixels))?)
    }

    fn blocks(&self, mut x: Tensor) -> tensor::Result<Look> {
        let mut convolutions = self.convolutions.iter();
        let mut blocks = Vec::new();
        for (block, len) in BLOCKS.into_iter().enumerate() {
            if block > 0 {
                x = self.pool(&x, block - 1)?;
            }
            for [weight, bias] in convolutions.by_ref().take(len) {
                x = x.conv2d(weight, Some(bias), 1, 1)?;
                x = x.activation(Activation::Relu)?;
            }
            blocks.push(x.clone());
        }
        Ok(Look { blocks })
    }

    fn pool(&self, x: &Tensor, block: usize) -> tensor::Result<Tensor> {
        match self.blurs.get(block) {
            None => x.max_pool2d(2, 2, [0, 0]),
            Some(filters) => x
                .max_pool2d(2, 1, [0, 0])?
                .pad(PadMode::Reflect, [2; 4])?
                .depthwise_conv2d(filters, 2, 0),
        }
    }

    /// LPIPS of two pictures of one size; none if the network's file has no heads for it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn distance(&self, a: &Look, b: &Look) -> Result<Option<f64>, Error> {
        let Some(heads) = &self.heads else {
            return Ok(None);
        };
        let blocks = a.blocks.iter().zip(&b.blocks).zip(heads);
        let each = blocks.map(|((a, b), head)| {
            let difference = direction(a)?.sub(&direction(b)?)?;
            let weighted = difference.mul(&difference)?.conv2d(head, None, 1, 0)?;
            weighted.mean()?.item()
        });
        let each = no_grad(|| each.collect::<tensor::Result<Vec<f32>>>())?;
        Ok(Some(each.into_iter().map(f64::from).sum()))
    }
}

impl Look {
    /// The deepest block, its channels C divided by their norm at each pixel as in LPIPS, averaged over the
    /// picture, times √C: so KID's kernel is of cosines. Activations as they are reach hundreds, and a few
    /// pictures would decide its third power.
    ///
    /// # Errors
    /// When the device fails.
    pub fn features(&self) -> Result<Vec<f32>, Error> {
        let deepest = self.blocks.last().expect("there are five");
        let channels = deepest.shape().dims()[1];
        let mean = no_grad(|| direction(deepest)?.mean_to([1, channels, 1, 1]))?;
        Ok(mean.scale((channels as f32).sqrt())?.to_vec()?)
    }
}

/// Each pixel's channels, divided by their norm.
fn direction(x: &Tensor) -> tensor::Result<Tensor> {
    let &[n, _, height, width] = x.shape().dims() else {
        unreachable!("activations are N×C×H×W");
    };
    let norm = x.mul(x)?.sum_to([n, 1, height, width])?.sqrt()?;
    let scale = norm.scale_add(1.0, EPSILON)?.reciprocal()?;
    x.mul(&scale.expand(x.shape())?)
}
