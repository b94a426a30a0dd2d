//! Adam (Kingma & Ba, 2015), in two operations: the moments move, then the parameter.

use bytemuck::{Pod, Zeroable};

use crate::cpu::{map2, map3};
use crate::launch::{Launch, extents};
use crate::op::refuse;
use crate::ops::{Case, Family, Values, draw};
use crate::{Array, Backward, Cost, CpuArray, Error, GpuArray, Op, Result, Shape, Tensor, apply};

/// Inputs: the moments, 2×len (first m, then v), a gradient of len values, and a
/// [gate](crate::ops::GradientGate), whose factor makes it g. Output: the moments after it,
/// m ← β₁·m + (1 − β₁)·g and v ← β₂·v + (1 − β₂)·g²; those before it if the gate is closed.
#[derive(Clone, Copy, Debug)]
pub struct AdamMoments {
    /// β₁
    pub beta1: f32,
    /// β₂
    pub beta2: f32,
}

/// Inputs: a parameter of len values, its moments, 2×len, and a gate. Output: the parameter after step t, or
/// before it if the gate is closed: p − rate·m / (√v · `v_scale` + eps), where rate = lr / (1 − β₁ᵗ) and v_scale = 1 / √(1 − β₂ᵗ)
/// correct the moments' start at zero.
#[derive(Clone, Copy, Debug)]
pub struct AdamUpdate {
    /// lr / (1 − β₁ᵗ)
    pub rate: f32,
    /// 1 / √(1 − β₂ᵗ)
    pub v_scale: f32,
    /// ε
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct MomentsParams {
    len: u32,
    beta1: f32,
    beta2: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct UpdateParams {
    len: u32,
    rate: f32,
    v_scale: f32,
    eps: f32,
}

impl AdamMoments {
    /// The moments after a gradient.
    ///
    /// # Errors
    /// When the moments are not 2×len for a gradient of len values.
    pub fn apply(self, moments: &Tensor, grad: &Tensor, gate: &Tensor) -> Result<Tensor> {
        apply(self, &[moments, grad, gate])
    }
}

impl AdamUpdate {
    /// The parameter after a step.
    ///
    /// # Errors
    /// When the moments are not 2×len for a parameter of len values.
    pub fn apply(self, parameter: &Tensor, moments: &Tensor, gate: &Tensor) -> Result<Tensor> {
        apply(self, &[parameter, moments, gate])
    }
}

fn check(op: &'static str, inputs: &[Shape], moments: Shape, values: Shape) -> Result<()> {
    if moments.dims() != [2, values.len()] {
        return refuse(
            op,
            inputs,
            format!("the moments must be 2×{}", values.len()),
        );
    }
    if inputs[2].dims() != [2] {
        return refuse(op, inputs, "a gate has two values");
    }
    Ok(())
}

impl Op for AdamMoments {
    fn name(&self) -> &'static str {
        "adam_moments"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        check(self.name(), inputs, inputs[0], inputs[1])?;
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let AdamMoments { beta1, beta2 } = *self;
        let factor = inputs[2].data[0];
        if factor < 0.0 {
            return out.data.copy_from_slice(inputs[0].data);
        }
        let g = inputs[1].data;
        let (m, v) = inputs[0].data.split_at(g.len());
        let (m_out, v_out) = out.data.split_at_mut(g.len());
        map2(
            m,
            g,
            m_out,
            #[inline(always)]
            move |m, g| beta1 * m + (1.0 - beta1) * (factor * g),
        );
        map2(
            v,
            g,
            v_out,
            #[inline(always)]
            move |v, g| {
                let g = factor * g;
                beta2 * v + (1.0 - beta2) * g * g
            },
        );
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::optim::ADAM_MOMENTS;
        let AdamMoments { beta1, beta2 } = *self;
        let [len] = extents(kernel, [inputs[1].shape.len()])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, inputs[1].data, inputs[2].data, out.data],
        };
        let params = MomentsParams { len, beta1, beta2 };
        launch.invocations(&params, inputs[1].shape.len())
    }

    fn backward(&self, _: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::NotDifferentiable(self.name()))
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(8.0 * inputs[1].len() as f64)
    }
}

impl Op for AdamUpdate {
    fn name(&self) -> &'static str {
        "adam_update"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        check(self.name(), inputs, inputs[1], inputs[0])?;
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let AdamUpdate { rate, v_scale, eps } = *self;
        if inputs[2].data[0] < 0.0 {
            return out.data.copy_from_slice(inputs[0].data);
        }
        let (m, v) = inputs[1].data.split_at(inputs[0].data.len());
        map3(
            inputs[0].data,
            m,
            v,
            out.data,
            #[inline(always)]
            move |p, m, v| p - rate * m / (v.sqrt() * v_scale + eps),
        );
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::optim::ADAM_UPDATE;
        let AdamUpdate { rate, v_scale, eps } = *self;
        let [len] = extents(kernel, [out.shape.len()])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, inputs[1].data, inputs[2].data, out.data],
        };
        let params = UpdateParams {
            len,
            rate,
            v_scale,
            eps,
        };
        launch.invocations(&params, out.shape.len())
    }

    fn backward(&self, _: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::NotDifferentiable(self.name()))
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(6.0 * out.len() as f64)
    }
}

pub(super) fn family() -> Family {
    // Two values in [0, 1): an open gate; in [−1, 0): a closed one.
    fn gated(case: Case, gate: [f32; 2]) -> Case {
        case.values(2, Values::Uniform(gate[0], gate[1]))
            .derivatives(0)
            .halves(0)
    }
    const OPEN: [f32; 2] = [0.0, 1.0];
    const CLOSED: [f32; 2] = [-1.0, 0.0];
    fn moments(shape: [usize; 4], gate: [f32; 2]) -> Case {
        let len = shape.iter().product();
        let op = AdamMoments {
            beta1: 0.5,
            beta2: 0.999,
        };
        let case = Case::new(op, [[2, len].into(), shape.into(), [2].into()]);
        gated(case.values(0, Values::Uniform(0.0, 1.0)), gate)
    }
    fn update(shape: [usize; 4], gate: [f32; 2]) -> Case {
        let len = shape.iter().product();
        let op = AdamUpdate {
            rate: 4e-4,
            v_scale: 31.6,
            eps: 1e-8,
        };
        let case = Case::new(op, [shape.into(), [2, len].into(), [2].into()]);
        gated(case.values(1, Values::Uniform(0.0, 1.0)), gate)
    }
    Family {
        name: "adam",
        cases: || {
            let both = |gate| [moments([3, 2, 3, 3], gate), update([3, 2, 3, 3], gate)];
            [both(OPEN), both(CLOSED)].concat()
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=9),
                draw(rng, 1..=9),
                draw(rng, 1..=5),
                draw(rng, 1..=5),
            ];
            [moments, update][draw(rng, 0..=1)](shape, OPEN)
        },
        benches: || {
            let shape = [256, 256, 3, 3];
            vec![moments(shape, OPEN), update(shape, OPEN)]
        },
    }
}
