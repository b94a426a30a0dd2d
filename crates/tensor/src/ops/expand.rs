//! Broadcasting by NumPy's rules.

use bytemuck::{Pod, Zeroable};

use crate::launch::{Launch, extents};
use crate::op::refuse;
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// Repeats the input along each dimension in which it has extent one.
#[derive(Clone, Copy, Debug)]
struct Expand(Shape);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    extents: [u32; 4],
    steps: [u32; 4],
    vec4s: u32,
    /// The struct's alignment in WGSL is that of its vectors.
    padding: [u32; 3],
}

impl Tensor {
    /// This tensor broadcast to a larger shape.
    ///
    /// # Errors
    /// When it can't be broadcast to that shape.
    pub fn expand(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape == self.shape() {
            return Ok(self.clone());
        }
        apply(Expand(shape), &[self])
    }
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if !inputs[0].broadcasts_to(self.0) {
            return refuse(
                self.name(),
                inputs,
                format!("it can't be broadcast to {}", self.0),
            );
        }
        Ok(self.0)
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, channels, height, width] = out.shape.nchw();
        let from = inputs[0].shape.nchw();
        let rows = out.data.chunks_exact_mut(width.max(1)).enumerate();
        for (row, line) in rows {
            let at = [
                row / (channels * height),
                row / height % channels,
                row % height,
            ];
            // A dimension of extent one is repeated: its index stays zero.
            let pick = |axis: usize| if from[axis] == 1 { 0 } else { at[axis] };
            let start = ((pick(0) * from[1] + pick(1)) * from[2] + pick(2)) * from[3];
            if from[3] == 1 {
                line.fill(inputs[0].data[start]);
            } else {
                line.copy_from_slice(&inputs[0].data[start..start + width]);
            }
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::EXPAND;
        let from = inputs[0].shape.nchw();
        let mut steps = [0; 4];
        let mut step = 1;
        for axis in (0..4).rev() {
            if from[axis] > 1 {
                steps[axis] = step;
            }
            step *= from[axis];
        }
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let params = Params {
            extents: extents(kernel, out.shape.nchw())?,
            steps: extents(kernel, steps)?,
            vec4s,
            padding: [0; 3],
        };
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(pass.grad.sum_to(pass.inputs[0].shape())?)])
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "expand",
        cases: || {
            vec![
                Case::new(Expand([2, 3, 4, 5].into()), [[1, 3, 1, 1].into()]),
                Case::new(Expand([2, 3, 4, 5].into()), [Shape::SCALAR]),
                Case::new(Expand([2, 3, 4, 5].into()), [[2, 1, 4, 1].into()]),
                Case::new(Expand([3, 5].into()), [[5].into()]),
            ]
        },
        random: |rng| {
            let full = [
                draw(rng, 1..=3),
                draw(rng, 1..=5),
                draw(rng, 1..=9),
                draw(rng, 1..=9),
            ];
            let part = full.map(|dim| if draw(rng, 0..=1) == 0 { 1 } else { dim });
            Case::new(Expand(full.into()), [part.into()])
        },
        benches: || {
            vec![Case::new(
                Expand([1, 64, 256, 256].into()),
                [[1, 64, 1, 1].into()],
            )]
        },
    }
}
