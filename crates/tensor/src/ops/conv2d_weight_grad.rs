//! The gradient of [`super::conv2d`] with respect to its weight.

use crate::cpu::Convolution;
use crate::launch;
use crate::op::{nchw, refuse};
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::{self, Conv2d, Setting, positions};
use crate::ops::{Case, Family};
use crate::{
    Array, Backward, Cost, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// Inputs: the convolution's image N×C×H×W and the gradient N×M×H′×W′ of its output.
/// Output: M×C×`kernel`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv2dWeightGrad {
    pub stride: usize,
    pub padding: usize,
    pub kernel: [usize; 2],
}

impl Op for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        let [grad_n, m, down, across] = nchw(self.name(), inputs, 1)?;
        let [kh, kw] = self.kernel;
        let fits = n == grad_n
            && positions(h, kh, self.stride, self.padding) == Some(down)
            && positions(w, kw, self.stride, self.padding) == Some(across);
        if !fits {
            let reason = format!("no {kh}×{kw} convolution leads from the first to the second");
            return refuse(self.name(), inputs, reason);
        }
        Ok([m, c, kh, kw].into())
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        Precision::Single
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (image, grad) = (inputs[0].shape.nchw(), inputs[1].shape.nchw());
        let conv = Convolution::new(image, grad, self.kernel, self.stride, self.padding);
        conv.weight_grad(inputs[0].data, inputs[1].data, out.data);
    }

    fn workspace(&self) -> bool {
        true
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let convolution = launch::Convolution {
            gpu,
            image: inputs[0].shape.nchw(),
            out: inputs[1].shape.nchw(),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        };
        convolution.weight_grad(inputs[0].data, inputs[1].data, out.data)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Conv2dWeightGrad {
            stride, padding, ..
        } = *self;
        let (image, grad, upstream) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let [_, _, h, w] = image.shape().nchw();
        Ok(vec![
            pass.gradient(0, || {
                apply(
                    ConvTranspose2d {
                        stride,
                        padding,
                        size: [h, w],
                    },
                    &[grad, upstream],
                )
            })?,
            pass.gradient(1, || apply(Conv2d { stride, padding }, &[image, upstream]))?,
        ])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        let flops = conv2d::flops(inputs[1].nchw(), out.nchw());
        Cost::bandwidth(inputs, out).with_flops(flops)
    }
}

impl Setting {
    /// The gradient of this convolution with respect to its weight.
    fn weight_grad(&self) -> Case {
        let [_, _, kh, kw] = self.weight;
        let op = Conv2dWeightGrad {
            stride: self.stride,
            padding: self.padding,
            kernel: [kh, kw],
        };
        Case::new(op, [self.image.into(), self.out().into()])
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "conv2d_weight_grad",
        cases: || Setting::edges().iter().map(Setting::weight_grad).collect(),
        random: |rng| Setting::random(rng).weight_grad(),
        benches: || {
            Setting::cyclegan()
                .iter()
                .map(Setting::weight_grad)
                .collect()
        },
    }
}
