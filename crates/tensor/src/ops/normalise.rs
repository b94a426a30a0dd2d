//! What remains of instance norm where a plane's statistics are known from elsewhere: a picture that goes
//! through a network in tiles is normalised by those of the whole.

use crate::cpu::{for_each_chunk, vectorised};
use crate::launch::{Launch, extents};
use crate::op::{nchw, refuse};
use crate::ops::{Case, Family, draw};
use crate::{
    Array, Backward, Cost, CpuArray, Error, GpuArray, Op, Reads, Result, Shape, Tensor, apply,
};

/// Inputs: x N×C×H×W, then mean, scale and shift N×C×1×1. Output: y = (x − mean)·scale + shift, or
/// `slope`·y below zero. It has no gradient: training sees whole pictures.
#[derive(Clone, Copy, Debug)]
struct Normalise {
    slope: f32,
}

impl Tensor {
    /// (x − `mean`)·`scale` + `shift` for N×C×H×W and N×C×1×1 of each; what is below zero is then multiplied
    /// by `slope` (1 for none). It can't be differentiated.
    ///
    /// # Errors
    /// When the shapes don't go together.
    pub fn normalise(&self, [mean, scale, shift]: [&Tensor; 3], slope: f32) -> Result<Tensor> {
        apply(Normalise { slope }, &[self, mean, scale, shift])
    }
}

impl Op for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, c, _, _] = nchw(self.name(), inputs, 0)?;
        let planes = Shape::from([n, c, 1, 1]);
        match inputs[1..].iter().all(|&shape| shape == planes) {
            true => Ok(inputs[0]),
            false => refuse(
                self.name(),
                inputs,
                format!("mean, scale and shift must be {planes}"),
            ),
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let [_, _, h, w] = out.shape.nchw();
        let plane = h * w;
        let slope = self.slope;
        let [x, mean, scale, shift] = [0, 1, 2, 3].map(|i| inputs[i].data);
        for_each_chunk(out.data, plane, |at, planes| {
            for (i, out) in planes.chunks_exact_mut(plane).enumerate() {
                let x = &x[at + i * plane..][..plane];
                let i = at / plane + i;
                let (mean, scale, shift) = (mean[i], scale[i], shift[i]);
                vectorised(
                    #[inline(always)]
                    move || {
                        out.iter_mut().zip(x).for_each(|(out, &x)| {
                            let normed = (x - mean) * scale + shift;
                            *out = if normed > 0.0 { normed } else { slope * normed };
                        });
                    },
                );
            }
        });
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::norm::NORMALISE;
        let [_, _, h, w] = out.shape.nchw();
        let len = out.shape.len();
        let params = extents(kernel, [len, h * w])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("SLOPE", self.slope.into())],
            buffers: &[
                inputs[0].data,
                inputs[1].data,
                inputs[2].data,
                inputs[3].data,
                out.data,
            ],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, _: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::NotDifferentiable(self.name()))
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(3.0 * out.len() as f64)
    }
}

pub(super) fn family() -> Family {
    fn case(shape: [usize; 4], slope: f32) -> Case {
        let planes = Shape::from([shape[0], shape[1], 1, 1]);
        Case::new(Normalise { slope }, [shape.into(), planes, planes, planes])
            .derivatives(0)
            .halves(1)
    }
    Family {
        name: "normalise",
        cases: || vec![case([2, 3, 5, 7], 1.0), case([1, 4, 3, 3], 0.0)],
        random: |rng| {
            let shape = [
                draw(rng, 1..=3),
                draw(rng, 1..=9),
                draw(rng, 1..=23),
                draw(rng, 1..=23),
            ];
            case(shape, [1.0, 0.0, 0.2][draw(rng, 0..=2)])
        },
        benches: || vec![case([1, 64, 256, 256], 0.0)],
    }
}
