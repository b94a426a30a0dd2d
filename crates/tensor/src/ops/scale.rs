//! Scaling and shifting by constants.

use bytemuck::{Pod, Zeroable};

use crate::cpu::map;
use crate::launch::{Launch, extents};
use crate::ops::{Case, Family, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// out = scale·x + shift
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub scale: f32,
    pub shift: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    vec4s: u32,
    scale: f32,
    shift: f32,
}

impl Tensor {
    /// `scale`·x
    ///
    /// # Errors
    /// A fault of the device.
    pub fn scale(&self, scale: f32) -> Result<Tensor> {
        self.scale_add(scale, 0.0)
    }

    /// `scale`·x + `shift`
    ///
    /// # Errors
    /// A fault of the device.
    pub fn scale_add(&self, scale: f32, shift: f32) -> Result<Tensor> {
        apply(Scale { scale, shift }, &[self])
    }
}

impl Scale {
    /// The kernel, from any precision to any.
    pub fn run(&self, gpu: &gpu::Context, x: GpuArray<'_>, out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::SCALE;
        let Scale { scale, shift } = *self;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[x.data, out.data],
        };
        let params = Params {
            vec4s,
            scale,
            shift,
        };
        launch.invocations(&params, len)
    }
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let Scale { scale, shift } = *self;
        map(
            inputs[0].data,
            out.data,
            #[inline(always)]
            move |x| scale * x + shift,
        );
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        self.run(gpu, inputs[0], out)
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(pass.grad.scale(self.scale)?)])
    }
}

pub(super) fn family() -> Family {
    Family {
        name: "scale",
        cases: || {
            vec![Case::new(
                Scale {
                    scale: -1.5,
                    shift: 0.25,
                },
                [[2, 3, 5, 7].into()],
            )]
        },
        random: |rng| {
            let shape = [draw(rng, 1..=9), draw(rng, 1..=33)];
            let scale = draw(rng, 0..=4) as f32 - 2.0;
            Case::new(Scale { scale, shift: 0.5 }, [shape.into()])
        },
        benches: || {
            vec![Case::new(
                Scale {
                    scale: 2.0,
                    shift: 1.0,
                },
                [[1, 256, 64, 64].into()],
            )]
        },
    }
}
