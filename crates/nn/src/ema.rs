use tensor::{Result, no_grad};

use crate::module::tensors;
use crate::{Module, Param};

/// The exponential moving average of a network's parameters, in a second network of the same make. It varies
/// less from step to step than the network in training, and is what pictures are made with (Yazıcı et al.,
/// 2019).
pub struct Ema {
    decay: f32,
    /// The network's tensors, and the average's.
    pairs: Vec<(Param, Param)>,
}

impl Ema {
    /// Has `average` follow `network`, to begin with what that is now. Each step `decay` of the average stays.
    pub fn new(decay: f32, network: &dyn Module, average: &dyn Module) -> Self {
        let pairs = tensors(network).into_iter().zip(tensors(average));
        let ema = Ema {
            decay,
            pairs: pairs.collect(),
        };
        ema.restart();
        ema
    }

    /// Begins anew with the parameters as they are.
    pub fn restart(&self) {
        for (param, average) in &self.pairs {
            average.set(&param.get());
        }
    }

    /// Takes in the parameters after step `step`, counted from 1. What the first steps left is forgotten
    /// sooner: `(1 + step) / (10 + step)` of the average stays where that is less than the decay.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn update(&self, step: u64) -> Result<()> {
        let warmed = (1.0 + step as f64) / (10.0 + step as f64);
        let new = 1.0 - f64::from(self.decay).min(warmed);
        no_grad(|| {
            self.pairs.iter().try_for_each(|(param, average)| {
                let now = param.get();
                average.set(&match param.is_trained() {
                    true => average.get().mix(&now, new as f32)?,
                    // Buffers are averages already.
                    false => now,
                });
                Ok(())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use tensor::{Device, Tensor};

    use super::*;
    use crate::{Conv2d, Init, Weights, parameters};

    #[test]
    fn averages_follow_the_recurrence() {
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(1);
        let mut weights = Weights {
            init: Init::Normal,
            gain: 1.0,
            rng: &mut rng,
            device: &Device::Cpu,
        };
        let network = Conv2d::new(&mut weights, [1, 1], 1, 1, 0).unwrap();
        let average = Conv2d::new(&mut weights, [1, 1], 1, 1, 0).unwrap();
        let ema = Ema::new(0.9, &network, &average);
        let value = |module: &Conv2d| parameters(module)[0].get().to_vec().unwrap()[0];
        let mut expected = f64::from(value(&network));
        assert_eq!(value(&average), value(&network));
        for step in 1..=200u64 {
            let now = (step as f32).sin();
            let new = Tensor::full([1, 1, 1, 1], now, &Device::Cpu).unwrap();
            parameters(&network)[0].set(&new);
            ema.update(step).unwrap();
            let stays = 0.9f64.min((1.0 + step as f64) / (10.0 + step as f64));
            expected = stays * expected + (1.0 - stays) * f64::from(now);
            assert!((f64::from(value(&average)) - expected).abs() < 1e-6);
        }
    }
}
