//! `trainer train`

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cyclegan::{Model, Outcome, OutcomeReading, Stage};
use indicatif::ProgressBar;
use nn::LossScale;
use serde_json::{Map, Value};
use tensor::{Device, Tensor};

use crate::checkpoint::{self, Checkpoint, Header};
use crate::cli::TrainArgs;
use crate::data::{Batch, Dataset, Loader, Pictures, Seen};
use crate::faults::{Fault, NotFinite};
use crate::health::Health;
use crate::history::History;
use crate::pace::Pace;
use crate::perception::Sight;
use crate::rate::Rate;
use crate::report::{self, Progress};
use crate::run_dir::{Lines, Lock, RunDir};
use crate::sample::{Samples, Statistics};
use crate::scores::{Score, Scores};
use crate::settings::{OnNan, Settings};
use crate::tensorboard::TensorBoard;
use crate::{demo, devices, disk, interrupt, memory, watch};

/// A sample sheet this early shows whether anything moves.
const EARLY_SAMPLE: u64 = 100;

/// Faults of a device, or ways back to a checkpoint, without a new checkpoint between them, after which a run
/// ends.
const MOST_FAULTS: u32 = 3;

/// Steps skipped or passed over one after another after which a run ends: the networks are beyond help.
const MOST_SKIPPED: u32 = 20;

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
    let progress = Progress::start(args.quiet);
    let beginning = match &args.resume {
        Some(run) => Beginning::resumed(run, args, &progress)?,
        None => Beginning::new(args)?,
    };
    let settings = &beginning.settings;
    let known = beginning
        .header
        .as_ref()
        .map_or("", |header| &header.kernels);
    let device = devices::open(&settings.run.device, settings.run.autotune, known)?;
    let data = match settings.run.data.as_os_str().is_empty() {
        true => demo::ensure(args.quiet)?,
        false => settings.run.data.clone(),
    };
    let pictures = Pictures::list(&data, &settings.run)?;
    let fingerprint = pictures.fingerprint()?;
    let stages = settings.model.stages(pictures.lens());
    let total = stages.last().map_or(0, |stage| stage.end);
    if let (Some(run), Some(header)) = (&args.resume, &beginning.header) {
        if header.steps >= total {
            let option = match settings.model.stages.is_empty() {
                true => "--steps",
                false => "--stages",
            };
            bail!(
                "the run in {} has taken its {total} steps; give more with {option}",
                run.display()
            );
        }
        beginning.say_what_differs(header, &device, &fingerprint, &progress);
    }
    let (steps, taken) = match &beginning.header {
        Some(header) => (header.steps, header.pictures),
        None => (0, 0),
    };
    let left = left(&stages, steps, taken);
    let present = left.first().context("the run has no steps")?;
    let open = || Material::open(&pictures, present, steps, args.quiet);
    // What can't be used should be found before anything is written.
    drop(Scores::open(&settings.run, &pictures, &device)?);
    let sight = Sight::of(settings)?;
    let (planned, material) = match present.config.preprocess.crops() {
        true => {
            let planned = memory::check(&device, pictures.lens(), &left, &sight)?;
            announce(&device, &pictures, &left, &planned, &sight, args.quiet)?;
            (planned, open()?)
        }
        // Only they tell how large they are.
        false => {
            let material = open()?;
            let left = [material.as_large_as_any(present)];
            let planned = memory::check(&device, pictures.lens(), &left, &sight)?;
            announce(&device, &pictures, &left, &planned, &sight, args.quiet)?;
            (planned, material)
        }
    };
    let Beginning {
        mut settings,
        changes,
        place,
        ..
    } = beginning;
    let (dir, lock) = match place {
        Some(place) => place,
        None => RunDir::create(&mut settings)?,
    };
    dir.write_config(&settings)?;
    let mut history = History::open(&dir)?;
    history.began(steps, total, &device, &fingerprint, &changes)?;
    let run = Run {
        settings,
        pictures,
        fingerprint,
        stages,
        total,
        dir,
        _lock: lock,
        history,
        progress,
        passed_over: BTreeSet::new(),
        planned,
        sight,
    };
    run.train(device, material)
}

