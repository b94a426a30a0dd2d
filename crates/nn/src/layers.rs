use serde::{Deserialize, Serialize};
use tensor::{Result, Tensor};

use crate::graph::{Graph, Named, NotTraced, Operation, Value};
use crate::{Activation, Module, Param, Weights, tiled};

fn named(prefix: &str, name: &str, param: &Param) -> Named {
    (format!("{prefix}{name}"), param.clone())
}

/// A convolution with its bias.
pub struct Conv2d {
    weight: Param,
    bias: Param,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// A `kernel`×`kernel` convolution from `channels[0]` to `channels[1]` channels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        weights: &mut Weights<'_>,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let [from, to] = channels;
        let weight = weights.weight([to, from, kernel, kernel])?;
        Ok(Conv2d {
            weight,
            bias: weights.constant(to, 0.0)?,
            stride,
            padding,
        })
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.conv2d(
            &self.weight.get(),
            Some(&self.bias.get()),
            self.stride,
            self.padding,
        )
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        visit(&format!("{prefix}weight"), &self.weight);
        visit(&format!("{prefix}bias"), &self.bias);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let operation = Operation::Conv2d {
            weight: named(prefix, "weight", &self.weight),
            bias: named(prefix, "bias", &self.bias),
            stride: self.stride,
            padding: self.padding,
        };
        Ok(graph.push(operation, &[x]))
    }
}

/// A transposed convolution with its bias.
pub struct ConvTranspose2d {
    weight: Param,
    bias: Param,
    stride: usize,
    padding: usize,
    output_padding: usize,
}

impl ConvTranspose2d {
    /// A `kernel`×`kernel` transposed convolution from `channels[0]` to `channels[1]` channels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        weights: &mut Weights<'_>,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        output_padding: usize,
    ) -> Result<Self> {
        let [from, to] = channels;
        let weight = weights.weight([from, to, kernel, kernel])?;
        let bias = weights.constant(to, 0.0)?;
        Ok(ConvTranspose2d {
            weight,
            bias,
            stride,
            padding,
            output_padding,
        })
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Self {
            weight,
            bias,
            stride,
            padding,
            output_padding,
        } = self;
        x.conv_transpose2d(
            &weight.get(),
            Some(&bias.get()),
            *stride,
            *padding,
            *output_padding,
        )
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        visit(&format!("{prefix}weight"), &self.weight);
        visit(&format!("{prefix}bias"), &self.bias);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let operation = Operation::ConvTranspose2d {
            weight: named(prefix, "weight", &self.weight),
            bias: named(prefix, "bias", &self.bias),
            stride: self.stride,
            padding: self.padding,
            output_padding: self.output_padding,
        };
        Ok(graph.push(operation, &[x]))
    }
}

/// Which normalisation follows convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Instance norm without parameters, as the reference has it.
    Instance,
    /// Instance norm with a factor and a summand a channel.
    InstanceAffine,
    /// None. It keeps its place in the state dict's numbering.
    None,
}

/// The reference's eps.
pub(crate) const EPS: f32 = 1e-5;

/// Instance norm, with or without parameters, or its absence; an activation may follow.
pub struct InstanceNorm {
    norm: Norm,
    affine: Option<(Param, Param)>,
    activation: Option<Activation>,
}

impl InstanceNorm {
    /// The chosen normalisation of `channels` channels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &Weights<'_>, norm: Norm, channels: usize) -> Result<Self> {
        let affine = match norm {
            Norm::InstanceAffine => Some((
                weights.constant(channels, 1.0)?,
                weights.constant(channels, 0.0)?,
            )),
            Norm::Instance | Norm::None => None,
        };
        Ok(InstanceNorm {
            norm,
            affine,
            activation: None,
        })
    }
}

impl Module for InstanceNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.norm != Norm::None && tiled::under_way() {
            return tiled::normalise(x, self.affine.as_ref(), self.activation);
        }
        let normed = match (&self.affine, self.norm, self.activation) {
            (Some((gamma, beta)), _, _) => {
                x.instance_norm_affine(&gamma.get(), &beta.get(), EPS)?
            }
            (None, Norm::None, _) => x.clone(),
            (None, _, Some(Activation::Relu)) => return x.instance_norm_leaky_relu(EPS, 0.0),
            (None, _, Some(Activation::LeakyRelu(slope))) => {
                return x.instance_norm_leaky_relu(EPS, slope);
            }
            (None, _, _) => x.instance_norm(EPS)?,
        };
        match self.activation {
            Some(activation) => normed.activation(activation),
            None => Ok(normed),
        }
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        if let Some((gamma, beta)) = &self.affine {
            visit(&format!("{prefix}weight"), gamma);
            visit(&format!("{prefix}bias"), beta);
        }
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let affine = self
            .affine
            .as_ref()
            .map(|(gamma, beta)| [named(prefix, "weight", gamma), named(prefix, "bias", beta)]);
        let normed = match self.norm {
            Norm::None => x,
            Norm::Instance | Norm::InstanceAffine => {
                graph.push(Operation::InstanceNorm { affine, eps: EPS }, &[x])
            }
        };
        match &self.activation {
            Some(activation) => activation.trace(prefix, graph, normed),
            None => Ok(normed),
        }
    }
}

/// Reflection padding on all sides.
pub struct ReflectionPad2d(pub usize);

impl Module for ReflectionPad2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.reflection_pad2d(self.0)
    }

    fn trace(&self, _: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        Ok(graph.push(Operation::ReflectionPad2d(self.0), &[x]))
    }
}

/// Modules one after another; in the state dict each goes by its index, as in PyTorch.
#[derive(Default)]
pub struct Sequential(Vec<Option<Box<dyn Module>>>);

impl Sequential {
    /// An empty sequence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a module.
    pub fn push(&mut self, module: impl Module + 'static) {
        self.0.push(Some(Box::new(module)));
    }

    /// Appends a norm and the activation after it, computed in one where that is possible. Each keeps
    /// its index.
    pub fn push_norm(&mut self, norm: InstanceNorm, activation: Activation) {
        self.push(InstanceNorm {
            activation: Some(activation),
            ..norm
        });
        self.0.push(None);
    }
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut modules = self.0.iter().flatten();
        modules.try_fold(x.clone(), |x, module| module.forward(&x))
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        for (i, module) in self.0.iter().enumerate() {
            if let Some(module) = module {
                module.visit(&format!("{prefix}{i}."), visit);
            }
        }
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let modules = self.0.iter().enumerate();
        let mut modules = modules.filter_map(|(i, module)| Some((i, module.as_ref()?)));
        modules.try_fold(x, |x, (i, module)| {
            module.trace(&format!("{prefix}{i}."), graph, x)
        })
    }
}
