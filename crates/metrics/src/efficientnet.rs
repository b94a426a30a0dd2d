//! EfficientNet-Lite0 (Tan and Le 2019, without squeeze and excitation, with relu6), as the package
//! efficientnet-lite-pytorch has it: TensorFlow's padding, batch norms with ε = 0.001.

use exchange::Weights;
use tensor::ops::{Activation, PadMode};
use tensor::{Device, Tensor};

use crate::Look;
use crate::file::{File, Filters};

const WHAT: &str = "an EfficientNet-Lite0";
const EPSILON: f64 = 1e-3;
/// Of each stage: blocks, side of the depthwise kernel, stride of the first block.
const STAGES: [[usize; 3]; 7] = [
    [1, 3, 1],
    [2, 3, 2],
    [2, 5, 2],
    [3, 3, 2],
    [3, 5, 1],
    [4, 5, 2],
    [1, 3, 1],
];

/// An EfficientNet-Lite0 without its classifier.
pub struct EfficientNet {
    stem: [Tensor; 2],
    blocks: Vec<Block<[Tensor; 2]>>,
    head: [Tensor; 2],
}

/// An inverted bottleneck: wider, a depthwise convolution, narrower again; `F` are filters and their bias.
struct Block<F> {
    expand: Option<F>,
    depthwise: F,
    stride: usize,
    project: F,
    /// Whether what goes in is added to what comes out.
    is_residual: bool,
}

impl EfficientNet {
    /// Whether a file holds one.
    pub fn is_in(weights: &Weights) -> bool {
        File::new(weights, WHAT).holds("_conv_stem.weight")
    }

    /// Takes it from a file; what is wrong with that comes before any tensor is made.
    pub fn load(weights: &Weights, device: &Device) -> Result<tensor::Result<Self>, String> {
        let file = File::new(weights, WHAT);
        let stem = file.normalised("_conv_stem", "_bn0", 3, [3, 3], EPSILON)?;
        let mut channels = stem.channels();
        let mut blocks = Vec::new();
        for [len, kernel, stride] in STAGES {
            for i in 0..len {
                let stride = if i == 0 { stride } else { 1 };
                let block = Block::find(&file, blocks.len(), channels, kernel, stride)?;
                channels = block.project.channels();
                blocks.push(block);
            }
        }
        if file.holds(&format!("_blocks.{}._project_conv.weight", blocks.len())) {
            return Err(format!(
                "it has more than {} blocks: it is a larger EfficientNet-Lite",
                blocks.len()
            ));
        }
        let head = file.normalised("_conv_head", "_bn1", channels, [1, 1], EPSILON)?;
        let made = || {
            Ok(EfficientNet {
                stem: stem.tensors(device)?,
                blocks: blocks
                    .iter()
                    .map(|block| block.tensors(device))
                    .collect::<tensor::Result<_>>()?,
                head: head.tensors(device)?,
            })
        };
        Ok(made())
    }

    /// Pixels as it was trained with, (0…255 − 127) / 128, of ones in −1…1.
    pub fn normalise(planes: &mut [f32]) {
        planes
            .iter_mut()
            .for_each(|v| *v = (*v * 127.5 + 0.5) / 128.0);
    }

    /// What it sees in 1×3×H×W.
    pub fn look(&self, x: Tensor) -> tensor::Result<Look> {
        let [weight, bias] = &self.stem;
        let x = same(&x, weight, 2)?.conv2d(weight, Some(bias), 2, 0)?;
        let mut x = relu6(&x)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let [weight, bias] = &self.head;
        let x = relu6(&x.conv2d(weight, Some(bias), 1, 0)?)?;
        let channels = x.shape().dims()[1];
        Ok(Look {
            features: x.mean_to([1, channels, 1, 1])?,
            blocks: Vec::new(),
        })
    }
}

impl Block<Filters> {
    fn find(
        file: &File<'_>,
        number: usize,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Self, String> {
        let name = |part: &str| format!("_blocks.{number}.{part}");
        let norm = |convolution: &str, norm: &str, channels, kernel| {
            file.normalised(&name(convolution), &name(norm), channels, kernel, EPSILON)
        };
        let expand = match file.holds(&name("_expand_conv.weight")) {
            true => Some(norm("_expand_conv", "_bn0", channels, [1, 1])?),
            false => None,
        };
        let inner = expand.as_ref().map_or(channels, Filters::channels);
        let depthwise = norm("_depthwise_conv", "_bn1", 1, [kernel; 2])?;
        if depthwise.channels() != inner {
            return Err(format!(
                "{}.weight is for {} channels where there are {inner}",
                name("_depthwise_conv"),
                depthwise.channels()
            ));
        }
        let project = norm("_project_conv", "_bn2", inner, [1, 1])?;
        Ok(Block {
            expand,
            depthwise,
            stride,
            is_residual: stride == 1 && project.channels() == channels,
            project,
        })
    }

    fn tensors(&self, device: &Device) -> tensor::Result<Block<[Tensor; 2]>> {
        let expand = self.expand.as_ref();
        let [filters, bias] = self.depthwise.tensors(device)?;
        let bias = bias.reshape([1, self.depthwise.channels(), 1, 1])?;
        Ok(Block {
            expand: expand.map(|expand| expand.tensors(device)).transpose()?,
            depthwise: [filters, bias],
            stride: self.stride,
            project: self.project.tensors(device)?,
            is_residual: self.is_residual,
        })
    }
}

impl Block<[Tensor; 2]> {
    fn forward(&self, x: &Tensor) -> tensor::Result<Tensor> {
        let wide = match &self.expand {
            Some([weight, bias]) => relu6(&x.conv2d(weight, Some(bias), 1, 0)?)?,
            None => x.clone(),
        };
        let [filters, bias] = &self.depthwise;
        let padded = same(&wide, filters, self.stride)?;
        let out = padded.depthwise_conv2d(filters, self.stride, 0)?;
        let out = relu6(&out.add(&bias.expand(out.shape())?)?)?;
        let [weight, bias] = &self.project;
        let out = out.conv2d(weight, Some(bias), 1, 0)?;
        match self.is_residual {
            true => out.add(x),
            false => Ok(out),
        }
    }
}

/// With zeros around so that ⌈extent / stride⌉ pixels come out, of which TensorFlow puts the odd one behind.
fn same(x: &Tensor, weight: &Tensor, stride: usize) -> tensor::Result<Tensor> {
    let (&[_, _, height, width], &[_, _, down, across]) = (x.shape().dims(), weight.shape().dims())
    else {
        unreachable!("both have four dimensions");
    };
    let sides = |extent: usize, kernel: usize| {
        let needed = (extent.div_ceil(stride) - 1) * stride + kernel;
        let all = needed.saturating_sub(extent);
        [all / 2, all - all / 2]
    };
    let ([left, right], [top, bottom]) = (sides(width, across), sides(height, down));
    match [left, right, top, bottom] {
        [0, 0, 0, 0] => Ok(x.clone()),
        sides => x.pad(PadMode::Zero, sides),
    }
}

/// min(max(x, 0), 6)
fn relu6(x: &Tensor) -> tensor::Result<Tensor> {
    let above = x.scale_add(1.0, -6.0)?.activation(Activation::Relu)?;
    x.activation(Activation::Relu)?.sub(&above)
}
