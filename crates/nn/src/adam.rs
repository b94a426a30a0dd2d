use tensor::ops::{AdamMoments, AdamUpdate, GradientGate};
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
    clip_norm: f32,
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
            clip_norm: f32::INFINITY,
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
    /// and to no others: networks that it does not move are frozen. Where they are not finite, nothing moves.
    /// Returns their norm, one value, before it was clipped.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn minimise(&mut self, loss: &Tensor, learning_rate: f32) -> Result<Tensor> {
        let values: Vec<Tensor> = self.parameters.iter().map(Param::get).collect();
        let values: Vec<&Tensor> = values.iter().collect();
        let factor = self.loss_scale.map_or(1.0, |scale| scale.factor());
        let gradients = match self.loss_scale {
            Some(_) => grad(&loss.scale(factor)?, &values)?,
            None => grad(loss, &values)?,
        };
        no_grad(|| {
            let gate = GradientGate {
                factor: 1.0 / factor,
                most: self.clip_norm,
            };
            let gate = gate.of(&gradients)?;
            let norm = gate.narrow(0, 1, 1)?;
            // Half precision overflows now and then, and the scale has to follow at once.
            let taken = match &mut self.loss_scale {
                Some(scale) => scale.accepts(norm.item()?),
                None => true,
            };
            if taken {
                self.step(&gradients, &gate, learning_rate)?;
            }
            Ok(norm)
        })
    }

    /// Brings gradients that are longer to this norm, all parameters' taken together.
    pub fn with_clip_norm(self, most: f32) -> Self {
        Adam {
            clip_norm: most,
            ..self
        }
    }

    /// A step in the sequence that is not taken.
    pub fn pass_over(&mut self) {
        self.steps += 1;
    }

    /// One step along gradients, as the gate has it. A step that it does not let through counts, too: nobody
    /// knows of it yet.
    fn step(&mut self, gradients: &[Tensor], gate: &Tensor, learning_rate: f32) -> Result<()> {
        let AdamConfig { beta1, beta2, eps } = self.config;
        self.steps += 1;
        let left = |beta: f32| 1.0 - f64::from(beta).powf(self.steps as f64);
        let moments = AdamMoments { beta1, beta2 };
        let update = AdamUpdate {
            rate: (f64::from(learning_rate) / left(beta1)) as f32,
            v_scale: (1.0 / left(beta2).sqrt()) as f32,
            eps,
        };
        for ((param, state), grad) in self.parameters.iter().zip(&mut self.moments).zip(gradients) {
            *state = moments.apply(state, grad, gate)?;
            param.update(&update.apply(&param.get(), state, gate)?)?;
        }
        Ok(())
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
