//! Training in mixed precision on every adapter that has half precision.

use std::process::ExitCode;

use cyclegan::{
    Config, CycleGan, DiffAugment, DiscriminatorKind, Model, Preset, Stored, Stream, noise, rng,
};
use gpu::Context;
use gpu::testing::{run, trials};
use libtest_mimic::Failed;
use nn::StateDict;
use tensor::{Device, Precision, Tensor, grad};

type Test = fn(&Device) -> Result<(), Failed>;

fn main() -> ExitCode {
    let tests: [(&str, Test); 4] = [
        ("it learns as single precision does", learns),
        ("it goes on from its state", goes_on),
        ("a step that overflows is not taken", overflow),
        ("discriminators see pictures augmented alike", augmentation),
    ];
    let all = tests.into_iter().flat_map(|(name, test)| {
        trials(name, move |gpu: &Context| match gpu.limits().f16 {
            true => test(&Device::Gpu(gpu.clone())),
            false => refused(&Device::Gpu(gpu.clone())),
        })
    });
    run(all.collect())
}

fn config(precision: Stored) -> Config {
    Config {
        size: 8,
        load_size: 8,
        ngf: 4,
        discriminator: DiscriminatorKind::Pixel,
        ndf: 4,
        precision,
        ..Config::preset(Preset::Demo)
    }
}

/// The sum of both cycle losses in each of some steps on one pair of pictures.
fn cycles(model: &mut CycleGan, steps: usize, device: &Device) -> Result<Vec<f32>, Failed> {
    let [a, _] = noise(&config(Stored::Single), device)?;
    let b = a.scale(-0.5)?;
    let mut cycles = Vec::new();
    for _ in 0..steps {
        let losses = model.step(&a, &b, 1e-2)?.read()?.losses;
        cycles.push(losses["cycle_A"] + losses["cycle_B"]);
    }
    Ok(cycles)
}

/// Has a model's losses scaled by a factor.
fn scale_losses(model: &mut CycleGan, factor: f32, device: &Device) -> Result<StateDict, Failed> {
    let mut state = model.state()?;
    for name in ["adam_G/loss_scale", "adam_D/loss_scale"] {
        let values = Tensor::from_slice(&[factor, 0.0, 0.0], [3], device)?;
        state.insert(name.into(), values);
    }
    model.load_state(&state, model.steps())?;
    Ok(state)
}

fn learns(device: &Device) -> Result<(), Failed> {
    let mut ends = Vec::new();
    for precision in [Stored::Single, Stored::Mixed] {
        let mut model = CycleGan::new(&config(precision), device)?;
        // Planes of four pixels are steep: where the scale would arrive by halving.
        scale_losses(&mut model, 64.0, device)?;
        let cycles = cycles(&mut model, 8, device)?;
        ends.push([cycles[0], cycles[7]]);
    }
    let [[first, single], [rounded, mixed]] = ends[..] else {
        unreachable!("two precisions")
    };
    let close = |a: f32, b: f32, share: f32| (a - b).abs() < share * first;
    assert!(close(rounded, first, 0.01), "{rounded} for {first}");
    assert!(single < 0.8 * first, "{first} to {single}");
    assert!(
        close(mixed, single, 0.05),
        "{first} to {mixed}, not {single}"
    );
    Ok(())
}

fn goes_on(device: &Device) -> Result<(), Failed> {
    let config = config(Stored::Mixed);
    let mut model = CycleGan::new(&config, device)?;
    scale_losses(&mut model, 64.0, device)?;
    let first = cycles(&mut model, 2, device)?;
    assert_ne!(first[0], first[1], "the first step was taken");
    let scales = model.loss_scales();
    let mut other = CycleGan::new(&config, device)?;
    other.load_state(&model.state()?, model.steps())?;
    assert_eq!(other.loss_scales(), scales);
    assert_eq!(
        cycles(&mut other, 3, device)?,
        cycles(&mut model, 3, device)?
    );
    Ok(())
}

fn overflow(device: &Device) -> Result<(), Failed> {
    let mut model = CycleGan::new(&config(Stored::Mixed), device)?;
    let state = scale_losses(&mut model, 16_777_216.0, device)?;
    cycles(&mut model, 1, device)?;
    let generators = model.loss_scales().expect("it is mixed")[0];
    assert_eq!(generators.skipped(), 1);
    assert_eq!(generators.factor(), 8_388_608.0);
    let after = model.state()?;
    let moved = |network: &str| -> Result<bool, Failed> {
        let mut moved = false;
        for (name, tensor) in state.iter().filter(|(name, _)| name.starts_with(network)) {
            moved |= tensor.to_vec()? != after[name].to_vec()?;
        }
        Ok(moved)
    };
    assert!(
        !moved("G_A/")? && !moved("adam_G/0")?,
        "the generators moved"
    );
    Ok(())
}

fn augmentation(device: &Device) -> Result<(), Failed> {
    let all: DiffAugment = "color,translation,cutout".parse()?;
    let values: Vec<f32> = (0..2 * 3 * 16 * 10).map(|i| (i as f32).sin()).collect();
    let both = [Device::Cpu, device.clone()].map(|device| -> Result<_, Failed> {
        let precision = match device {
            Device::Cpu => Precision::Single,
            Device::Gpu(_) => Precision::Half,
        };
        let pictures = Tensor::from_slice(&values, [2, 3, 16, 10], &device)?
            .to_precision(precision)?
            .with_grad();
        let seen = all.augment(&pictures, &mut rng(1, Stream::DiffAugment, 0))?;
        assert_eq!(seen.precision(), precision);
        let back = grad(&seen.mul(&seen)?.sum()?, &[&pictures])?.remove(0);
        Ok([seen.to_vec()?, back.to_vec()?])
    });
    let [single, half] = both;
    for (single, half) in single?.iter().flatten().zip(half?.iter().flatten()) {
        let scale = single.abs().max(1.0);
        assert!((single - half).abs() < 0.01 * scale, "{half} for {single}");
    }
    Ok(())
}

fn refused(device: &Device) -> Result<(), Failed> {
    let Err(error) = CycleGan::new(&config(Stored::Mixed), device) else {
        return Err("mixed precision on a device without it".into());
    };
    assert!(error.to_string().contains("--precision single"), "{error}");
    Ok(())
}
