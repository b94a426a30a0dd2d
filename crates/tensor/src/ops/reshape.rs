//! Another shape for the same values: shares storage, so there is nothing to compute.

use std::sync::Arc;

use crate::op::refuse;
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor};

#[derive(Clone, Copy, Debug)]
struct Reshape(Shape);

impl Tensor {
    /// The same values, row-major, under another shape.
    ///
    /// # Errors
    /// When that shape holds another number of values.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let op = Reshape(shape.into());
        let shape = op.shape(&[self.shape()])?;
        Ok(self.view(shape).record(Arc::new(op), &[self]))
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if self.0.len() != inputs[0].len() {
            return refuse(
                self.name(),
                inputs,
                format!("{} holds another number of values", self.0),
            );
        }
        Ok(self.0)
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        out.data.copy_from_slice(inputs[0].data);
    }

    fn gpu(&self, _: &gpu::Context, _: &[GpuArray<'_>], _: GpuArray<'_>) -> Result<()> {
        unreachable!("`Tensor::reshape` shares storage")
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(pass.grad.reshape(pass.inputs[0].shape())?)])
    }
}
