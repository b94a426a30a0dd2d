//! Max pooling. The largest value of a window is picked, at equality the first; its gradient goes back to
//! where it was picked.

use crate::cpu::for_each_chunk;
use crate::launch::{Launch, extents};
use crate::op::{nchw, refuse};
use crate::ops::{Case, Family, Values, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// `kernel`×`kernel` windows, `stride` apart, from `before` pixels before the image to at most `after`
/// behind it; what is outside counts for nothing.
#[derive(Clone, Copy, Debug)]
struct Windows {
    kernel: usize,
    stride: usize,
    before: usize,
    after: usize,
}

/// Inputs: an image that the largest pixels are found in, and one that they are taken from.
#[derive(Clone, Copy, Debug)]
struct MaxPool2d(Windows);

/// Inputs: the image, and a gradient a window, which is added to where its largest pixel was.
#[derive(Clone, Copy, Debug)]
struct MaxPool2dGrad(Windows);

impl Tensor {
    /// The largest values of `kernel`×`kernel` windows of N×C×H×W, `stride` apart. The image is padded by
    /// `[before, after]` pixels that are never the largest, on both axes.
    ///
    /// # Errors
    /// When there are not four dimensions, no window fits, or one could lie outside of the image.
    pub fn max_pool2d(
        &self,
        kernel: usize,
        stride: usize,
        [before, after]: [usize; 2],
    ) -> Result<Tensor> {
        let windows = Windows {
            kernel,
            stride,
            before,
            after,
        };
        apply(MaxPool2d(windows), &[self, self])
    }
}

impl Windows {
    fn down(&self, extent: usize) -> Option<usize> {
        let room = (extent + self.before + self.after).checked_sub(self.kernel)?;
        Some(room.checked_div(self.stride)? + 1)
    }

    fn shape(&self, name: &'static str, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(name, inputs, 0)?;
        let inside = self.before.max(self.after) < self.kernel;
        match (self.down(h), self.down(w)) {
            (Some(down), Some(across)) if inside && h > 0 && w > 0 => {
                Ok([n, c, down, across].into())
            }
            _ => refuse(
                name,
                inputs,
                format!("windows of {0}×{0} must fit and hold a pixel", self.kernel),
            ),
        }
    }

    /// The pixel that window `i` of a plane picks.
    fn pick(&self, image: &[f32], [h, w]: [usize; 2], across: usize, i: usize) -> usize {
        let range = |at: usize, extent: usize| {
            let start = at * self.stride;
            let end = (start + self.kernel)
                .saturating_sub(self.before)
                .min(extent);
            start.saturating_sub(self.before).min(end)..end
        };
        let (rows, columns) = (range(i / across, h), range(i % across, w));
        let mut best = rows.start * w + columns.start;
        for y in rows {
            for at in y * w + columns.start..y * w + columns.end {
                if image[at] > image[best] {
                    best = at;
                }
            }
        }
        best
    }

    fn params(
        &self,
        kernel: &shaders::Kernel,
        len: usize,
        image: Shape,
        out: Shape,
    ) -> Result<[u32; 8]> {
        let ([_, _, h, w], [_, _, down, across]) = (image.nchw(), out.nchw());
        extents(
            kernel,
            [
                len,
                h,
                w,
                down,
                across,
                self.kernel,
                self.stride,
                self.before,
            ],
        )
    }
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if inputs[0] != inputs[1] {
            return refuse(self.name(), inputs, "it takes two images of one shape");
        }
        self.0.shape(self.name(), inputs)
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = inputs[0].shape.nchw();
        let [_, _, down, across] = out.shape.nchw();
        let (guides, values) = (&inputs[0].data[..], &inputs[1].data[..]);
        for_each_chunk(out.data, down * across, |at, planes| {
            for (i, out) in planes.chunks_exact_mut(down * across).enumerate() {
                let start = (at / (down * across) + i) * h * w;
                let plane = start..start + h * w;
                let (guide, values) = (&guides[plane.clone()], &values[plane]);
                for (i, out) in out.iter_mut().enumerate() {
                    *out = values[self.0.pick(guide, [h, w], across, i)];
                }
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::MAX_POOL;
        let len = out.shape.len();
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, inputs[1].data, out.data],
        };
        let params = self.0.params(kernel, len, inputs[0].shape, out.shape)?;
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let gradient = pass.gradient(1, || {
            apply(MaxPool2dGrad(self.0), &[&pass.inputs[0], pass.grad])
        })?;
        // Which pixel is the largest does not change with small steps.
        Ok(vec![None, gradient])
    }
}

impl Op for MaxPool2dGrad {
    fn name(&self) -> &'static str {
        "max_pool2d_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if self.0.shape(self.name(), inputs)? != inputs[1] {
            return refuse(self.name(), inputs, "it takes a gradient a window");
        }
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = out.shape.nchw();
        let [_, _, down, across] = inputs[1].shape.nchw();
        let (guides, grads) = (&inputs[0].data[..], &inputs[1].data[..]);
        for_each_chunk(out.data, h * w, |at, planes| {
            for (i, out) in planes.chunks_exact_mut(h * w).enumerate() {
                let plane = at / (h * w) + i;
                let guide = &guides[plane * h * w..][..h * w];
                let grads = &grads[plane * down * across..][..down * across];
                out.fill(0.0);
                for (i, grad) in grads.iter().enumerate() {
                    out[self.0.pick(guide, [h, w], across, i)] += grad;
                }
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::MAX_POOL_GRAD;
        let len = out.shape.len();
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, inputs[1].data, out.data],
        };
        let params = self.0.params(kernel, len, out.shape, inputs[1].shape)?;
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let gradient = pass.gradient(1, || {
            apply(MaxPool2d(self.0), &[&pass.inputs[0], pass.grad])
        })?;
        Ok(vec![None, gradient])
    }
}

