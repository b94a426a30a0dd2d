use std::sync::Arc;

use tensor::ops::Loss;
use tensor::{Device, Result, Tensor, no_grad};

use crate::Config;

/// What a network that was trained to see makes of N×C×H×W pictures in −1…1: its layers, the deepest last.
pub type Perception = Arc<dyn Fn(&Tensor) -> Result<Vec<Tensor>> + Send + Sync>;

/// Makes a [`Perception`] on a device.
pub type PerceptionOn = dyn Fn(&Device) -> Result<Perception>;

/// Losses of what pictures look like to a network (Johnson, Alahi & Fei-Fei, 2016).
pub struct Perceptual {
    perception: Option<Perception>,
    lambda_perceptual: f32,
    lambda_style: f32,
}

impl Perceptual {
    /// With a configuration's weights, of which a loss that has none is not computed; none is before a network
    /// is there.
    pub fn new(config: &Config) -> Self {
        Perceptual {
            perception: None,
            lambda_perceptual: config.lambda_perceptual,
            lambda_style: config.lambda_style,
        }
    }

    /// Gives it the network.
    pub fn train_by(&mut self, perception: Perception) {
        self.perception = Some(perception);
    }

    /// Of a translation, the picture that it was made from, and one of the domain that it should belong to:
    /// the perceptual loss, the mean square of how its deepest layer differs from the picture's, and the style
    /// loss, that of how its layers' Gram matrices differ from the other's, in the mean over layers.
    ///
    /// # Errors
    /// When pictures are too small for the network, or the device fails.
    pub fn losses(&self, fake: &Tensor, from: &Tensor, to: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let (perceives, styles) = (self.lambda_perceptual > 0.0, self.lambda_style > 0.0);
        let Some(perception) = self.perception.as_ref().filter(|_| perceives || styles) else {
            return Ok([None, None]);
        };
        let fake = perception(fake)?;
        let seen = |pictures: &Tensor| no_grad(|| perception(pictures));
        let perceptual = match perceives {
            false => None,
            true => {
                let deepest = fake.len() - 1;
                let loss = fake[deepest].loss(Loss::Mse, &seen(from)?[deepest])?;
                Some(loss.scale(self.lambda_perceptual)?)
            }
        };
        let style = match styles {
            false => None,
            true => {
                let mut sum = Tensor::zeros([], fake[0].device())?;
                for (fake, to) in fake.iter().zip(&seen(to)?) {
                    sum = sum.add(&gram(fake)?.loss(Loss::Mse, &no_grad(|| gram(to))?)?)?;
                }
                Some(sum.scale(self.lambda_style / fake.len() as f32)?)
            }
        };
        Ok([perceptual, style])
    }
}

/// How much channels go together, N×C×C, as a mean over places, divided by the number of channels.
fn gram(features: &Tensor) -> Result<Tensor> {
    let [n, c, h, w] = features.shape().nchw();
    let flat = features.reshape([n, c, h * w])?;
    flat.matmul_transposed(&flat)?
        .scale(1.0 / (c * h * w) as f32)
}
