use tensor::ops::{AdamMoments, AdamUpdate};
use tensor::{Result, Tensor, no_grad};

use crate::{Param, StateDict, StateError};

/// Adam's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
}

/// Adam (Kingma & Ba, 2015) over a list of parameters.
pub struct Adam {
    config: AdamConfig,
    parameters: Vec<Param>,
    /// For each parameter both moments, 2×len.
    moments: Vec<Tensor>,
    steps: u64,
}

impl Adam {
    /// An optimiser that has taken no step.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(parameters: Vec<Param>, config: AdamConfig) -> Result<Self> {
        let zeros = |param: &Param| {
            let value = param.get();
            Tensor::zeros([2, value.shape().len()], value.device())
        };
        let moments = parameters.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Adam {
            config,
            parameters,
            moments,
            steps: 0,
        })
    }

    /// The values to take gradients with respect to.
    pub fn values(&self) -> Vec<Tensor> {
        self.parameters.iter().map(Param::get).collect()
    }

    /// One step along gradients in the order of [`Adam::values`].
    ///
    /// # Errors
    /// A fault of the device.
    pub fn step(&mut self, gradients: &[Tensor], learning_rate: f32) -> Result<()> {
        let AdamConfig { beta1, beta2, eps } = self.config;
        self.steps += 1;
        let left = |beta: f32| 1.0 - f64::from(beta).powf(self.steps as f64);
        let moments = AdamMoments { beta1, beta2 };
        let update = AdamUpdate {
            rate: (f64::from(learning_rate) / left(beta1)) as f32,
            v_scale: (1.0 / left(beta2).sqrt()) as f32,
            eps,
        };
        no_grad(|| {
            for ((param, state), grad) in
                self.parameters.iter().zip(&mut self.moments).zip(gradients)
            {
                *state = moments.apply(state, grad)?;
                param.set(&update.apply(&param.get(), state)?);
            }
            Ok(())
        })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments as `{prefix}{index}`, for a checkpoint.
    pub fn state(&self, prefix: &str) -> StateDict {
        let name = |(i, moments): (usize, &Tensor)| (format!("{prefix}{i}"), moments.clone());
        self.moments.iter().enumerate().map(name).collect()
    }

    /// Takes up a state left by [`Adam::state`] after `steps` steps.
    ///
    /// # Errors
    /// When moments are missing or of another shape.
    pub fn load_state(
        &mut self,
        state: &StateDict,
        prefix: &str,
        steps: u64,
    ) -> Result<(), StateError> {
        let moments = (0..self.moments.len())
            .map(|i| {
                let name = format!("{prefix}{i}");
                crate::state::get(state, &name, self.moments[i].shape())
            })
            .collect::<Result<_, _>>()?;
        self.moments = moments;
        self.steps = steps;
        Ok(())
    }
}
