//! Upsampling by a whole factor.

use crate::launch::{Launch, extents};
use crate::op::{nchw, refuse};
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// How new pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Between the four nearest, corners not aligned (pixel centres at ½).
    Bilinear,
}

/// Makes each side `factor` times as long.
#[derive(Clone, Copy, Debug)]
struct Upsample {
    mode: Interpolation,
    factor: usize,
}

/// The adjoint of [`Upsample`].
#[derive(Clone, Copy, Debug)]
struct UpsampleGrad(Upsample);

impl Tensor {
    /// Makes the images of N×C×H×W `factor` times as high and wide.
    ///
    /// # Errors
    /// When there are not four dimensions.
    pub fn upsample(&self, mode: Interpolation, factor: usize) -> Result<Tensor> {
        apply(Upsample { mode, factor }, &[self])
    }
}

impl Upsample {
    /// The two pixels between which position `i` of the longer side lies, and the second's weight.
    fn between(&self, i: usize, extent: usize) -> (usize, usize, f32) {
        match self.mode {
            Interpolation::Nearest => (i / self.factor, i / self.factor, 0.0),
            Interpolation::Bilinear => {
                let at = ((i as f32 + 0.5) / self.factor as f32 - 0.5).max(0.0);
                let first = (at as usize).min(extent - 1);
                (first, (first + 1).min(extent - 1), at - first as f32)
            }
        }
    }

    /// The four pixels and weights that make pixel (y, x) of an image upsampled from h×w.
    fn corners(&self, [y, x]: [usize; 2], [h, w]: [usize; 2]) -> [(usize, f32); 4] {
        let (top, bottom, down) = self.between(y, h);
        let (left, right, across) = self.between(x, w);
        [
            (top * w + left, (1.0 - down) * (1.0 - across)),
            (top * w + right, (1.0 - down) * across),
            (bottom * w + left, down * (1.0 - across)),
            (bottom * w + right, down * across),
        ]
    }
}

impl Op for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        if self.factor == 0 {
            return refuse(self.name(), inputs, "the factor must be at least 1");
        }
        Ok([n, c, h * self.factor, w * self.factor].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = inputs[0].shape.nchw();
        let width = w * self.factor;
        let planes = inputs[0].data.chunks_exact(h * w);
        for (from, to) in planes.zip(out.data.chunks_exact_mut(h * width * self.factor)) {
            for (i, value) in to.iter_mut().enumerate() {
                let corners = self.corners([i / width, i % width], [h, w]);
                *value = corners.iter().map(|&(at, weight)| weight * from[at]).sum();
            }
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::UPSAMPLE;
        let [_, _, h, w] = inputs[0].shape.nchw();
        let len = out.shape.len();
        let params = extents(kernel, [len, h, w, self.factor])?;
        let bilinear = self.mode == Interpolation::Bilinear;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("BILINEAR", bilinear.into())],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(UpsampleGrad(*self), &[pass.grad])?)])
    }
}

impl Op for UpsampleGrad {
    fn name(&self) -> &'static str {
        "upsample_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, h, w] = nchw(self.name(), inputs, 0)?;
        Ok([n, c, h / self.0.factor, w / self.0.factor].into())
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, height, width] = inputs[0].shape.nchw();
        let [_, _, h, w] = out.shape.nchw();
        out.data.fill(0.0);
        let planes = inputs[0].data.chunks_exact(height * width);
        for (from, to) in planes.zip(out.data.chunks_exact_mut(h * w)) {
            for (i, value) in from.iter().enumerate() {
                for (at, weight) in self.0.corners([i / width, i % width], [h, w]) {
                    to[at] += weight * value;
                }
            }
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::resample::UPSAMPLE_GRAD;
        let [_, _, h, w] = out.shape.nchw();
        let len = out.shape.len();
        let params = extents(kernel, [len, h, w, self.0.factor])?;
        let bilinear = self.0.mode == Interpolation::Bilinear;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("BILINEAR", bilinear.into())],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(self.0, &[pass.grad])?)])
    }
}

pub(super) fn family() -> Family {
    fn case(mode: Interpolation, factor: usize, shape: [usize; 4]) -> Case {
        Case::new(Upsample { mode, factor }, [shape.into()])
    }
    const MODES: [Interpolation; 2] = [Interpolation::Nearest, Interpolation::Bilinear];
    Family {
        name: "upsample",
        cases: || {
            let both = |mode| [case(mode, 2, [2, 3, 5, 4]), case(mode, 3, [1, 2, 1, 6])];
            MODES.iter().flat_map(|&mode| both(mode)).collect()
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=2),
                draw(rng, 1..=5),
                draw(rng, 1..=9),
                draw(rng, 1..=9),
            ];
            case(MODES[draw(rng, 0..=1)], draw(rng, 1..=4), shape)
        },
        benches: || MODES.map(|mode| case(mode, 2, [1, 128, 64, 64])).to_vec(),
    }
}
