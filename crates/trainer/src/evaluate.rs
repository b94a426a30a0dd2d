//! `trainer evaluate`

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cyclegan::Generator;
use faces::Recognition;
use images::RgbImage;
use indicatif::ProgressBar;
use metrics::{Features, Kid, Look, Network, features};
use nn::Module;
use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};
use tensor::{Device, Tensor, no_grad};

use crate::checkpoint::Checkpoint;
use crate::cli::{Direction, EvaluateArgs};
use crate::data::Pictures;
use crate::train::Ending;
use crate::{data, demo, interrupt, report};

/// The most pictures of each domain, spread evenly over it.
const PICTURES: usize = 1000;
/// With how many others a translation is compared: those before it in an order drawn at random, so that each is
/// looked at once and few looks are kept.
const COMPARED: usize = 3;
/// What that order and subsets are drawn by.
const SEED: u64 = 0;

/// How to get a network's weights.
const HOW_TO_GET_FEATURES: &str = "pip download --no-deps stlpips-pytorch==0.0.2\n    \
     unzip -j stlpips_pytorch-0.0.2-py3-none-any.whl '*/vgg_shift_tolerant.pth'";

/// Says how good a checkpoint's translations are.
///
/// # Errors
/// With what is wrong and what to do.
pub fn run(args: &EvaluateArgs) -> Result<Ending> {
    interrupt::listen();
    let device = args.device.open()?;
    let checkpoint = Checkpoint::at(&args.run, args.step, |damage| eprintln!("{damage}"))?;
    let settings = &checkpoint.header.settings;
    let data = match &args.data {
        Some(data) => data.clone(),
        None if settings.run.data.as_os_str().is_empty() => demo::ensure(args.quiet)?,
        None => settings.run.data.clone(),
    };
    let held_out = Pictures::list(&data, &settings.run)?.held_out();
    let [a, b] = held_out.map(|pictures| pictures.at_most(PICTURES));
    let model = cyclegan::model(&settings.model, &device)?;
    model.load_networks(&checkpoint.state(&device)?)?;
    let there = args.direction.generator(&*model)?;
    let (back, [from, to]) = match args.direction {
        Direction::AtoB => (model.b_to_a(), [a, b]),
        Direction::BtoA => (Some(model.a_to_b()), [b, a]),
    };
    let network = match &args.features {
        Some(file) => Some(load(file, &device)?),
        None => None,
    };

    let identity = args.identity.as_deref().map(Recognition::load);
    let identity = identity.transpose()?;

    let bar = match args.quiet {
        true => ProgressBar::hidden(),
        false => report::bar(0, "evaluating"),
    };
    let own_size = network.as_ref().map(Network::size);
    let evaluation = Evaluation {
        there,
        back,
        size: settings.model.last_size(),
        seen_at: args.size.or(own_size).unwrap_or_default(),
        network: network.as_ref(),
        identity: identity.as_ref(),
        device: &device,
        bar: &bar,
        may_stop: true,
    };
    bar.set_length((from.files.len() + to.files.len()) as u64);
    let evaluated = match evaluation.targets(&to)? {
        Some(targets) => evaluation.of(&from, &targets),
        None => Ok(None),
    };
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
             {HOW_TO_GET_FEATURES}"
        );
    }
    Ok(Ending::Finished)
}

/// The network of a file.
///
/// # Errors
/// When the file can't be read or holds none, or the device has no room.
pub fn load(file: &Path, device: &Device) -> Result<Network> {
    Network::load(file, device).context("the network to evaluate with can't be used")
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
    /// So many of them at the most, spread evenly.
    pub fn at_most(mut self, count: usize) -> Self {
        self.files = data::spread(&self.files, count).cloned().collect();
        self
    }

    fn to_json(&self) -> Value {
        json!({ "folder": self.folder, "pictures": self.files.len(), "test": self.is_test })
    }
}

impl std::fmt::Display for HeldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trained_on = if self.is_test { "" } else { ", trained on" };
        write!(
            f,
            "{} ({} pictures{trained_on})",
            self.folder,
            self.files.len()
        )
    }
}

