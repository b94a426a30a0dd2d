//! Losses that compare a prediction with a target of the same shape, averaged to one value.

use bytemuck::{Pod, Zeroable};

use crate::cpu::{self, map2};
use crate::launch::{Launch, extents};
use crate::op::same_shape;
use crate::ops::activation::sigmoid;
use crate::ops::{Activation, Case, Family, Sums, Values, draw};
use crate::{
    Array, Backward, Cost, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// The mean over all values of a distance between prediction p and target t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// |p − t|
    L1,
    /// (p − t)²
    Mse,
    /// Cross-entropy of the probabilities t with those of the logits p:
    /// max(p, 0) − p·t + ln(1 + e^−|p|), which can't overflow.
    BceWithLogits,
}

/// From p, t and the gradient g of the mean: g/len·∂distance/∂p.
#[derive(Clone, Copy, Debug)]
struct LossGrad(Loss);

impl Loss {
    /// The `KIND` of the kernels.
    fn kind(self) -> u32 {
        match self {
            Loss::L1 => 0,
            Loss::Mse => 1,
            Loss::BceWithLogits => 2,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    len: u32,
    share: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GradParams {
    vec4s: u32,
    scale: f32,
}

impl Tensor {
    /// The loss of this prediction against a target, a single value.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn loss(&self, kind: Loss, target: &Tensor) -> Result<Tensor> {
        apply(kind, &[self, target])
    }
}

impl Op for Loss {
    fn name(&self) -> &'static str {
        match self {
            Loss::L1 => "l1_loss",
            Loss::Mse => "mse_loss",
            Loss::BceWithLogits => "bce_with_logits",
        }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        same_shape(self.name(), inputs)?;
        Ok(Shape::SCALAR)
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        Precision::Single
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (p, t) = (inputs[0].data, inputs[1].data);
        let sum = match self {
            Loss::L1 => cpu::dot_sum(
                p,
                t,
                #[inline(always)]
                move |p, t| (p - t).abs(),
            ),
            Loss::Mse => cpu::dot_sum(
                p,
                t,
                #[inline(always)]
                move |p, t| (p - t) * (p - t),
            ),
            Loss::BceWithLogits => {
                cpu::dot_sum(p, t, |p, t| p.max(0.0) - p * t + (-p.abs()).exp().ln_1p())
            }
        };
        out.data[0] = (sum / p.len() as f64) as f32;
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let scale = 1.0 / inputs[0].shape.len() as f32;
        reduce(gpu, self.kind(), [inputs[0], inputs[1]], scale, out)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (p, t, g) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let to_p = pass.gradient(0, || apply(LossGrad(*self), &[p, t, g]))?;
        let to_t = pass.gradient(1, || match self {
            Loss::L1 | Loss::Mse => apply(LossGrad(*self), &[p, t, g])?.scale(-1.0),
            Loss::BceWithLogits => g
                .expand(p.shape())?
                .mul(p)?
                .scale(-1.0 / p.shape().len() as f32),
        })?;
        Ok(vec![to_p, to_t])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(3.0 * inputs[0].len() as f64)
    }
}

/// Has a GPU sum what the kernel's `kind` makes of two inputs, value by value, and scale the sum.
pub(super) fn reduce(
    gpu: &gpu::Context,
    kind: u32,
    [p, t]: [GpuArray<'_>; 2],
    scale: f32,
    out: GpuArray<'_>,
) -> Result<()> {
    let kernel = &shaders::loss::LOSS;
    let len = p.shape.len();
    // Some hundred workgroups at most, 16 values or more for each invocation.
    let share = len.div_ceil(512).max(16 * 256);
    let partials = len.div_ceil(share).max(1);
    let partial = match partials {
        1 => None,
        _ => Some(gpu.alloc(partials)?),
    };
    let launch = Launch {
        gpu,
        kernel,
        overrides: &[("KIND", kind.into())],
        buffers: &[p.data, t.data, partial.as_ref().unwrap_or(out.data)],
    };
    let [len, share] = extents(kernel, [len, share])?;
    launch.workgroups(&Params { len, share, scale }, partials)?;
    let Some(partial) = partial else {
        return Ok(());
    };
    let sums = Sums {
        kept: [(1, 0), (1, 0)],
        summed: [(1, 0), (partials, 1)],
    };
    sums.run(gpu, &partial, out.data)
}

impl Op for LossGrad {
    fn name(&self) -> &'static str {
        "loss_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        same_shape(self.name(), &inputs[..2])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (p, t) = (inputs[0].data, inputs[1].data);
        let g = inputs[2].data[0] / p.len() as f32;
        match self.0 {
            Loss::L1 => map2(
                p,
                t,
                out.data,
                #[inline(always)]
                move |p, t| {
                    // Not `signum`, which is 1 at zero.
                    if p > t {
                        g
                    } else if p < t {
                        -g
                    } else {
                        0.0
                    }
                },
            ),
            Loss::Mse => map2(
                p,
                t,
                out.data,
                #[inline(always)]
                move |p, t| 2.0 * g * (p - t),
            ),
            Loss::BceWithLogits => map2(p, t, out.data, |p, t| g * (sigmoid(p) - t)),
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::loss::LOSS_GRAD;
        let scale = 1.0 / out.shape.len() as f32;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("KIND", self.0.kind().into())],
            buffers: &[inputs[0].data, inputs[1].data, inputs[2].data, out.data],
        };
        launch.invocations(&GradParams { vec4s, scale }, len)
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [p, t, g] = pass.inputs else {
            unreachable!("three inputs")
        };
        let u = pass.grad;
        let len = p.shape().len() as f32;
        let weighted = || g.expand(p.shape())?.mul(u)?.scale(1.0 / len);
        let to_p = match self.0 {
            Loss::L1 => None,
            Loss::Mse => pass.gradient(0, || weighted()?.scale(2.0))?,
            Loss::BceWithLogits => pass.gradient(0, || {
                let y = p.activation(Activation::Sigmoid)?;
                y.sub(&y.mul(&y)?)?.mul(&weighted()?)
            })?,
        };
        let to_t = match self.0 {
            Loss::L1 => None,
            Loss::Mse => pass.gradient(1, || weighted()?.scale(-2.0))?,
            Loss::BceWithLogits => pass.gradient(1, || weighted()?.scale(-1.0))?,
        };
        let to_g = pass.gradient(2, || {
            let one = Tensor::full(g.shape(), 1.0, g.device())?;
            apply(*self, &[p, t, &one])?
                .mul(u)?
                .sum()?
                .reshape(g.shape())
        })?;
        Ok(vec![to_p, to_t, to_g])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(3.0 * out.len() as f64)
    }
}

pub(super) fn family() -> Family {
    const ALL: [Loss; 3] = [Loss::L1, Loss::Mse, Loss::BceWithLogits];
    fn case(kind: Loss, shape: Shape) -> Case {
        // Targets that no finite difference takes across the kink of L1.
        let target = if kind == Loss::L1 {
            (3.0, 9.0)
        } else {
            (0.0, 1.0)
        };
        let case = Case::new(kind, [shape, shape]).values(1, Values::Uniform(target.0, target.1));
        if kind == Loss::L1 {
            case.values(0, Values::Uniform(-2.0, 2.0))
        } else {
            case
        }
    }
    Family {
        name: "loss",
        cases: || ALL.map(|kind| case(kind, [2, 3, 9, 7].into())).to_vec(),
        random: |rng| {
            let shape = [draw(rng, 1..=3), draw(rng, 1..=40), draw(rng, 1..=40)];
            case(ALL[draw(rng, 0..=2)], shape.into())
        },
        benches: || ALL.map(|kind| case(kind, [1, 3, 256, 256].into())).to_vec(),
    }
}