/// What a run begins or goes on with.
struct Beginning {
    settings: Settings,
    /// Of the checkpoint that it goes on from.
    header: Option<Header>,
    /// Options that it has otherwise from now on.
    changes: Vec<String>,
    /// Its folder, if there is one already.
    place: Option<(RunDir, Lock)>,
}

impl Beginning {
    fn new(args: &TrainArgs) -> Result<Self> {
        let mut settings = Settings::resolve(args.config.as_deref(), &args.options)?;
        settings.run.data = absolute(&settings.run.data)?;
        settings.run.features = absolute(&settings.run.features)?;
        settings.run.perceptual = absolute(&settings.run.perceptual)?;
        settings.run.identity = absolute(&settings.run.identity)?;
        Ok(Beginning {
            settings,
            header: None,
            changes: Vec::new(),
            place: None,
        })
    }

    /// The settings of a run's newest checkpoint, with what its `config.toml` and the command line say
    /// otherwise.
    fn resumed(run: &Path, args: &TrainArgs, progress: &Progress) -> Result<Self> {
        let dir = RunDir::open(run)?;
        let lock = dir.lock()?;
        let checkpoint = Checkpoint::newest(&dir, |damage| progress.say(damage))?;
        let header = checkpoint.map(|checkpoint| checkpoint.header);
        let config = dir.config();
        let mut settings = match &header {
            Some(header) => {
                let text = fs::read_to_string(&config).unwrap_or_default();
                if text.trim().is_empty() {
                    progress.say(&format!(
                        "{} is gone; going on with the settings of the checkpoint",
                        config.display()
                    ));
                }
                let settings = header.settings.with(&text, &args.options);
                settings.with_context(|| {
                    format!(
                        "the options in {} and on the command line",
                        config.display()
                    )
                })?
            }
            None => Settings::resolve(Some(&config), &args.options)?,
        };
        if args.options.data.is_some() {
            settings.run.data = absolute(&settings.run.data)?;
        }
        settings.run.features = absolute(&settings.run.features)?;
        settings.run.perceptual = absolute(&settings.run.perceptual)?;
        settings.run.identity = absolute(&settings.run.identity)?;
        settings.run.out = run.to_owned();
        let changes = match &header {
            Some(header) => settings.changes(&header.settings)?,
            None => Vec::new(),
        };
        for change in &changes {
            progress.say(&format!("from now on  {change}"));
        }
        Ok(Beginning {
            settings,
            header,
            changes,
            place: Some((dir, lock)),
        })
    }

    /// Says why the run won't be bit for bit what it would have been without the break, if so.
    fn say_what_differs(
        &self,
        header: &Header,
        device: &Device,
        fingerprint: &str,
        progress: &Progress,
    ) {
        // One that was imported has not begun.
        if header.steps == 0 {
            return;
        }
        if header.fingerprint != fingerprint {
            progress.say(&format!(
                "the pictures have changed: {fingerprint} now, {} before; the run goes on with what is \
                 there",
                header.fingerprint
            ));
        }
        let now = device.to_string();
        if header.device != now {
            progress.say(&format!(
                "the run was computed on {} before and is on {now} now, which rounds otherwise",
                header.device
            ));
        }
    }
}

/// A path that means the same in another working folder. The empty one stays.
///
/// # Errors
/// When it can't be one.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Ok(PathBuf::new());
    }
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

/// What is left of stages after some steps, by which the run took so many pictures of each domain.
fn left(stages: &[Stage], steps: u64, pictures: u64) -> Vec<Stage> {
    let open = stages.iter().filter(|stage| stage.end > steps).cloned();
    open.map(|stage| match stage.first <= steps {
        true => stage.resumed(steps, pictures),
        false => stage,
    })
    .collect()
}

/// The pictures that a stage trains on, and those that show how far it got.
struct Material {
    loader: Loader,
    samples: Samples,
    /// Pixels of the largest picture.
    largest: u64,
}

