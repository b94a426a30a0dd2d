//! What training says while it goes on.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

use cyclegan::Losses;
use indicatif::{ProgressBar, ProgressStyle};

/// Share of the past in a smoothed loss.
const SMOOTHING: f32 = 0.98;
/// Time between lines where there is no terminal to draw a bar on.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// A progress bar with a message in front.
pub fn bar(len: u64, message: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta} left")
        .expect("the template is well-formed")
        .progress_chars("=> ");
    ProgressBar::new(len)
        .with_style(style)
        .with_message(message.to_owned())
}

/// Bytes for people.
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A time for people.
pub fn duration(duration: Duration) -> String {
    indicatif::HumanDuration(duration).to_string()
}

/// A line of results on standard output. Whoever reads it may have seen enough and gone.
pub fn result(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// The progress of training: a bar on a terminal, a line now and then elsewhere, or silence.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    is_terminal: bool,
    smoothed: Option<Losses<f32>>,
    total: u64,
    /// Of the present stage.
    batch: usize,
    /// Steps before the first that is timed.
    first: u64,
    /// Where the run ends if all that remains is counted in steps of the present stage.
    end: f64,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Nothing done yet; without a bar until the first stage.
    pub fn start(quiet: bool) -> Self {
        let is_terminal = stderr().is_terminal();
        let now = Instant::now();
        Progress {
            bar: ProgressBar::hidden(),
            quiet,
            is_terminal,
            smoothed: None,
            total: 0,
            batch: 1,
            first: 0,
            end: 0.0,
            started: now,
            last_line: now,
        }
    }

    /// Goes on after `first` steps of `total` with steps of another kind, of `batch` pictures each. All that
    /// is left of the run takes as long as if it ended at step `end` with steps of this kind.
    pub fn stage(&mut self, first: u64, total: u64, batch: usize, end: f64) {
        (self.first, self.total, self.batch, self.end) = (first, total, batch, end);
        self.started = Instant::now();
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}")
            .expect("the template is well-formed")
            .progress_chars("=> ");
        if !self.quiet && self.is_terminal {
            self.bar.finish_and_clear();
            self.bar = ProgressBar::new(total).with_style(style);
        }
        self.bar.set_position(first);
    }

    /// A step was taken, the `step`th of the run.
    pub fn step(&mut self, step: u64, losses: &Losses<f32>) {
        let smoothed = match self.smoothed.take() {
            // One that is no number must not stay for good.
            Some(past) if losses.named().all(|(_, value)| value.is_finite()) => {
                past.mix(losses, SMOOTHING)
            }
            Some(past) => past,
            None => losses.clone(),
        };
        let done = (step - self.first) as f64;
        let seconds_each = self.started.elapsed().as_secs_f64() / done;
        let left = (self.end - step as f64).max(0.0) * seconds_each;
        let message = format!(
            "{}  {:.1} images/s  {} left",
            text(&smoothed),
            self.batch as f64 / seconds_each,
            duration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
        );
        self.smoothed = Some(smoothed);
        self.bar.set_position(step);
        let due = step == self.total || self.last_line.elapsed() >= LINE_EVERY;
        if !self.quiet && !self.is_terminal && due {
            self.last_line = Instant::now();
            eprintln!("step {step}/{}  {message}", self.total);
        }
        self.bar.set_message(message);
    }

    /// A line that stays.
    pub fn line(&self, line: &str) {
        if self.is_terminal && !self.quiet {
            self.bar.println(line);
        } else if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// A line that stays, and that even those must see who want no progress.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Whether nothing is shown.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Takes the bar down.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The smoothed losses in short.
    pub fn losses(&self) -> String {
        self.smoothed.as_ref().map(text).unwrap_or_default()
    }
}

/// The terms, those of both domains together.
fn text(losses: &Losses<f32>) -> String {
    let mut sums: Vec<(&str, f32)> = Vec::new();
    for (name, value) in losses.named() {
        let name = name
            .strip_suffix("_A")
            .or_else(|| name.strip_suffix("_B"))
            .unwrap_or(name);
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value,
            None => sums.push((name, *value)),
        }
    }
    let each = sums.iter().map(|(name, sum)| format!("{name} {sum:.2}"));
    each.collect::<Vec<_>>().join(" ")
}
