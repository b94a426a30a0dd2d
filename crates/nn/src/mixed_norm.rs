use tensor::{Result, Tensor};

use crate::layers::EPS;
use crate::{Module, Param, Weights};

/// Instance norm and layer norm, of which each channel takes a share that is learnt: ρ·IN(x) + (1 − ρ)·LN(x),
/// with ρ in 0…1 (Kim et al., 2020, U-GAT-IT). Instance norm keeps what a picture is of, layer norm lets its style
/// change.
pub struct MixedNorm {
    rho: Param,
}

impl MixedNorm {
    /// Of `channels` channels, to begin with the share `rho` of instance norm.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &Weights<'_>, channels: usize, rho: f32) -> Result<Self> {
        let rho = Tensor::full([channels], rho, weights.device)?;
        Ok(MixedNorm {
            rho: Param::within([0.0, 1.0], &rho),
        })
    }

    /// AdaLIN: γ and β, N×C×1×1, are of each picture.
    ///
    /// # Errors
    /// When the shapes don't go together, or the device fails.
    pub fn forward_with(&self, x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
        let of_places = |y: &Tensor| y.to_precision(x.precision())?.expand(x.shape());
        self.forward(x)?
            .mul(&of_places(gamma)?)?
            .add(&of_places(beta)?)
    }
}

impl Module for MixedNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [n, c, h, w] = x.shape().nchw();
        let instance = x.instance_norm(EPS)?;
        // A picture's channels as one.
        let layer = x.reshape([n, 1, c * h, w])?.instance_norm(EPS)?;
        let layer = layer.reshape([n, c, h, w])?;
        let share = self.rho.get().reshape([1, c, 1, 1])?;
        let share = share.to_precision(x.precision())?.expand(x.shape())?;
        layer.add(&instance.sub(&layer)?.mul(&share)?)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        visit(&format!("{prefix}rho"), &self.rho);
    }
}

/// LIN: instance norm and layer norm mixed, with a factor and a summand a channel.
pub struct Lin {
    norm: MixedNorm,
    gamma: Param,
    beta: Param,
}

impl Lin {
    /// Of `channels` channels, to begin with layer norm alone.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &Weights<'_>, channels: usize) -> Result<Self> {
        Ok(Lin {
            norm: MixedNorm::new(weights, channels, 0.0)?,
            gamma: weights.constant(channels, 1.0)?,
            beta: weights.constant(channels, 0.0)?,
        })
    }
}

impl Module for Lin {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let of_channels = |param: &Param| param.get().reshape([1, x.shape().nchw()[1], 1, 1]);
        let (gamma, beta) = (of_channels(&self.gamma)?, of_channels(&self.beta)?);
        self.norm.forward_with(x, &gamma, &beta)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.norm.visit(prefix, visit);
        visit(&format!("{prefix}gamma"), &self.gamma);
        visit(&format!("{prefix}beta"), &self.beta);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;
    use tensor::Device;

    use super::*;
    use crate::{Adam, AdamConfig, Init, parameters};

    #[test]
    fn shares_stay_where_they_belong() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let weights = Weights {
            init: Init::Normal,
            gain: 0.02,
            rng: &mut rng,
            device: &Device::Cpu,
        };
        let norm = MixedNorm::new(&weights, 2, 0.5).unwrap();
        let values: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin() + i as f32).collect();
        let x = Tensor::from_slice(&values, [1, 2, 4, 4], &Device::Cpu).unwrap();
        let adam = AdamConfig {
            beta1: 0.5,
            beta2: 0.999,
            eps: 1e-8,
        };
        let mut adam = Adam::new(parameters(&norm), adam).unwrap();
        for sign in [1.0, -1.0] {
            for _ in 0..30 {
                let y = norm.forward(&x).unwrap();
                // Layer norm makes the second channel, which is larger, positive; instance norm does not.
                let loss = y.narrow(1, 1, 1).unwrap().mean().unwrap();
                let _ = adam.minimise(&loss.scale(sign).unwrap(), 0.1).unwrap();
            }
            let rho = norm.rho.get().to_vec().unwrap();
            assert_eq!(rho[1], if sign > 0.0 { 1.0 } else { 0.0 }, "{rho:?}");
            assert!((0.0..=1.0).contains(&rho[0]));
        }
    }
}
