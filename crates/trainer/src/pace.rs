//! How quick a run is and what memory it takes, a line now and then: `pace.jsonl`.
//!
//! `metrics.jsonl` is the same for the same run; times are not, and so they have a file of their own.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value};
use tensor::Device;

use crate::run_dir::{Lines, RunDir};
use crate::{history, memory};

/// Between two lines: the first after this long, later ones after a two-hundredth of the time so far, and the
/// longest.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

/// The file, open.
pub struct Pace {
    lines: Lines,
    begun: Instant,
    /// When the last line was written, and what was done since.
    last: Instant,
    steps: u64,
    images: usize,
}

impl Pace {
    /// Opens that of a run that has taken `steps` steps.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(dir: &RunDir, steps: u64) -> Result<Self> {
        let now = Instant::now();
        Ok(Pace {
            lines: dir.pace(steps)?,
            begun: now,
            last: now,
            steps: 0,
            images: 0,
        })
    }

    /// Takes note of a step, the `step`th of the run, on so many images of each domain.
    pub fn step(&mut self, step: u64, images: usize, device: &Device) {
        self.steps += 1;
        self.images += images;
        let every = (self.begun.elapsed() / 200).clamp(FIRST, LONGEST);
        let seconds = self.last.elapsed();
        if seconds < every {
            return;
        }
        let each = |count: f64| Value::from((1000.0 * count / seconds.as_secs_f64()).round() / 1e3);
        let mut line = Map::from_iter([
            ("step".to_owned(), step.into()),
            ("time".to_owned(), history::now().into()),
            ("images_per_second".to_owned(), each(self.images as f64)),
            ("steps_per_second".to_owned(), each(self.steps as f64)),
        ]);
        if let Some(bytes) = memory::resident() {
            line.insert("memory".into(), bytes.into());
        }
        if let Device::Gpu(_) = device {
            line.insert("device_memory".into(), device.memory().taken.into());
        }
        // A run does not end or wait for want of this.
        let _ = self.lines.append(line);
        (self.last, self.steps, self.images) = (Instant::now(), 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_done_since_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::at(folder.path());
        let mut pace = Pace::open(&dir, 0).unwrap();
        for step in 1..=9 {
            pace.step(step, 4, &Device::Cpu);
        }
        assert_eq!(dir.last_pace(), None, "too early");
        pace.last = pace.last.checked_sub(Duration::from_secs(10)).unwrap();
        pace.step(10, 4, &Device::Cpu);
        let line = dir.last_pace().unwrap();
        assert_eq!(line["step"], 10);
        let number = |key: &str| line[key].as_f64().unwrap();
        assert!((0.5..=1.0).contains(&number("steps_per_second")), "{line}");
        let images = 4.0 * number("steps_per_second");
        assert!(
            (number("images_per_second") - images).abs() < 0.01,
            "{line}"
        );
        assert!(number("memory") > 1e6, "{line}");
        assert!(line.get("device_memory").is_none());
        pace.step(11, 4, &Device::Cpu);
        assert_eq!(dir.last_pace(), Some(line));
    }
}
