//! Convolution (cross-correlation, as the field has it). With its gradients, [`super::conv_transpose2d`]
//! and [`super::conv2d_weight_grad`], it is closed under differentiation.

use crate::cpu::Convolution;
use crate::launch;
use crate::op::{nchw, refuse};
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d_weight_grad::Conv2dWeightGrad;
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, Cost, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// Inputs: image N×C×H×W, weight M×C×kh×kw, and maybe bias M. Output: N×M×H′×W′ with
/// H′ = (H + 2·padding − kh) / stride + 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv2d {
    pub stride: usize,
    pub padding: usize,
}

impl Tensor {
    /// Convolves N×C×H×W with a weight M×C×kh×kw, zeros around, and adds a bias of M values.
    ///
    /// # Errors
    /// When the shapes don't go together or the kernel is larger than the padded image.
    pub fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
    ) -> Result<Tensor> {
        let op = Conv2d { stride, padding };
        match bias {
            Some(bias) => apply(op, &[self, weight, bias]),
            None => apply(op, &[self, weight]),
        }
    }

    /// A fully connected layer: N×K by a weight M×K gives N×M, and a bias of M values is added. It is a
    /// 1×1 convolution of images of one pixel.
    ///
    /// # Errors
    /// When the shapes don't go together.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (&[n, k], &[m, weight_k]) = (self.shape().dims(), weight.shape().dims()) else {
            let reason = "it takes N×K and a weight M×K";
            return refuse("linear", &[self.shape(), weight.shape()], reason);
        };
        let images = self.reshape([n, k, 1, 1])?;
        let out = images.conv2d(&weight.reshape([m, weight_k, 1, 1])?, bias, 1, 0)?;
        out.reshape([n, m])
    }
}

