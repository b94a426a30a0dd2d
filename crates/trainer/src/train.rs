//! `trainer train`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cyclegan::{CycleGan, Losses, LossesReading, Stage};
use indicatif::ProgressBar;
use nn::LossScale;
use tensor::{Device, Tensor};

use crate::cli::TrainArgs;
use crate::data::{Batch, Dataset, Loader, Pictures};
use crate::report::{self, Progress};
use crate::run_dir::{Metrics, RunDir};
use crate::sample::Samples;
use crate::settings::Settings;
use crate::{checkpoint, demo, devices, interrupt, memory};

/// A sample sheet this early shows whether anything moves.
const EARLY_SAMPLE: u64 = 100;

/// How a command ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Finished,
    Interrupted,
}

/// Trains a new run, or goes on with one.
///
/// # Errors
/// With what is wrong and what to do.
pub fn run(args: &TrainArgs) -> Result<Ending> {
    interrupt::listen();
    let mut settings = match &args.resume {
        Some(run) => Settings::resolve(Some(&RunDir::open(run)?.config()), &args.options)?,
        None => Settings::resolve(args.config.as_deref(), &args.options)?,
    };
    let device = devices::open(&settings.run.device, settings.run.autotune)?;
    let data = match settings.run.data.as_os_str().is_empty() {
        true => demo::ensure(args.quiet)?,
        false => settings.run.data.clone(),
    };
    let pictures = Pictures::list(&data, &settings.run.style)?;
    let stages = settings.model.stages(pictures.lens());
    let total = settings.model.total_steps(pictures.lens());
    let planned = memory::check(&device, pictures.lens(), &stages)?;
    announce(&device, &pictures, &stages, &planned, args.quiet)?;

    let mut model = CycleGan::new(&settings.model, &device)?;
    if let Some(run) = &args.resume {
        let checkpoint = checkpoint::load(run, &device)?;
        if checkpoint.steps >= total {
            let option = match settings.model.stages.is_empty() {
                true => "--steps",
                false => "--stages",
            };
            bail!(
                "the run in {} has taken its {total} steps; give more with {option}",
                run.display()
            );
        }
        model.load_state(&checkpoint.state, checkpoint.steps)?;
    }
    // Pictures that can't be read should be found before anything is written.
    let present = stages.iter().find(|stage| model.steps() < stage.end);
    let present = present.context("the run has no steps")?;
    let material = Material::open(&pictures, present, model.steps(), args.quiet)?;
    let dir = match &args.resume {
        Some(run) => {
            let dir = RunDir::open(run)?;
            settings.run.out = run.clone();
            dir.write_config(&settings)?;
            dir
        }
        None => RunDir::create(&mut settings)?,
    };
    let training = Training {
        metrics: dir.metrics(model.steps())?,
        progress: Progress::start(total, args.quiet),
        pictures,
        model,
        settings,
        dir,
        device,
        total,
        unread: None,
        planned,
    };
    training.train(&stages, material)
}

/// The pictures that a stage trains on, and those that show how far it got.
struct Material {
    loader: Loader,
    samples: Samples,
}

impl Material {
    /// Reads the pictures for a stage, which begins or goes on with step `first`.
    fn open(pictures: &Pictures, stage: &Stage, first: u64, quiet: bool) -> Result<Self> {
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => report::bar(0, "reading pictures"),
        };
        let dataset = Dataset::open(pictures, stage.config.load_size(), &bar);
        bar.finish_and_clear();
        Ok(Material {
            loader: Loader::start(dataset?, stage, first),
            samples: Samples::pick(pictures, stage.config.size)?,
        })
    }
}

