//! Sums, differences, products and mixtures of tensors of one shape.

use bytemuck::{Pod, Zeroable};

use crate::cpu::map2;
use crate::launch::{Launch, extents};
use crate::op::same_shape;
use crate::ops::{Case, Family, draw};
use crate::{
    Array, Backward, CpuArray, GpuArray, Op, Precision, Reads, Result, Shape, Tensor, apply,
};

/// out = a ∘ b
#[derive(Clone, Copy, Debug)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    /// a + share·(b − a)
    Mix(f32),
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    vec4s: u32,
    share: f32,
}

impl Tensor {
    /// The sum, value by value.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        apply(Arithmetic::Add, &[self, other])
    }

    /// The difference, value by value.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        apply(Arithmetic::Sub, &[self, other])
    }

    /// The product, value by value.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        apply(Arithmetic::Mul, &[self, other])
    }

    /// The linear interpolation self + `share`·(other − self), value by value.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn mix(&self, other: &Tensor, share: f32) -> Result<Tensor> {
        apply(Arithmetic::Mix(share), &[self, other])
    }
}

impl Op for Arithmetic {
    fn name(&self) -> &'static str {
        match self {
            Arithmetic::Add => "add",
            Arithmetic::Sub => "sub",
            Arithmetic::Mul => "mul",
            Arithmetic::Mix(_) => "mix",
        }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        same_shape(self.name(), inputs)
    }

    /// Half where either is: what is single may be a parameter spread over a picture.
    fn precision(&self, inputs: &[Precision]) -> Precision {
        match inputs.contains(&Precision::Half) {
            true => Precision::Half,
            false => Precision::Single,
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (a, b) = (inputs[0].data, inputs[1].data);
        match *self {
            Arithmetic::Add => map2(
                a,
                b,
                out.data,
                #[inline(always)]
                |a, b| a + b,
            ),
            Arithmetic::Sub => map2(
                a,
                b,
                out.data,
                #[inline(always)]
                |a, b| a - b,
            ),
            Arithmetic::Mul => map2(
                a,
                b,
                out.data,
                #[inline(always)]
                |a, b| a * b,
            ),
            Arithmetic::Mix(share) => map2(
                a,
                b,
                out.data,
                #[inline(always)]
                move |a, b| a + share * (b - a),
            ),
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::ARITHMETIC;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let (kind, share) = match *self {
            Arithmetic::Add => (0.0, 0.0),
            Arithmetic::Sub => (1.0, 0.0),
            Arithmetic::Mul => (2.0, 0.0),
            Arithmetic::Mix(share) => (3.0, share),
        };
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("KIND", kind)],
            buffers: &[inputs[0].data, inputs[1].data, out.data],
        };
        launch.invocations(&Params { vec4s, share }, len)
    }

    fn reads(&self) -> Reads {
        match self {
            Arithmetic::Add | Arithmetic::Sub | Arithmetic::Mix(_) => Reads::Nothing,
            Arithmetic::Mul => Reads::Inputs,
        }
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (a, b, g) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let to_a = pass.gradient(0, || match self {
            Arithmetic::Add | Arithmetic::Sub => Ok(g.clone()),
            Arithmetic::Mul => g.mul(b),
            Arithmetic::Mix(share) => g.scale(1.0 - *share),
        })?;
        let to_b = pass.gradient(1, || match self {
            Arithmetic::Add => Ok(g.clone()),
            Arithmetic::Sub => g.scale(-1.0),
            Arithmetic::Mul => g.mul(a),
            Arithmetic::Mix(share) => g.scale(*share),
        })?;
        Ok(vec![to_a, to_b])
    }
}

pub(super) fn family() -> Family {
    const ALL: [Arithmetic; 4] = [
        Arithmetic::Add,
        Arithmetic::Sub,
        Arithmetic::Mul,
        Arithmetic::Mix(0.3),
    ];
    Family {
        name: "arithmetic",
        cases: || {
            ALL.map(|op| Case::new(op, [[2, 3, 5, 7].into(), [2, 3, 5, 7].into()]))
                .to_vec()
        },
        random: |rng| {
            let shape = [draw(rng, 1..=3), draw(rng, 1..=9), draw(rng, 1..=33)].into();
            Case::new(ALL[draw(rng, 0..=3)], [shape, shape])
        },
        benches: || {
            ALL.map(|op| Case::new(op, [[1, 256, 64, 64].into(), [1, 256, 64, 64].into()]))
                .to_vec()
        },
    }
}
