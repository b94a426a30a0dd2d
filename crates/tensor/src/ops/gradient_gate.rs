//! The norm of all gradients together, and whether and how far a step goes along them: what is needed to clip
//! them (Pascanu et al., 2013) and to leave out a step whose gradients are no numbers, without asking the
//! device in between.

use bytemuck::{Pod, Zeroable};

use crate::cpu;
use crate::launch::{Launch, extents};
use crate::op::refuse;
use crate::ops::loss::reduce;
use crate::ops::{Case, Family, Values, draw};
use crate::{
    Array, Backward, Cost, CpuArray, Error, GpuArray, Op, Precision, Result, Shape, Tensor, apply,
};

/// Σ x² over all values: one.
#[derive(Clone, Copy, Debug)]
struct SumOfSquares;

/// Input: sums of squares, n values. Output, two values: what a step multiplies gradients with, or −1 if a
/// sum is not finite and there is to be no step; and the norm ‖g‖ = `factor`·√Σ (or that which is not
/// finite). What gradients are multiplied with is `factor`, or `factor`·`most`/‖g‖ if ‖g‖ > `most`.
#[derive(Clone, Copy, Debug)]
pub struct GradientGate {
    /// What undoes the scale of the loss; 1 for none.
    pub factor: f32,
    /// The norm that longer gradients are brought to; infinite for none.
    pub most: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    len: u32,
    factor: f32,
    most: f32,
}

impl GradientGate {
    /// The gate for a step along gradients.
    ///
    /// # Errors
    /// When there are none, or the device fails.
    pub fn of(self, gradients: &[Tensor]) -> Result<Tensor> {
        let squares = gradients
            .iter()
            .map(|gradient| apply(SumOfSquares, &[gradient]));
        let squares = squares.collect::<Result<Vec<_>>>()?;
        let all = Tensor::concat(&squares.iter().collect::<Vec<_>>(), 0)?;
        apply(self, &[&all])
    }
}

impl Op for SumOfSquares {
    fn name(&self) -> &'static str {
        "sum_of_squares"
    }

    fn shape(&self, _: &[Shape]) -> Result<Shape> {
        Ok([1].into())
    }

    fn precision(&self, _: &[Precision]) -> Precision {
        Precision::Single
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let x = inputs[0].data;
        let sum = cpu::dot_sum(
            x,
            x,
            #[inline(always)]
            |x, same| x * same,
        );
        out.data[0] = sum as f32;
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        const PRODUCT: u32 = 3;
        reduce(gpu, PRODUCT, [inputs[0], inputs[0]], 1.0, out)
    }

    fn backward(&self, _: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::NotDifferentiable(self.name()))
    }

    fn cost(&self, inputs: &[Shape], out: Shape) -> Cost {
        Cost::bandwidth(inputs, out).with_flops(2.0 * inputs[0].len() as f64)
    }
}

impl Op for GradientGate {
    fn name(&self) -> &'static str {
        "gradient_gate"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs[0].dims() {
            [len] if *len > 0 => Ok([2].into()),
            _ => refuse(self.name(), inputs, "it takes a list of sums"),
        }
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let sum: f32 = inputs[0].data.iter().sum();
        let norm = sum.sqrt() * self.factor;
        let gate = match (sum.is_finite(), norm > self.most) {
            (false, _) => [-1.0, sum],
            (true, true) => [self.factor * (self.most / norm), norm],
            (true, false) => [self.factor, norm],
        };
        out.data.copy_from_slice(&gate);
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::optim::GRADIENT_GATE;
        let [len] = extents(kernel, [inputs[0].shape.len()])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[],
            buffers: &[inputs[0].data, out.data],
        };
        let GradientGate { factor, most } = *self;
        // Drivers may take infinities for undefined.
        let most = most.min(f32::MAX);
        launch.workgroups(&Params { len, factor, most }, 1)
    }

    fn backward(&self, _: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Err(Error::NotDifferentiable(self.name()))
    }
}

pub(super) fn family() -> Family {
    fn squares(shape: Shape) -> Case {
        Case::new(SumOfSquares, [shape]).derivatives(0)
    }
    fn gate(len: usize, most: f32) -> Case {
        let gate = GradientGate { factor: 0.5, most };
        Case::new(gate, [[len].into()])
            .values(0, Values::Uniform(0.0, 2.0))
            .derivatives(0)
            .halves(0)
    }
    Family {
        name: "gradient_gate",
        cases: || {
            let not_finite = gate(40, 1.0).values(0, Values::SomeNotFinite);
            vec![
                squares([3, 5, 3, 3].into()),
                squares([9001].into()),
                gate(7, 0.25),
                gate(1, f32::INFINITY),
                not_finite,
            ]
        },
        random: |rng| match draw(rng, 0..=1) {
            0 => squares([draw(rng, 1..=9), draw(rng, 1..=999)].into()),
            _ => gate(draw(rng, 1..=200), 1.0),
        },
        benches: || vec![squares([256, 256, 3, 3].into())],
    }
}
