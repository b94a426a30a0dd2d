//! Joining tensors along a dimension, and cutting a stretch out of one.

use crate::launch::{Launch, extents};
use crate::op::refuse;
use crate::ops::{Case, Family, draw, fill};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// Joins along `axis`; all other extents agree.
#[derive(Clone, Copy, Debug)]
struct Concat {
    axis: usize,
}

/// Takes `len` entries along `axis`, from `start`.
#[derive(Clone, Copy, Debug)]
struct Narrow {
    axis: usize,
    start: usize,
    len: usize,
}

/// The adjoint of [`Narrow`]: puts the input into zeros of extent `extent`, from `start`.
#[derive(Clone, Copy, Debug)]
struct Embed {
    axis: usize,
    start: usize,
    extent: usize,
}

impl Tensor {
    /// Joins tensors along a dimension.
    ///
    /// # Errors
    /// When another extent differs, or there is no such dimension.
    pub fn concat(tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
        apply(Concat { axis }, tensors)
    }

    /// The entries `start..start + len` along a dimension.
    ///
    /// # Errors
    /// When there are not that many, or there is no such dimension.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Tensor> {
        apply(Narrow { axis, start, len }, &[self])
    }
}

/// How many stretches along `axis` a tensor has, and how long one is.
fn stretches(shape: Shape, axis: usize) -> (usize, usize) {
    let dims = shape.dims();
    (dims[..axis].iter().product(), dims[axis..].iter().product())
}

/// Copies each stretch of `from`, beginning at `from_at`, to that of `to`, beginning at `to_at`.
fn copy_stretches(
    (from, from_stretch, from_at): (&[f32], usize, usize),
    (to, to_stretch, to_at): (&mut [f32], usize, usize),
    len: usize,
) {
    for (from, to) in from
        .chunks_exact(from_stretch)
        .zip(to.chunks_exact_mut(to_stretch))
    {
        to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
    }
}

/// [`copy_stretches`] on the GPU, for `stretches` of them.
fn copy_stretches_gpu(
    gpu: &gpu::Context,
    stretches: usize,
    (from, from_stretch, from_at): (&gpu::Buffer, usize, usize),
    (to, to_stretch, to_at): (&gpu::Buffer, usize, usize),
    len: usize,
) -> Result<()> {
    let kernel = &shaders::pointwise::COPY_STRETCHES;
    let all = stretches * len;
    let params = extents(kernel, [all, len, from_stretch, from_at, to_stretch, to_at])?;
    let launch = Launch {
        gpu,
        kernel,
        overrides: &[],
        buffers: &[from, to],
    };
    launch.invocations(&params, all)
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let Some(&first) = inputs[0].dims().get(self.axis) else {
            return refuse(
                self.name(),
                inputs,
                format!("there is no dimension {}", self.axis),
            );
        };
        let mut total = 0;
        for shape in inputs {
            let same_rank = shape.dims().len() == inputs[0].dims().len();
            if !same_rank || shape.with_dim(self.axis, first) != inputs[0] {
                let reason = format!("they must agree in all dimensions but {}", self.axis);
                return refuse(self.name(), inputs, reason);
            }
            total += shape.dims()[self.axis];
        }
        Ok(inputs[0].with_dim(self.axis, total))
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (_, out_stretch) = stretches(out.shape, self.axis);
        let mut at = 0;
        for input in inputs {
            let (_, stretch) = stretches(input.shape, self.axis);
            copy_stretches(
                (input.data, stretch, 0),
                (out.data, out_stretch, at),
                stretch,
            );
            at += stretch;
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let (count, out_stretch) = stretches(out.shape, self.axis);
        let mut at = 0;
        for input in inputs {
            let (_, stretch) = stretches(input.shape, self.axis);
            copy_stretches_gpu(
                gpu,
                count,
                (input.data, stretch, 0),
                (out.data, out_stretch, at),
                stretch,
            )?;
            at += stretch;
        }
        Ok(())
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let mut start = 0;
        let part = |(i, input): (usize, &Tensor)| {
            let len = input.shape().dims()[self.axis];
            start += len;
            pass.gradient(i, || pass.grad.narrow(self.axis, start - len, len))
        };
        pass.inputs.iter().enumerate().map(part).collect()
    }
}

