use nn::{Activation, Conv2d, InstanceNorm, Module, Norm, Param, Sequential, Weights};
use tensor::{Result, Tensor};

use crate::{Config, DiscriminatorKind};

/// A network that says of each patch of a picture how real it looks; no sigmoid at its end.
struct Discriminator {
    /// `PixelGAN` calls its sequence `net` where `PatchGAN` says `model`.
    name: &'static str,
    model: Sequential,
}

/// Builds the discriminator that a configuration asks for.
///
/// # Errors
/// When the device has no room.
pub fn discriminator(config: &Config, weights: &mut Weights<'_>) -> Result<Box<dyn Module>> {
    let Config { ndf, norm, .. } = *config;
    let (name, model) = match config.discriminator {
        DiscriminatorKind::Basic => ("model", patch(weights, norm, ndf, 3)?),
        DiscriminatorKind::NLayers => ("model", patch(weights, norm, ndf, config.n_layers)?),
        DiscriminatorKind::Pixel => ("net", pixel(weights, norm, ndf)?),
    };
    Ok(Box::new(Discriminator { name, model }))
}

const LEAKY: Activation = Activation::LeakyRelu(0.2);

/// `PatchGAN` (Isola et al., 2017): with three layers each answer sees 70×70 pixels.
fn patch(weights: &mut Weights<'_>, norm: Norm, ndf: usize, layers: usize) -> Result<Sequential> {
    // Channels double from layer to layer, up to eight times the first.
    let channels = |layer: usize| ndf << layer.min(3);
    let mut model = Sequential::new();
    model.push(Conv2d::new(weights, [3, ndf], 4, 2, 1)?);
    model.push(LEAKY);
    for layer in 1..=layers {
        let stride = if layer < layers { 2 } else { 1 };
        let through = [channels(layer - 1), channels(layer)];
        model.push(Conv2d::new(weights, through, 4, stride, 1)?);
        model.push_norm(InstanceNorm::new(weights, norm, through[1])?, LEAKY);
    }
    model.push(Conv2d::new(weights, [channels(layers), 1], 4, 1, 1)?);
    Ok(model)
}

/// `PixelGAN`: judges each pixel by itself.
fn pixel(weights: &mut Weights<'_>, norm: Norm, ndf: usize) -> Result<Sequential> {
    let mut model = Sequential::new();
    model.push(Conv2d::new(weights, [3, ndf], 1, 1, 0)?);
    model.push(LEAKY);
    model.push(Conv2d::new(weights, [ndf, 2 * ndf], 1, 1, 0)?);
    model.push_norm(InstanceNorm::new(weights, norm, 2 * ndf)?, LEAKY);
    model.push(Conv2d::new(weights, [2 * ndf, 1], 1, 1, 0)?);
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
