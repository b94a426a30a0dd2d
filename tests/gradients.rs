//! Gradients and their gradients on the processor against finite differences, for every case of
//! the registry.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tensor::ops::{Case, registry};
use tensor::{Device, Result, Tensor, grad, grad_with_graph};

/// Random directions in which each input of each case is moved.
const DIRECTIONS: u64 = 3;

#[test]
fn first_derivatives() {
    each_case(1, |case, steps| check(case, steps, &weighted_sum));
}

#[test]
fn second_derivatives() {
    each_case(2, |case, steps| check(case, steps, &weighted_gradients));
}

/// How far to move inputs, and what error of a slope to accept in proportion to its typical size.
///
/// The five-point stencil is exact up to the fourth power, and its rounding error is about 2⁻²⁴ of
/// the function's value over the step. So operations linear in each input take large steps and are
/// left with rounding, 2·10⁻⁶ at the most. For the others, 1/32 keeps the part of the fifth
/// derivative, step⁴/30 of it, below rounding: that is 2·10⁻⁵, and 2·10⁻⁴ for losses, a single
/// rounded number, and for planes normalised far from zero.
struct Steps {
    step: f32,
    tolerance: f64,
}

fn each_case(derivatives: usize, check: impl Fn(&Case, &Steps) -> Result<()>) {
    for family in registry() {
        let steps = match family.name {
            "activation" | "exponential" | "instance_norm" | "loss" | "power" => Steps {
                step: 1.0 / 32.0,
                tolerance: 1e-3,
            },
            _ => Steps {
                step: 0.5,
                tolerance: 2e-5,
            },
        };
        for case in (family.cases)() {
            if case.derivatives >= derivatives {
                check(&case, &steps).unwrap_or_else(|error| panic!("{}: {error}", case.label()));
            }
        }
    }
}

/// A number made of a case's variables (its inputs, then the weights of its output), as terms whose
/// sum it is.
type Function = dyn Fn(&Case, &[&Tensor]) -> Result<Vec<Tensor>>;

/// Σ out·weight
fn weighted_sum(case: &Case, variables: &[&Tensor]) -> Result<Vec<Tensor>> {
    let (weight, inputs) = variables.split_last().expect("the weights at least");
    Ok(vec![case.apply(inputs)?.mul(weight)?])
}

/// Σ gradient·weight over the gradients of [`weighted_sum`] with respect to the inputs.
fn weighted_gradients(case: &Case, variables: &[&Tensor]) -> Result<Vec<Tensor>> {
    let (_, inputs) = variables.split_last().expect("the weights at least");
    let sum = weighted_sum(case, variables)?[0].sum()?;
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    grad_with_graph(&sum, inputs)?
        .iter()
        .map(|gradient| gradient.mul(&normal(gradient, &mut rng)?))
        .collect()
}

/// Compares the gradients of a function with its slopes.
fn check(case: &Case, steps: &Steps, function: &Function) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut variables = case.tensors(1, &Device::Cpu)?;
    let out = case.apply(&variables.iter().collect::<Vec<_>>())?;
    variables.push(normal(&out, &mut rng)?);
    let variables: Vec<Tensor> = variables.iter().map(Tensor::with_grad).collect();
    let references: Vec<&Tensor> = variables.iter().collect();

    let mut total = Tensor::zeros([], &Device::Cpu)?;
    for term in function(case, &references)? {
        total = total.add(&term.sum()?)?;
    }
    let gradients = grad(&total, &references)?;

    for (i, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.to_vec()?;
        for _ in 0..DIRECTIONS {
            // By as much in every value, so that all count and no kink is crossed by chance.
            let direction: Vec<f32> = gradient
                .iter()
                .map(|_| if rng.random() { 1.0 } else { -1.0 })
                .collect();
            let at = |steps_away: f32| -> Result<f64> {
                let start = variables[i].to_vec()?;
                let moved: Vec<f32> = start
                    .iter()
                    .zip(&direction)
                    .map(|(value, direction)| value + steps_away * steps.step * direction)
                    .collect();
                let moved =
                    Tensor::from_slice(&moved, variables[i].shape(), &Device::Cpu)?.with_grad();
                let mut references = references.clone();
                references[i] = &moved;
                let mut sum = 0.0;
                for term in function(case, &references)? {
                    sum += term.to_vec()?.iter().copied().map(f64::from).sum::<f64>();
                }
                Ok(sum)
            };
            let slope = (8.0 * (at(1.0)? - at(-1.0)?) - (at(2.0)? - at(-2.0)?))
                / (12.0 * f64::from(steps.step));
            let expected: f64 = gradient
                .iter()
                .zip(&direction)
                .map(|(g, d)| f64::from(g * d))
                .sum();
            // What the slope in a random direction is typically: it may cancel in this one.
            let typical = gradient
                .iter()
                .map(|&g| f64::from(g * g))
                .sum::<f64>()
                .sqrt();
            let error = (slope - expected).abs() / (typical + 1e-3);
            assert!(
                error <= steps.tolerance,
                "{}: variable {i}: the slope is {slope:.6}, by the gradient {expected:.6}: {error:.1e} of what is typical",
                case.label(),
            );
        }
    }
    Ok(())
}

/// Standard normal values of a tensor's shape.
fn normal(like: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let values: Vec<f32> = (0..like.shape().len())
        .map(|_| rng.sample(rand_distr::StandardNormal))
        .collect();
    Tensor::from_slice(&values, like.shape(), &Device::Cpu)
}
