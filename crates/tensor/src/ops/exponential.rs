//! The exponential function and its inverse.

use crate::cpu::map;
use crate::launch::{Launch, extents};
use crate::ops::{Case, Family, Values, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// eˣ or ln x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exponential {
    Exp,
    Ln,
}

impl Tensor {
    /// eˣ
    ///
    /// # Errors
    /// A fault of the device.
    pub fn exp(&self) -> Result<Tensor> {
        apply(Exponential::Exp, &[self])
    }

    /// The natural logarithm of positive x.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn ln(&self) -> Result<Tensor> {
        apply(Exponential::Ln, &[self])
    }
}

impl Op for Exponential {
    fn name(&self) -> &'static str {
        "exponential"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        match self {
            Exponential::Exp => map(
                inputs[0].data,
                out.data,
                #[inline(always)]
                |x| x.exp(),
            ),
            Exponential::Ln => map(
                inputs[0].data,
                out.data,
                #[inline(always)]
                |x| x.ln(),
            ),
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::EXPONENTIAL;
        let len = out.shape.len().div_ceil(4);
        let params = extents(kernel, [len])?;
        let is_ln = f64::from(u8::from(*self == Exponential::Ln));
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("LOGARITHM", is_ln)],
            buffers: &[inputs[0].data, out.data],
        };
        launch.invocations(&params, len)
    }

    fn reads(&self) -> Reads {
        match self {
            Exponential::Exp => Reads::Output,
            Exponential::Ln => Reads::Inputs,
        }
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let slope = match self {
            Exponential::Exp => pass.out.clone(),
            Exponential::Ln => pass.inputs[0].reciprocal()?,
        };
        Ok(vec![Some(pass.grad.mul(&slope)?)])
    }
}

pub(super) fn family() -> Family {
    fn case(op: Exponential, shape: Shape) -> Case {
        let range = match op {
            Exponential::Exp => Values::Uniform(-3.0, 1.0),
            Exponential::Ln => Values::Uniform(1.0, 3.0),
        };
        Case::new(op, [shape]).values(0, range)
    }
    const BOTH: [Exponential; 2] = [Exponential::Exp, Exponential::Ln];
    Family {
        name: "exponential",
        cases: || BOTH.map(|op| case(op, [2, 3, 5, 7].into())).to_vec(),
        random: |rng| {
            let shape = [draw(rng, 1..=9), draw(rng, 1..=33)];
            case(BOTH[draw(rng, 0..=1)], shape.into())
        },
        benches: || vec![case(Exponential::Exp, [1, 64, 256, 256].into())],
    }
}
