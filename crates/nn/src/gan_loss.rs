use serde::{Deserialize, Serialize};
use tensor::ops::Loss;
use tensor::{Result, Tensor};

/// What a discriminator's answers are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GanMode {
    /// Mean squared error to 1 for real and 0 for fake (Mao et al., 2017).
    Lsgan,
    /// Binary cross-entropy of logits (Goodfellow et al., 2014).
    Vanilla,
}

/// The adversarial loss of a discriminator's answers.
#[derive(Clone, Copy, Debug)]
pub struct GanLoss(pub GanMode);

impl GanLoss {
    /// How far `answers` are from saying "real" everywhere.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn to_real(&self, answers: &Tensor) -> Result<Tensor> {
        self.distance(answers, 1.0)
    }

    /// How far `answers` are from saying "fake" everywhere.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn to_fake(&self, answers: &Tensor) -> Result<Tensor> {
        self.distance(answers, 0.0)
    }

    fn distance(&self, answers: &Tensor, label: f32) -> Result<Tensor> {
        let kind = match self.0 {
            GanMode::Lsgan => Loss::Mse,
            GanMode::Vanilla => Loss::BceWithLogits,
        };
        answers.loss(
            kind,
            &Tensor::full(answers.shape(), label, answers.device())?,
        )
    }
}
