//! VGG16 (Simonyan and Zisserman 2014), whose blocks LPIPS is made of (Zhang et al. 2018).

use exchange::Weights;
use tensor::ops::{Activation, PadMode};
use tensor::{Device, Tensor};

use crate::Look;
use crate::file::File;

/// Convolutions of each block; between two blocks is a pooling.
const BLOCKS: [usize; 5] = [2, 2, 3, 3, 3];
/// Mean and standard deviation of ImageNet's red, green and blue, for pixels in −1…1.
const MEAN: [f32; 3] = [-0.030, -0.088, -0.188];
const DEVIATION: [f32; 3] = [0.458, 0.448, 0.450];
/// What keeps the direction of a pixel without any activation finite, as in LPIPS.
const EPSILON: f32 = 1e-10;
/// A blur of [1, 2, 1] / 4 along both axes.
const BLUR: [f32; 9] = [
    0.0625, 0.125, 0.0625, 0.125, 0.25, 0.125, 0.0625, 0.125, 0.0625,
];

/// How the file names its tensors, and with that how the network pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of the package stlpips-pytorch: max pooling that is blurred before it is thinned out, heads for LPIPS.
    ShiftTolerant,
    /// Of torchvision: plain max pooling.
    Torchvision,
}

impl Kind {
    /// That of a file.
    fn of(file: &File<'_>) -> Option<Self> {
        [Kind::ShiftTolerant, Kind::Torchvision]
            .into_iter()
            .find(|kind| file.holds(&format!("{}.weight", kind.layers()[0])))
    }

    /// What the convolutions are called: by their place among all layers, of which a blurred pooling is two.
    fn layers(self) -> Vec<String> {
        let pooling = match self {
            Kind::ShiftTolerant => 2,
            Kind::Torchvision => 1,
        };
        let mut place = 0;
        let mut names = Vec::new();
        for (block, convolutions) in BLOCKS.into_iter().enumerate() {
            for _ in 0..convolutions {
                names.push(match self {
                    Kind::ShiftTolerant => format!("net.slice{}.{place}", block + 1),
                    Kind::Torchvision => format!("features.{place}"),
                });
                // With the relu behind it.
                place += 2;
            }
            place += pooling;
        }
        names
    }
}

/// A VGG16.
pub struct Vgg {
    kind: Kind,
    /// Weight and bias.
    convolutions: Vec<[Tensor; 2]>,
    /// Filters before each pooling thins out, where it does so blurred.
    blurs: Vec<Tensor>,
    /// How much each channel of a block counts in LPIPS.
    heads: Option<Vec<Tensor>>,
}

impl Vgg {
    /// Whether a file holds one.
    pub fn is_in(weights: &Weights) -> bool {
        Kind::of(&File::new(weights, "a VGG16")).is_some()
    }

    /// Takes it from a file; what is wrong with that comes before any tensor is made.
    pub fn load(weights: &Weights, device: &Device) -> Result<tensor::Result<Self>, String> {
        let file = File::new(weights, "a VGG16");
        let kind = Kind::of(&file).ok_or("it lacks features.0.weight, which a VGG16 has")?;
        let mut convolutions = Vec::new();
        let mut channels = 3;
        for layer in kind.layers() {
            let filters = file.biased(&layer, channels, [3, 3])?;
            channels = filters.channels();
            convolutions.push(filters);
        }
        let ends = BLOCKS.iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        let widths: Vec<usize> = ends.map(|end| convolutions[end - 1].channels()).collect();
        let name = |block: usize| format!("lin{block}.model.1.weight");
        let heads = match (0..BLOCKS.len()).all(|block| file.holds(&name(block))) {
            false => None,
            true => {
                let heads = widths.iter().enumerate();
                let heads =
                    heads.map(|(block, &channels)| file.tensor(&name(block), &[1, channels, 1, 1]));
                Some(heads.collect::<Result<Vec<_>, _>>()?)
            }
        };
        let made = || {
            let convolutions = convolutions.iter().map(|filters| filters.tensors(device));
            let blurs = match kind {
                Kind::ShiftTolerant => &widths[..BLOCKS.len() - 1],
                Kind::Torchvision => &[],
            };
            let blurs = blurs.iter().map(|&channels| {
                Tensor::from_slice(&BLUR.repeat(channels), [channels, 1, 3, 3], device)
            });
            let heads = heads.map(|heads| {
                let head = |head: &exchange::Array| {
                    Tensor::from_slice(&head.values, [1, head.values.len(), 1, 1], device)
                };
                heads.into_iter().map(head).collect()
            });
            Ok(Vgg {
                kind,
                convolutions: convolutions.collect::<tensor::Result<_>>()?,
                blurs: blurs.collect::<tensor::Result<_>>()?,
                heads: heads.transpose()?,
            })
        };
        Ok(made())
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::ShiftTolerant => "stlpips-vgg16",
            Kind::Torchvision => "torchvision-vgg16",
        }
    }

    pub fn has_heads(&self) -> bool {
        self.heads.is_some()
    }

    /// Pixels as it was trained with, of ones in −1…1.
    pub fn normalise(planes: &mut [f32]) {
        let area = (planes.len() / 3).max(1);
        let channels = planes.chunks_mut(area).zip(MEAN.iter().zip(&DEVIATION));
        for (plane, (mean, deviation)) in channels {
            plane.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
        }
    }

    /// What it sees in 1×3×H×W.
    pub fn look(&self, mut x: Tensor) -> tensor::Result<Look> {
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
        let channels = x.shape().dims()[1];
        let mean = direction(&x)?.mean_to([1, channels, 1, 1])?;
        if self.heads.is_none() {
            blocks.clear();
        }
        Ok(Look {
            // So KID's kernel is of cosines. Activations as they are reach hundreds, and a few pictures would decide
            // its third power.
            features: mean.scale((channels as f32).sqrt())?,
            blocks,
        })
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

    /// LPIPS of two pictures of one size; none without heads for it.
    pub fn distance(&self, a: &Look, b: &Look) -> tensor::Result<Option<f64>> {
        let Some(heads) = &self.heads else {
            return Ok(None);
        };
        let blocks = a.blocks.iter().zip(&b.blocks).zip(heads);
        let each = blocks.map(|((a, b), head)| {
            let difference = direction(a)?.sub(&direction(b)?)?;
            let weighted = difference.mul(&difference)?.conv2d(head, None, 1, 0)?;
            weighted.mean()?.item()
        });
        let each = each.collect::<tensor::Result<Vec<f32>>>()?;
        Ok(Some(each.into_iter().map(f64::from).sum()))
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
