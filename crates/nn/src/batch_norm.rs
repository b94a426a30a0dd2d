use tensor::{Result, Tensor, no_grad};

use crate::graph::{Graph, NotTraced, Operation, Value};
use crate::layers::{EPS, named};
use crate::{Module, Param, Weights, training};

/// Batch norm (Ioffe & Szegedy, 2015) with PyTorch's constants: in training with the mean and variance of each
/// channel over the batch, of which a moving average is kept; in use with that average.
pub struct BatchNorm {
    weight: Param,
    bias: Param,
    running_mean: Param,
    running_var: Param,
}

/// The share of a batch in the moving averages.
const MOMENTUM: f32 = 0.1;

impl BatchNorm {
    /// Of `channels` channels; factors are drawn around 1 with the deviation of the weights' gain, as the
    /// reference does.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &mut Weights<'_>, channels: usize) -> Result<Self> {
        let buffer = |value| Tensor::full([channels], value, weights.device);
        Ok(BatchNorm {
            running_mean: Param::buffer(&buffer(0.0)?),
            running_var: Param::buffer(&buffer(1.0)?),
            weight: weights.around_one(channels)?,
            bias: weights.constant(channels, 0.0)?,
        })
    }

    fn named(&self) -> [(&'static str, &Param); 4] {
        [
            ("weight", &self.weight),
            ("bias", &self.bias),
            ("running_mean", &self.running_mean),
            ("running_var", &self.running_var),
        ]
    }

    /// (x − mean)·(var + eps)^−½·weight + bias, with mean and variance of [1, C, 1, 1].
    fn normalise(&self, x: &Tensor, mean: &Tensor, var: &Tensor) -> Result<Tensor> {
        let (shape, channels) = (x.shape(), mean.shape());
        let weight = self.weight.get().reshape(channels)?;
        let scale = var.scale_add(1.0, EPS)?.rsqrt()?.mul(&weight)?;
        let shift = self.bias.get().reshape(channels)?;
        x.sub(&mean.expand(shape)?)?
            .mul(&scale.expand(shape)?)?
            .add(&shift.expand(shape)?)
    }

    /// Has the averages follow. What is not finite does not count: they would stay so.
    fn track(&self, mean: &Tensor, var: &Tensor, values: usize) -> Result<()> {
        // The variance of the population that a batch is a sample of.
        let unbiased = var.scale(values as f32 / (values.max(2) - 1) as f32)?;
        no_grad(|| {
            for (running, new) in [(&self.running_mean, mean), (&self.running_var, &unbiased)] {
                let old = running.get();
                let change = new.detach().reshape(old.shape())?.sub(&old)?;
                let change = change.finite_or_zero()?.scale(MOMENTUM)?;
                running.set(&old.add(&change)?);
            }
            Ok(())
        })
    }
}

impl Module for BatchNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [n, c, h, w] = x.shape().nchw();
        let channels = [1, c, 1, 1];
        if !training::is_under_way() {
            let [mean, var] = [&self.running_mean, &self.running_var].map(|running| running.get());
            return self.normalise(x, &mean.reshape(channels)?, &var.reshape(channels)?);
        }
        let mean = x.mean_to(channels)?;
        let apart = x.sub(&mean.expand(x.shape())?)?;
        let var = apart.mul(&apart)?.mean_to(channels)?;
        if training::is_first() {
            self.track(&mean, &var, n * h * w)?;
        }
        self.normalise(x, &mean, &var)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        for (name, param) in self.named() {
            visit(&format!("{prefix}{name}"), param);
        }
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let tensors = self.named().map(|(name, param)| named(prefix, name, param));
        Ok(graph.push(Operation::BatchNorm { tensors, eps: EPS }, &[x]))
    }
}
