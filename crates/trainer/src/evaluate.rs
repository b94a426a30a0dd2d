//! `trainer evaluate`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cyclegan::Generator;
use images::RgbImage;
use indicatif::ProgressBar;
use metrics::{Features, Kid, Look, Network, features};
use nn::Module;
use rand::seq::index::sample;
use serde_json::{Map, Value, json};
use tensor::{Device, Tensor, no_grad};

use crate::checkpoint::{self, Checkpoint};
use crate::cli::{Direction, EvaluateArgs};
use crate::data::Pictures;
use crate::run_dir::RunDir;
use crate::train::Ending;
use crate::{data, demo, interrupt, report};

/// The most pictures of each domain, spread evenly over it.
const PICTURES: usize = 1000;
/// The most pairs of translations whose LPIPS is taken.
const PAIRS: usize = 100;
/// What pairs and subsets are drawn by.
const SEED: u64 = 0;

/// Says how good a checkpoint's translations are.
///
/// # Errors
/// With what is wrong and what to do.
pub fn run(args: &EvaluateArgs) -> Result<Ending> {
    interrupt::listen();
    let device = args.device.open()?;
    let checkpoint = find(&args.run, args.step)?;
    let settings = &checkpoint.header.settings;
    let data = match &args.data {
        Some(data) => data.clone(),
        None if settings.run.data.as_os_str().is_empty() => demo::ensure(args.quiet)?,
        None => settings.run.data.clone(),
    };
    let [a, b] = Pictures::list(&data, &settings.run)?.held_out();
    let model = cyclegan::model(&settings.model, &device)?;
    model.load_networks(&checkpoint.state(&device)?)?;
    let generator = args.direction.generator(&*model)?;
    let (back, [from, to]) = match args.direction {
        Direction::AtoB => (model.b_to_a(), [a, b]),
        Direction::BtoA => (Some(model.a_to_b()), [b, a]),
    };
    let network = match &args.features {
        Some(file) => Some(Network::load(file, &device)?),
        None => None,
    };

    let bar = match args.quiet {
        true => ProgressBar::hidden(),
        false => report::bar(0, "evaluating"),
    };
    let evaluation = Evaluation {
        generator,
        back,
        size: settings.model.last_size(),
        seen_at: args.size,
        network: network.as_ref(),
        device: &device,
        bar: &bar,
    };
    let evaluated = evaluation.of(&from, &to);
    bar.finish_and_clear();
    let Some(figures) = evaluated? else {
        eprintln!("stopped");
        return Ok(Ending::Interrupted);
    };
    let about = [
        ("run", args.run.display().to_string().into()),
        ("step", checkpoint.header.steps.into()),
        ("size", settings.model.last_size().into()),
        ("inputs", from.to_json()),
        ("targets", to.to_json()),
    ];
    match args.json {
        true => {
            let figures: Vec<Value> = figures.iter().map(Figure::to_json).collect();
            let about = about.map(|(key, value)| (key.to_owned(), value));
            let mut all = Map::from_iter(about);
            all.insert("figures".to_owned(), figures.into());
            report::result(&Value::Object(all).to_string());
        }
        false => {
            report::result(&format!(
                "step {}, {} px: {from} to {to}\n",
                checkpoint.header.steps,
                settings.model.last_size()
            ));
            let head = ["", "value", "±", "pictures", "by"].map(str::to_owned);
            let rows: Vec<_> = [head]
                .into_iter()
                .chain(figures.iter().map(Figure::row))
                .collect();
            for line in crate::runs::aligned(&rows) {
                report::result(&line);
            }
        }
    }
    if network.is_none() {
        eprintln!(
            "\nKID, FID and LPIPS need a network's weights, --features FILE; this gets some (61 MB, BSD-2-Clause):\n    \
             pip download --no-deps stlpips-pytorch==0.0.2\n    \
             unzip -j stlpips_pytorch-0.0.2-py3-none-any.whl '*/vgg_shift_tolerant.pth'"
        );
    }
    Ok(Ending::Finished)
}

