//! relu, leaky relu, tanh and sigmoid.

use bytemuck::{Pod, Zeroable};

use crate::cpu::{map, map2};
use crate::launch::{Launch, extents};
use crate::op::same_shape;
use crate::ops::{Case, Family, Values, draw};
use crate::{Array, Backward, CpuArray, GpuArray, Op, Reads, Result, Shape, Tensor, apply};

/// A pointwise nonlinearity. Each has a gradient that its *output* tells, so inputs need not be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x, or `slope`·x below zero; the slope is positive.
    LeakyRelu(f32),
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
}

/// The gradient of an activation from its output `y` and the gradient `g` of that: g·f′.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActivationGrad(pub Activation);

impl Activation {
    /// The `KIND` of the kernels.
    fn kind(self) -> u32 {
        match self {
            Activation::Relu => 0,
            Activation::LeakyRelu(_) => 1,
            Activation::Tanh => 2,
            Activation::Sigmoid => 3,
        }
    }

    fn slope(self) -> f32 {
        match self {
            Activation::LeakyRelu(slope) => slope,
            _ => 0.0,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    vec4s: u32,
    slope: f32,
}

impl Tensor {
    /// Applies a nonlinearity to each value.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn activation(&self, kind: Activation) -> Result<Tensor> {
        apply(kind, &[self])
    }
}

impl Op for Activation {
    fn name(&self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu(_) => "leaky_relu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    #[expect(
        clippy::redundant_closure,
        reason = "an inlined closure is compiled for the loop's instruction set, a function is not"
    )]
    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let x = inputs[0].data;
        match *self {
            Activation::Relu => map(
                x,
                out.data,
                #[inline(always)]
                move |x| x.max(0.0),
            ),
            Activation::LeakyRelu(slope) => {
                map(
                    x,
                    out.data,
                    #[inline(always)]
                    move |x| if x > 0.0 { x } else { slope * x },
                );
            }
            Activation::Tanh => map(
                x,
                out.data,
                #[inline(always)]
                move |x| tanh(x),
            ),
            Activation::Sigmoid => map(
                x,
                out.data,
                #[inline(always)]
                move |x| sigmoid(x),
            ),
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::ACTIVATION;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("KIND", self.kind().into())],
            buffers: &[inputs[0].data, out.data],
        };
        let slope = self.slope();
        launch.invocations(&Params { vec4s, slope }, len)
    }

    fn reads(&self) -> Reads {
        Reads::Output
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(apply(
            ActivationGrad(*self),
            &[pass.out, pass.grad],
        )?)])
    }
}

/// e⁻ᶻ for z ≥ 0 within 2⁻²², without branches, so that loops over it become vectors:
/// z = n·ln 2 + r and e⁻ʳ by its Taylor series.
#[inline(always)]
fn exp_minus(z: f32) -> f32 {
    /// ln 2 in two parts, of which n times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let z = z.min(87.0);
    let n = (z * std::f32::consts::LOG2_E + 0.5).floor();
    let r = z - n * LN_2[0] - n * LN_2[1];
    let mut series = 1.0 / 5040.0;
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0f32] {
        series = 1.0 / factorial - r * series;
    }
    series * f32::from_bits((127 - n as i32 as u32) << 23)
}

/// tanh |x| = (1 − e⁻²ˣ) / (1 + e⁻²ˣ); near zero, where that cancels, by its Taylor series.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let y = x.abs();
    let e = exp_minus(2.0 * y);
    let square = y * y;
    let mut series = 21_844.0 / 6_081_075.0;
    for term in [
        -1382.0 / 155_925.0,
        62.0 / 2835.0,
        -17.0 / 315.0,
        2.0 / 15.0,
        -1.0 / 3.0,
        1.0f32,
    ] {
        series = term + square * series;
    }
    let value = if y < 0.4 {
        y * series
    } else {
        (1.0 - e) / (1.0 + e)
    };
    // Not a number stays none.
    if x.is_nan() { x } else { value.copysign(x) }
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = exp_minus(x.abs());
    let value = if x < 0.0 { e } else { 1.0 } / (1.0 + e);
    if x.is_nan() { x } else { value }
}

