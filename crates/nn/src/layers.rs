use serde::{Deserialize, Serialize};
use tensor::ops::Interpolation;
use tensor::{Result, Tensor};

use crate::graph::{Graph, Named, NotTraced, Operation, Value};
use crate::spectral::SpectralNorm;
use crate::{Activation, BatchNorm, Module, Param, Weights, tiled, training};

pub(crate) fn named(prefix: &str, name: &str, param: &Param) -> Named {
    (format!("{prefix}{name}"), param.clone())
}

/// A convolution, with its bias where it has one.
pub struct Conv2d {
    weight: Param,
    bias: Option<Param>,
    spectral: Option<SpectralNorm>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// A `kernel`×`kernel` convolution from `channels[0]` to `channels[1]` channels, with a bias.
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
            bias: Some(weights.constant(to, 0.0)?),
            spectral: None,
            stride,
            padding,
        })
    }

    /// The same with its weight divided by its largest singular value (Miyato et al., 2018).
    ///
    /// # Errors
    /// When the device has no room.
    pub fn spectral_norm(self, weights: &mut Weights<'_>) -> Result<Self> {
        Ok(Conv2d {
            spectral: Some(SpectralNorm::new(weights, &self.weight)?),
            ..self
        })
    }

    /// The same as a norm wants it before itself.
    pub fn before(mut self, norm: Norm) -> Self {
        self.bias = self.bias.filter(|_| norm.wants_bias());
        self
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.get();
        let weight = match &self.spectral {
            Some(spectral) => spectral.apply(&weight)?,
            None => weight,
        };
        x.conv2d(
            &weight,
            self.bias.as_ref().map(Param::get).as_ref(),
            self.stride,
            self.padding,
        )
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        // Under PyTorch's names.
        let name = if self.spectral.is_some() {
            "weight_orig"
        } else {
            "weight"
        };
        visit(&format!("{prefix}{name}"), &self.weight);
        if let Some(bias) = &self.bias {
            visit(&format!("{prefix}bias"), bias);
        }
        if let Some(spectral) = &self.spectral {
            spectral.visit(prefix, visit);
        }
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        if self.spectral.is_some() {
            return Err(NotTraced("Conv2d with spectral norm"));
        }
        let operation = Operation::Conv2d {
            weight: named(prefix, "weight", &self.weight),
            bias: self.bias.as_ref().map(|bias| named(prefix, "bias", bias)),
            stride: self.stride,
            padding: self.padding,
        };
        Ok(graph.push(operation, &[x]))
    }
}

/// Nearest neighbours in place of each pixel and a 3×3 convolution: the upsampling that leaves no checkerboard
/// (Odena, Dumoulin & Olah, 2016).
pub struct ResizeConv2d(Conv2d);

impl ResizeConv2d {
    /// To twice the height and width, from `channels[0]` to `channels[1]` channels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &mut Weights<'_>, channels: [usize; 2]) -> Result<Self> {
        Ok(ResizeConv2d(Conv2d::new(weights, channels, 3, 1, 0)?))
    }

    /// The same as a norm wants it before itself.
    pub fn before(self, norm: Norm) -> Self {
        ResizeConv2d(self.0.before(norm))
    }
}

impl Module for ResizeConv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let larger = x.upsample(Interpolation::Nearest, 2)?;
        self.0.forward(&larger.reflection_pad2d(1)?)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.0.visit(prefix, visit);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let larger = graph.push(Operation::UpsampleNearest(2), &[x]);
        let padded = graph.push(Operation::ReflectionPad2d(1), &[larger]);
        self.0.trace(prefix, graph, padded)
    }
}

/// A transposed convolution, with its bias where it has one.
pub struct ConvTranspose2d {
    weight: Param,
    bias: Option<Param>,
    stride: usize,
    padding: usize,
    output_padding: usize,
}

impl ConvTranspose2d {
    /// A `kernel`×`kernel` transposed convolution from `channels[0]` to `channels[1]` channels, with a bias.
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
        let bias = Some(weights.constant(to, 0.0)?);
        Ok(ConvTranspose2d {
            weight,
            bias,
            stride,
            padding,
            output_padding,
        })
    }

    /// The same as a norm wants it before itself.
    pub fn before(mut self, norm: Norm) -> Self {
        self.bias = self.bias.filter(|_| norm.wants_bias());
        self
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
            bias.as_ref().map(Param::get).as_ref(),
            *stride,
            *padding,
            *output_padding,
        )
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        visit(&format!("{prefix}weight"), &self.weight);
        if let Some(bias) = &self.bias {
            visit(&format!("{prefix}bias"), bias);
        }
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let operation = Operation::ConvTranspose2d {
            weight: named(prefix, "weight", &self.weight),
            bias: self.bias.as_ref().map(|bias| named(prefix, "bias", bias)),
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
    /// Batch norm, before which convolutions have no bias.
    Batch,
    /// None. It keeps its place in the state dict's numbering.
    None,
}

