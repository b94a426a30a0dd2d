use nn::{
    Activation, Checkpointed, Conv2d, ConvTranspose2d, Graph, InstanceNorm, Module, Norm,
    NotTraced, Operation, Param, ReflectionPad2d, Sequential, Value, Weights,
};
use tensor::{Result, Tensor};

use crate::{Config, GeneratorKind, unet};

/// A generator: pictures of one domain in, of the other out, both in [−1, 1].
pub struct Generator {
    network: Box<dyn Module>,
    kind: GeneratorKind,
    norm: Norm,
}

/// Builds the generator that a configuration asks for.
///
/// # Errors
/// When the device has no room.
pub fn generator(config: &Config, weights: &mut Weights<'_>) -> Result<Generator> {
    let Config { ngf, norm, .. } = *config;
    let kind = config.generator;
    let again = config.checkpoint_activations;
    let network = match kind {
        GeneratorKind::Resnet6blocks => boxed(resnet(weights, norm, ngf, 6)?, again),
        GeneratorKind::Resnet9blocks => boxed(resnet(weights, norm, ngf, 9)?, again),
        GeneratorKind::Unet128 => boxed(unet::unet(weights, norm, ngf, 7)?, again),
        GeneratorKind::Unet256 => boxed(unet::unet(weights, norm, ngf, 8)?, again),
    };
    Ok(Generator {
        network,
        kind,
        norm,
    })
}

/// A module as it is, or to be run again by the backward pass: as a whole. To have its residual blocks run
/// a third time was measured: for a tenth of the memory it took a fifth more time.
fn boxed(module: impl Module + 'static, again: bool) -> Box<dyn Module> {
    match again {
        true => Box::new(Checkpointed::new(module)),
        false => Box::new(module),
    }
}

impl Generator {
    /// Sides of pictures must be multiples of this.
    pub fn multiple_of(&self) -> usize {
        self.kind.multiple_of()
    }

    /// Sides of pictures must be no shorter.
    pub fn at_least(&self) -> usize {
        self.kind.at_least()
    }

    /// What a tile must have around its core: as far as the generator sees, made a multiple of
    /// [`Generator::multiple_of`].
    pub fn halo(&self) -> usize {
        self.kind.reach().next_multiple_of(self.multiple_of())
    }

    /// Its instance norms.
    pub fn norms(&self) -> usize {
        self.kind.norms(self.norm)
    }
}

impl Module for Generator {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.network.forward(x)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.network.visit(&format!("{prefix}model."), visit);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        self.network.trace(&format!("{prefix}model."), graph, x)
    }
}

/// Johnson et al.'s (2016) network: a 7×7 stem, two downsamplings, residual blocks, two upsamplings,
/// a 7×7 head.
fn resnet(weights: &mut Weights<'_>, norm: Norm, ngf: usize, blocks: usize) -> Result<Sequential> {
    let mut model = Sequential::new();
    model.push(ReflectionPad2d(3));
    model.push(Conv2d::new(weights, [3, ngf], 7, 1, 0)?);
    model.push_norm(InstanceNorm::new(weights, norm, ngf)?, Activation::Relu);
    for channels in [ngf, 2 * ngf] {
        model.push(Conv2d::new(weights, [channels, 2 * channels], 3, 2, 1)?);
        model.push_norm(
            InstanceNorm::new(weights, norm, 2 * channels)?,
            Activation::Relu,
        );
    }
    for _ in 0..blocks {
        model.push(ResidualBlock::new(weights, norm, 4 * ngf)?);
    }
    for channels in [4 * ngf, 2 * ngf] {
        model.push(ConvTranspose2d::new(
            weights,
            [channels, channels / 2],
            3,
            2,
            1,
            1,
        )?);
        model.push_norm(
            InstanceNorm::new(weights, norm, channels / 2)?,
            Activation::Relu,
        );
    }
    model.push(ReflectionPad2d(3));
    model.push(Conv2d::new(weights, [ngf, 3], 7, 1, 0)?);
    model.push(Activation::Tanh);
    Ok(model)
}

/// Two 3×3 convolutions whose result is added to the input, with no activation after the sum.
struct ResidualBlock {
    conv_block: Sequential,
}

impl ResidualBlock {
    fn new(weights: &mut Weights<'_>, norm: Norm, channels: usize) -> Result<Self> {
        let mut conv_block = Sequential::new();
        conv_block.push(ReflectionPad2d(1));
        conv_block.push(Conv2d::new(weights, [channels, channels], 3, 1, 0)?);
        conv_block.push_norm(
            InstanceNorm::new(weights, norm, channels)?,
            Activation::Relu,
        );
        conv_block.push(ReflectionPad2d(1));
        conv_block.push(Conv2d::new(weights, [channels, channels], 3, 1, 0)?);
        conv_block.push(InstanceNorm::new(weights, norm, channels)?);
        Ok(ResidualBlock { conv_block })
    }
}

impl Module for ResidualBlock {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.add(&self.conv_block.forward(x)?)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.conv_block
            .visit(&format!("{prefix}conv_block."), visit);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let prefix = format!("{prefix}conv_block.");
        let change = self.conv_block.trace(&prefix, graph, x)?;
        Ok(graph.push(Operation::Add, &[x, change]))
    }
}
