//! Every operation on every adapter of this machine against the processor: the registry's cases,
//! and random shapes; forward, and the gradients where there are any.

use gpu::testing::{run, trials};
use gpu::{AdapterInfo, Context, Options, Tuning};
use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use tensor::ops::{Case, Family, registry};
use tensor::{Device, Precision, Result, Tensor, grad};

/// Largest difference in proportion to the largest value. It is 10⁻⁵ at the most where sums don't
/// cancel; random ones may, a little.
const TOLERANCE: f32 = 1e-4;

/// The same in half precision, which rounds by 2⁻¹¹ of a value: of the output, and of what a gradient is
/// computed from.
const HALF_TOLERANCE: f32 = 2e-3;

/// Random cases of each family on each adapter.
const RANDOM_CASES: u32 = 24;

/// The same in half precision, where every choice of what is stored so is a kernel to compile.
const HALF_RANDOM_CASES: u32 = 6;

/// Ways to compute a convolution that are not an adapter's first choice everywhere.
const WAYS: [&str; 4] = ["tiled", "subgroups", "winograd-tiled", "winograd-subgroups"];

fn main() -> ExitCode {
    let all = registry().into_iter().flat_map(
        |Family {
             name,
             cases,
             random,
             ..
         }| {
            let single = Precision::Single;
            let fixed = trials(name, move |gpu| listed(gpu, cases, single));
            let drawn = trials(&format!("{name}, random"), move |gpu| {
                random_shapes(gpu, random, single)
            });
            let half = trials(&format!("{name}, half precision"), move |gpu| {
                in_half_precision(gpu, cases, random)
            });
            fixed.into_iter().chain(drawn).chain(half)
        },
    );
    let convolutions = registry()
        .into_iter()
        .filter(|family| family.name.starts_with("conv"));
    let ways = convolutions.flat_map(
        |Family {
             name,
             cases,
             random,
             ..
         }| {
            WAYS.into_iter().flat_map(move |way| {
                trials(&format!("{name}, {way}"), move |gpu| {
                    let gpu = &computing_by(way, gpu)?;
                    listed(gpu, cases, Precision::Single)?;
                    random_shapes(gpu, random, Precision::Single)?;
                    in_half_precision(gpu, cases, random)
                })
            })
        },
    );
    run(all.chain(ways).collect())
}