impl Norm {
    /// Whether what comes before has a bias: batch norm has one of its own.
    fn wants_bias(self) -> bool {
        self != Norm::Batch
    }
}

/// The reference's eps.
pub(crate) const EPS: f32 = 1e-5;

/// A normalisation, or its absence; an activation may follow.
pub struct NormLayer {
    kind: Kind,
    activation: Option<Activation>,
}

enum Kind {
    /// With factor and summand where there are such.
    Instance(Option<(Param, Param)>),
    Batch(BatchNorm),
    None,
}

impl NormLayer {
    /// The chosen normalisation of `channels` channels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &mut Weights<'_>, norm: Norm, channels: usize) -> Result<Self> {
        let kind = match norm {
            Norm::Instance => Kind::Instance(None),
            Norm::InstanceAffine => Kind::Instance(Some((
                weights.constant(channels, 1.0)?,
                weights.constant(channels, 0.0)?,
            ))),
            Norm::Batch => Kind::Batch(BatchNorm::new(weights, channels)?),
            Norm::None => Kind::None,
        };
        Ok(NormLayer {
            kind,
            activation: None,
        })
    }
}

impl Module for NormLayer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normed = match (&self.kind, self.activation) {
            (Kind::Instance(affine), activation) if tiled::under_way() => {
                return tiled::normalise(x, affine.as_ref(), activation);
            }
            (Kind::Instance(Some((gamma, beta))), _) => {
                x.instance_norm_affine(&gamma.get(), &beta.get(), EPS)?
            }
            (Kind::Instance(None), Some(Activation::Relu)) => {
                return x.instance_norm_leaky_relu(EPS, 0.0);
            }
            (Kind::Instance(None), Some(Activation::LeakyRelu(slope))) => {
                return x.instance_norm_leaky_relu(EPS, slope);
            }
            (Kind::Instance(None), _) => x.instance_norm(EPS)?,
            (Kind::Batch(batch), _) => batch.forward(x)?,
            (Kind::None, _) => x.clone(),
        };
        match self.activation {
            Some(activation) => normed.activation(activation),
            None => Ok(normed),
        }
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        match &self.kind {
            Kind::Instance(Some((gamma, beta))) => {
                visit(&format!("{prefix}weight"), gamma);
                visit(&format!("{prefix}bias"), beta);
            }
            Kind::Batch(batch) => batch.visit(prefix, visit),
            Kind::Instance(None) | Kind::None => {}
        }
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let normed = match &self.kind {
            Kind::Instance(affine) => {
                let affine = affine.as_ref().map(|(gamma, beta)| {
                    [named(prefix, "weight", gamma), named(prefix, "bias", beta)]
                });
                graph.push(Operation::InstanceNorm { affine, eps: EPS }, &[x])
            }
            Kind::Batch(batch) => batch.trace(prefix, graph, x)?,
            Kind::None => x,
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

/// Leaves out values in training, with this probability.
pub struct Dropout(pub f32);

impl Module for Dropout {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match training::next_seed() {
            Some(seed) => x.dropout(self.0, seed),
            None => Ok(x.clone()),
        }
    }

    fn trace(&self, _: &str, _: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        Ok(x)
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
    pub fn push_norm(&mut self, norm: NormLayer, activation: Activation) {
        self.push(NormLayer {
            activation: Some(activation),
            ..norm
        });
        self.0.push(None);
    }

    /// What the modules at some indices, in rising order, give for a batch; those after them are not run.
    ///
    /// # Errors
    /// As [`Module::forward`].
    pub fn intermediates(&self, x: &Tensor, indices: &[usize]) -> Result<Vec<Tensor>> {
        let mut begin = 0;
        let mut x = x.clone();
        let each = indices.iter().map(|&index| {
            x = run(&self.0[begin..=index], &x)?;
            begin = index + 1;
            Ok(x.clone())
        });
        each.collect()
    }

    /// What comes out if the module at `index` is given a batch.
    ///
    /// # Errors
    /// As [`Module::forward`].
    pub fn forward_from(&self, index: usize, x: &Tensor) -> Result<Tensor> {
        run(&self.0[index..], x)
    }
}

fn run(modules: &[Option<Box<dyn Module>>], x: &Tensor) -> Result<Tensor> {
    let mut modules = modules.iter().flatten();
    modules.try_fold(x.clone(), |x, module| module.forward(&x))
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        run(&self.0, x)
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
