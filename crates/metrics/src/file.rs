//! The tensors that a network takes from a weight file.

use std::collections::HashMap;

use exchange::{Array, Weights};
use tensor::{Device, Tensor};

/// The most channels of a layer; the widest network here has 2048.
const MOST_CHANNELS: usize = 4096;

/// A weight file that is taken to hold a certain network.
pub struct File<'a> {
    arrays: HashMap<&'a str, &'a Array>,
    /// What it is taken to hold, for people.
    network: &'static str,
}

/// A convolution's weight and bias, which a batch norm behind it may be part of.
pub struct Filters {
    weight: Vec<f32>,
    shape: [usize; 4],
    bias: Vec<f32>,
}

impl<'a> File<'a> {
    pub fn new(weights: &'a Weights, network: &'static str) -> Self {
        let arrays = weights.arrays.iter();
        File {
            arrays: arrays.map(|array| (array.name.as_str(), array)).collect(),
            network,
        }
    }

    pub fn holds(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// A tensor that must be there with a shape, and with finite numbers: a relu would make zeros of what comes of
    /// NaN, and nobody would see.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<&'a Array, String> {
        let array = self.any(name)?;
        if array.shape != shape {
            return Err(format!(
                "{name} is {:?} where {} has {shape:?}",
                array.shape, self.network
            ));
        }
        match array.values.iter().all(|value| value.is_finite()) {
            true => Ok(array),
            false => Err(format!("{name} has values that are no finite numbers")),
        }
    }

    /// How many channels a tensor is for, the first of its dimensions.
    fn channels(&self, name: &str) -> Result<usize, String> {
        let channels = self.any(name)?.shape.first().copied().unwrap_or(0);
        match (1..=MOST_CHANNELS).contains(&channels) {
            true => Ok(channels),
            false => Err(format!("{name} has {channels} channels")),
        }
    }

    fn any(&self, name: &str) -> Result<&'a Array, String> {
        let found = self.arrays.get(name).copied();
        found.ok_or_else(|| format!("it lacks {name}, which {} has", self.network))
    }

    /// The convolution `name`, of `channels` with a kernel of [height, width], and its bias.
    pub fn biased(
        &self,
        name: &str,
        channels: usize,
        kernel: [usize; 2],
    ) -> Result<Filters, String> {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let out = self.channels(&weight)?;
        let shape = [out, channels, kernel[0], kernel[1]];
        Ok(Filters {
            weight: self.tensor(&weight, &shape)?.values.clone(),
            shape,
            bias: self.tensor(&bias, &[out])?.values.clone(),
        })
    }

    /// The convolution `name` without a bias, and the batch norm behind it with its running statistics: weights are
    /// multiplied by γ/√(σ² + ε), and β − μ·γ/√(σ² + ε) is the bias.
    pub fn normalised(
        &self,
        name: &str,
        norm: &str,
        channels: usize,
        kernel: [usize; 2],
        epsilon: f64,
    ) -> Result<Filters, String> {
        let weight = format!("{name}.weight");
        let out = self.channels(&weight)?;
        let shape = [out, channels, kernel[0], kernel[1]];
        let weight = self.tensor(&weight, &shape)?;
        let of = |part: &str| self.tensor(&format!("{norm}.{part}"), &[out]);
        let [gamma, beta] = [of("weight")?, of("bias")?];
        let [mean, variance] = [of("running_mean")?, of("running_var")?];
        let scale = gamma.values.iter().zip(&variance.values);
        let scale: Vec<f64> = scale
            .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + epsilon).sqrt())
            .collect();
        if scale.iter().any(|scale| !scale.is_finite()) {
            return Err(format!(
                "{norm}.running_var has values that are no variances"
            ));
        }
        let filters = weight.values.chunks(weight.values.len() / out);
        let weight = filters.zip(&scale).flat_map(|(filter, scale)| {
            filter
                .iter()
                .map(move |value| (f64::from(*value) * scale) as f32)
        });
        let bias = beta.values.iter().zip(&mean.values).zip(&scale);
        let bias =
            bias.map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32);
        Ok(Filters {
            weight: weight.collect(),
            shape,
            bias: bias.collect(),
        })
    }
}

impl Filters {
    /// How many channels come out.
    pub fn channels(&self) -> usize {
        self.bias.len()
    }

    /// Weight (M×C×kh×kw) and bias (M) on a device.
    pub fn tensors(&self, device: &Device) -> tensor::Result<[Tensor; 2]> {
        Ok([
            Tensor::from_slice(&self.weight, self.shape, device)?,
            Tensor::from_slice(&self.bias, [self.bias.len()], device)?,
        ])
    }
}
