/// The reference's linear schedule: constant first, then falling by equal steps that would reach
/// zero one unit after the end. Units are epochs in the reference; steps do as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Units at the full rate.
    pub constant: u64,
    /// Units of decay after them.
    pub decay: u64,
}

impl Linear {
    /// The factor on the learning rate in unit `k`, counted from 1:
    /// 1 − max(0, k − constant) / (decay + 1).
    pub fn factor(&self, k: u64) -> f32 {
        let into = k.saturating_sub(self.constant).min(self.decay);
        (1.0 - into as f64 / (self.decay + 1) as f64) as f32
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
}
