//! The learning rate of a run, step by step.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use cyclegan::{Config, Losses, LrPolicy};
use nn::Plateau;
use serde::{Deserialize, Serialize};

/// What the learning rate depends on beside the step: how the generators' objective went, where the policy
/// asks for that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    plateau: Plateau,
    /// Steps, counted from 1, whose objective does not count yet, and that.
    waiting: VecDeque<(u64, f32)>,
}

/// Losses are read when the next step is on its way, or sooner for a checkpoint. So that this makes no
/// difference they count from the step after that on.
const LATE: u64 = 2;

impl Rate {
    /// The learning rate of step `step`, counted from 0, where the domains have so many pictures.
    pub fn at(&mut self, step: u64, config: &Config, domains: [usize; 2]) -> f32 {
        let rate = config.learning_rate_at(step, domains);
        if config.lr_policy != LrPolicy::Plateau {
            self.waiting.clear();
            return rate;
        }
        while let Some(&(taken, objective)) = self.waiting.front() {
            if taken + LATE > step + 1 {
                break;
            }
            self.plateau
                .step(objective, config.steps_per_epoch(domains));
            self.waiting.pop_front();
        }
        rate * self.plateau.factor()
    }

    /// Takes note of a step's losses; steps are counted from 1.
    pub fn recorded(&mut self, step: u64, losses: &Losses<f32>) {
        self.waiting.push_back((step, losses.of_generators()));
    }

    /// For a checkpoint.
    ///
    /// # Errors
    /// None that could happen.
    pub fn to_json(&self) -> Result<String> {
        let finite = |(step, objective): &(u64, f32)| {
            // JSON has no other numbers, and they don't count.
            (
                *step,
                if objective.is_finite() {
                    *objective
                } else {
                    0.0
                },
            )
        };
        let waiting = self.waiting.iter().map(finite).collect();
        let written = Rate { waiting, ..*self };
        Ok(serde_json::to_string(&written)?)
    }

    /// From a checkpoint.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("its learning rate can't be read")
    }
}

#[cfg(test)]
mod tests {
    use cyclegan::Preset;

    use super::*;

    fn losses(objective: f32) -> Losses<f32> {
        [("G_A", objective), ("D_A", 9.0)].into_iter().collect()
    }

    /// The rates of a run of forty steps on four pictures, whose losses are read before the next step where
    /// `early` says so, and which goes on from its checkpoint then.
    fn rates(early: impl Fn(u64) -> bool) -> Vec<f32> {
        let config = Config {
            lr_policy: LrPolicy::Plateau,
            learning_rate: 1.0,
            ..Config::preset(Preset::Paper)
        };
        let (mut rate, mut unread) = (Rate::default(), None);
        (0..40)
            .map(|step| {
                let now = rate.at(step, &config, [4, 3]);
                for taken in std::iter::from_fn(|| unread.take()) {
                    rate.recorded(taken, &losses(3.0));
                }
                unread = Some(step + 1);
                if early(step) {
                    rate.recorded(step + 1, &losses(3.0));
                    unread = None;
                    rate = Rate::from_json(&rate.to_json().unwrap()).unwrap();
                }
                now
            })
            .collect()
    }

    #[test]
    fn a_plateau_lowers_the_rate_at_the_same_step_however_losses_are_read() {
        let usual = rates(|_| false);
        // The first epoch of four steps sets the mark, six more don't reach it; and losses come late.
        assert_eq!(usual.iter().position(|&rate| rate < 1.0), Some(29));
        for every in [1, 2, 4, 7, 28, 29] {
            assert_eq!(rates(|step| (step + 1) % every == 0), usual, "{every}");
        }
    }
}
