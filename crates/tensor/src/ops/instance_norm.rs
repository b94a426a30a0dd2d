//! Instance norm (Ulyanov, Vedaldi & Lempitsky, 2016): each plane of an image to zero mean and unit
//! variance, x̂ = r·(x − mean x) with r = 1 / √(var x + eps), the variance being the biased one. A leaky
//! relu may follow in the same operation: what it needs for its gradient, the sign of x̂, the norm knows.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::cpu::{self, for_each_chunk, vectorised};
use crate::launch::{Launch, extents};
use crate::op::{nchw, same_shape};
use crate::ops::activation::ActivationGrad;
use crate::ops::{Activation, Case, Family, Values, draw};
use crate::{
    Array, Backward, Cost, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// x̂, or `slope`·x̂ below zero. A slope of 1 is none.
#[derive(Clone, Copy, Debug)]
struct InstanceNorm {
    eps: f32,
    slope: f32,
}

/// From x and g: J·g with the Jacobian J = r·(I − mean − x̂·mean(x̂ ·)), which is symmetric; first g is
/// multiplied by `slope` where x̂ is not above zero.
#[derive(Clone, Copy, Debug)]
struct InstanceNormGrad {
    eps: f32,
    slope: f32,
}

/// r, N×C×1×1
#[derive(Clone, Copy, Debug)]
struct InstanceRstd {
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    planes: u32,
    len: u32,
    eps: f32,
}

/// Runs a kernel that takes a workgroup a plane.
fn by_planes(
    gpu: &gpu::Context,
    kernel: &'static shaders::Kernel,
    overrides: &[(&'static str, f64)],
    eps: f32,
    image: Shape,
    buffers: &[&gpu::Buffer],
) -> Result<()> {
    let [n, c, h, w] = image.nchw();
    let [planes, len] = extents(kernel, [n * c, h * w])?;
    // Planes are few, so large ones want large workgroups.
    let most = gpu.limits().invocations_per_workgroup.min(1024);
    let workgroup = match len {
        0..=256 => 64,
        257..=4096 => 256,
        _ => 1 << most.ilog2(),
    };
    let launch = Launch {
        gpu,
        kernel,
        overrides: &[overrides, &[("WORKGROUP", f64::from(workgroup))]].concat(),
        buffers,
    };
    launch.workgroups(&Params { planes, len, eps }, n * c)
}

impl Tensor {
    /// Normalises each plane of N×C×H×W; `eps` is added to its variance.
    ///
    /// # Errors
    /// When there are not four dimensions.
    pub fn instance_norm(&self, eps: f32) -> Result<Tensor> {
        apply(InstanceNorm { eps, slope: 1.0 }, &[self])
    }

    /// Normalises each plane of N×C×H×W, then multiplies what is below zero by `slope`: a relu with 0.
    ///
    /// # Errors
    /// When there are not four dimensions.
    pub fn instance_norm_leaky_relu(&self, eps: f32, slope: f32) -> Result<Tensor> {
        apply(InstanceNorm { eps, slope }, &[self])
    }

    /// The factor of instance norm, 1 / √(variance + `eps`), for each plane of N×C×H×W: N×C×1×1.
    ///
    /// # Errors
    /// When there are not four dimensions.
    pub fn instance_rstd(&self, eps: f32) -> Result<Tensor> {
        apply(InstanceRstd { eps }, &[self])
    }

    /// Instance norm with a factor and a summand for each channel (C values each).
    ///
    /// # Errors
    /// When there are not four dimensions, or not C values.
    pub fn instance_norm_affine(&self, gamma: &Tensor, beta: &Tensor, eps: f32) -> Result<Tensor> {
        let shape = self.shape();
        let channels = shape.nchw()[1];
        let each = |values: &Tensor| values.reshape([1, channels, 1, 1])?.expand(shape);
        self.instance_norm(eps)?
            .mul(&each(gamma)?)?
            .add(&each(beta)?)
    }
}

/// Mean and r of a plane, in two passes: E[x²] − E[x]² cancels.
fn moments(plane: &[f32], eps: f32) -> (f32, f32) {
    let len = plane.len() as f64;
    let mean = (cpu::sum(plane) / len) as f32;
    let squares = cpu::dot_sum(
        plane,
        plane,
        #[inline(always)]
        |x, _| (x - mean) * (x - mean),
    );
    let variance = squares / len;
    (mean, (1.0 / (variance + f64::from(eps)).sqrt()) as f32)
}

impl Op for InstanceNorm {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        nchw(self.name(), inputs, 0)?;
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = out.shape.nchw();
        let InstanceNorm { eps, slope } = *self;
        for_each_chunk(out.data, h * w, |at, planes| {
            let from = inputs[0].data[at..].chunks_exact(h * w);
            for (out, x) in planes.chunks_exact_mut(h * w).zip(from) {
                let (mean, rstd) = moments(x, eps);
                vectorised(
                    #[inline(always)]
                    move || {
                        out.iter_mut().zip(x).for_each(|(out, &x)| {
                            let normed = (x - mean) * rstd;
                            *out = if normed > 0.0 { normed } else { slope * normed };
                        });
                    },
                );
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let buffers = &[inputs[0].data, out.data];
        by_planes(
            gpu,
            &shaders::norm::INSTANCE_NORM,
            &[("SLOPE", self.slope.into())],
            self.eps,
            inputs[0].shape,
            buffers,
        )
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let InstanceNorm { eps, slope } = *self;
        let op = InstanceNormGrad { eps, slope };
        Ok(vec![Some(apply(op, &[&pass.inputs[0], pass.grad])?)])
    }

    /// Mean, variance, difference and product: about eight operations a value.
    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(8.0 * out.len() as f64)
    }
}

impl Op for InstanceNormGrad {
    fn name(&self) -> &'static str {
        "instance_norm_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        nchw(self.name(), inputs, 0)?;
        same_shape(self.name(), inputs)
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = out.shape.nchw();
        let len = (h * w) as f64;
        let InstanceNormGrad { eps, slope } = *self;
        for_each_chunk(out.data, h * w, |at, planes| {
            let x = inputs[0].data[at..].chunks_exact(h * w);
            let g = inputs[1].data[at..].chunks_exact(h * w);
            for ((out, x), g) in planes.chunks_exact_mut(h * w).zip(x).zip(g) {
                let (mean, rstd) = moments(x, eps);
                let through = move |x: f32, g: f32| if x > mean { g } else { slope * g };
                let mean_g = (cpu::dot_sum(x, g, through) / len) as f32;
                let products = cpu::dot_sum(
                    x,
                    g,
                    #[inline(always)]
                    move |x, g| (x - mean) * through(x, g),
                );
                let along = (products / len) as f32 * rstd * rstd;
                vectorised(
                    #[inline(always)]
                    move || {
                        for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
                            *out = rstd * (through(x, g) - mean_g - (x - mean) * along);
                        }
                    },
                );
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let buffers = &[inputs[0].data, inputs[1].data, out.data];
        by_planes(
            gpu,
            &shaders::norm::INSTANCE_NORM_GRAD,
            &[("SLOPE", self.slope.into())],
            self.eps,
            inputs[0].shape,
            buffers,
        )
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    /// With upstream u, and ⟨·⟩ the mean over a plane: to g, J being symmetric, J·u; to x, from
    /// dr = −r²⟨x̂ dx⟩ and dx̂ = J dx,
    /// −r·[ r·(⟨u g⟩ − ⟨u⟩⟨g⟩ − ⟨u x̂⟩⟨g x̂⟩)·x̂ + J·(⟨g x̂⟩·u + ⟨u x̂⟩·g) ].
    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let InstanceNormGrad { eps, slope } = *self;
        let (x, u) = (&pass.inputs[0], pass.grad);
        let linear = InstanceNormGrad { eps, slope: 1.0 };
        // The mask of the leaky relu, which is constant between its kinks.
        let through = |g: &Tensor| match slope {
            1.0 => Ok(g.clone()),
            _ => apply(
                ActivationGrad(Activation::LeakyRelu(slope)),
                &[&x.instance_norm(eps)?, g],
            ),
        };
        let g = &through(&pass.inputs[1])?;
        let shape = x.shape();
        let [n, c, _, _] = shape.nchw();
        let mean = |t: &Tensor| t.mean_to([n, c, 1, 1]);
        let to_x = pass.gradient(0, || {
            let normed = x.instance_norm(eps)?;
            let rstd = x.instance_rstd(eps)?;
            let along_g = mean(&g.mul(&normed)?)?;
            let along_u = mean(&u.mul(&normed)?)?;
            let covariance = mean(&u.mul(g)?)?
                .sub(&mean(u)?.mul(&mean(g)?)?)?
                .sub(&along_u.mul(&along_g)?)?;
            let through_r = rstd.mul(&covariance)?.expand(shape)?.mul(&normed)?;
            let turned = along_g
                .expand(shape)?
                .mul(u)?
                .add(&along_u.expand(shape)?.mul(g)?)?;
            let through_normed = apply(linear, &[x, &turned])?;
            rstd.expand(shape)?
                .mul(&through_r.add(&through_normed)?)?
                .scale(-1.0)
        })?;
        let to_g = pass.gradient(1, || through(&apply(linear, &[x, u])?))?;
        Ok(vec![to_x, to_g])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(12.0 * out.len() as f64)
    }
}

impl Op for InstanceRstd {
    fn name(&self) -> &'static str {
        "instance_rstd"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, _, _] = nchw(self.name(), inputs, 0)?;
        Ok([n, c, 1, 1].into())
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        Precision::Single
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = inputs[0].shape.nchw();
        let planes = inputs[0].data.par_chunks_exact(h * w);
        let outs = out.data.par_iter_mut().zip(planes);
        outs.for_each(|(out, plane)| *out = moments(plane, self.eps).1);
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let buffers = &[inputs[0].data, out.data];
        by_planes(
            gpu,
            &shaders::norm::INSTANCE_NORM,
            &[("RSTD", 1.0)],
            self.eps,
            inputs[0].shape,
            buffers,
        )
    }

    /// dr/dx = −r²·x̂ / (H·W)
    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, r) = (&pass.inputs[0], pass.out);
        let [_, _, h, w] = x.shape().nchw();
        let factor = r.mul(r)?.mul(pass.grad)?.scale(-1.0 / (h * w) as f32)?;
        let normed = x.instance_norm(self.eps)?;
        Ok(vec![Some(factor.expand(x.shape())?.mul(&normed)?)])
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(4.0 * inputs[0].len() as f64)
    }
}

pub(super) fn family() -> Family {
    const EPS: f32 = 1e-5;
    fn norm(shape: [usize; 4], slope: f32) -> Case {
        let op = InstanceNorm { eps: EPS, slope };
        Case::new(op, [shape.into()])
    }
    fn grad(shape: [usize; 4], slope: f32) -> Case {
        let op = InstanceNormGrad { eps: EPS, slope };
        Case::new(op, [shape.into(), shape.into()])
    }
    fn rstd(shape: [usize; 4]) -> Case {
        Case::new(InstanceRstd { eps: EPS }, [shape.into()])
    }
    Family {
        name: "instance_norm",
        cases: || {
            vec![
                norm([2, 3, 5, 7], 1.0),
                // Far from zero, where a one-pass variance would cancel.
                norm([1, 2, 9, 31], 1.0).values(0, Values::Uniform(99.0, 101.0)),
                norm([2, 3, 5, 7], 0.0).values(0, Values::AwayFromZero),
                norm([1, 3, 4, 7], 0.2).values(0, Values::AwayFromZero),
                grad([2, 3, 5, 7], 1.0),
                grad([2, 3, 5, 7], 0.0).values(0, Values::AwayFromZero),
                grad([1, 3, 4, 7], 0.2).values(0, Values::AwayFromZero),
                rstd([2, 3, 5, 7]),
            ]
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=3),
                draw(rng, 1..=9),
                draw(rng, 2..=23),
                draw(rng, 2..=23),
            ];
            let slope = [1.0, 0.0, 0.2][draw(rng, 0..=2)];
            match draw(rng, 0..=2) {
                0 => norm(shape, slope),
                1 => grad(shape, slope),
                _ => rstd(shape),
            }
        },
        benches: || {
            let large = [1, 64, 256, 256];
            vec![
                norm(large, 1.0),
                grad(large, 1.0),
                norm([1, 256, 64, 64], 0.0),
                grad([1, 256, 64, 64], 0.0),
            ]
        },
    }
}