/// A number, and what it is of.
pub struct Figure {
    pub name: &'static str,
    /// What it is called where training follows it.
    pub key: Option<&'static str>,
    pub value: f64,
    pub error: Option<f64>,
    pictures: String,
    /// The network and the size that it saw pictures at, or what else it was computed by.
    pub by: String,
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
pub struct Evaluation<'a> {
    pub there: &'a Generator,
    /// The way back, where there is one.
    pub back: Option<&'a Generator>,
    /// Side of the pictures that generators take.
    pub size: usize,
    /// Side of those that the network does.
    pub seen_at: u32,
    pub network: Option<&'a Network>,
    /// What tells people apart.
    pub identity: Option<&'a Recognition>,
    pub device: &'a Device,
    pub bar: &'a ProgressBar,
    /// Whether Ctrl-C ends it, without figures.
    pub may_stop: bool,
}

impl Evaluation<'_> {
    /// Features of what translations should look like, for [`Evaluation::of`]; none when stopped.
    ///
    /// # Errors
    /// When a picture can't be read or the device fails.
    pub fn targets(&self, to: &HeldOut) -> Result<Option<Features>> {
        let mut targets = Vec::new();
        for file in &to.files {
            if self.is_stopped() {
                return Ok(None);
            }
            if let Some(network) = self.network {
                let picture = data::squared(file, self.size)?;
                targets.push(network.look_at(&picture, self.seen_at)?.features()?);
            }
            self.bar.inc(1);
        }
        Ok(Some(features(&targets)))
    }

    /// The figures; none when stopped.
    ///
    /// # Errors
    /// As [`Evaluation::targets`].
    pub fn of(&self, from: &HeldOut, targets: &Features) -> Result<Option<Vec<Figure>>> {
        let mut files: Vec<&PathBuf> = from.files.iter().collect();
        files.shuffle(&mut cyclegan::rng(SEED, cyclegan::Stream::Data, 0));
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let (mut l1_cycle, mut lpips_cycle) = (Vec::new(), Vec::new());
        let mut diversity = Vec::new();
        let mut before = VecDeque::<Look>::new();
        let mut people = People::default();
        for file in files {
            if self.is_stopped() {
                return Ok(None);
            }
            let (input, output, back) = self.there_and_back(file)?;
            l1_cycle.extend(back.as_ref().map(|back| difference(&input, back)));
            if let Some(network) = self.identity {
                people.push(network, &input, &output, back.as_ref())?;
            }
            if let Some(network) = self.network {
                let look = |picture: &RgbImage| network.look_at(picture, self.seen_at);
                let seen = look(&input)?;
                inputs.push(seen.features()?);
                if let Some(back) = back.filter(|_| network.has_heads()) {
                    lpips_cycle.extend(network.distance(&seen, &look(&back)?)?);
                }
                let seen = look(&output)?;
                outputs.push(seen.features()?);
                if network.has_heads() {
                    for other in &before {
                        diversity.extend(network.distance(&seen, other)?);
                    }
                    before.push_back(seen);
                    before.drain(..before.len().saturating_sub(COMPARED));
                }
            }
            self.bar.inc(1);
        }
        let mut figures = Vec::new();
        if let Some(network) = self.network {
            let [inputs, outputs] = [&inputs, &outputs].map(|rows| features(rows));
            let by = format!("{} at {}", network.layer(), self.seen_at);
            figures.extend(distances([&inputs, &outputs, targets], &by));
            let by = format!("{} at {}", network.name(), self.seen_at);
            figures.extend(average("LPIPS cycle", "lpips_cycle", &lpips_cycle, &by));
            let average = average("LPIPS diversity", "lpips_diversity", &diversity, &by);
            figures.extend(average.map(|figure| Figure {
                pictures: format!("{} pairs", diversity.len()),
                ..figure
            }));
        }
        figures.extend(people.figures());
        figures.extend(average("L1 cycle", "l1_cycle", &l1_cycle, "pixels in 0…1"));
        Ok(Some(figures))
    }

    fn is_stopped(&self) -> bool {
        self.may_stop && interrupt::is_requested()
    }

    /// A picture as generators take it, translated, and translated back if there is a way; in 256 levels, as
    /// files have them.
    fn there_and_back(&self, file: &Path) -> Result<(RgbImage, RgbImage, Option<RgbImage>)> {
        let size = self.size;
        let picture = data::squared(file, size)?;
        let [channels, _] = self.there.channels();
        let planes = images::to_chw(&picture, channels);
        let input = Tensor::from_slice(&planes, [1, channels, size, size], self.device)?;
        let (output, back) = no_grad(|| -> tensor::Result<_> {
            let output = self.there.forward(&input)?;
            let back = self.back.map(|back| back.forward(&output)).transpose()?;
            Ok((output, back))
        })?;
        let picture = |planes: Vec<f32>| images::from_chw(&planes, size, size);
        let back = back.map(|back| anyhow::Ok(picture(back.to_vec()?)?));
        Ok((
            picture(planes)?,
            picture(output.to_vec()?)?,
            back.transpose()?,
        ))
    }
}

