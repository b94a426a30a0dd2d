//! Powers by halves of whole numbers: roots, reciprocals and what their gradients need.

use bytemuck::{Pod, Zeroable};

use crate::cpu::map;
use crate::launch::{Launch, extents};
use crate::ops::{Case, Family, Values, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// x^(halves/2) for positive x; NaN or infinite where that is so.
#[derive(Clone, Copy, Debug)]
struct Power {
    halves: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    vec4s: u32,
    whole: u32,
}

impl Tensor {
    /// √x; its gradient at 0 is infinite.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn sqrt(&self) -> Result<Tensor> {
        apply(Power { halves: 1 }, &[self])
    }

    /// 1/√x
    ///
    /// # Errors
    /// A fault of the device.
    pub fn rsqrt(&self) -> Result<Tensor> {
        apply(Power { halves: -1 }, &[self])
    }

    /// 1/x for positive x.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn reciprocal(&self) -> Result<Tensor> {
        apply(Power { halves: -2 }, &[self])
    }
}

impl Power {
    /// x^|halves/2| is √x, if that is odd, times x to this.
    fn whole(self) -> u32 {
        self.halves.unsigned_abs() / 2
    }

    fn is_rooted(self) -> bool {
        self.halves % 2 != 0
    }

    fn is_inverse(self) -> bool {
        self.halves < 0
    }
}

impl Op for Power {
    fn name(&self) -> &'static str {
        "power"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (whole, rooted, inverse) = (self.whole(), self.is_rooted(), self.is_inverse());
        map(
            inputs[0].data,
            out.data,
            #[inline(always)]
            move |x| {
                let mut power = if rooted { x.sqrt() } else { 1.0 };
                for _ in 0..whole {
                    power *= x;
                }
                if inverse { 1.0 / power } else { power }
            },
        );
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::POWER;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let flag = |set: bool| f64::from(u8::from(set));
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[
                ("ROOTED", flag(self.is_rooted())),
                ("INVERSE", flag(self.is_inverse())),
            ],
            buffers: &[inputs[0].data, out.data],
        };
        let whole = self.whole();
        launch.invocations(&Params { vec4s, whole }, len)
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let exponent = self.halves as f32 / 2.0;
        let halves = self.halves - 2;
        let slope = match halves {
            0 => pass.grad.clone(),
            _ => apply(Power { halves }, &[&pass.inputs[0]])?.mul(pass.grad)?,
        };
        Ok(vec![Some(slope.scale(exponent)?)])
    }
}

pub(super) fn family() -> Family {
    fn case(halves: i32, shape: Shape) -> Case {
        Case::new(Power { halves }, [shape]).values(0, Values::Uniform(1.0, 3.0))
    }
    const ALL: [i32; 7] = [1, -1, -2, -3, 2, 3, 5];
    Family {
        name: "power",
        cases: || ALL.map(|halves| case(halves, [2, 3, 5, 7].into())).to_vec(),
        random: |rng| {
            let shape = [draw(rng, 1..=9), draw(rng, 1..=33)];
            case(ALL[draw(rng, 0..=6)], shape.into())
        },
        benches: || vec![case(-1, [1, 64, 256, 256].into())],
    }
}
