//! Numbers in place of those that are none.

use bytemuck::{Pod, Zeroable};

use crate::cpu::map;
use crate::launch::{Launch, extents};
use crate::ops::{Case, Family, Values, draw};
use crate::{Array, Backward, CpuArray, Error, GpuArray, Op, Result, Shape, Tensor, apply};

/// x where it is finite, else 0. Not differentiable: it is for what leaves the tape.
#[derive(Clone, Copy, Debug)]
struct FiniteOrZero;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    vec4s: u32,
}

impl Tensor {
    /// These values, and 0 in place of infinities and NaN; off the tape.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn finite_or_zero(&self) -> Result<Tensor> {
        apply(FiniteOrZero, &[&self.detach()])
    }
}

impl Op for FiniteOrZero {
    fn name(&self) -> &'static str {
        "finite_or_zero"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        map(
            inputs[0].data,
            out.data,
            #[inline(always)]
            |x| if x.is_finite() { x } else { 0.0 },
        );
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::FINITE_OR_ZERO;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&Params { vec4s }, len)
    }

    fn backward(&self, _: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::NotDifferentiable(self.name()))
    }
}

pub(super) fn family() -> Family {
    fn case(shape: Shape) -> Case {
        Case::new(FiniteOrZero, [shape])
            .values(0, Values::SomeNotFinite)
            .derivatives(0)
    }
    Family {
        name: "finite_or_zero",
        cases: || vec![case([2, 3, 5, 7].into()), case([1].into())],
        random: |rng| case([draw(rng, 1..=9), draw(rng, 1..=33)].into()),
        benches: || vec![case([1, 3, 256, 256].into())],
    }
}