impl Op for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let Narrow { axis, start, len } = *self;
        if inputs[0]
            .dims()
            .get(axis)
            .is_none_or(|&extent| start + len > extent)
        {
            let end = start + len;
            let reason = format!("there are no entries {start}..{end} in dimension {axis}");
            return refuse(self.name(), inputs, reason);
        }
        Ok(inputs[0].with_dim(axis, len))
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (_, from) = stretches(inputs[0].shape, self.axis);
        let (_, to) = stretches(out.shape, self.axis);
        let at = from / inputs[0].shape.dims()[self.axis] * self.start;
        copy_stretches((inputs[0].data, from, at), (out.data, to, 0), to);
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let (count, from) = stretches(inputs[0].shape, self.axis);
        let (_, to) = stretches(out.shape, self.axis);
        let at = from / inputs[0].shape.dims()[self.axis] * self.start;
        copy_stretches_gpu(
            gpu,
            count,
            (inputs[0].data, from, at),
            (out.data, to, 0),
            to,
        )
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let extent = pass.inputs[0].shape().dims()[self.axis];
        let op = Embed {
            axis: self.axis,
            start: self.start,
            extent,
        };
        Ok(vec![Some(apply(op, &[pass.grad])?)])
    }
}

impl Op for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0].with_dim(self.axis, self.extent))
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (_, from) = stretches(inputs[0].shape, self.axis);
        let (_, to) = stretches(out.shape, self.axis);
        let at = to / self.extent * self.start;
        out.data.fill(0.0);
        copy_stretches((inputs[0].data, from, 0), (out.data, to, at), from);
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let (count, from) = stretches(inputs[0].shape, self.axis);
        let (_, to) = stretches(out.shape, self.axis);
        let at = to / self.extent * self.start;
        fill(gpu, out.data, out.shape.len(), 0.0)?;
        copy_stretches_gpu(
            gpu,
            count,
            (inputs[0].data, from, 0),
            (out.data, to, at),
            from,
        )
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let len = pass.inputs[0].shape().dims()[self.axis];
        Ok(vec![Some(pass.grad.narrow(self.axis, self.start, len)?)])
    }
}

pub(super) fn family() -> Family {
    fn join(shape: [usize; 4], axis: usize, other: usize) -> Case {
        let shape = Shape::from(shape);
        Case::new(Concat { axis }, [shape, shape.with_dim(axis, other), shape])
    }
    fn cut(shape: [usize; 4], axis: usize, start: usize, len: usize) -> Case {
        Case::new(Narrow { axis, start, len }, [shape.into()])
    }
    Family {
        name: "concat",
        cases: || {
            vec![
                join([2, 3, 4, 5], 1, 2),
                join([2, 3, 4, 5], 0, 1),
                join([1, 2, 3, 4], 3, 7),
                cut([2, 5, 4, 3], 1, 1, 3),
                cut([3, 2, 2, 3], 0, 2, 1),
            ]
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=3),
                draw(rng, 1..=9),
                draw(rng, 1..=9),
                draw(rng, 1..=9),
            ];
            let axis = draw(rng, 0..=3);
            if draw(rng, 0..=1) == 0 {
                return join(shape, axis, draw(rng, 1..=5));
            }
            let start = draw(rng, 0..=shape[axis] - 1);
            cut(shape, axis, start, draw(rng, 1..=shape[axis] - start))
        },
        benches: || vec![Case::new(Concat { axis: 1 }, [[1, 64, 128, 128].into(); 2])],
    }
}
