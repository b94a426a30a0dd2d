//! Sums over dimensions, and the means made of them.

use rayon::prelude::*;

use crate::cpu;
use crate::launch::{Launch, extents};
use crate::op::refuse;
use crate::ops::{Case, Family, Values, draw};
use crate::{
    Array, Backward, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// Sums over every dimension in which the output has extent one (or which it lacks).
#[derive(Clone, Copy, Debug)]
struct SumTo(Shape);

impl Tensor {
    /// The sum of all values.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_to([])
    }

    /// The mean of all values.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_to([])
    }

    /// Sums down to a smaller shape, the reverse of broadcasting from it.
    ///
    /// # Errors
    /// When that shape can't be broadcast to this one.
    pub fn sum_to(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape == self.shape() {
            return Ok(self.clone());
        }
        apply(SumTo(shape), &[self])
    }

    /// As [`Tensor::sum_to`], divided by the number of values in each sum.
    ///
    /// # Errors
    /// As [`Tensor::sum_to`].
    pub fn mean_to(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let sum = self.sum_to(shape)?;
        sum.scale(sum.shape().len() as f32 / self.shape().len() as f32)
    }
}

/// Sums on the GPU: over two dimensions, of values that two more tell apart. Each dimension is an
/// extent and the step between its entries; outer dimensions come first.
pub(crate) struct Sums {
    pub kept: [(usize, usize); 2],
    pub summed: [(usize, usize); 2],
}

impl Sums {
    /// The sums over those of the dimensions `full` that have extent one in `part`: neighbours of a
    /// kind merge, and of four dimensions that leaves at most two of each.
    fn over(full: [usize; 4], part: [usize; 4]) -> Sums {
        let mut sums = [[(1, 0); 2]; 2];
        let mut step = 1;
        let mut last = None;
        for axis in (0..4).rev().filter(|&axis| full[axis] != 1) {
            let kind = usize::from(part[axis] == 1);
            let [outer, inner] = &mut sums[kind];
            match (last == Some(kind), *inner == (1, 0), *outer == (1, 0)) {
                (_, true, _) => *inner = (full[axis], step),
                (true, false, true) => inner.0 *= full[axis],
                (true, false, false) => outer.0 *= full[axis],
                (false, false, _) => *outer = (full[axis], step),
            }
            last = Some(kind);
            step *= full[axis];
        }
        let [kept, summed] = sums;
        Sums { kept, summed }
    }

    /// Sums `x`; sum i goes to value i of `out`.
    pub fn run(&self, gpu: &gpu::Context, x: &gpu::Buffer, out: &gpu::Buffer) -> Result<()> {
        let kernel = &shaders::reduce::SUM;
        let outputs = self.kept[0].0 * self.kept[1].0;
        let count = self.summed[0].0 * self.summed[1].0;
        // Long sums of few outputs are cut into some hundred; a part should still have some length.
        let splits = (count / 4096).min(512usize.div_ceil(outputs.max(1))).max(1);
        let split = count.div_ceil(splits).max(1);
        let splits = count.div_ceil(split).max(1);
        let partial = match splits {
            1 => None,
            _ => Some(gpu.alloc(outputs * splits)?),
        };
        // Neighbouring invocations read neighbouring values along the sum, or along the outputs.
        let lanes = match split {
            0..=16 => 1,
            _ if self.summed[1].1 != 1 && outputs >= 4096 => 1,
            17..=512 => 16,
            _ => 256,
        };
        let params = extents(
            kernel,
            [
                outputs * splits,
                splits,
                count,
                split,
                self.kept[1].0,
                self.kept[0].1,
                self.kept[1].1,
                self.summed[1].0,
                self.summed[0].1,
                self.summed[1].1,
            ],
        )?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("LANES", f64::from(lanes))],
            buffers: &[x, partial.as_ref().unwrap_or(out)],
        };
        launch.invocations(&params, outputs * splits * lanes as usize)?;
        let Some(partial) = partial else {
            return Ok(());
        };
        let rest = Sums {
            kept: [(1, 0), (outputs, splits)],
            summed: [(1, 0), (splits, 1)],
        };
        rest.run(gpu, &partial, out)
    }
}

impl Op for SumTo {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if !self.0.broadcasts_to(inputs[0]) {
            return refuse(
                self.name(),
                inputs,
                format!("{} can't be broadcast to it", self.0),
            );
        }
        Ok(self.0)
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        Precision::Single
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, channels, height, width] = inputs[0].shape.nchw();
        let from = inputs[0].shape.nchw();
        let to = out.shape.nchw();
        let x = inputs[0].data;
        let sum_at = |index: usize| {
            let at = [
                index / (to[1] * to[2] * to[3]),
                index / (to[2] * to[3]) % to[1],
                index / to[3] % to[2],
                index % to[3],
            ];
            let range = |axis: usize| match to[axis] {
                1 => 0..from[axis],
                _ => at[axis]..at[axis] + 1,
            };
            let mut total = 0.0;
            for n in range(0) {
                for c in range(1) {
                    let plane = &x[(n * channels + c) * height * width..][..height * width];
                    if to[2] == 1 && to[3] == 1 {
                        total += cpu::sum(plane);
                        continue;
                    }
                    for y in range(2) {
                        total += cpu::sum(&plane[y * width..][range(3)]);
                    }
                }
            }
            total as f32
        };
        out.data
            .par_iter_mut()
            .enumerate()
            .for_each(|(i, value)| *value = sum_at(i));
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let sums = Sums::over(inputs[0].shape.nchw(), out.shape.nchw());
        sums.run(gpu, inputs[0].data, out.data)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(pass.grad.expand(pass.inputs[0].shape())?)])
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "sum",
        cases: || {
            vec![
                Case::new(SumTo(Shape::SCALAR), [[2, 3, 5, 7].into()]),
                Case::new(SumTo([1, 3, 1, 1].into()), [[2, 3, 5, 7].into()]),
                Case::new(SumTo([2, 3, 1, 1].into()), [[2, 3, 5, 7].into()]),
                Case::new(SumTo([2, 1, 5, 1].into()), [[2, 3, 5, 7].into()]),
                Case::new(SumTo([7].into()), [[3, 5, 7].into()]),
            ]
        },
        random: |rng| {
            let full = [
                draw(rng, 1..=3),
                draw(rng, 1..=5),
                draw(rng, 1..=40),
                draw(rng, 1..=40),
            ];
            let part = full.map(|dim| if draw(rng, 0..=2) == 0 { dim } else { 1 });
            // Of one sign: a long sum that cancels tells of nothing but rounding.
            Case::new(SumTo(part.into()), [full.into()]).values(0, Values::Uniform(0.0, 1.0))
        },
        benches: || {
            vec![
                Case::new(SumTo([1, 256, 1, 1].into()), [[1, 256, 64, 64].into()]),
                Case::new(SumTo(Shape::SCALAR), [[1, 64, 256, 256].into()]),
            ]
        },
    }
}
