use nn::{Activation, Conv2d, Module, Norm, NormLayer, Param, Sequential, Weights};
use tensor::{Result, Tensor};

use crate::{Config, DiscriminatorKind};

/// A network that says of each patch of a picture how real it looks; no sigmoid at its end.
pub struct Discriminator {
    /// `PixelGAN` calls its sequence `net` where `PatchGAN` says `model`.
    name: &'static str,
    model: Sequential,
    /// Its strided layers, or a `PixelGAN`'s one in the middle.
    layers: usize,
}

/// Builds the discriminator that a configuration asks for, for pictures of so many channels.
///
/// # Errors
/// When the device has no room.
pub fn discriminator(
    config: &Config,
    channels: usize,
    weights: &mut Weights<'_>,
) -> Result<Discriminator> {
    let make = Make {
        channels,
        ndf: config.ndf,
        norm: config.norm,
        spectral_norm: config.spectral_norm,
    };
    let (name, model, layers) = match config.discriminator {
        DiscriminatorKind::Basic => ("model", patch(weights, make, 3)?, 3),
        DiscriminatorKind::NLayers => {
            let layers = config.n_layers;
            ("model", patch(weights, make, layers)?, layers)
        }
        DiscriminatorKind::Pixel => ("net", pixel(weights, make)?, 1),
    };
    Ok(Discriminator {
        name,
        model,
        layers,
    })
}

impl Discriminator {
    /// Its answers, and what its layers see, behind their activations.
    ///
    /// # Errors
    /// When it can't take the pictures' size, or the device fails.
    pub(crate) fn forward_with_features(&self, x: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        // A convolution and its activation; then convolution, norm and activation, as one index has both.
        let behind = |layer: usize| if layer == 0 { 1 } else { 3 * layer };
        let indices: Vec<usize> = (0..=self.layers).map(behind).collect();
        let features = self.model.intermediates(x, &indices)?;
        let answers = self
            .model
            .forward_from(behind(self.layers) + 1, &features[self.layers])?;
        Ok((answers, features))
    }
}

/// What a discriminator is made of, beside the number of its layers.
struct Make {
    /// Of the pictures.
    channels: usize,
    ndf: usize,
    norm: Norm,
    spectral_norm: bool,
}

const LEAKY: Activation = Activation::LeakyRelu(0.2);

impl Make {
    fn conv(
        &self,
        weights: &mut Weights<'_>,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Conv2d> {
        let conv = Conv2d::new(weights, channels, kernel, stride, padding)?;
        match self.spectral_norm {
            true => conv.spectral_norm(weights),
            false => Ok(conv),
        }
    }
}

/// `PatchGAN` (Isola et al., 2017): with three layers each answer sees 70×70 pixels.
fn patch(weights: &mut Weights<'_>, make: Make, layers: usize) -> Result<Sequential> {
    let Make { ndf, norm, .. } = make;
    // Channels double from layer to layer, up to eight times the first.
    let channels = |layer: usize| ndf << layer.min(3);
    let mut model = Sequential::new();
    model.push(make.conv(weights, [make.channels, ndf], 4, 2, 1)?);
    model.push(LEAKY);
    for layer in 1..=layers {
        let stride = if layer < layers { 2 } else { 1 };
        let through = [channels(layer - 1), channels(layer)];
        model.push(make.conv(weights, through, 4, stride, 1)?.before(norm));
        model.push_norm(NormLayer::new(weights, norm, through[1])?, LEAKY);
    }
    model.push(make.conv(weights, [channels(layers), 1], 4, 1, 1)?);
    Ok(model)
}

/// `PixelGAN`: judges each pixel by itself.
fn pixel(weights: &mut Weights<'_>, make: Make) -> Result<Sequential> {
    let Make { ndf, norm, .. } = make;
    let mut model = Sequential::new();
    model.push(make.conv(weights, [make.channels, ndf], 1, 1, 0)?);
    model.push(LEAKY);
    model.push(make.conv(weights, [ndf, 2 * ndf], 1, 1, 0)?.before(norm));
    model.push_norm(NormLayer::new(weights, norm, 2 * ndf)?, LEAKY);
    // Without a bias where the layer before has none, as the reference has it.
    model.push(make.conv(weights, [2 * ndf, 1], 1, 1, 0)?.before(norm));
    Ok(model)
}

impl Module for Discriminator {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.model.forward(x)
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.model.visit(&format!("{prefix}{}.", self.name), visit);
    }
}
