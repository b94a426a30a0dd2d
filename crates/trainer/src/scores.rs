//! Evaluation while a run trains: the figures of `trainer evaluate` every so many steps, and which checkpoint is
//! the best by one of them.
//!
//! Metrics are called by what they are of and the network that they were measured with, so that those of different
//! networks are different series. What was the best is told by them and the checkpoints that are there.

use std::fs::File;
use std::io::{BufReader, ErrorKind};

use anyhow::{Context, Result, bail};
use cyclegan::Model;
use faces::Recognition;
use indicatif::ProgressBar;
use metrics::{Features, Network};
use serde_json::Value;
use tensor::Device;

use crate::checkpoint;
use crate::data::Pictures;
use crate::evaluate::{Evaluation, Figure, HeldOut, load};
use crate::run_dir::{RunDir, whole_lines};
use crate::settings::{Best, RunSettings};

/// What a run is evaluated with, and the best that it has come to.
pub struct Scores {
    network: Network,
    identity: Option<Recognition>,
    from: HeldOut,
    to: HeldOut,
    /// What translations should look like, for pictures of a side.
    targets: Option<(usize, Features)>,
    best_by: Best,
    best: Option<f64>,
}

/// What an evaluation gave.
pub struct Score {
    /// Names and values, as `metrics.jsonl` has them.
    pub named: Vec<(String, f64)>,
    /// The figure by which the best is told, where none was better before.
    pub best: Option<f64>,
    /// For people.
    pub line: String,
}

impl Scores {
    /// What the settings ask for, if they do.
    ///
    /// # Errors
    /// When the network can't be used, or the figure that tells the best can't be had.
    pub fn open(
        settings: &RunSettings,
        pictures: &Pictures,
        device: &Device,
    ) -> Result<Option<Self>> {
        if settings.eval_every == 0 {
            return Ok(None);
        }
        let network = load(&settings.features, device)?;
        let identity = match settings.identity.as_os_str().is_empty() {
            true => None,
            false => Some(Recognition::load(&settings.identity)?),
        };
        let held_out = pictures.held_out();
        let [from, to] = held_out.map(|domain| domain.at_most(settings.eval_pictures));
        let fewest = from.files.len().min(to.files.len());
        let needed = match settings.best {
            Best::Kid => 3,
            Best::Fid => 2,
            Best::LpipsCycle | Best::L1Cycle | Best::Identity => 1,
        };
        let key = settings.best.key();
        if fewest < needed {
            bail!(
                "best = {key} takes at least {needed} pictures of each kind to evaluate with, and there are \
                 {fewest}; add some to testA and testB, or give a larger --eval-pictures"
            );
        }
        if settings.best == Best::LpipsCycle && !network.has_heads() {
            bail!(
                "best = {key} takes a network with heads for LPIPS, which {} lacks; give another as --features, \
                 or another figure as --best",
                settings.features.display()
            );
        }
        if settings.best == Best::Identity && identity.is_none() {
            bail!(
                "best = {key} takes the weights of a network that tells people apart; give them as --identity, or \
                 another figure as --best"
            );
        }
        Ok(Some(Scores {
            network,
            identity,
            from,
            to,
            targets: None,
            best_by: settings.best,
            best: None,
        }))
    }

    /// Takes up what a run has come to, whose metrics are those of the steps that it goes on from. What is the best
    /// of its checkpoints is named so.
    ///
    /// # Errors
    /// When its files can't be read or written.
    pub fn resumed(mut self, dir: &RunDir) -> Result<Self> {
        let there = checkpoint::list(dir)?;
        let is_there = |steps: &u64| {
            let mut all = there.iter().filter_map(|path| checkpoint::steps_of(path));
            all.any(|there| there == *steps)
        };
        let name = self.series(self.best_by.key());
        let mut best: Option<(u64, f64)> = None;
        let consider = |line: &Value| {
            let steps = line["step"].as_u64().filter(is_there);
            if let Some((steps, value)) = steps.zip(line[&name].as_f64())
                && best.is_none_or(|(_, before)| value < before)
            {
                best = Some((steps, value));
            }
            true
        };
        let path = dir.metrics_file();
        let read = File::open(&path).and_then(|file| whole_lines(BufReader::new(file), consider));
        match read {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} can't be read", path.display()));
            }
            _ => {}
        }
        self.best = best.map(|(_, value)| value);
        // One that was told by other figures stays as long as it is there.
        let named = best.map(|(steps, _)| steps);
        let named = named.or(checkpoint::best(dir).filter(is_there));
        if named != checkpoint::best(dir) {
            checkpoint::set_best(dir, named)?;
        }
        Ok(self)
    }

    /// Evaluates a model at a size. Nothing random is drawn that training draws, and the model stays as it is.
    ///
    /// # Errors
    /// When a picture can't be read or the device fails.
    pub fn of(&mut self, model: &dyn Model, size: usize, device: &Device) -> Result<Score> {
        let bar = ProgressBar::hidden();
        let evaluation = Evaluation {
            there: model.a_to_b(),
            back: model.b_to_a(),
            size,
            seen_at: self.network.size(),
            network: Some(&self.network),
            identity: self.identity.as_ref(),
            device,
            bar: &bar,
            // A run that is stopped here and goes on has the same metrics as one that was not.
            may_stop: false,
        };
        let targets = match self.targets.take() {
            Some((at, targets)) if at == size => Some(targets),
            _ => evaluation.targets(&self.to)?,
        };
        let targets = targets.context("an evaluation that can't be stopped was")?;
        let figures = evaluation.of(&self.from, &targets)?;
        let figures = figures.context("an evaluation that can't be stopped was")?;
        self.targets = Some((size, targets));
        Ok(self.score(&figures))
    }

    fn score(&self, figures: &[Figure]) -> Score {
        let mut score = Score {
            named: Vec::new(),
            best: None,
            line: String::new(),
        };
        for figure in figures.iter().filter(|figure| figure.value.is_finite()) {
            let Some(key) = figure.key else {
                continue;
            };
            score.named.push((self.series(key), figure.value));
            let comma = if score.line.is_empty() { "" } else { ", " };
            score.line += &format!("{comma}{} {:.4}", figure.name, figure.value);
            if let Some(error) = figure.error.filter(|_| key == Best::Kid.key()) {
                score.named.push((self.series("kid_error"), error));
                score.line += &format!(" ± {error:.4}");
            }
            if key == self.best_by.key() && self.best.is_none_or(|best| figure.value < best) {
                score.best = Some(figure.value);
            }
        }
        let (name, size) = (self.network.name(), self.network.size());
        score.line += &format!(" by {name} at {size}, {} to {}", self.from, self.to);
        if score.best.is_some() {
            score.line += &format!("; the best {} so far", self.best_by.key());
        }
        score
    }

    /// Names the checkpoint after so many steps the best, which is there.
    ///
    /// # Errors
    /// When the run's folder can't be written.
    pub fn kept(&mut self, dir: &RunDir, steps: u64, best: f64) -> Result<()> {
        checkpoint::set_best(dir, Some(steps))?;
        self.best = Some(best);
        Ok(())
    }

    /// What a figure, of translations from A, is called in metrics.
    fn series(&self, key: &str) -> String {
        match key {
            // Pixels are the same for all networks.
            "l1_cycle" => format!("{key}_A"),
            "identity" | "identity_cycle" => format!("{key}_A by {}", Recognition::NAME),
            _ => format!(
                "{key}_A by {} at {}",
                self.network.name(),
                self.network.size()
            ),
        }
    }
}