/// Says what is going to happen. Time is measured: two steps on noise, as large as the
/// largest stage's, with networks that are thrown away, which also shows now whether the device has room.
fn announce(
    device: &Device,
    pictures: &Pictures,
    stages: &[Stage],
    planned: &memory::RunPlan,
    quiet: bool,
) -> Result<()> {
    let largest = stages.iter().max_by_key(|stage| stage.pixels());
    let largest = largest.context("the run has no steps")?;
    let config = &largest.config;
    let mut model = CycleGan::new(config, device)?;
    let (generator, discriminator) = model.parameter_counts();
    if !quiet {
        let [a, b] = pictures.lens();
        let sizes = stages.iter().map(|Stage { config, .. }| config.size);
        let sizes: Vec<String> = sizes.map(|size| format!("{size}×{size}")).collect();
        eprintln!("device      {device}");
        eprintln!(
            "pictures    {a} of A, {b} of B, trained at {}",
            sizes.join(", ")
        );
        eprintln!("parameters  2 × {generator} (generators), 2 × {discriminator} (discriminators)");
        eprintln!("memory      {planned}");
    }
    let noise = cyclegan::noise(config, device)?;
    let mut each = Duration::ZERO;
    for _ in 0..2 {
        let begun = Instant::now();
        model
            .step(&noise, &noise, config.learning_rate)?
            .read()
            .context("a first step to measure with failed")?;
        each = begun.elapsed();
    }
    if !quiet {
        let whole = each.as_secs_f64() * steps_like(largest, stages);
        let whole = Duration::try_from_secs_f64(whole).unwrap_or(Duration::MAX);
        let total = stages.last().map_or(0, |stage| stage.end);
        let of = match stages {
            [_] => "",
            _ => ", the largest",
        };
        eprintln!(
            "time        about {} for {total} steps{of} of {:.2} s",
            report::duration(whole),
            each.as_secs_f64()
        );
    }
    Ok(())
}

/// As many steps of one stage as take about the time of all steps of some: time is about in proportion
/// to pixels.
fn steps_like(one: &Stage, stages: &[Stage]) -> f64 {
    let share = |stage: &Stage| stage.pixels() as f64 / one.pixels() as f64;
    let steps = |stage: &Stage| (stage.end - stage.first) as f64;
    stages.iter().map(|stage| steps(stage) * share(stage)).sum()
}

/// A run in progress.
struct Training {
    settings: Settings,
    dir: RunDir,
    device: Device,
    model: CycleGan,
    pictures: Pictures,
    metrics: Metrics,
    progress: Progress,
    total: u64,
    /// Losses of the last step, which are read when the next is on its way.
    unread: Option<Unread>,
    planned: memory::RunPlan,
}

/// Losses that a step left on the device.
struct Unread {
    step: u64,
    learning_rate: f32,
    /// What the losses of generators and discriminators were multiplied with, in mixed precision.
    loss_scales: Option<[f32; 2]>,
    losses: LossesReading,
}

impl Training {
    /// Takes the steps that are left, beginning with `material`.
    fn train(mut self, stages: &[Stage], material: Material) -> Result<Ending> {
        let begun = Instant::now();
        self.progress
            .line(&format!("run         {}", self.dir.path().display()));
        let mut material = Some(material);
        for (i, stage) in stages.iter().enumerate() {
            let steps = self.model.steps();
            if stage.end <= steps {
                continue;
            }
            let material = match material.take() {
                Some(material) => material,
                None => Material::open(&self.pictures, stage, steps, self.progress.is_quiet())?,
            };
            if stages.len() > 1 {
                // Buffers of another stage's sizes are of no use.
                self.device.trim()?;
            }
            self.begin(i, stages);
            if self.go_through(stage, material)? == Ending::Interrupted {
                return Ok(Ending::Interrupted);
            }
        }
        self.progress.finish();
        if !self.progress.is_quiet() {
            self.say_goodbye(begun.elapsed());
        }
        Ok(Ending::Finished)
    }

    /// Makes ready for a stage.
    fn begin(&mut self, i: usize, stages: &[Stage]) {
        let Stage { end, config, .. } = &stages[i];
        let steps = self.model.steps();
        self.model.change_size(config.size);
        if stages.len() > 1 {
            self.progress.line(&format!(
                "stage {} of {}: {3}×{3}, batch {4}, steps {} to {end}",
                i + 1,
                stages.len(),
                steps + 1,
                config.size,
                config.batch,
            ));
        }
        let end = *end as f64 + steps_like(&stages[i], &stages[i + 1..]);
        self.progress.stage(steps, config.batch, end);
    }

