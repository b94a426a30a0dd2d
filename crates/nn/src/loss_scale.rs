/// Multiplies a loss, so that gradients in half precision don't vanish, by as much as does not make them
/// overflow: half as much after each step that did, twice as much after many that did not (Micikevicius
/// et al., "Mixed Precision Training", 2018).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    factor: f32,
    /// Steps since the factor last changed.
    steady: u32,
    skipped: u32,
}

/// What training starts with, as PyTorch's does.
const START: f32 = 65536.0;

/// Steps without an overflow after which the factor is doubled, likewise.
const DOUBLE_AFTER: u32 = 2000;

/// Where doubling ends: gradients that never overflow are none.
const MOST: f32 = 16_777_216.0;

impl Default for LossScale {
    fn default() -> Self {
        LossScale {
            factor: START,
            steady: 0,
            skipped: 0,
        }
    }
}

impl LossScale {
    /// What the loss is multiplied with.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// Steps not taken, because a gradient overflowed.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Takes note of the norm of a step's gradients, and says whether the step may be taken: it is a number.
    pub fn accepts(&mut self, norm: f32) -> bool {
        if !norm.is_finite() {
            self.factor = (self.factor / 2.0).max(1.0);
            self.steady = 0;
            self.skipped += 1;
            return false;
        }
        self.steady += 1;
        if self.steady == DOUBLE_AFTER {
            self.factor = (self.factor * 2.0).min(MOST);
            self.steady = 0;
        }
        true
    }

    /// As three values, for a checkpoint.
    pub(crate) fn values(&self) -> [f32; 3] {
        [self.factor, self.steady as f32, self.skipped as f32]
    }

    /// What [`LossScale::values`] gave.
    pub(crate) fn from_values([factor, steady, skipped]: [f32; 3]) -> Self {
        LossScale {
            factor: factor.clamp(1.0, MOST),
            steady: steady as u32,
            skipped: skipped as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_halves_and_patience_doubles() {
        let mut scale = LossScale::default();
        assert!(!scale.accepts(f32::INFINITY));
        assert_eq!((scale.factor(), scale.skipped()), (START / 2.0, 1));
        for _ in 0..DOUBLE_AFTER - 1 {
            assert!(scale.accepts(2.0));
        }
        assert_eq!(scale.factor(), START / 2.0);
        assert_eq!(LossScale::from_values(scale.values()), scale);
        assert!(scale.accepts(0.0));
        assert_eq!((scale.factor(), scale.skipped()), (START, 1));
    }
}
