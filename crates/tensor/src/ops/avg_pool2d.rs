//! Average pooling over squares that don't overlap.

use crate::launch::{Launch, extents};
use crate::op::{nchw, refuse};
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// Means of `kernel`×`kernel` squares; pixels that fill no square are left out.
#[derive(Clone, Copy, Debug)]
struct AvgPool2d {
    kernel: usize,
}

/// The adjoint of [`AvgPool2d`] on images of `size`.
#[derive(Clone, Copy, Debug)]
struct AvgPool2dGrad {
    kernel: usize,
    size: [usize; 2],
}

impl Tensor {
    /// The means over `kernel`×`kernel` squares of N×C×H×W, side by side.
    ///
    /// # Errors
    /// When there are not four dimensions, or not one square.
    pub fn avg_pool2d(&self, kernel: usize) -> Result<Tensor> {
        apply(AvgPool2d { kernel }, &[self])
    }
}

impl Op for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        if self.kernel == 0 || h < self.kernel || w < self.kernel {
            return refuse(
                self.name(),
                inputs,
                format!("squares of {0}×{0}", self.kernel),
            );
        }
        Ok([n, c, h / self.kernel, w / self.kernel].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let k = self.kernel;
        let [_, _, h, w] = inputs[0].shape.nchw();
        let [_, _, down, across] = out.shape.nchw();
        let planes = inputs[0].data.chunks_exact(h * w);
        for (from, to) in planes.zip(out.data.chunks_exact_mut(down * across)) {
            for (i, mean) in to.iter_mut().enumerate() {
                let (y, x) = (i / across * k, i % across * k);
                let rows = (y..y + k).map(|y| from[y * w + x..][..k].iter().sum::<f32>());
                *mean = rows.sum::<f32>() / (k * k) as f32;
            }
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::AVG_POOL;
        let [_, _, h, w] = inputs[0].shape.nchw();
        let [_, _, down, across] = out.shape.nchw();
        let len = out.shape.len();
        let params = extents(kernel, [len, h, w, down, across, self.kernel])?;
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
        let [_, _, h, w] = pass.inputs[0].shape().nchw();
        let op = AvgPool2dGrad {
            kernel: self.kernel,
            size: [h, w],
        };
        Ok(vec![Some(apply(op, &[pass.grad])?)])
    }
}

impl Op for AvgPool2dGrad {
    fn name(&self) -> &'static str {
        "avg_pool2d_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, _, _] = nchw(self.name(), inputs, 0)?;
        Ok([n, c, self.size[0], self.size[1]].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let k = self.kernel;
        let [_, _, down, across] = inputs[0].shape.nchw();
        let [h, w] = self.size;
        let planes = inputs[0].data.chunks_exact(down * across);
        for (from, to) in planes.zip(out.data.chunks_exact_mut(h * w)) {
            for (i, value) in to.iter_mut().enumerate() {
                let (y, x) = (i / w / k, i % w / k);
                let inside = y < down && x < across;
                *value = if inside {
                    from[y * across + x] / (k * k) as f32
                } else {
                    0.0
                };
            }
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::AVG_POOL_GRAD;
        let [_, _, h, w] = out.shape.nchw();
        let [_, _, down, across] = inputs[0].shape.nchw();
        let len = out.shape.len();
        let params = extents(kernel, [len, h, w, down, across, self.kernel])?;
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
        Ok(vec![Some(pass.grad.avg_pool2d(self.kernel)?)])
    }
}

pub(super) fn family() -> Family {
    fn case(kernel: usize, shape: [usize; 4]) -> Case {
        Case::new(AvgPool2d { kernel }, [shape.into()])
    }
    Family {
        name: "avg_pool2d",
        cases: || {
            vec![
                case(2, [2, 3, 8, 6]),
                case(3, [1, 2, 7, 10]),
                case(1, [1, 1, 3, 2]),
            ]
        },
        random: |rng| {
            let kernel = draw(rng, 1..=4);
            let extents = [draw(rng, kernel..=19), draw(rng, kernel..=19)];
            case(
                kernel,
                [draw(rng, 1..=2), draw(rng, 1..=5), extents[0], extents[1]],
            )
        },
        benches: || vec![case(2, [1, 64, 256, 256])],
    }
}
