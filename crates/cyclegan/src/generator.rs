use nn::{
    Activation, Checkpointed, Conv2d, ConvTranspose2d, Dropout, Graph, Lin, Module, Norm,
    NormLayer, NotTraced, Operation, Param, ReflectionPad2d, ResizeConv2d, Sequential, Value,
    Weights,
};
use tensor::{Result, Tensor};

use crate::adalin::AdaLinBlocks;
use crate::{Config, DecoderNorm, GeneratorKind, Upsampling, unet};

/// A generator: pictures of one domain in, of the other out, both in [−1, 1] and of one or three channels.
pub struct Generator {
    network: Network,
    channels: [usize; 2],
    kind: GeneratorKind,
    upsampling: Upsampling,
    decoder_norm: DecoderNorm,
    norm: Norm,
}

enum Network {
    /// One whose inside can be looked at.
    Resnet(Sequential),
    Other(Box<dyn Module>),
}

/// What a generator is made of, beside the number of its layers.
#[derive(Clone, Copy)]
pub(crate) struct Make {
    /// Of the pictures that go in and come out.
    pub channels: [usize; 2],
    pub ngf: usize,
    pub norm: Norm,
    pub dropout: bool,
    pub upsampling: Upsampling,
    pub decoder_norm: DecoderNorm,
}

/// The reference's share of values that dropout leaves out.
pub(crate) const DROPOUT: f32 = 0.5;

/// Builds the generator that a configuration asks for, from pictures of `channels[0]` channels to those of
/// `channels[1]`.
///
/// # Errors
/// When the device has no room.
pub fn generator(
    config: &Config,
    channels: [usize; 2],
    weights: &mut Weights<'_>,
) -> Result<Generator> {
    let make = Make {
        channels,
        ngf: config.ngf,
        norm: config.norm,
        dropout: config.dropout,
        upsampling: config.upsampling,
        decoder_norm: config.decoder_norm,
    };
    let (kind, norm) = (config.generator, config.norm);
    let again = config.checkpoint_activations;
    let network = match kind {
        GeneratorKind::Resnet6blocks | GeneratorKind::Resnet9blocks => {
            let resnet = resnet(weights, make, kind.blocks().unwrap_or_default())?;
            match again {
                true => Network::Other(boxed(resnet, true)),
                false => Network::Resnet(resnet),
            }
        }
        GeneratorKind::Unet128 => Network::Other(boxed(unet::unet(weights, make, 7)?, again)),
        GeneratorKind::Unet256 => Network::Other(boxed(unet::unet(weights, make, 8)?, again)),
    };
    Ok(Generator {
        network,
        channels,
        kind,
        upsampling: config.upsampling,
        decoder_norm: config.decoder_norm,
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
    /// Of the pictures that it takes, and of those that it makes.
    pub fn channels(&self) -> [usize; 2] {
        self.channels
    }

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
        self.kind
            .reach(self.upsampling)
            .next_multiple_of(self.multiple_of())
    }

    /// Whether pictures can be translated in tiles: not where layers see a picture as a whole but for the norms.
    pub fn can_be_tiled(&self) -> bool {
        self.decoder_norm == DecoderNorm::Same
    }

    /// Its instance norms.
    pub fn norms(&self) -> usize {
        self.kind.norms(self.norm)
    }

    /// What it makes of a batch, and what [`Generator::features`] gives for that.
    ///
    /// # Errors
    /// As [`Generator::features`].
    pub(crate) fn forward_with_features(&self, x: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let resnet = self.resnet();
        let features = resnet.intermediates(x, &FEATURES)?;
        let rest = resnet.forward_from(
            FEATURES[FEATURES.len() - 1] + 1,
            features.last().unwrap_or(x),
        )?;
        Ok((rest, features))
    }

    /// What it sees of a batch: the padded pixels, what both downsampling convolutions and the first and
    /// fifth residual block give, as Park et al. (2020) take it.
    ///
    /// # Errors
    /// When it can't take the batch's shape, or the device fails.
    ///
    /// # Panics
    /// When it has no residual blocks, or is computed again for its gradient.
    pub(crate) fn features(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.resnet().intermediates(x, &FEATURES)
    }

    fn resnet(&self) -> &Sequential {
        match &self.network {
            Network::Resnet(resnet) => resnet,
            Network::Other(_) => panic!("checked by the configuration"),
        }
    }

    fn network(&self) -> &dyn Module {
        match &self.network {
            Network::Resnet(resnet) => resnet,
            Network::Other(other) => &**other,
        }
    }
}

/// The layers of a resnet that [`Generator::features`] gives, by their indices.
const FEATURES: [usize; 5] = [0, 4, 7, 10, 14];

/// Channels of [`Generator::features`].
pub(crate) fn feature_channels(config: &Config) -> [usize; 5] {
    let ngf = config.ngf;
    [config.input_nc, 2 * ngf, 4 * ngf, 4 * ngf, 4 * ngf]
}

impl Module for Generator {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.network().forward(x)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.network().visit(&format!("{prefix}model."), visit);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        self.network().trace(&format!("{prefix}model."), graph, x)
    }
}

