use tensor::ops::{AdamMoments, AdamUpdate};
use tensor::{Device, Result, Tensor, grad, no_grad};

use crate::{LossScale, Param, StateDict, StateError};

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
    loss_scale: Option<LossScale>,
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
            loss_scale: None,
        })
    }

    /// The same for losses that are computed in half precision.
    pub fn with_loss_scale(self) -> Self {
        Adam {
            loss_scale: Some(LossScale::default()),
            ..self
        }
    }

    /// One step down a loss. Gradients are taken with respect to the parameters that this optimiser moves,
    /// and to no others: networks that it does not move are frozen.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn minimise(&mut self, loss: &Tensor, learning_rate: f32) -> Result<()> {
        let values: Vec<Tensor> = self.parameters.iter().map(Param::get).collect();
        let values: Vec<&Tensor> = values.iter().collect();
        let Some(scale) = &mut self.loss_scale else {
            return self.step(&grad(loss, &values)?, learning_rate, 1.0);
        };
        let factor = scale.factor();
        let gradients = grad(&loss.scale(factor)?, &values)?;
        if !scale.accepts(&gradients)? {
            return Ok(());
        }
        self.step(&gradients, learning_rate, 1.0 / factor)
    }

    /// One step along gradients, a factor before each.
    fn step(&mut self, gradients: &[Tensor], learning_rate: f32, factor: f32) -> Result<()> {
        let AdamConfig { beta1, beta2, eps } = self.config;
        self.steps += 1;
        let left = |beta: f32| 1.0 - f64::from(beta).powf(self.steps as f64);
        let moments = AdamMoments {
            beta1,
            beta2,
            factor,
        };
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

    /// How the loss is scaled, if it is.
    pub fn loss_scale(&self) -> Option<&LossScale> {
        self.loss_scale.as_ref()
    }

    /// The moments as `{prefix}{index}`, and the loss scale, for a checkpoint.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn state(&self, prefix: &str) -> Result<StateDict> {
        let name = |(i, moments): (usize, &Tensor)| (format!("{prefix}{i}"), moments.clone());
        let mut state: StateDict = self.moments.iter().enumerate().map(name).collect();
        if let Some(scale) = &self.loss_scale {
            let values = Tensor::from_slice(&scale.values(), [3], &Device::Cpu)?;
            state.insert(format!("{prefix}loss_scale"), values);
        }
        Ok(state)
    }

    /// Takes up a state left by [`Adam::state`] after `steps` steps, those included that a loss scale
    /// skipped.
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
        let name = format!("{prefix}loss_scale");
        if state.contains_key(&name) {
            let values = crate::state::get(state, &name, [3].into())?.to_vec()?;
            let scale = LossScale::from_values([values[0], values[1], values[2]]);
            self.steps = steps.saturating_sub(scale.skipped().into());
            if self.loss_scale.is_some() {
                self.loss_scale = Some(scale);
            }
        }
        Ok(())
    }
}