/// A checkpoint file, or that of a run after some steps, or its newest.
fn find(run: &Path, step: Option<u64>) -> Result<Checkpoint> {
    let Some(step) = step else {
        return Checkpoint::find(run, |damage| eprintln!("{damage}"));
    };
    if run.is_file() {
        bail!(
            "--step goes with a run's folder; {} is a file",
            run.display()
        );
    }
    let all = checkpoint::list(&RunDir::open(run)?)?;
    let found = all
        .iter()
        .find(|path| checkpoint::steps_of(path) == Some(step));
    let there = || {
        all.iter()
            .filter_map(|path| Some(checkpoint::steps_of(path)?.to_string()))
    };
    Checkpoint::verify(found.with_context(|| {
        format!(
            "the run in {} has no checkpoint after step {step}; it has those after {}",
            run.display(),
            there().collect::<Vec<_>>().join(", ")
        )
    })?)
}

/// Pictures to evaluate with.
pub struct HeldOut {
    /// `testA`, or `trainA` where there is none.
    pub folder: String,
    pub files: Vec<PathBuf>,
    /// Whether they were not trained on.
    pub is_test: bool,
}

impl HeldOut {
    /// As many as are looked at, spread evenly.
    fn chosen(&self) -> Vec<&PathBuf> {
        data::spread(&self.files, PICTURES).collect()
    }

    fn to_json(&self) -> Value {
        json!({ "folder": self.folder, "pictures": self.chosen().len(), "test": self.is_test })
    }
}

impl std::fmt::Display for HeldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trained_on = if self.is_test { "" } else { ", trained on" };
        write!(
            f,
            "{} ({} pictures{trained_on})",
            self.folder,
            self.chosen().len()
        )
    }
}

/// A number, and what it is of.
struct Figure {
    name: &'static str,
    value: f64,
    error: Option<f64>,
    pictures: String,
    /// The network and the size that it saw pictures at, or what else it was computed by.
    by: String,
    more: Value,
}

impl Figure {
    fn row(&self) -> [String; 5] {
        [
            self.name.to_owned(),
            format!("{:.4}", self.value),
            self.error
                .map_or_else(String::new, |error| format!("{error:.4}")),
            self.pictures.clone(),
            self.by.clone(),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "error": self.error,
            "pictures": self.pictures,
            "by": self.by,
            "more": self.more,
        })
    }
}

/// What is evaluated, and how.
struct Evaluation<'a> {
    generator: &'a Generator,
    /// The way back, where there is one.
    back: Option<&'a Generator>,
    /// Side of the pictures that generators take.
    size: usize,
    /// Side of those that the network does.
    seen_at: u32,
    network: Option<&'a Network>,
    device: &'a Device,
    bar: &'a ProgressBar,
}

