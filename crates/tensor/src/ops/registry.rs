//! What tests and benches know of an operation.

use std::sync::Arc;

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use crate::op::apply_shared;
use crate::{Device, Op, Result, Shape, Tensor};

/// An operation and its relatives: the entry a file in `ops` makes in the registry.
pub struct Family {
    /// The operation's name.
    pub name: &'static str,
    /// Small cases that meet every edge: for parity and gradient checks.
    pub cases: fn() -> Vec<Case>,
    /// A case of random shape, odd sizes and batches included.
    pub random: fn(&mut ChaCha8Rng) -> Case,
    /// Shapes that CycleGAN asks for: for benches.
    pub benches: fn() -> Vec<Case>,
}

/// An operation with inputs.
#[derive(Clone)]
pub struct Case {
    /// The operation with its settings.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// How often it can be differentiated with respect to its inputs, as far as tests check.
    pub derivatives: usize,
    /// How many of its inputs may be in half precision; those after them are parameters.
    pub halves: usize,
}

/// What to feed an operation with.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The extents.
    pub shape: Shape,
    /// The values.
    pub values: Values,
}

/// How an input's values are distributed.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Standard normal.
    Normal,
    /// Uniform in an interval.
    Uniform(f32, f32),
    /// Uniform in ±[0.3, 1.3], the signs by turns: no finite difference crosses a kink at zero, or at the
    /// mean.
    AwayFromZero,
    /// A shuffled ladder around zero in steps of four: no finite difference changes which of some values is
    /// the largest.
    Apart,
    /// Standard normal, but for every fifth value: infinities and NaN by turns.
    SomeNotFinite,
}

impl Case {
    /// A case that can be differentiated twice, with standard normal inputs.
    pub fn new<const N: usize>(op: impl Op, shapes: [Shape; N]) -> Self {
        let inputs = shapes
            .map(|shape| Input {
                shape,
                values: Values::Normal,
            })
            .to_vec();
        Case {
            op: Arc::new(op),
            inputs,
            derivatives: 2,
            halves: N,
        }
    }

    /// The same with other values in input `i`.
    pub fn values(mut self, i: usize, values: Values) -> Self {
        self.inputs[i].values = values;
        self
    }

    /// The same with another number of derivatives to check.
    pub fn derivatives(mut self, derivatives: usize) -> Self {
        self.derivatives = derivatives;
        self
    }

    /// The same with so many inputs that may be in half precision.
    pub fn halves(mut self, halves: usize) -> Self {
        self.halves = halves;
        self
    }

    /// The operation's settings and the inputs' shapes.
    pub fn label(&self) -> String {
        let shapes: Vec<String> = self
            .inputs
            .iter()
            .map(|input| input.shape.to_string())
            .collect();
        format!("{:?} {}", self.op, shapes.join(", "))
    }

    /// The inputs, drawn from a seed.
    pub fn draw(&self, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.inputs
            .iter()
            .map(|input| input.draw(&mut rng))
            .collect()
    }

    /// The inputs as tensors on a device, from a seed.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn tensors(&self, seed: u64, device: &Device) -> Result<Vec<Tensor>> {
        self.draw(seed)
            .iter()
            .zip(&self.inputs)
            .map(|(values, input)| Tensor::from_slice(values, input.shape, device))
            .collect()
    }

    /// Applies the operation.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn apply(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        apply_shared(self.op.clone(), inputs)
    }
}

impl Input {
    fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let len = self.shape.len();
        let mut places: Vec<usize> = (0..len).collect();
        if matches!(self.values, Values::Apart) {
            places.shuffle(rng);
        }
        (0..len)
            .map(|i| match self.values {
                Values::Normal => rng.sample(StandardNormal),
                Values::Uniform(low, high) => rng.random_range(low..high),
                Values::AwayFromZero => {
                    let size: f32 = rng.random_range(0.3..1.3);
                    if i % 2 == 0 { size } else { -size }
                }
                Values::SomeNotFinite if i % 5 == 4 => {
                    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][i / 5 % 3]
                }
                Values::SomeNotFinite => rng.sample(StandardNormal),
                Values::Apart => 4.0 * places[i] as f32 - 2.0 * len as f32,
            })
            .collect()
    }
}

/// A number of `range`, for random cases.
pub(super) fn draw(rng: &mut ChaCha8Rng, range: std::ops::RangeInclusive<usize>) -> usize {
    rng.random_range(range)
}
