use tensor::{Result, Tensor};

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

    /// Takes note of a step's gradients, and says whether it may be taken: all of them are numbers. Waits
    /// for the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn accepts(&mut self, gradients: &[Tensor]) -> Result<bool> {
        // What is not finite makes the sum so.
        let sums = gradients
            .iter()
            .map(|gradient| gradient.sum()?.reshape([1]))
            .collect::<Result<Vec<_>>>()?;
        let sums = Tensor::concat(&sums.iter().collect::<Vec<_>>(), 0)?.to_vec()?;
        let finite = sums.iter().all(|sum| sum.is_finite());
        self.note(finite);
        Ok(finite)
    }

    fn note(&mut self, finite: bool) {
        if !finite {
            self.factor = (self.factor / 2.0).max(1.0);
            self.steady = 0;
            self.skipped += 1;
            return;
        }
        self.steady += 1;
        if self.steady == DOUBLE_AFTER {
            self.factor = (self.factor * 2.0).min(MOST);
            self.steady = 0;
        }
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
    use tensor::Device;

    #[test]
    fn overflow_halves_and_patience_doubles() {
        let gradient = |values: &[f32]| Tensor::from_slice(values, [2], &Device::Cpu).unwrap();
        let (good, bad) = (gradient(&[1.0, -2.0]), gradient(&[f32::INFINITY, 1.0]));
        let mut scale = LossScale::default();
        assert!(!scale.accepts(&[good.clone(), bad]).unwrap());
        assert_eq!((scale.factor(), scale.skipped()), (START / 2.0, 1));
        for _ in 0..DOUBLE_AFTER - 1 {
            assert!(scale.accepts(std::slice::from_ref(&good)).unwrap());
        }
        assert_eq!(scale.factor(), START / 2.0);
        assert_eq!(LossScale::from_values(scale.values()), scale);
        scale.note(true);
        assert_eq!((scale.factor(), scale.skipped()), (START, 1));
    }
}