/// The same adapter, choosing a way where it can; one for all tests, which lives as long as they do.
fn computing_by(way: &'static str, gpu: &Context) -> gpu::Result<Context> {
    static OPEN: Mutex<Vec<(&str, AdapterInfo, Context)>> = Mutex::new(Vec::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |(of, info, _): &&(&str, AdapterInfo, Context)| *of == way && info == gpu.info();
    if let Some((.., context)) = open.iter().find(same) {
        return Ok(context.clone());
    }
    let options = Options {
        tuning: Tuning::Named(way),
        ..Options::default()
    };
    let context = Context::open_with(&gpu.info().choice(), &options)?;
    open.push((way, gpu.info().clone(), context.clone()));
    Ok(context)
}

/// All cases, where the adapter has half precision; where it lacks it, that it says so.
fn in_half_precision(
    gpu: &Context,
    cases: fn() -> Vec<Case>,
    random: fn(&mut ChaCha8Rng) -> Case,
) -> Result<(), Failed> {
    if !gpu.limits().f16 {
        let tensor = Tensor::zeros([1], &Device::Gpu(gpu.clone()))?;
        let refused = tensor.to_precision(Precision::Half).unwrap_err();
        assert!(refused.to_string().contains("half precision"), "{refused}");
        return Ok(());
    }
    listed(gpu, cases, Precision::Half)?;
    random_shapes(gpu, random, Precision::Half)
}

fn listed(gpu: &Context, cases: fn() -> Vec<Case>, precision: Precision) -> Result<(), Failed> {
    for (seed, case) in (0..).zip(cases()) {
        compare(gpu, &case, seed, precision)
            .map_err(|reason| format!("{}: {reason}", case.label()))?;
    }
    Ok(())
}

fn random_shapes(
    gpu: &Context,
    random: fn(&mut ChaCha8Rng) -> Case,
    precision: Precision,
) -> Result<(), Failed> {
    let regressions = "tests/parity.proptest-regressions";
    let mut runner = TestRunner::new(Config {
        cases: match precision {
            Precision::Single => RANDOM_CASES,
            Precision::Half => HALF_RANDOM_CASES,
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    });
    // Half a seed is as good as a seed: shrinking it has no meaning.
    let outcome = runner.run(&any::<u64>().no_shrink(), |seed| {
        let case = random(&mut ChaCha8Rng::seed_from_u64(seed));
        compare(gpu, &case, seed, precision).map_err(|reason| {
            TestCaseError::fail(format!("{} from seed {seed}: {reason}", case.label()))
        })
    });
    outcome.map_err(|error| error.to_string().into())
}

/// Runs a case on both devices, from the same values.
fn compare(gpu: &Context, case: &Case, seed: u64, precision: Precision) -> Result<(), String> {
    let run = || -> Result<_> {
        let inputs = case.tensors(seed, &Device::Gpu(gpu.clone()))?;
        let stored = inputs.iter().enumerate().map(|(i, input)| {
            let half = precision == Precision::Half && i < case.halves;
            input.to_precision(if half { precision } else { Precision::Single })
        });
        let inputs = stored.collect::<Result<Vec<_>>>()?;
        let twins = inputs.iter().map(|input| input.to(&Device::Cpu));
        let twins = twins.collect::<Result<Vec<_>>>()?;
        Ok((results(case, &twins)?, results(case, &inputs)?))
    };
    let tolerance = match precision {
        Precision::Single => TOLERANCE,
        Precision::Half => HALF_TOLERANCE,
    };
    let (expected, given) = run().map_err(|error| error.to_string())?;
    for ((what, expected), (_, given)) in expected.iter().zip(given) {
        let error = difference(&given, expected);
        if error.is_nan() || error > tolerance {
            return Err(format!("{what} differs by {error:.1e}"));
        }
    }
    Ok(())
}

/// The output, and the gradients of a weighted sum of it.
fn results(case: &Case, inputs: &[Tensor]) -> Result<Vec<(String, Vec<f32>)>> {
    let device = inputs[0].device();
    let inputs: Vec<Tensor> = inputs.iter().map(Tensor::with_grad).collect();
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let out = case.apply(&inputs)?;
    let mut results = vec![("the output".to_owned(), out.to_vec()?)];
    if case.derivatives > 0 {
        // Mostly of one sign, or sums of them cancel and tell of nothing but rounding.
        let weights: Vec<f32> = (0..out.shape().len())
            .map(|i| (i as f32 * 0.7).sin() + 0.5)
            .collect();
        let weights = Tensor::from_slice(&weights, out.shape(), device)?;
        let gradients = grad(&out.mul(&weights)?.sum()?, &inputs)?;
        for (i, gradient) in gradients.iter().enumerate() {
            results.push((format!("the gradient of input {i}"), gradient.to_vec()?));
        }
    }
    Ok(results)
}

/// max |given − expected| / max |expected|; what is no finite number has to be none on both devices.
fn difference(given: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(given.len(), expected.len());
    // `f32::max` would lose a NaN.
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        values.fold(0.0, |a: f32, b| if b > a || b.is_nan() { b } else { a })
    };
    let finite = |value: &f32| value.is_finite();
    let scale = largest(
        &mut expected
            .iter()
            .filter(|value| finite(value))
            .map(|value| value.abs()),
    );
    let pairs = given
        .iter()
        .zip(expected)
        .filter(|(a, b)| finite(a) || finite(b));
    let error = largest(&mut pairs.map(|(a, b)| (a - b).abs()));
    error / (scale + 1e-6)
}