impl Op for ActivationGrad {
    fn name(&self) -> &'static str {
        "activation_grad"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        same_shape(self.name(), inputs)
    }

    fn cpu(&self, inputs: &[CpuArray<'_>], out: Array<&mut [f32]>) {
        let (y, g) = (inputs[0].data, inputs[1].data);
        match self.0 {
            Activation::Relu => {
                map2(
                    y,
                    g,
                    out.data,
                    #[inline(always)]
                    move |y, g| if y > 0.0 { g } else { 0.0 },
                );
            }
            Activation::LeakyRelu(slope) => {
                map2(
                    y,
                    g,
                    out.data,
                    #[inline(always)]
                    move |y, g| if y > 0.0 { g } else { slope * g },
                );
            }
            Activation::Tanh => map2(
                y,
                g,
                out.data,
                #[inline(always)]
                move |y, g| g * (1.0 - y * y),
            ),
            Activation::Sigmoid => map2(
                y,
                g,
                out.data,
                #[inline(always)]
                move |y, g| g * y * (1.0 - y),
            ),
        }
    }

    fn gpu(&self, gpu: &gpu::Context, inputs: &[GpuArray<'_>], out: GpuArray<'_>) -> Result<()> {
        let kernel = &shaders::pointwise::ACTIVATION_GRAD;
        let len = out.shape.len().div_ceil(4);
        let [vec4s] = extents(kernel, [len])?;
        let launch = Launch {
            gpu,
            kernel,
            overrides: &[("KIND", self.0.kind().into())],
            buffers: &[inputs[0].data, inputs[1].data, out.data],
        };
        let slope = self.0.slope();
        launch.invocations(&Params { vec4s, slope }, len)
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let (y, g, u) = (&pass.inputs[0], &pass.inputs[1], pass.grad);
        let to_y = match self.0 {
            Activation::Relu | Activation::LeakyRelu(_) => None,
            // d/dy of 1 − y² and of y − y²
            Activation::Tanh => pass.gradient(0, || y.mul(g)?.mul(u)?.scale(-2.0))?,
            Activation::Sigmoid => pass.gradient(0, || y.scale_add(-2.0, 1.0)?.mul(g)?.mul(u))?,
        };
        let to_g = pass.gradient(1, || apply(*self, &[y, u]))?;
        Ok(vec![to_y, to_g])
    }
}

pub(super) fn family() -> Family {
    const ALL: [Activation; 4] = [
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::Tanh,
        Activation::Sigmoid,
    ];
    Family {
        name: "activation",
        cases: || {
            let case =
                |kind| Case::new(kind, [[2, 3, 5, 7].into()]).values(0, Values::AwayFromZero);
            ALL.map(case).to_vec()
        },
        random: |rng| {
            let shape = [
                draw(rng, 1..=3),
                draw(rng, 1..=7),
                draw(rng, 1..=19),
                draw(rng, 1..=19),
            ];
            Case::new(ALL[draw(rng, 0..=3)], [shape.into()]).values(0, Values::AwayFromZero)
        },
        benches: || {
            ALL.map(|kind| Case::new(kind, [[1, 64, 256, 256].into()]))
                .to_vec()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_within_a_millionth() {
        for i in -4000..=4000 {
            let x = i as f32 / 40.0 + 1e-3;
            let (wide, close) = (f64::from(x), |value: f32, exact: f64| {
                (f64::from(value) - exact).abs() <= 3e-7 * exact.abs() + 1e-38
            });
            assert!(close(tanh(x), wide.tanh()), "tanh {x}: {}", tanh(x));
            let exact = 1.0 / (1.0 + (-wide).exp());
            assert!(
                close(sigmoid(x), exact) || x < -87.0 && sigmoid(x) < 1e-37,
                "sigmoid {x}: {}",
                sigmoid(x)
            );
        }
        assert!(tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!(
            [tanh(f32::INFINITY), tanh(-0.0), sigmoid(f32::INFINITY)],
            [1.0, 0.0, 1.0]
        );
    }
}
