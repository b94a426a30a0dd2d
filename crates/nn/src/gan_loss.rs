use serde::{Deserialize, Serialize};
use tensor::ops::Loss;
use tensor::{Result, Tensor};

use crate::Activation;

/// What a discriminator's answers are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GanMode {
    /// Mean squared error to 1 for real and 0 for fake (Mao et al., 2017).
    Lsgan,
    /// Binary cross-entropy of logits (Goodfellow et al., 2014).
    Vanilla,
    /// The mean itself (Arjovsky, Chintala & Bottou, 2017), for which the discriminator needs a
    /// [`gradient_penalty`](crate::gradient_penalty).
    Wgangp,
    /// max(0, 1 − answer) for real and max(0, 1 + answer) for fake; generators see the mean (Lim & Ye, 2017).
    Hinge,
}

/// The adversarial loss of a discriminator's answers.
#[derive(Clone, Copy, Debug)]
pub struct GanLoss(pub GanMode);

impl GanLoss {
    /// Of a generator, for the answers to its pictures.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn of_generator(&self, answers: &Tensor) -> Result<Tensor> {
        match self.0 {
            GanMode::Lsgan | GanMode::Vanilla => self.distance(answers, 1.0),
            GanMode::Wgangp | GanMode::Hinge => answers.mean()?.scale(-1.0),
        }
    }

    /// Of a discriminator, for its answers to real pictures.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn on_real(&self, answers: &Tensor) -> Result<Tensor> {
        match self.0 {
            GanMode::Lsgan | GanMode::Vanilla => self.distance(answers, 1.0),
            GanMode::Wgangp => answers.mean()?.scale(-1.0),
            GanMode::Hinge => {
                let short = answers.scale_add(-1.0, 1.0)?;
                short.activation(Activation::Relu)?.mean()
            }
        }
    }

    /// Of a discriminator, for its answers to fakes.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn on_fake(&self, answers: &Tensor) -> Result<Tensor> {
        match self.0 {
            GanMode::Lsgan | GanMode::Vanilla => self.distance(answers, 0.0),
            GanMode::Wgangp => answers.mean(),
            GanMode::Hinge => {
                let short = answers.scale_add(1.0, 1.0)?;
                short.activation(Activation::Relu)?.mean()
            }
        }
    }

    fn distance(&self, answers: &Tensor, label: f32) -> Result<Tensor> {
        let kind = match self.0 {
            GanMode::Vanilla => Loss::BceWithLogits,
            _ => Loss::Mse,
        };
        answers.loss(
            kind,
            &Tensor::full(answers.shape(), label, answers.device())?,
        )
    }
}
