//! Transposed convolution, which is also the gradient of [`super::conv2d`] with respect to its image.

use crate::cpu::Convolution;
use crate::launch;
use crate::op::{nchw, refuse};
use crate::ops::conv2d::{self, Conv2d, Setting, bias_grad, positions};
use crate::ops::conv2d_weight_grad::Conv2dWeightGrad;
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, Cost, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// Inputs: image N×M×H′×W′, weight M×C×kh×kw, and maybe bias C. Output: N×C×`size`, an image that
/// the convolution of the same weight takes to one of the input's shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvTranspose2d {
    pub stride: usize,
    pub padding: usize,
    pub size: [usize; 2],
}

impl Tensor {
    /// Transposed convolution of N×M×H×W with a weight M×C×kh×kw and a bias of C values; the output
    /// is (H − 1)·stride − 2·padding + kh + `output_padding` high.
    ///
    /// # Errors
    /// When the shapes don't go together, or `output_padding` is not below the stride.
    pub fn conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
        output_padding: usize,
    ) -> Result<Tensor> {
        let [_, _, h, w] = self.shape().nchw();
        let [_, _, kh, kw] = weight.shape().nchw();
        let size = |extent: usize, kernel: usize| {
            ((extent.max(1) - 1) * stride + kernel + output_padding).saturating_sub(2 * padding)
        };
        let op = ConvTranspose2d {
            stride,
            padding,
            size: [size(h, kh), size(w, kw)],
        };
        match bias {
            Some(bias) => apply(op, &[self, weight, bias]),
            None => apply(op, &[self, weight]),
        }
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, m, h, w] = nchw(self.name(), inputs, 0)?;
        let [weight_m, c, kh, kw] = nchw(self.name(), inputs, 1)?;
        if weight_m != m {
            let reason = format!("the weight is for {weight_m} channels, the image has {m}");
            return refuse(self.name(), inputs, reason);
        }
        if inputs.get(2).is_some_and(|bias| bias.dims() != [c]) {
            return refuse(
                self.name(),
                inputs,
                format!("the bias must have {c} values"),
            );
        }
        let [height, width] = self.size;
        let fits = positions(height, kh, self.stride, self.padding) == Some(h)
            && positions(width, kw, self.stride, self.padding) == Some(w);
        if !fits {
            let reason = format!(
                "no convolution with stride {} and padding {} leads from {height}×{width} to it",
                self.stride, self.padding
            );
            return refuse(self.name(), inputs, reason);
        }
        Ok([n, c, height, width].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (grad, [_, _, kh, kw]) = (inputs[0].shape.nchw(), inputs[1].shape.nchw());
        let image = out.shape.nchw();
        let conv = Convolution::new(image, grad, [kh, kw], self.stride, self.padding);
        let bias = inputs.get(2).map(|bias| &bias.data[..]);
        conv.image_grad(inputs[0].data, inputs[1].data, bias, out.data);
    }

    fn workspace(&self) -> bool {
        true
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let [_, _, kh, kw] = inputs[1].shape.nchw();
        let convolution = launch::Convolution {
            gpu,
            image: out.shape.nchw(),
            out: inputs[0].shape.nchw(),
            kernel: [kh, kw],
            stride: self.stride,
            padding: self.padding,
        };
        let bias = inputs.get(2).map(|bias| bias.data);
        convolution.image_grad(inputs[0].data, inputs[1].data, bias, out.data)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let ConvTranspose2d {
            stride, padding, ..
        } = *self;
        let (image, weight, grad) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let [_, _, kh, kw] = weight.shape().nchw();
        let mut gradients = vec![
            pass.gradient(0, || apply(Conv2d { stride, padding }, &[grad, weight]))?,
            pass.gradient(1, || {
                apply(
                    Conv2dWeightGrad {
                        stride,
                        padding,
                        kernel: [kh, kw],
                    },
                    &[grad, image],
                )
            })?,
        ];
        if pass.inputs.len() == 3 {
            gradients.push(pass.gradient(2, || bias_grad(grad))?);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        let flops = conv2d::flops(inputs[0].nchw(), inputs[1].nchw());
        Cost::bandwidth(inputs, out).with_flops(flops)
    }
}

impl Setting {
    /// The gradient of this convolution with respect to its image.
    fn transposed(&self, bias: bool) -> Case {
        let [_, c, h, w] = self.image;
        let op = ConvTranspose2d {
            stride: self.stride,
            padding: self.padding,
            size: [h, w],
        };
        let case = match bias {
            false => Case::new(op, [self.out().into(), self.weight.into()]),
            true => Case::new(op, [self.out().into(), self.weight.into(), [c].into()]),
        };
        case.halves(1)
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "conv_transpose2d",
        cases: || {
            let edges = Setting::edges();
            edges
                .iter()
                .enumerate()
                .map(|(i, setting)| setting.transposed(i % 2 == 0))
                .collect()
        },
        random: |rng| Setting::random(rng).transposed(draw(rng, 0..=1) == 1),
        benches: || {
            Setting::cyclegan()
                .iter()
                .map(|setting| setting.transposed(false))
                .collect()
        },
    }
}
