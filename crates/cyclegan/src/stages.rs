//! Runs in stages: the same networks on small pictures first, on larger ones later.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Config;
use crate::config::shortened;

/// A run's stages in their order; none: all of the run is at one size. As a string, as options have it,
/// `SIZE:STEPS` or `SIZE:STEPS:BATCH` with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stages(Vec<Planned>);

/// A stage as options have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    size: usize,
    pub steps: u64,
    /// Where absent, the configuration's.
    batch: Option<usize>,
}

/// Stages that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stages has {0:?}, which is not SIZE:STEPS or SIZE:STEPS:BATCH in whole numbers, with commas between \
     stages, as in 64:4000,128:4000,256:8000"
)]
pub struct UnknownStage(String);

/// A stretch of a run at one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its first step, counted from 0 over the whole run.
    pub first: u64,
    /// The step after its last.
    pub end: u64,
    /// Pictures of each domain that the stages before it take.
    pub before: u64,
    /// The configuration with the size, the loading size and the batch of the stage.
    pub config: Config,
}

impl Stages {
    /// Whether the run is at one size.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each stage as it was given.
    pub(crate) fn planned(&self) -> &[Planned] {
        &self.0
    }

    /// Steps of all stages.
    pub fn steps(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, stage| sum.saturating_add(stage.steps))
    }
}

impl Stage {
    /// How many pictures of each domain the run took before a step of the stage.
    pub fn pictures_before(&self, step: u64) -> u64 {
        self.before + (step - self.first) * self.config.batch as u64
    }

    /// What is left of the stage from a step on, before which the run took so many pictures of each domain.
    pub fn resumed(self, step: u64, pictures: u64) -> Stage {
        Stage {
            first: step,
            before: pictures,
            ..self
        }
    }

    /// Pixels of a step, to which its time and memory are about proportional.
    pub fn pixels(&self) -> usize {
        self.config.batch * self.config.size * self.config.size
    }
}

impl Config {
    /// Side of the pictures that training ends with.
    pub fn last_size(&self) -> usize {
        let planned = self.stages.0.last();
        planned.map_or(self.size, |planned| planned.size)
    }

    /// The stages of a run on domains of so many pictures: at least one.
    pub fn stages(&self, domains: [usize; 2]) -> Vec<Stage> {
        if self.stages.is_empty() {
            return vec![Stage {
                first: 0,
                end: self.total_steps(domains),
                before: 0,
                config: self.clone(),
            }];
        }
        let (mut first, mut before) = (0, 0);
        let stage = |planned: &Planned| {
            let stage = Stage {
                first,
                end: first + planned.steps,
                before,
                config: self.at(planned),
            };
            before = stage.pictures_before(stage.end);
            first = stage.end;
            stage
        };
        self.stages.0.iter().map(stage).collect()
    }

    /// This configuration in a stage; the loading size keeps its proportion to the size.
    pub(crate) fn at(&self, planned: &Planned) -> Config {
        let load_size = match self.load_size {
            0 => 0,
            given => given
                .saturating_mul(planned.size)
                .div_ceil(self.size.max(1)),
        };
        Config {
            size: planned.size,
            load_size,
            batch: planned.batch.unwrap_or(self.batch),
            ..self.clone()
        }
    }
}

impl FromStr for Stages {
    type Err = UnknownStage;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let read = |stage: &str| -> Option<Planned> {
            let mut parts = stage.split(':').map(str::trim);
            let planned = Planned {
                size: parts.next()?.parse().ok()?,
                steps: parts.next()?.parse().ok()?,
                batch: parts.next().map(str::parse).transpose().ok()?,
            };
            parts.next().is_none().then_some(planned)
        };
        if given.trim().is_empty() {
            return Ok(Stages::default());
        }
        let stages = given.split(',').map(str::trim);
        let stages = stages.map(|stage| read(stage).ok_or_else(|| UnknownStage(shortened(stage))));
        Ok(Stages(stages.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, self.steps)?;
        self.batch.map_or(Ok(()), |batch| write!(f, ":{batch}"))
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&stages.join(","))
    }
}

