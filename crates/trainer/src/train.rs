//! `trainer train`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cyclegan::{Config, CycleGan, Losses, LossesReading};
use indicatif::ProgressBar;
use nn::LossScale;
use tensor::{Device, Tensor};

use crate::cli::TrainArgs;
use crate::data::{Dataset, Loader};
use crate::report::{self, Progress};
use crate::run_dir::{Metrics, RunDir};
use crate::sample::Samples;
use crate::settings::Settings;
use crate::{checkpoint, demo, devices, interrupt};

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
    let dataset = Arc::new(open_dataset(&data, &settings.model, args.quiet)?);
    let total = settings.model.total_steps(dataset.lens());
    announce(&settings, &device, &dataset, total, args.quiet)?;

    let mut model = CycleGan::new(&settings.model, &device)?;
    let dir = match &args.resume {
        Some(run) => {
            let dir = RunDir::open(run)?;
            let checkpoint = checkpoint::load(run, &device)?;
            if checkpoint.steps >= total {
                bail!(
                    "the run in {} has taken its {total} steps; give more with --steps",
                    run.display()
                );
            }
            model.load_state(&checkpoint.state, checkpoint.steps)?;
            settings.run.out = run.clone();
            dir.write_config(&settings)?;
            dir
        }
        None => RunDir::create(&mut settings)?,
    };
    let training = Training {
        samples: Samples::pick(&data, settings.model.size)?,
        loader: Loader::start(dataset.clone(), &settings.model, model.steps()),
        metrics: dir.metrics(model.steps())?,
        progress: Progress::start(model.steps(), total, settings.model.batch, args.quiet),
        domains: dataset.lens(),
        model,
        settings,
        dir,
        device,
        total,
        unread: None,
    };
    training.train()
}

fn open_dataset(data: &Path, config: &Config, quiet: bool) -> Result<Dataset> {
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        report::bar(0, "reading pictures")
    };
    let dataset = Dataset::open(data, config, &bar);
    bar.finish_and_clear();
    dataset
}

/// Says what is going to happen. Time and memory are measured: two steps on noise, with networks
/// that are thrown away, which also shows now whether the device has room.
fn announce(
    settings: &Settings,
    device: &Device,
    dataset: &Dataset,
    total: u64,
    quiet: bool,
) -> Result<()> {
    let Settings { model: config, .. } = settings;
    let mut model = CycleGan::new(config, device)?;
    let (generator, discriminator) = model.parameter_counts();
    if !quiet {
        let [a, b] = dataset.lens();
        eprintln!("device      {device}");
        eprintln!(
            "pictures    {a} of A, {b} of B, trained at {0}×{0}",
            config.size
        );
        eprintln!("parameters  2 × {generator} (generators), 2 × {discriminator} (discriminators)");
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
        let (_, peak) = device.memory_in_use();
        eprintln!("memory      {} for tensors", report::bytes(peak));
        let whole = each.saturating_mul(total.try_into().unwrap_or(u32::MAX));
        eprintln!(
            "time        about {} for {total} steps of {:.2} s",
            report::duration(whole),
            each.as_secs_f64()
        );
    }
    Ok(())
}

/// A run in progress.
struct Training {
    settings: Settings,
    dir: RunDir,
    device: Device,
    model: CycleGan,
    samples: Samples,
    loader: Loader,
    metrics: Metrics,
    progress: Progress,
    domains: [usize; 2],
    total: u64,
    /// Losses of the last step, which are read when the next is on its way.
    unread: Option<Unread>,
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
    fn train(mut self) -> Result<Ending> {
        let begun = Instant::now();
        self.progress
            .line(&format!("run         {}", self.dir.path().display()));
        if self.model.steps() == 0 {
            self.samples.write(&self.model, &self.dir, &self.device)?;
        }
        while self.model.steps() < self.total {
            self.step()?;
            let step = self.model.steps();
            let is_last = step == self.total;
            let stop = interrupt::is_requested();
            let sample_due = step.is_multiple_of(self.settings.run.sample_every);
            let checkpoint_due = step.is_multiple_of(self.settings.run.checkpoint_every);
            if is_last || stop || checkpoint_due {
                // A step whose losses are no numbers must not become a checkpoint.
                self.record_losses()?;
            }
            if sample_due || step == EARLY_SAMPLE || is_last || stop {
                self.samples.write(&self.model, &self.dir, &self.device)?;
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
        self.progress.finish();
        if !self.progress.is_quiet() {
            self.say_goodbye(begun.elapsed());
        }
        Ok(Ending::Finished)
    }

    fn step(&mut self) -> Result<()> {
        let config = &self.settings.model;
        let shape = [config.batch, 3, config.size, config.size];
        let batch = self.loader.next()?;
        let learning_rate = config.learning_rate_at(batch.step, self.domains);
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