/// Positions of a kernel along a dimension, if there are any.
pub(super) fn positions(
    extent: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Option<usize> {
    let room = (extent + 2 * padding).checked_sub(kernel)?;
    Some(room.checked_div(stride)? + 1)
}

/// The gradient with respect to a bias of C values, from that with respect to an N×C×H×W output.
pub(super) fn bias_grad(grad: &Tensor) -> Result<Tensor> {
    let channels = grad.shape().nchw()[1];
    grad.sum_to([1, channels, 1, 1])?.reshape([channels])
}

/// Multiply-adds of a convolution, counted twice, from its output and its weight.
pub(super) fn flops(out: [usize; 4], weight: [usize; 4]) -> f64 {
    let [n, _, h, w] = out;
    2.0 * (n * h * w) as f64 * weight.iter().product::<usize>() as f64
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        let [m, weight_c, kh, kw] = nchw(self.name(), inputs, 1)?;
        if weight_c != c {
            let reason = format!("the weight is for {weight_c} channels, the image has {c}");
            return refuse(self.name(), inputs, reason);
        }
        if inputs.get(2).is_some_and(|bias| bias.dims() != [m]) {
            return refuse(
                self.name(),
                inputs,
                format!("the bias must have {m} values"),
            );
        }
        let down = positions(h, kh, self.stride, self.padding);
        let across = positions(w, kw, self.stride, self.padding);
        match (down, across) {
            (Some(down), Some(across)) => Ok([n, m, down, across].into()),
            _ => refuse(
                self.name(),
                inputs,
                "the kernel is larger than the padded image",
            ),
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (image, [_, _, kh, kw]) = (inputs[0].shape.nchw(), inputs[1].shape.nchw());
        let Conv2d { stride, padding } = *self;
        let conv = Convolution::new(image, out.shape.nchw(), [kh, kw], stride, padding);
        let bias = inputs.get(2).map(|bias| &bias.data[..]);
        conv.forward(inputs[0].data, inputs[1].data, bias, out.data);
    }

    fn workspace(&self) -> bool {
        true
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let Conv2d { stride, padding } = *self;
        let [_, _, kh, kw] = inputs[1].shape.nchw();
        let convolution = launch::Convolution {
            gpu,
            image: inputs[0].shape.nchw(),
            out: out.shape.nchw(),
            kernel: [kh, kw],
            stride,
            padding,
        };
        let bias = inputs.get(2).map(|bias| bias.data);
        convolution.forward(inputs[0].data, inputs[1].data, bias, out.data)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Conv2d { stride, padding } = *self;
        let (image, weight, grad) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let [_, _, h, w] = image.shape().nchw();
        let [_, _, kh, kw] = weight.shape().nchw();
        let mut gradients = vec![
            pass.gradient(0, || {
                apply(
                    ConvTranspose2d {
                        stride,
                        padding,
                        size: [h, w],
                    },
                    &[grad, weight],
                )
            })?,
            pass.gradient(1, || {
                apply(
                    Conv2dWeightGrad {
                        stride,
                        padding,
                        kernel: [kh, kw],
                    },
                    &[image, grad],
                )
            })?,
        ];
        if pass.inputs.len() == 3 {
            gradients.push(pass.gradient(2, || bias_grad(grad))?);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(flops(out.nchw(), inputs[1].nchw()))
    }
}

/// A convolution's shapes as tests and benches draw them.
pub(super) struct Setting {
    pub image: [usize; 4],
    pub weight: [usize; 4],
    pub stride: usize,
    pub padding: usize,
}

impl Setting {
    pub const fn new(
        n: usize,
        [c, m]: [usize; 2],
        [h, w]: [usize; 2],
        [k, stride, padding]: [usize; 3],
    ) -> Self {
        Setting {
            image: [n, c, h, w],
            weight: [m, c, k, k],
            stride,
            padding,
        }
    }

    /// Shapes with every edge: strides that don't divide, even kernels, no overlap, one pixel.
    pub fn edges() -> Vec<Setting> {
        vec![
            Setting::new(2, [3, 5], [7, 6], [3, 1, 1]),
            Setting::new(1, [4, 6], [9, 8], [3, 2, 1]),
            Setting::new(2, [3, 4], [9, 11], [4, 2, 1]),
            Setting::new(1, [2, 3], [8, 9], [7, 1, 3]),
            Setting::new(1, [5, 1], [6, 5], [4, 1, 1]),
            Setting::new(1, [3, 7], [5, 6], [1, 1, 0]),
            Setting::new(1, [2, 2], [10, 9], [2, 3, 0]),
            Setting::new(1, [1, 1], [1, 1], [3, 1, 1]),
            // Enough channels and tiles for Winograd, none of them whole.
            Setting::new(2, [17, 19], [9, 14], [3, 1, 1]),
            Setting::new(1, [16, 18], [18, 17], [3, 1, 0]),
            Setting::new(2, [33, 35], [15, 18], [3, 2, 1]),
            Setting::new(2, [18, 17], [17, 14], [4, 2, 1]),
            Setting::new(1, [17, 20], [14, 13], [4, 1, 1]),
            Setting {
                image: [1, 2, 7, 9],
                weight: [3, 2, 3, 5],
                stride: 2,
                padding: 1,
            },
        ]
    }

    pub fn random(rng: &mut rand::rngs::ChaCha8Rng) -> Setting {
        // Winograd's kinds often enough.
        let square = draw(rng, 0..=1) == 0;
        let [kh, kw] = match square {
            true => [draw(rng, 3..=4); 2],
            false => [draw(rng, 1..=5), draw(rng, 1..=5)],
        };
        let padding = draw(rng, 0..=2);
        let extent = |rng: &mut _, k: usize| draw(rng, k.saturating_sub(2 * padding).max(1)..=18);
        let (h, w) = (extent(rng, kh), extent(rng, kw));
        let (c, m) = (draw(rng, 1..=37), draw(rng, 1..=37));
        Setting {
            image: [draw(rng, 1..=3), c, h, w],
            weight: [m, c, kh, kw],
            stride: draw(rng, 1..=if square { 2 } else { 3 }),
            padding,
        }
    }

    /// The convolutions of the reference's networks at 256×256, and the demo's.
    pub fn cyclegan() -> Vec<Setting> {
        vec![
            Setting::new(1, [256, 256], [64, 64], [3, 1, 1]),
            Setting::new(1, [64, 128], [256, 256], [3, 2, 1]),
            Setting::new(1, [3, 64], [262, 262], [7, 1, 0]),
            Setting::new(1, [64, 3], [262, 262], [7, 1, 0]),
            Setting::new(1, [64, 128], [128, 128], [4, 2, 1]),
            Setting::new(1, [128, 128], [16, 16], [3, 1, 1]),
        ]
    }

    /// The output's shape.
    pub fn out(&self) -> [usize; 4] {
        let [n, _, h, w] = self.image;
        let [m, _, kh, kw] = self.weight;
        let fit = |extent, kernel| positions(extent, kernel, self.stride, self.padding);
        [
            n,
            m,
            fit(h, kh).expect("it fits"),
            fit(w, kw).expect("it fits"),
        ]
    }

    fn forward(&self, bias: bool) -> Case {
        let op = Conv2d {
            stride: self.stride,
            padding: self.padding,
        };
        let case = match bias {
            false => Case::new(op, [self.image.into(), self.weight.into()]),
            true => Case::new(
                op,
                [
                    self.image.into(),
                    self.weight.into(),
                    [self.weight[0]].into(),
                ],
            ),
        };
        case.halves(1)
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "conv2d",
        cases: || {
            let edges = Setting::edges();
            edges
                .iter()
                .enumerate()
                .map(|(i, setting)| setting.forward(i % 2 == 0))
                .collect()
        },
        random: |rng| Setting::random(rng).forward(draw(rng, 0..=1) == 1),
        benches: || {
            Setting::cyclegan()
                .iter()
                .map(|setting| setting.forward(true))
                .collect()
        },
    }
}