pub(super) fn family() -> Family {
    fn case([kernel, stride, before, after]: [usize; 4], shape: [usize; 4]) -> Case {
        let windows = Windows {
            kernel,
            stride,
            before,
            after,
        };
        Case::new(MaxPool2d(windows), [shape.into(), shape.into()]).values(0, Values::Apart)
    }
    fn grad(windows: [usize; 4], shape: [usize; 4]) -> Case {
        let forward = case(windows, shape);
        let [kernel, stride, before, after] = windows;
        let windows = Windows {
            kernel,
            stride,
            before,
            after,
        };
        let shapes = forward.inputs.iter().map(|input| input.shape);
        let out = forward.op.shape(&shapes.collect::<Vec<_>>());
        let shapes = [shape.into(), out.expect("it fits")];
        Case::new(MaxPool2dGrad(windows), shapes).values(0, Values::Apart)
    }
    Family {
        name: "max_pool2d",
        cases: || {
            vec![
                case([2, 2, 0, 0], [2, 3, 8, 6]),
                case([2, 2, 0, 0], [1, 2, 7, 5]),
                case([2, 1, 0, 1], [1, 3, 4, 5]),
                case([3, 2, 1, 1], [2, 2, 9, 8]),
                grad([2, 2, 0, 0], [2, 3, 8, 6]),
                grad([3, 2, 1, 1], [1, 2, 9, 8]),
                grad([3, 1, 2, 0], [1, 1, 1, 4]),
            ]
        },
        random: |rng| {
            let kernel = draw(rng, 1..=4);
            let windows = [
                kernel,
                draw(rng, 1..=4),
                draw(rng, 0..=kernel - 1),
                draw(rng, 0..=kernel - 1),
            ];
            let shape = [
                draw(rng, 1..=2),
                draw(rng, 1..=5),
                draw(rng, kernel..=19),
                draw(rng, kernel..=19),
            ];
            match draw(rng, 0..=1) {
                0 => case(windows, shape),
                _ => grad(windows, shape),
            }
        },
        benches: || vec![case([2, 2, 0, 0], [1, 64, 256, 256])],
    }
}