    /// Takes the steps of a stage.
    fn go_through(&mut self, stage: &Stage, material: Material) -> Result<Ending> {
        let Material {
            mut loader,
            samples,
        } = material;
        let sample = |run: &Self| samples.write(&run.model, &run.dir, &run.device);
        if self.model.steps() == 0 {
            sample(self)?;
        }
        while self.model.steps() < stage.end {
            self.step(stage, loader.next()?)?;
            let step = self.model.steps();
            let is_last = step == self.total;
            let stop = interrupt::is_requested();
            let sample_due = step.is_multiple_of(self.settings.run.sample_every);
            let checkpoint_due = step.is_multiple_of(self.settings.run.checkpoint_every);
            if step == stage.end || stop || checkpoint_due {
                // A step whose losses are no numbers must not become a checkpoint.
                self.record_losses()?;
            }
            if sample_due || step == EARLY_SAMPLE || is_last || stop {
                sample(self)?;
            }
            if checkpoint_due || is_last || stop {
                checkpoint::save(&self.dir, &self.model, &self.settings)?;
            }
            if stop && !is_last {
                self.progress.finish();
                let run = self.dir.path().display();
                eprintln!(
                    "stopped after step {step} of {}; the run is saved",
                    self.total
                );
                eprintln!("go on with: cargo run -p trainer -- --resume {run}");
                return Ok(Ending::Interrupted);
            }
        }
        Ok(Ending::Finished)
    }

    fn step(&mut self, stage: &Stage, batch: Batch) -> Result<()> {
        let config = &stage.config;
        let shape = [config.batch, 3, config.size, config.size];
        let learning_rate = config.learning_rate_at(batch.step, self.pictures.lens());
        let real_a = Tensor::from_slice(&batch.a, shape, &self.device)?;
        let real_b = Tensor::from_slice(&batch.b, shape, &self.device)?;
        let scales = self.model.loss_scales();
        let losses = self.model.step(&real_a, &real_b, learning_rate)?;
        let losses = losses.read_later()?;
        self.record_losses()?;
        let step = batch.step + 1;
        self.say_what_was_skipped(step, scales);
        self.unread = Some(Unread {
            step,
            learning_rate,
            loss_scales: scales.map(|scales| scales.map(|scale| scale.factor())),
            losses,
        });
        Ok(())
    }

    /// Names the networks that a step left as they were, given how losses were scaled before it.
    fn say_what_was_skipped(&self, step: u64, before: Option<[LossScale; 2]>) {
        let (Some(before), Some(after)) = (before, self.model.loss_scales()) else {
            return;
        };
        for (i, networks) in ["generators", "discriminators"].into_iter().enumerate() {
            if after[i].skipped() > before[i].skipped() {
                self.progress.line(&format!(
                    "step {step}: a gradient overflowed half precision; the {networks} stay as they \
                     are, the loss scale is now {}",
                    after[i].factor()
                ));
            }
        }
    }

    /// Waits for the last step's losses, if they were not read yet, and writes them down.
    fn record_losses(&mut self) -> Result<()> {
        let Some(Unread {
            step,
            learning_rate,
            loss_scales,
            losses,
        }) = self.unread.take()
        else {
            return Ok(());
        };
        let losses = losses.wait()?;
        check_finite(&losses, step)?;
        self.metrics
            .append(step, &losses, learning_rate, loss_scales)?;
        self.progress.step(step, &losses);
        Ok(())
    }

    fn say_goodbye(&self, took: Duration) {
        let run = self.dir.path().display();
        let newest: PathBuf = self.dir.samples().join(format!("{:06}.png", self.total));
        eprintln!(
            "done after {}: {}",
            report::duration(took),
            self.progress.losses()
        );
        eprintln!("memory      {}", self.planned.measured(&self.device));
        eprintln!("look at     {}", newest.display());
        eprintln!(
            "translate   cargo run -p trainer -- translate {run} --input PICTURE --output FOLDER"
        );
    }
}

/// Numbers that are none would be trained into every weight.
fn check_finite(losses: &Losses<f32>, step: u64) -> Result<()> {
    let broken = losses
        .named()
        .into_iter()
        .find(|(_, value)| !value.is_finite());
    if let Some((name, value)) = broken {
        bail!(
            "the loss {name} became {value} in step {step}; the checkpoints before it are whole. \
             A lower --learning-rate usually helps"
        );
    }
    Ok(())
}
