//! VGG16 and VGG19 (Simonyan and Zisserman 2014), whose blocks LPIPS is made of (Zhang et al. 2018).

use exchange::Weights;
use tensor::ops::{Activation, PadMode};
use tensor::{Device, Tensor};

use crate::Look;
use crate::file::{File, Filters};

/// Blocks of convolutions; between two blocks is a pooling.
const BLOCKS: usize = 5;
/// Mean and standard deviation of ImageNet's red, green and blue, for pixels in −1…1.
pub const MEAN: [f32; 3] = [-0.030, -0.088, -0.188];
pub const DEVIATION: [f32; 3] = [0.458, 0.448, 0.450];
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
    /// A VGG16 of torchvision: plain max pooling.
    Torchvision,
    /// A VGG19 of torchvision.
    Torchvision19,
}

impl Kind {
    /// That of a file.
    fn of(file: &File<'_>) -> Option<Self> {
        let all = [Kind::ShiftTolerant, Kind::Torchvision19, Kind::Torchvision];
        all.into_iter().find(|kind| {
            let layers = kind.layers();
            // A VGG19 has convolutions where a VGG16 has poolings.
            let telling = match kind {
                Kind::Torchvision19 => 7,
                _ => 0,
            };
            file.holds(&format!("{}.weight", layers[telling]))
        })
    }

    /// Convolutions of each block.
    fn blocks(self) -> [usize; BLOCKS] {
        match self {
            Kind::ShiftTolerant | Kind::Torchvision => [2, 2, 3, 3, 3],
            Kind::Torchvision19 => [2, 2, 4, 4, 4],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::ShiftTolerant => "stlpips-vgg16",
            Kind::Torchvision => "torchvision-vgg16",
            Kind::Torchvision19 => "torchvision-vgg19",
        }
    }

    /// What the convolutions are called: by their place among all layers, of which a blurred pooling is two.
    fn layers(self) -> Vec<String> {
        let pooling = match self {
            Kind::ShiftTolerant => 2,
            Kind::Torchvision | Kind::Torchvision19 => 1,
        };
        let mut place = 0;
        let mut names = Vec::new();
        for (block, convolutions) in self.blocks().into_iter().enumerate() {
            for _ in 0..convolutions {
                names.push(match self {
                    Kind::ShiftTolerant => format!("net.slice{}.{place}", block + 1),
                    Kind::Torchvision | Kind::Torchvision19 => format!("features.{place}"),
                });
                // With the relu behind it.
                place += 2;
            }
            place += pooling;
        }
        names
    }
}

/// What a file holds of a VGG.
pub struct VggWeights {
    kind: Kind,
    convolutions: Vec<Filters>,
    heads: Option<Vec<Vec<f32>>>,
}

impl VggWeights {
    /// Takes them from a file.
    pub fn of(weights: &Weights) -> Result<Self, String> {
        let file = File::new(weights, "a VGG");
        let kind = Kind::of(&file).ok_or(
            "it has neither net.slice1.0.weight (stlpips) nor features.0.weight (torchvision)",
        )?;
        let mut convolutions = Vec::new();
        let mut channels = 3;
        for layer in kind.layers() {
            let filters = file.biased(&layer, channels, [3, 3])?;
            channels = filters.channels();
            convolutions.push(filters);
        }
        let mut found = VggWeights {
            kind,
            convolutions,
            heads: None,
        };
        let name = |block: usize| format!("lin{block}.model.1.weight");
        if (0..BLOCKS).all(|block| file.holds(&name(block))) {
            let heads = found.widths().into_iter().enumerate();
            let heads = heads.map(|(block, channels)| {
                let head = file.tensor(&name(block), &[1, channels, 1, 1])?;
                Ok(head.values.clone())
            });
            found.heads = Some(heads.collect::<Result<_, String>>()?);
        }
        Ok(found)
    }

    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Channels of each block.
    fn widths(&self) -> Vec<usize> {
        let ends = self.kind.blocks().into_iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        ends.map(|end| self.convolutions[end - 1].channels())
            .collect()
    }

    /// The network on a device.
    pub fn on(&self, device: &Device) -> tensor::Result<Vgg> {
        let convolutions = self.convolutions.iter();
        let convolutions = convolutions.map(|filters| filters.tensors(device));
        let widths = self.widths();
        let blurs = match self.kind {
            Kind::ShiftTolerant => &widths[..BLOCKS - 1],
            Kind::Torchvision | Kind::Torchvision19 => &[],
        };
        let blurs = blurs.iter().map(|&channels| {
            Tensor::from_slice(&BLUR.repeat(channels), [channels, 1, 3, 3], device)
        });
        let heads = self.heads.as_ref().map(|heads| {
            let head = |head: &Vec<f32>| Tensor::from_slice(head, [1, head.len(), 1, 1], device);
            heads.iter().map(head).collect()
        });
        Ok(Vgg {
            kind: self.kind,
            convolutions: convolutions.collect::<tensor::Result<_>>()?,
            blurs: blurs.collect::<tensor::Result<_>>()?,
            heads: heads.transpose()?,
        })
    }
}

/// A VGG16 or VGG19.
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
        Kind::of(&File::new(weights, "a VGG")).is_some()
    }

    /// Takes it from a file; what is wrong with that comes before any tensor is made.
    pub fn load(weights: &Weights, device: &Device) -> Result<tensor::Result<Self>, String> {
        Ok(VggWeights::of(weights)?.on(device))
    }

    pub fn name(&self) -> &'static str {
        self.kind.name()
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
    pub fn look(&self, x: Tensor) -> tensor::Result<Look> {
        let mut blocks = self.blocks(x, BLOCKS)?;
        let deepest = &blocks[BLOCKS - 1];
        let channels = deepest.shape().dims()[1];
        let mean = direction(deepest)?.mean_to([1, channels, 1, 1])?;
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

    /// Behind the last relu of each of the first `count` blocks.
    pub fn blocks(&self, mut x: Tensor, count: usize) -> tensor::Result<Vec<Tensor>> {
        let mut convolutions = self.convolutions.iter();
        let mut blocks = Vec::new();
        for (block, len) in self.kind.blocks().into_iter().take(count).enumerate() {
            if block > 0 {
                x = self.pool(&x, block - 1)?;
            }
            for [weight, bias] in convolutions.by_ref().take(len) {
                x = x.conv2d(weight, Some(bias), 1, 1)?;
                x = x.activation(Activation::Relu)?;
            }
            blocks.push(x.clone());
        }
        Ok(blocks)
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