impl Evaluation<'_> {
    /// The figures; none when interrupted.
    fn of(&self, from: &HeldOut, to: &HeldOut) -> Result<Option<Vec<Figure>>> {
        let (from, to) = (from.chosen(), to.chosen());
        self.bar.set_length((from.len() + to.len()) as u64);
        let mut inputs = Vec::new();
        let mut outputs = Vec::new();
        let mut translations = Vec::new();
        let (mut cycle, mut lpips_cycle) = (Vec::new(), Vec::new());
        for file in &from {
            if interrupt::is_requested() {
                return Ok(None);
            }
            let (input, output, back) = self.there_and_back(file)?;
            if let Some(back) = &back {
                let pairs = input.as_raw().iter().zip(back.as_raw());
                let differences: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
                cycle.push(differences / (255.0 * input.as_raw().len() as f64));
            }
            if let Some(network) = self.network {
                let look = network.look_at(&input, self.seen_at)?;
                inputs.push(look.features()?);
                if let Some(back) = back.filter(|_| network.has_heads()) {
                    let back = network.look_at(&back, self.seen_at)?;
                    lpips_cycle.extend(network.distance(&look, &back)?);
                }
                outputs.push(network.look_at(&output, self.seen_at)?.features()?);
            }
            translations.push(output);
            self.bar.inc(1);
        }
        let mut targets = Vec::new();
        for file in &to {
            if interrupt::is_requested() {
                return Ok(None);
            }
            if let Some(network) = self.network {
                let picture = data::squared(file, self.size)?;
                targets.push(network.look_at(&picture, self.seen_at)?.features()?);
            }
            self.bar.inc(1);
        }
        let mut figures = Vec::new();
        if let Some(network) = self.network {
            let sets = [&inputs, &outputs, &targets].map(|rows| features(rows));
            figures.extend(distances(
                &sets,
                &format!("{} at {}", network.layer(), self.seen_at),
            ));
            let by = format!("{} at {}", network.name(), self.seen_at);
            if !lpips_cycle.is_empty() {
                figures.push(average("LPIPS cycle", &lpips_cycle, &by));
            }
            let diversity = self.diversity(network, &translations)?;
            if !diversity.is_empty() {
                let mut figure = average("LPIPS diversity", &diversity, &by);
                figure.pictures = format!("{} pairs", diversity.len());
                figures.push(figure);
            }
        }
        if !cycle.is_empty() {
            figures.push(average("L1 cycle", &cycle, "pixels in 0…1"));
        }
        Ok(Some(figures))
    }

    /// A picture as generators take it, translated, and translated back; in 256 levels, as files have them.
    fn there_and_back(&self, file: &Path) -> Result<(RgbImage, RgbImage, Option<RgbImage>)> {
        let size = self.size;
        let picture = data::squared(file, size)?;
        let [channels, _] = self.generator.channels();
        let planes = images::to_chw(&picture, channels);
        let input = Tensor::from_slice(&planes, [1, channels, size, size], self.device)?;
        let (output, back) = no_grad(|| -> tensor::Result<_> {
            let output = self.generator.forward(&input)?;
            let back = self.back.map(|back| back.forward(&output)).transpose()?;
            Ok((output, back))
        })?;
        let picture = |planes: &[f32]| images::from_chw(planes, size, size);
        let back = back.map(|back| anyhow::Ok(picture(&back.to_vec()?)?));
        Ok((
            picture(&planes)?,
            picture(&output.to_vec()?)?,
            back.transpose()?,
        ))
    }

    /// LPIPS of pairs of translations, drawn at random.
    fn diversity(&self, network: &Network, translations: &[RgbImage]) -> Result<Vec<f64>> {
        if !network.has_heads() || translations.len() < 2 {
            return Ok(Vec::new());
        }
        let all: Vec<(usize, usize)> = (0..translations.len())
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .collect();
        let mut rng = cyclegan::rng(SEED, cyclegan::Stream::Data, 0);
        let look =
            |i: usize| -> Result<Look> { Ok(network.look_at(&translations[i], self.seen_at)?) };
        sample(&mut rng, all.len(), PAIRS.min(all.len()))
            .into_iter()
            .filter_map(|pair| {
                let (i, j) = all[pair];
                let distance = || anyhow::Ok(network.distance(&look(i)?, &look(j)?)?);
                distance().transpose()
            })
            .collect()
    }
}

/// KID and FID of outputs and targets, and what to hold them against.
fn distances([inputs, outputs, targets]: &[Features; 3], by: &str) -> Vec<Figure> {
    let [even, odd] = [0, 1].map(|first| {
        let rows: Vec<usize> = (first..targets.nrows()).step_by(2).collect();
        targets.select_rows(&rows)
    });
    let pictures = |x: &Features, y: &Features| format!("{} to {}", x.nrows(), y.nrows());
    let kid = |name, x: &Features, y: &Features| {
        metrics::kid(x, y, SEED).map(|kid| Figure {
            name,
            value: kid.whole,
            error: Some(kid.error),
            pictures: pictures(x, y),
            by: by.to_owned(),
            more: of_subsets(&kid),
        })
    };
    let fid = metrics::fid(outputs, targets).map(|fid| Figure {
        name: if fid.rank_deficient {
            "FID (few pictures)"
        } else {
            "FID"
        },
        value: fid.value,
        error: None,
        pictures: pictures(outputs, targets),
        by: by.to_owned(),
        more: json!({ "rank_deficient": fid.rank_deficient, "features": outputs.ncols() }),
    });
    let all = [
        kid("KID", outputs, targets),
        kid("KID, not translated", inputs, targets),
        kid("KID, half the targets to half", &even, &odd),
        fid,
    ];
    all.into_iter().flatten().collect()
}

fn of_subsets(kid: &Kid) -> Value {
    json!({
        "subset_mean": kid.mean,
        "subset_deviation": kid.deviation,
        "subsets": kid.subsets,
        "subset_size": kid.subset,
    })
}

/// The mean of numbers, and its standard error where there are two.
fn average(name: &'static str, each: &[f64], by: &str) -> Figure {
    let count = each.len() as f64;
    let mean = each.iter().sum::<f64>() / count;
    let squares: f64 = each.iter().map(|value| (value - mean).powi(2)).sum();
    Figure {
        name,
        value: mean,
        error: (each.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()),
        pictures: each.len().to_string(),
        by: by.to_owned(),
        more: Value::Null,
    }
}
