//! Learning-rate schedules: factors on the rate by time, which goes in units from 1 (epochs in the reference;
//! steps do as well).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The reference's linear schedule: constant first, then falling by equal steps that would reach
/// zero one unit after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Units at the full rate.
    pub constant: u64,
    /// Units of decay after them.
    pub decay: u64,
}

impl Linear {
    /// The factor in unit `k`: 1 − max(0, k − constant) / (decay + 1).
    pub fn factor(&self, k: u64) -> f32 {
        let into = k.saturating_sub(self.constant).min(self.decay);
        (1.0 - into as f64 / (self.decay + 1) as f64) as f32
    }
}

/// A tenth of the rate after every so many units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepwise {
    /// Units of one rate.
    pub every: u64,
}

impl Stepwise {
    /// The factor in unit `k`: 10^−⌊(k − 1) / every⌋.
    pub fn factor(&self, k: u64) -> f32 {
        let steps = k.saturating_sub(1) / self.every.max(1);
        0.1f64.powi(steps.min(1000) as i32) as f32
    }
}

/// Half a wave of the cosine from the full rate to nothing (Loshchilov & Hutter, 2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosine {
    /// Units of the run.
    pub units: u64,
}

impl Cosine {
    /// The factor in unit `k`: (1 + cos(π·(k − 1) / units)) / 2.
    pub fn factor(&self, k: u64) -> f32 {
        let passed = k.saturating_sub(1).min(self.units) as f64 / self.units.max(1) as f64;
        (0.5 * (1.0 + (PI * passed).cos())) as f32
    }
}

/// A fifth of the rate whenever a loss has not improved for more than five epochs: PyTorch's
/// `ReduceLROnPlateau` with the reference's constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    factor: f32,
    best: f64,
    bad_epochs: u32,
    /// Of the losses in the epoch under way.
    sum: f64,
    steps: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau {
            factor: 1.0,
            best: f64::MAX,
            bad_epochs: 0,
            sum: 0.0,
            steps: 0,
        }
    }
}

impl Plateau {
    /// What becomes of the rate.
    const SHARE: f32 = 0.2;
    /// Epochs without improvement that are waited for.
    const PATIENCE: u32 = 5;
    /// The relative improvement that counts.
    const THRESHOLD: f64 = 0.01;

    /// The factor on the learning rate now.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// Takes in a step's loss. Losses that are not finite don't count.
    pub fn step(&mut self, loss: f32, steps_per_epoch: u64) {
        if loss.is_finite() {
            self.sum += f64::from(loss);
        }
        self.steps += 1;
        if self.steps < steps_per_epoch {
            return;
        }
        let mean = self.sum / self.steps as f64;
        (self.sum, self.steps) = (0.0, 0);
        if mean < self.best - Self::THRESHOLD * self.best.abs() {
            self.best = mean;
            self.bad_epochs = 0;
            return;
        }
        self.bad_epochs += 1;
        if self.bad_epochs > Self::PATIENCE {
            self.factor *= Self::SHARE;
            self.bad_epochs = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_schedule() {
        let schedule = Linear {
            constant: 100,
            decay: 100,
        };
        for (epoch, expected) in [
            (1, 1.0),
            (100, 1.0),
            (101, 100.0 / 101.0),
            (200, 1.0 / 101.0),
        ] {
            assert!(
                (schedule.factor(epoch) - expected).abs() < 1e-7,
                "epoch {epoch}"
            );
        }
        assert!(schedule.factor(10_000) > 0.0, "the rate never reaches zero");
    }

    #[test]
    fn steps_and_waves() {
        let steps = Stepwise { every: 50 };
        let factors = [1, 50, 51, 100, 101].map(|k| steps.factor(k));
        for (found, expected) in factors.into_iter().zip([1.0, 1.0, 0.1, 0.1, 0.01]) {
            assert!((found - expected).abs() < 1e-7, "{factors:?}");
        }
        let wave = Cosine { units: 200 };
        assert_eq!([wave.factor(1), wave.factor(101)], [1.0, 0.5]);
        assert!(wave.factor(200) > 0.0 && wave.factor(200) < 1e-3);
    }

    #[test]
    fn a_plateau_is_waited_for_and_then_lowers_the_rate() {
        let mut plateau = Plateau::default();
        let mut epoch = |mean: f32| {
            for off in [-1.0, 0.0, 1.0] {
                plateau.step(mean + off, 3);
            }
            plateau.factor()
        };
        // The first epoch sets the mark; what is not a hundredth better does not count.
        let factors = [10.0, 9.95, 9.95, 9.95, 9.95, 9.95].map(&mut epoch);
        assert_eq!(factors, [1.0; 6]);
        assert_eq!(epoch(9.95), 0.2);
        assert_eq!(epoch(5.0), 0.2);
        assert_eq!([5.0; 5].map(&mut epoch), [0.2; 5]);
        assert!((epoch(5.0) - 0.04).abs() < 1e-7);
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_a_plateau() {
        let mut plateau = Plateau::default();
        plateau.step(f32::NAN, 2);
        plateau.step(1.0, 2);
        assert!(plateau.best.is_finite());
    }
}