impl TryFrom<String> for Stages {
    type Error = UnknownStage;

    fn try_from(given: String) -> Result<Self, Self::Error> {
        given.parse()
    }
}

impl From<Stages> for String {
    fn from(stages: Stages) -> String {
        stages.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    fn config(stages: &str) -> Config {
        Config {
            stages: stages.parse().unwrap(),
            steps: 0,
            epochs: 0,
            batch: 3,
            ..Config::preset(Preset::Demo)
        }
    }

    #[test]
    fn stages_follow_each_other() {
        let config = config("64:10, 128:4:2,256:1:1");
        config.check().unwrap();
        let stages = config.stages([7, 9]);
        let extents = stages.iter().map(|stage| (stage.first, stage.end));
        assert_eq!(extents.collect::<Vec<_>>(), [(0, 10), (10, 14), (14, 15)]);
        assert_eq!(config.total_steps([7, 9]), 15);
        // Three pictures a step, then two, then one.
        let before = [(0, 0), (9, 27), (10, 30), (13, 36), (14, 38)];
        for (step, pictures) in before {
            let stage = stages.iter().find(|stage| step < stage.end).unwrap();
            assert_eq!(stage.pictures_before(step), pictures, "step {step}");
        }
        let sizes = stages
            .iter()
            .map(|stage| (stage.config.size, stage.config.load_size()));
        // The demo's 70 for 64.
        assert_eq!(
            sizes.collect::<Vec<_>>(),
            [(64, 70), (128, 140), (256, 280)]
        );
        let automatic = Config {
            load_size: 0,
            ..config
        };
        assert_eq!(automatic.stages([7, 9])[2].config.load_size(), 286);
    }

    #[test]
    fn the_learning_rate_falls_over_the_whole() {
        let staged = config("64:10,128:30:1");
        let plain = Config {
            steps: 40,
            ..config("")
        };
        for step in [0, 9, 10, 25, 39] {
            let [staged, plain] = [&staged, &plain].map(|run| run.learning_rate_at(step, [5, 5]));
            assert_eq!(staged, plain, "step {step}");
        }
    }

    #[test]
    fn without_stages_a_run_is_one() {
        let plain = Config::preset(Preset::Paper);
        let stages = plain.stages([5, 8]);
        assert_eq!((stages[0].first, stages[0].end), (0, 1600));
        assert_eq!(stages[0].config, plain);
        assert_eq!(stages.len(), 1);
    }

    #[test]
    fn options_are_read_and_written() {
        for text in ["", "64:4000", "64:4000:8,128:5,256:8000:1"] {
            assert_eq!(text.parse::<Stages>().unwrap().to_string(), text);
        }
        for text in [
            "64",
            "64:",
            "64:1:2:3",
            "64:10,",
            "a:b",
            "64:-1",
            "64:10;128:10",
        ] {
            let error = text.parse::<Stages>().unwrap_err().to_string();
            assert!(error.contains("SIZE:STEPS"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let huge = usize::MAX;
        for (stages, names) in [
            (
                "64:10,66:10",
                "66:10 does not work: size = 66: resnet_6blocks",
            ),
            ("64:10,16:10", "a PatchGAN of 3 layers"),
            ("64:0", "from 1 to"),
            ("64:10:0", "batch = 0"),
            (&format!("{huge}:{huge}"), "steps"),
            (&format!("{}:1", huge - 3), "at most 4096"),
        ] {
            let error = config(stages).check().unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
        }
        for conflict in [(5, 0), (0, 5)] {
            let config = Config {
                steps: conflict.0,
                epochs: conflict.1,
                ..config("64:10")
            };
            let error = config.check().unwrap_err().to_string();
            assert!(
                error.contains("64:10") && error.contains("leave one"),
                "{error}"
            );
        }
    }
}