/// Descriptors of people, and how far they are from those of their translations.
#[derive(Default)]
struct People {
    inputs: Vec<Vec<f32>>,
    to_outputs: Vec<f64>,
    to_cycles: Vec<f64>,
}

impl People {
    fn push(
        &mut self,
        network: &Recognition,
        input: &RgbImage,
        output: &RgbImage,
        back: Option<&RgbImage>,
    ) -> Result<()> {
        let input = network.descriptor(input)?;
        let distance = |picture| -> Result<f64> {
            let other = network.descriptor(picture)?;
            let squares = input
                .iter()
                .zip(&other)
                .map(|(a, b)| f64::from(a - b).powi(2));
            Ok(squares.sum::<f64>().sqrt())
        };
        self.to_outputs.push(distance(output)?);
        self.to_cycles.extend(back.map(distance).transpose()?);
        self.inputs.push(input);
        Ok(())
    }

    /// How far people are from their translations, from what comes back, and from each other.
    fn figures(&self) -> Vec<Figure> {
        let by = Recognition::NAME;
        let others = metrics::diversity(&features(&self.inputs)).map(|value| Figure {
            name: "identity, other pictures",
            key: None,
            value,
            error: None,
            pictures: format!("{} pairs", self.inputs.len() * (self.inputs.len() - 1) / 2),
            by: by.to_owned(),
            more: Value::Null,
        });
        let all = [
            average("identity", "identity", &self.to_outputs, by),
            average("identity, cycle", "identity_cycle", &self.to_cycles, by),
            others,
        ];
        all.into_iter().flatten().collect()
    }
}

/// The mean difference of two pictures' values, in 0…1.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    let pairs = a.as_raw().iter().zip(b.as_raw());
    let sum: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / (255.0 * a.as_raw().len() as f64)
}

/// KID and FID of outputs and targets, and what to hold them against.
fn distances([inputs, outputs, targets]: [&Features; 3], by: &str) -> Vec<Figure> {
    let [even, odd] = [0, 1].map(|first| {
        let rows: Vec<usize> = (first..targets.nrows()).step_by(2).collect();
        targets.select_rows(&rows)
    });
    let pictures = |x: &Features, y: &Features| format!("{} to {}", x.nrows(), y.nrows());
    let kid = |name, key, x: &Features, y: &Features| {
        metrics::kid(x, y, SEED).map(|kid| Figure {
            name,
            key,
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
        key: Some("fid"),
        value: fid.value,
        error: None,
        pictures: pictures(outputs, targets),
        by: by.to_owned(),
        more: json!({ "rank_deficient": fid.rank_deficient, "features": outputs.ncols() }),
    });
    let all = [
        kid("KID", Some("kid"), outputs, targets),
        kid("KID, not translated", None, inputs, targets),
        kid("KID, half the targets to half", None, &even, &odd),
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

/// The mean of numbers, if there are any, and its standard error where there are two.
fn average(name: &'static str, key: &'static str, each: &[f64], by: &str) -> Option<Figure> {
    let count = each.len() as f64;
    let mean = each.iter().sum::<f64>() / count;
    let squares: f64 = each.iter().map(|value| (value - mean).powi(2)).sum();
    (!each.is_empty()).then(|| Figure {
        name,
        key: Some(key),
        value: mean,
        error: (each.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()),
        pictures: each.len().to_string(),
        by: by.to_owned(),
        more: Value::Null,
    })
}
