//! Dry runs against real ones: what an operation and a training step take, on every device.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use cyclegan::memory::{self, MemoryPlan};
use cyclegan::{
    Config, CycleGan, DiscriminatorKind, Method, Model, Perception, PerceptionOn, Preset, noise,
};
use gpu::testing::{run, trials};
use gpu::{Context, Options};
use libtest_mimic::{Failed, Trial};
use tensor::ops::{Case, registry};
use tensor::{Device, Result, Tensor};

/// What threads take for themselves in an operation and the dry run counts only once, or too often.
const THREADS: u64 = 1 << 20;

/// How often an operation is run for all threads to take part in it: other work may keep some away.
const RUNS: usize = 20;

fn main() -> ExitCode {
    // One after the other: the processor's memory is the program's.
    let processor = Trial::test("operations and steps on the processor", || {
        for case in cases(true) {
            compare(&case, &Device::Cpu)?;
        }
        steps(&Device::Cpu)?;
        same_when_recomputed(&Device::Cpu)
    });
    // Contexts of their own, likewise.
    let open = |gpu: &Context| -> gpu::Result<Device> {
        let gpu = Context::open_with(&gpu.info().choice(), &Options::default())?;
        Ok(Device::Gpu(gpu))
    };
    let operations = trials("operations", move |gpu: &Context| {
        let device = open(gpu)?;
        let mut cases = cases(false).into_iter();
        cases.try_for_each(|case| compare(&case, &device))
    });
    let steps = trials("steps", move |gpu: &Context| steps(&open(gpu)?));
    let again = trials("steps, recomputed", move |gpu: &Context| {
        same_when_recomputed(&open(gpu)?)
    });
    let others = operations.into_iter().chain(steps).chain(again);
    run(others.chain([processor]).collect())
}

/// Networks that take a moment.
fn small() -> Config {
    Config {
        size: 32,
        load_size: 32,
        ngf: 8,
        ndf: 8,
        pool_size: 3,
        ..Config::preset(Preset::Demo)
    }
}

/// A plan against training.
fn steps(device: &Device) -> std::result::Result<(), Failed> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/perceptual.safetensors"
    );
    let weights = Arc::new(metrics::Perception::load(Path::new(file))?);
    let sight = move |device: &Device| -> Result<Perception> { Ok(Arc::new(weights.on(device)?)) };
    let configs = [
        small(),
        Config {
            batch: 2,
            checkpoint_activations: true,
            ..small()
        },
        small().with_method(Method::Cut),
        Config {
            lambda_perceptual: 1.0,
            lambda_style: 1.0,
            discriminator: DiscriminatorKind::NLayers,
            n_layers: 2,
            global_layers: 3,
            lambda_feature_matching: 1.0,
            ..small().with_method(Method::FastCut)
        },
    ];
    for config in configs {
        let sight: Option<&PerceptionOn> = match config.perceives() {
            true => Some(&sight),
            false => None,
        };
        let plan = memory::plan(&config, sight, device)?;
        device.trim()?;
        let all = || {
            let memory = device.memory();
            memory.in_use + memory.pooled
        };
        let before = all();
        let mut model = cyclegan::model(&config, device)?;
        if let Some(sight) = sight {
            model.train_by(sight(device)?);
        }
        let MemoryPlan {
            weights, optimiser, ..
        } = plan;
        assert_eq!(weights + optimiser, all() - before);
        for _ in 0..4 {
            let [a, b] = noise(&config, device)?;
            model.step(&a, &b, 1e-4)?.read()?;
        }
        let one = Config {
            batch: 1,
            ..config.clone()
        };
        let [a, b] = noise(&one, device)?;
        model.sample(&a, &b)?;
        let (real, dry) = (all() - before, plan.total());
        let tolerance = real / 20
            + if matches!(device, Device::Cpu) {
                THREADS
            } else {
                0
            };
        assert!(
            dry.abs_diff(real) <= tolerance,
            "{config:?}: takes {real}, planned {plan:?}"
        );
    }
    Ok(())
}

/// Computing activations again changes no bit.
fn same_when_recomputed(device: &Device) -> std::result::Result<(), Failed> {
    let trained = |checkpoint_activations: bool| -> Result<Vec<Vec<f32>>> {
        let config = Config {
            checkpoint_activations,
            batch: 2,
            ..small()
        };
        let mut model = CycleGan::new(&config, device)?;
        let [a, _] = noise(&config, device)?;
        let b = a.scale(-0.5)?;
        for _ in 0..3 {
            model.step(&a, &b, 1e-3)?;
        }
        model.state()?.values().map(Tensor::to_vec).collect()
    };
    assert!(trained(true)? == trained(false)?);
    Ok(())
}

/// All cases of the registry, at CycleGAN's shapes, too, if `large`.
fn cases(large: bool) -> Vec<Case> {
    let families = registry().into_iter();
    families
        .flat_map(|family| {
            let benches = if large {
                (family.benches)()
            } else {
                Vec::new()
            };
            (family.cases)().into_iter().chain(benches)
        })
        .collect()
}

/// Bytes that a case takes from the system beside its inputs.
fn taken(case: &Case, inputs: &[Tensor], device: &Device) -> Result<u64> {
    let all = || {
        let memory = device.memory();
        memory.in_use + memory.pooled
    };
    let before = all();
    drop(case.apply(&inputs.iter().collect::<Vec<_>>())?);
    Ok(all() - before)
}

fn compare(case: &Case, device: &Device) -> std::result::Result<(), Failed> {
    let dry = device.dry_run(|device| {
        let zeros = |input: &tensor::ops::Input| Tensor::zeros(input.shape, device);
        let inputs = case.inputs.iter().map(zeros).collect::<Result<Vec<_>>>()?;
        taken(case, &inputs, device)
    })?;
    let tolerance = match device {
        Device::Cpu => dry / 20 + THREADS,
        Device::Gpu(_) => 0,
    };
    let inputs = case.tensors(1, device)?;
    device.trim()?;
    let mut real = 0;
    for _ in 0..RUNS {
        real += taken(case, &inputs, device)?;
        if dry.abs_diff(real) <= tolerance {
            return Ok(());
        }
    }
    Err(format!("{}: takes {real}, dry {dry}", case.label()).into())
}