impl Material {
    /// Reads the pictures for a stage, which begins or goes on with step `first`.
    fn open(pictures: &Pictures, stage: &Stage, first: u64, quiet: bool) -> Result<Self> {
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => report::bar(0, "reading pictures"),
        };
        let dataset = Dataset::open(pictures, &stage.config, &bar);
        bar.finish_and_clear();
        let dataset = dataset?;
        Ok(Material {
            largest: dataset.largest(),
            loader: Loader::start(dataset, stage, first),
            samples: Samples::pick(pictures, &stage.config)?,
        })
    }

    /// The stage with a square as large as its largest picture, which is not cropped.
    fn as_large_as_any(&self, stage: &Stage) -> Stage {
        let mut stage = stage.clone();
        let side = (self.largest as f64).sqrt().ceil() as usize;
        stage.config.size = side.next_multiple_of(stage.config.generator.multiple_of());
        stage.config.load_size = stage.config.size;
        stage
    }
}

/// Says what is going to happen. Time is measured: two steps on noise, as large as the largest stage's, with
/// networks that are thrown away, which also shows now whether the device has room.
fn announce(
    device: &Device,
    pictures: &Pictures,
    stages: &[Stage],
    planned: &memory::RunPlan,
    sight: &Sight,
    quiet: bool,
) -> Result<()> {
    let largest = stages.iter().max_by_key(|stage| stage.pixels());
    let largest = largest.context("the run has no steps")?;
    let config = &largest.config;
    let mut model = cyclegan::model(config, device)?;
    sight.train(&mut *model, device)?;
    if !quiet {
        let [a, b] = pictures.lens();
        let sizes = stages.iter().map(|Stage { config, .. }| config.size);
        let sizes: Vec<String> = sizes.map(|size| format!("{size}×{size}")).collect();
        eprintln!("device      {device}");
        eprintln!(
            "pictures    {a} of A, {b} of B, trained at {}",
            sizes.join(", ")
        );
        let parameters = model.parameter_counts();
        let parameters = parameters
            .iter()
            .map(|(name, count)| format!("{count} in {name}"));
        eprintln!("parameters  {}", parameters.collect::<Vec<_>>().join(", "));
        eprintln!("memory      {planned}");
    }
    let [a, b] = cyclegan::noise(config, device)?;
    let mut each = Duration::ZERO;
    for _ in 0..2 {
        let begun = Instant::now();
        model
            .step(&a, &b, config.learning_rate)?
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

/// A run with all that outlasts a fault of its device.
struct Run {
    settings: Settings,
    pictures: Pictures,
    fingerprint: String,
    stages: Vec<Stage>,
    total: u64,
    dir: RunDir,
    _lock: Lock,
    history: History,
    progress: Progress,
    /// Steps that are not to be taken, beside those that the checkpoint knows of.
    passed_over: BTreeSet<u64>,
    planned: memory::RunPlan,
    sight: Sight,
}

impl Run {
    /// Trains to the end. After a fault of the device, or a step that was rolled back, begins again from the
    /// newest checkpoint: what it lacks comes out as it did the first time.
    fn train(mut self, device: Device, material: Material) -> Result<Ending> {
        let begun = Instant::now();
        self.progress
            .line(&format!("run         {}", self.dir.path().display()));
        let (mut device, mut material) = (device, Some(material));
        let (mut faults, mut newest) = (0, None);
        let outcome = loop {
            let error = match self.attempt(device.clone(), material.take()) {
                Ok(ending) => break Ok(ending),
                Err(error) => error,
            };
            let Some(fault) = Fault::of(&error, self.settings.run.on_nan) else {
                break Err(error);
            };
            let reached = self.newest();
            faults = if reached == newest { faults + 1 } else { 1 };
            newest = reached;
            if faults > MOST_FAULTS {
                break Err(error.context(format!(
                    "it went wrong {faults} times since the last checkpoint"
                )));
            }
            self.progress.say(&format!("{error:#}"));
            let recovered = match fault {
                Fault::Device => self.reopened(&device).map(|fresh| device = fresh),
                Fault::NotFinite(step) => {
                    self.passed_over.insert(step);
                    Ok(())
                }
            };
            if let Err(error) = recovered {
                break Err(error);
            }
            self.history.recovered(&format!("{error:#}"))?;
        };
        self.progress.finish();
        // A full disk or the like is told by the error that ended the run.
        let _ = self.history.ended(self.newest().unwrap_or(0), &outcome);
        match outcome {
            Ok(Ending::Finished) if !self.progress.is_quiet() => {
                self.say_goodbye(begun.elapsed(), &device);
            }
            Err(error) => return Err(error.context(self.how_to_go_on())),
            Ok(_) => {}
        }
        // It takes memory, and comes after what the run took was told.
        match watch::write_report(&self.dir) {
            Ok(path) if !self.progress.is_quiet() => eprintln!("report      {}", path.display()),
            Ok(_) => {}
            Err(error) => self
                .progress
                .say(&format!("the report is left out: {error:#}")),
        }
        outcome
    }

    /// The steps of the newest checkpoint, if there is one to be seen.
    fn newest(&self) -> Option<u64> {
        let all = checkpoint::list(&self.dir).unwrap_or_default();
        checkpoint::steps_of(all.last()?)
    }

    /// A fresh device in place of one that failed.
    fn reopened(&self, failed: &Device) -> Result<Device> {
        let run = &self.settings.run;
        let fresh = devices::open(&run.device, run.autotune, &failed.choices())
            .context("the device failed, and can't be opened again")?;
        self.progress
            .say(&format!("going on from the last checkpoint on {fresh}"));
        Ok(fresh)
    }

    fn how_to_go_on(&self) -> String {
        format!(
            "the run ended before its time; go on from its last checkpoint with `cargo run -p trainer -- \
             --resume {}`, where --device cpu takes the processor",
            self.dir.path().display()
        )
    }

    /// Trains from the newest checkpoint, or the beginning.
    fn attempt(&mut self, device: Device, material: Option<Material>) -> Result<Ending> {
        self.dir.sweep();
        let mut model = cyclegan::model(&self.settings.model, &device)?;
        self.sight.train(&mut *model, &device)?;
        let (mut pictures, mut passed_over) = (0, self.passed_over.clone());
        let mut rate = Rate::default();
        if let Some(checkpoint) = Checkpoint::newest(&self.dir, |_| ())? {
            let Header { steps, .. } = checkpoint.header;
            model.load_state(&checkpoint.state(&device)?, steps)?;
            // What was read and what it replaced were there at once, which the plan does not count.
            device.trim()?;
            pictures = checkpoint.header.pictures;
            rate = checkpoint.header.rate;
            passed_over.extend(checkpoint.header.passed_over);
        }
        let steps = model.steps();
        checkpoint::set_aside(&self.dir, steps)?;
        let stages = left(&self.stages, steps, pictures);
        let metrics = self.dir.metrics(steps)?;
        let scores = Scores::open(&self.settings.run, &self.pictures, &device)?
            .map(|scores| scores.resumed(&self.dir));
        let training = Training {
            metrics,
            scores: scores.transpose()?,
            pace: Pace::open(&self.dir, steps)?,
            board: match self.settings.run.tensorboard {
                true => Some(TensorBoard::open(&self.dir, steps)?),
                false => None,
            },
            health: Health::new(self.settings.model.gan_mode, self.settings.model.method),
            run: self,
            passed_over,
            rate,
            model,
            device,
            unread: None,
            skipped: 0,
        };
        training.train(&stages, material)
    }

    fn say_goodbye(&self, took: Duration, device: &Device) {
        let run = self.dir.path().display();
        let newest: PathBuf = self.dir.samples().join(format!("{:06}.png", self.total));
        eprintln!(
            "done after {}: {}",
            report::duration(took),
            self.progress.losses()
        );
        eprintln!("memory      {}", self.planned.measured(device));
        eprintln!("look at     {}", newest.display());
        eprintln!(
            "translate   cargo run -p trainer -- translate {run} --input PICTURE --output FOLDER"
        );
    }
}

/// A run on a device.
struct Training<'a> {
    run: &'a mut Run,
    device: Device,
    model: Box<dyn Model>,
    metrics: Lines,
    /// With `--eval-every`.
    scores: Option<Scores>,
    pace: Pace,
    board: Option<TensorBoard>,
    health: Health,
    passed_over: BTreeSet<u64>,
    rate: Rate,
    /// What the last step gave, which is read when the next is on its way.
    unread: Option<Unread>,
    /// Steps skipped or passed over since the last that was not.
    skipped: u32,
}

/// What a step left on the device.
struct Unread {
    step: u64,
    learning_rate: f32,
    /// What the losses of generators and discriminators were multiplied with, in mixed precision.
    loss_scales: Option<[f32; 2]>,
    files: Vec<[PathBuf; 2]>,
    outcome: OutcomeReading,
    /// Of a sample sheet after the step.
    statistics: Option<Statistics>,
    /// Of an evaluation after the step.
    score: Option<Score>,
}

impl Training<'_> {
    /// Takes the steps that are left; `material` is that of the first stage, if it was opened already.
    fn train(mut self, stages: &[Stage], mut material: Option<Material>) -> Result<Ending> {
        let all = self.run.stages.len();
        for (i, stage) in stages.iter().enumerate() {
            let steps = self.model.steps();
            let quiet = self.run.progress.is_quiet();
            let material = match material.take() {
                Some(material) => material,
                None => Material::open(&self.run.pictures, stage, steps, quiet)?,
            };
            if stage.config.preprocess.crops() {
                self.model.change_size(stage.config.size);
            }
            if all > 1 {
                // Buffers of another stage's sizes are of no use.
                self.device.trim()?;
            }
            let progress = &mut self.run.progress;
            if all > 1 {
                let Stage { end, config, .. } = stage;
                progress.line(&format!(
                    "stage {} of {all}: {2}×{2}, batch {3}, steps {1} to {end}",
                    all - stages.len() + i + 1,
                    steps + 1,
                    config.size,
                    config.batch,
                ));
            }
            let end = stage.end as f64 + steps_like(stage, &stages[i + 1..]);
            progress.stage(steps, self.run.total, stage.config.batch, end);
            if self.go_through(stage, material)? == Ending::Interrupted {
                return Ok(Ending::Interrupted);
            }
        }
        Ok(Ending::Finished)
    }

    /// Takes the steps of a stage.
    fn go_through(&mut self, stage: &Stage, material: Material) -> Result<Ending> {
        let Material {
            mut loader,
            samples,
            ..
        } = material;
        if self.model.steps() == 0 {
            self.sample(&samples)?;
        }
        while self.model.steps() < stage.end {
            let batch = loader.next()?;
            match self.passed_over.contains(&(batch.step + 1)) {
                true => self.pass_over(&batch)?,
                false => self.step(stage, batch)?,
            }
            let settings = &self.run.settings.run;
            let step = self.model.steps();
            let is_last = step == self.run.total;
            let stop = interrupt::is_requested();
            let is_due = |every: u64| step.is_multiple_of(every);
            let sample_due = is_due(settings.sample_every) || step == EARLY_SAMPLE || is_last;
            let checkpoint_due = is_due(settings.checkpoint_every) || is_last || stop;
            // Networks may be beyond help where steps are skipped; the last good ones must not make room.
            let checkpoint_due = checkpoint_due && (self.skipped == 0 || is_last || stop);
            let best = match settings.eval_every > 0 && is_due(settings.eval_every) {
                true => self.evaluate(stage)?,
                false => None,
            };
            // The best is kept, due or not.
            let checkpoint_due = checkpoint_due || (best.is_some() && self.skipped == 0);
            if sample_due {
                let statistics = self.sample(&samples)?;
                if let Some(unread) = &mut self.unread {
                    unread.statistics = statistics;
                }
            }
            if checkpoint_due || step == stage.end {
                // A step whose losses are no numbers must not become a checkpoint.
                self.record()?;
            }
            if checkpoint_due {
                self.save(stage)?;
                if let (Some(best), Some(scores)) = (best, &mut self.scores) {
                    scores.kept(&self.run.dir, step, best)?;
                }
            }
            if stop && !is_last {
                self.run.progress.finish();
                eprintln!(
                    "stopped after step {step} of {}; the run is saved",
                    self.run.total
                );
                let run = self.run.dir.path().display();
                eprintln!("go on with: cargo run -p trainer -- --resume {run}");
                return Ok(Ending::Interrupted);
            }
        }
        Ok(Ending::Finished)
    }

    /// Writes a sample sheet.
    fn sample(&mut self, samples: &Samples) -> Result<Option<Statistics>> {
        let Run { dir, progress, .. } = &*self.run;
        let (sheet, statistics) = samples.translate(&*self.model, &self.device)?;
        let steps = self.model.steps();
        let path = dir.samples().join(format!("{steps:06}.png"));
        disk::patiently(progress, || Ok(images::save_png(&path, &sheet)?))?;
        if let Some(board) = &mut self.board {
            let size = [sheet.width(), sheet.height()];
            board.picture(steps, "samples", size, &fs::read(&path)?);
        }
        Ok(statistics)
    }

    /// Evaluates the networks, if the step was taken. Returns the figure that tells the best checkpoint, where none
    /// was better before.
    fn evaluate(&mut self, stage: &Stage) -> Result<Option<f64>> {
        let (Some(scores), Some(unread)) = (&mut self.scores, &mut self.unread) else {
            return Ok(None);
        };
        let score = scores.of(&*self.model, stage.config.size, &self.device)?;
        let line = format!("step {}: {}", unread.step, score.line);
        self.run.progress.line(&line);
        let best = score.best;
        unread.score = Some(score);
        Ok(best)
    }

    /// Writes a checkpoint.
    fn save(&mut self, stage: &Stage) -> Result<()> {
        let run = &*self.run;
        let steps = self.model.steps();
        let header = Header {
            settings: run.settings.clone(),
            steps,
            pictures: stage.pictures_before(steps),
            passed_over: self.passed_over.clone(),
            rate: self.rate.clone(),
            kernels: self.device.choices(),
            device: self.device.to_string(),
            fingerprint: run.fingerprint.clone(),
        };
        let state = self.model.state()?;
        self.metrics.sync()?;
        if let Some(board) = &mut self.board {
            disk::patiently(&run.progress, || board.write())?;
        }
        disk::patiently(&run.progress, || {
            checkpoint::save(&run.dir, &state, &header)
        })
    }

    fn step(&mut self, stage: &Stage, batch: Batch) -> Result<()> {
        let config = &stage.config;
        let domains = self.run.pictures.lens();
        let learning_rate = self.rate.at(batch.step, config, domains);
        let tensor = |seen: &Seen| Tensor::from_slice(&seen.values, seen.shape, &self.device);
        let (real_a, real_b) = (tensor(&batch.a)?, tensor(&batch.b)?);
        let scales = self.model.loss_scales();
        let outcome = self.model.step(&real_a, &real_b, learning_rate)?;
        let outcome = outcome.read_later()?;
        self.record()?;
        let step = batch.step + 1;
        self.say_what_overflowed(step, scales);
        self.unread = Some(Unread {
            step,
            learning_rate,
            loss_scales: scales.map(|scales| scales.map(|scale| scale.factor())),
            files: batch.files,
            outcome,
            statistics: None,
            score: None,
        });
        Ok(())
    }

    /// Lets a step's pictures go by.
    fn pass_over(&mut self, batch: &Batch) -> Result<()> {
        self.record()?;
        self.model.pass_over();
        self.skipped += 1;
        let line = Map::from_iter([
            ("step".to_owned(), Value::from(batch.step + 1)),
            ("passed_over".to_owned(), true.into()),
        ]);
        disk::patiently(&self.run.progress, || self.metrics.append(line.clone()))
    }

    /// Names the networks that a step left as they were, given how losses were scaled before it.
    fn say_what_overflowed(&self, step: u64, before: Option<[LossScale; 2]>) {
        let (Some(before), Some(after)) = (before, self.model.loss_scales()) else {
            return;
        };
        for (i, networks) in ["generators", "discriminators"].into_iter().enumerate() {
            if after[i].skipped() > before[i].skipped() {
                self.run.progress.line(&format!(
                    "step {step}: a gradient overflowed half precision; the {networks} stay as they \
                     are, the loss scale is now {}",
                    after[i].factor()
                ));
            }
        }
    }

    /// Waits for what the last step gave, if it was not read yet, and writes it down.
    fn record(&mut self) -> Result<()> {
        let Some(unread) = self.unread.take() else {
            return Ok(());
        };
        let is_mixed = unread.loss_scales.is_some();
        let outcome = unread.outcome.wait()?;
        if let Some(what) = not_finite(&outcome, is_mixed) {
            let not_finite = NotFinite::new(unread.step, what, &unread.files);
            self.skipped += 1;
            if self.skipped > MOST_SKIPPED {
                bail!(
                    "{not_finite}. It was so for {MOST_SKIPPED} steps before, too, and will stay so"
                );
            }
            if self.run.settings.run.on_nan != OnNan::Skip {
                return Err(not_finite.into());
            }
            self.run
                .progress
                .say(&format!("{not_finite}; the step is skipped"));
        } else {
            self.skipped = 0;
        }
        let mut line = Map::new();
        line.insert("step".into(), unread.step.into());
        let terms = outcome
            .named()
            .map(|(name, value)| (name.to_owned(), *value));
        let scales = ["loss_scale_G", "loss_scale_D"]
            .map(String::from)
            .into_iter();
        let scales = scales.zip(unread.loss_scales.into_iter().flatten());
        let shown = unread.statistics.iter().flat_map(Statistics::named);
        for (name, value) in terms
            .chain([("learning_rate".to_owned(), unread.learning_rate)])
            .chain(scales)
            .chain(shown)
        {
            line.insert(name, value.into());
        }
        let scored = unread.score.into_iter().flat_map(|score| score.named);
        line.extend(scored.map(|(name, value)| (name, value.into())));
        disk::patiently(&self.run.progress, || self.metrics.append(line.clone()))?;
        if let Some(board) = &mut self.board {
            board.scalars(unread.step, &line);
            disk::patiently(&self.run.progress, || board.write_now_and_then())?;
        }
        let images = unread.files.len();
        self.pace.step(unread.step, images, &self.device);
        self.rate.recorded(unread.step, &outcome.losses);
        let mut noticed = self.health.step(&outcome.losses);
        noticed.extend(
            unread
                .statistics
                .iter()
                .flat_map(|statistics| self.health.sampled(statistics)),
        );
        for advice in noticed {
            self.run
                .progress
                .line(&format!("step {}: {advice}", unread.step));
        }
        self.run.progress.step(unread.step, &outcome.losses);
        Ok(())
    }
}

/// Which of a step's numbers are not finite, if any. In mixed precision gradients may overflow now and then;
/// the loss scale sees to that.
fn not_finite(outcome: &Outcome<f32>, is_mixed: bool) -> Option<String> {
    let mut broken = String::new();
    let gradients = outcome
        .gradient_norms
        .iter()
        .zip(["the generators", "the discriminators"]);
    for (name, value) in outcome.losses.named() {
        if !value.is_finite() {
            let _ = write!(broken, "{}the loss {name} ({value})", comma(&broken));
        }
    }
    for (norm, networks) in gradients {
        if !norm.is_finite() && !is_mixed {
            let _ = write!(broken, "{}the gradient of {networks}", comma(&broken));
        }
    }
    (!broken.is_empty()).then_some(broken)
}

fn comma(before: &str) -> &'static str {
    if before.is_empty() { "" } else { ", " }
}
