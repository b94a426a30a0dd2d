//! Storing values in another precision.

use crate::ops::scale::Scale;
use crate::ops::{Case, Family, draw};
use crate::{
    Array, Backward, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// out = x, stored so.
#[derive(Clone, Copy, Debug)]
struct Cast(Precision);

impl Tensor {
    /// The same values, stored in a precision. What is computed from pictures in half precision is in
    /// half precision itself, but for sums, losses and the gradients of weights. Values over 65,504
    /// become infinite.
    ///
    /// # Errors
    /// Half precision on the processor, or on a device that lacks it.
    pub fn to_precision(&self, precision: Precision) -> Result<Tensor> {
        if precision == self.precision() {
            return Ok(self.clone());
        }
        apply(Cast(precision), &[self])
    }
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        self.0
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        out.data.copy_from_slice(inputs[0].data);
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let copy = Scale {
            scale: 1.0,
            shift: 0.0,
        };
        copy.run(gpu, inputs[0], out)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let precision = pass.inputs[0].precision();
        Ok(vec![Some(pass.grad.to_precision(precision)?)])
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "cast",
        cases: || {
            let cast = Cast(Precision::Single);
            vec![Case::new(cast, [[2, 3, 5, 7].into()])]
        },
        random: |rng| {
            let shape = [draw(rng, 1..=9), draw(rng, 1..=33)];
            Case::new(Cast(Precision::Single), [shape.into()])
        },
        benches: Vec::new,
    }
}
