//! `trainer bench`

use std::time::{Duration, Instant};

use anyhow::Result;
use cyclegan::Stored;
use nn::Module;
use serde::Serialize;
use tensor::ops::registry;
use tensor::{Cost, Device, Shape, Tensor, costs, no_grad};

use crate::cli::{BenchArgs, Options};
use crate::settings::Settings;
use crate::train::Ending;
use crate::{memory, report};

/// Runs before measuring: kernels are compiled, buffers are there.
const WARM_UP: u64 = 2;
/// A single operation is repeated for at least so long.
const EACH_OPERATION: Duration = Duration::from_millis(500);

/// What was measured of one kind of work.
#[derive(Serialize)]
struct Measurement {
    what: String,
    runs: usize,
    /// Seconds.
    median: f64,
    /// First and third quartile, seconds.
    quartiles: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    images_per_second: Option<f64>,
    /// Convolutions counted by their definition.
    gflop_per_second: f64,
    /// Inputs read and outputs written once.
    #[serde(skip_serializing_if = "Option::is_none")]
    gbyte_per_second: Option<f64>,
}

/// A model and machine with their measurements.
#[derive(Serialize)]
struct Report<'a> {
    device: String,
    size: usize,
    batch: usize,
    generator: String,
    ngf: usize,
    ndf: usize,
    precision: Stored,
    /// Bytes of live tensors at the most.
    tensor_memory: u64,
    /// Bytes of the whole process at the most, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    process_memory: Option<u64>,
    measurements: &'a [Measurement],
}

/// Measures a training step and a translation, or single operations.
///
/// # Errors
/// When an option does not work or the device fails.
pub fn run(args: &BenchArgs) -> Result<Ending> {
    let device = args.device.open()?;
    match &args.operations {
        Some(name) => operations(name, &device, args.json)?,
        None => model(args, &device)?,
    }
    Ok(Ending::Finished)
}

fn model(args: &BenchArgs, device: &Device) -> Result<()> {
    let options = Options {
        preset: Some(args.preset.clone()),
        size: args.size,
        // Pictures are noise of the right size already.
        load_size: Some(0),
        batch: args.batch,
        generator: args.generator.clone(),
        ngf: args.ngf,
        ndf: args.ndf,
        precision: args.precision.clone(),
        ..Options::default()
    };
    let config = Settings::resolve(None, &options)?.model;
    let mut model = cyclegan::model(&config, device)?;
    let [a, b] = cyclegan::noise(&config, device)?;
    let a = a.to_precision(config.precision.of_pictures())?;
    // A step takes a picture of each domain, and counts as one, as progress does.
    let step = measure("training step", args.steps, config.batch, || {
        model.step(&a, &b, config.learning_rate)?.read()?;
        Ok(())
    })?;
    let translation = measure("translation", args.steps, config.batch, || {
        no_grad(|| model.a_to_b().forward(&a))?;
        Ok(device.synchronize()?)
    })?;
    let measurements = [step, translation];
    let report = Report {
        device: device.to_string(),
        size: config.size,
        batch: config.batch,
        generator: serde_json::to_value(config.generator)?
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        ngf: config.ngf,
        ndf: config.ndf,
        precision: config.precision,
        tensor_memory: device.memory_in_use().1,
        process_memory: memory::of_process(),
        measurements: &measurements,
    };
    if args.json {
        report::result(&serde_json::to_string(&report)?);
        return Ok(());
    }
    report::result(&format!("device      {}", report.device));
    report::result(&format!(
        "model       {}, ngf {}, ndf {}, {4}×{4}, batch {3}{5}",
        report.generator,
        report.ngf,
        report.ndf,
        report.batch,
        report.size,
        match report.precision {
            Stored::Single => "",
            Stored::Mixed => ", mixed precision",
        }
    ));
    let process = report.process_memory.map_or(String::new(), |bytes| {
        format!(", {} for the whole process", report::bytes(bytes))
    });
    report::result(&format!(
        "memory      {} for tensors{process}",
        report::bytes(report.tensor_memory)
    ));
    measurements.iter().for_each(Measurement::print);
    Ok(())
}

/// Measures work on so many images.
fn measure(
    what: &str,
    runs: u64,
    images: usize,
    mut work: impl FnMut() -> Result<()>,
) -> Result<Measurement> {
    let flops = convolution_flops(&mut work)?;
    let times = repeat(runs, &mut work)?;
    Ok(Measurement::new(what, times, flops, Some(images)))
}

fn operations(name: &str, device: &Device, json: bool) -> Result<()> {
    for family in registry() {
        for case in (family.benches)() {
            if !case.op.name().contains(name) {
                continue;
            }
            let inputs = case.tensors(1, device)?;
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            let mut shape = Shape::from([0]);
            let mut apply = || -> Result<()> {
                shape = case.apply(&inputs)?.shape();
                Ok(device.synchronize()?)
            };
            let begun = Instant::now();
            repeat(WARM_UP, &mut apply)?;
            let each = begun.elapsed() / (2 * WARM_UP as u32);
            let runs = (EACH_OPERATION.as_secs_f64() / each.as_secs_f64()).clamp(5.0, 1000.0);
            let times = repeat(runs as u64, &mut apply)?;
            let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
            let Cost { flops, bytes } = case.op.cost(&shapes, shape);
            let mut measured = Measurement::new(&case.label(), times, flops, None);
            measured.gbyte_per_second = Some(bytes / measured.median / 1e9);
            match json {
                true => report::result(&serde_json::to_string(&measured)?),
                false => measured.print(),
            }
        }
    }
    Ok(())
}

/// Times of so many runs, in seconds, after some to warm up.
fn repeat(runs: u64, work: &mut impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    for _ in 0..WARM_UP {
        work()?;
    }
    let time = |_| {
        let begun = Instant::now();
        work()?;
        Ok(begun.elapsed().as_secs_f64())
    };
    (0..runs).map(time).collect()
}

/// The arithmetic of the convolutions in some work.
fn convolution_flops(work: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    let (done, costs) = costs(work);
    done?;
    let convolutions = costs.iter().filter(|(name, _)| name.starts_with("conv"));
    Ok(convolutions.map(|(_, cost)| cost.flops).sum())
}

impl Measurement {
    fn new(what: &str, mut times: Vec<f64>, flops: f64, images: Option<usize>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(share * (times.len() - 1) as f64).round() as usize];
        let median = at(0.5);
        Measurement {
            what: what.to_owned(),
            runs: times.len(),
            median,
            quartiles: [at(0.25), at(0.75)],
            images_per_second: images.map(|images| images as f64 / median),
            gflop_per_second: flops / median / 1e9,
            gbyte_per_second: None,
        }
    }

    fn print(&self) {
        let [low, high] = self.quartiles.map(|time| time * 1e3);
        let images = self
            .images_per_second
            .map_or(String::new(), |images| format!("  {images:.1} images/s"));
        let bytes = self
            .gbyte_per_second
            .map_or(String::new(), |bytes| format!("  {bytes:.1} GB/s"));
        report::result(&format!(
            "{:<13} {:.2} ms (half of {} runs between {low:.2} and {high:.2}){images}  {:.1} GFLOP/s{bytes}",
            self.what,
            self.median * 1e3,
            self.runs,
            self.gflop_per_second,
        ));
    }
}