/// Johnson et al.'s (2016) network: a 7×7 stem, two downsamplings, residual blocks, two upsamplings,
/// a 7×7 head.
fn resnet(weights: &mut Weights<'_>, make: Make, blocks: usize) -> Result<Sequential> {
    let Make { ngf, norm, .. } = make;
    let [from, to] = make.channels;
    let mut model = Sequential::new();
    model.push(ReflectionPad2d(3));
    model.push(Conv2d::new(weights, [from, ngf], 7, 1, 0)?.before(norm));
    model.push_norm(NormLayer::new(weights, norm, ngf)?, Activation::Relu);
    for channels in [ngf, 2 * ngf] {
        model.push(Conv2d::new(weights, [channels, 2 * channels], 3, 2, 1)?.before(norm));
        model.push_norm(
            NormLayer::new(weights, norm, 2 * channels)?,
            Activation::Relu,
        );
    }
    let mixed = match make.decoder_norm {
        DecoderNorm::Same => 0,
        DecoderNorm::AdaLin => blocks / 2,
    };
    for _ in mixed..blocks {
        model.push(ResidualBlock::new(weights, make, 4 * ngf)?);
    }
    if mixed > 0 {
        model.push(AdaLinBlocks::new(weights, 4 * ngf, mixed, make.dropout)?);
    }
    for channels in [4 * ngf, 2 * ngf] {
        let through = [channels, channels / 2];
        match make.upsampling {
            Upsampling::Transposed => {
                model.push(ConvTranspose2d::new(weights, through, 3, 2, 1, 1)?.before(norm));
            }
            Upsampling::Resize => model.push(ResizeConv2d::new(weights, through)?.before(norm)),
        }
        match make.decoder_norm {
            DecoderNorm::Same => {
                let norm = NormLayer::new(weights, norm, channels / 2)?;
                model.push_norm(norm, Activation::Relu);
            }
            DecoderNorm::AdaLin => {
                model.push(Lin::new(weights, channels / 2)?);
                model.push(Activation::Relu);
            }
        }
    }
    model.push(ReflectionPad2d(3));
    model.push(Conv2d::new(weights, [ngf, to], 7, 1, 0)?);
    model.push(Activation::Tanh);
    Ok(model)
}

/// Two 3×3 convolutions whose result is added to the input, with no activation after the sum.
struct ResidualBlock {
    conv_block: Sequential,
}

impl ResidualBlock {
    fn new(weights: &mut Weights<'_>, make: Make, channels: usize) -> Result<Self> {
        let Make { norm, dropout, .. } = make;
        let mut conv_block = Sequential::new();
        conv_block.push(ReflectionPad2d(1));
        conv_block.push(Conv2d::new(weights, [channels, channels], 3, 1, 0)?.before(norm));
        conv_block.push_norm(NormLayer::new(weights, norm, channels)?, Activation::Relu);
        if dropout {
            conv_block.push(Dropout(DROPOUT));
        }
        conv_block.push(ReflectionPad2d(1));
        conv_block.push(Conv2d::new(weights, [channels, channels], 3, 1, 0)?.before(norm));
        conv_block.push(NormLayer::new(weights, norm, channels)?);
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
