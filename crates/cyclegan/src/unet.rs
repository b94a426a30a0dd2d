use nn::{
    Activation, Conv2d, ConvTranspose2d, Dropout, Graph, Module, Norm, NormLayer, NotTraced,
    Operation, Param, ResizeConv2d, Sequential, Value, Weights,
};
use tensor::{Result, Tensor};

use crate::Upsampling;
use crate::generator::{DROPOUT, Make};

/// pix2pix's U-Net (Isola et al., 2017) with `downs` downsamplings, built from the inside out.
pub(crate) fn unet(weights: &mut Weights<'_>, make: Make, downs: usize) -> Result<Level> {
    let ngf = make.ngf;
    let mut level = Level::innermost(weights, make, 8 * ngf)?;
    for _ in 0..downs - 5 {
        level = Level::between(weights, make, [8 * ngf, 8 * ngf], level)?;
        if make.dropout {
            level.model.push(Dropout(DROPOUT));
        }
    }
    for outer in [4 * ngf, 2 * ngf, ngf] {
        level = Level::between(weights, make, [outer, 2 * outer], level)?;
    }
    Level::outermost(weights, make, level)
}

/// One level: down, the levels inside, up, and (but for the outermost) joined with its input.
pub(crate) struct Level {
    model: Sequential,
    outermost: bool,
}

const LEAKY: Activation = Activation::LeakyRelu(0.2);

impl Level {
    fn innermost(weights: &mut Weights<'_>, make: Make, channels: usize) -> Result<Self> {
        let norm = make.norm;
        let mut model = Sequential::new();
        model.push(LEAKY);
        let through = [channels, channels];
        model.push(Conv2d::new(weights, through, 4, 2, 1)?.before(norm));
        model.push(Activation::Relu);
        push_up(&mut model, weights, make, through, norm)?;
        model.push(NormLayer::new(weights, norm, channels)?);
        Ok(Level {
            model,
            outermost: false,
        })
    }

    fn between(
        weights: &mut Weights<'_>,
        make: Make,
        [outer, inner]: [usize; 2],
        inside: Level,
    ) -> Result<Self> {
        let norm = make.norm;
        let mut model = Sequential::new();
        model.push(LEAKY);
        model.push(Conv2d::new(weights, [outer, inner], 4, 2, 1)?.before(norm));
        model.push(NormLayer::new(weights, norm, inner)?);
        model.push(inside);
        model.push(Activation::Relu);
        push_up(&mut model, weights, make, [2 * inner, outer], norm)?;
        model.push(NormLayer::new(weights, norm, outer)?);
        Ok(Level {
            model,
            outermost: false,
        })
    }

    fn outermost(weights: &mut Weights<'_>, make: Make, inside: Level) -> Result<Self> {
        let (inner, norm, [from, to]) = (make.ngf, make.norm, make.channels);
        let mut model = Sequential::new();
        model.push(Conv2d::new(weights, [from, inner], 4, 2, 1)?.before(norm));
        model.push(inside);
        model.push(Activation::Relu);
        // No norm follows, so that it keeps its bias.
        push_up(&mut model, weights, make, [2 * inner, to], Norm::None)?;
        model.push(Activation::Tanh);
        Ok(Level {
            model,
            outermost: true,
        })
    }
}

/// Appends what doubles the size, as the norm after it wants it.
fn push_up(
    model: &mut Sequential,
    weights: &mut Weights<'_>,
    make: Make,
    channels: [usize; 2],
    norm: Norm,
) -> Result<()> {
    match make.upsampling {
        Upsampling::Transposed => {
            model.push(ConvTranspose2d::new(weights, channels, 4, 2, 1, 0)?.before(norm));
        }
        Upsampling::Resize => model.push(ResizeConv2d::new(weights, channels)?.before(norm)),
    }
    Ok(())
}

impl Module for Level {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let up = self.model.forward(x)?;
        if self.outermost {
            Ok(up)
        } else {
            Tensor::concat(&[x, &up], 1)
        }
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        self.model.visit(&format!("{prefix}model."), visit);
    }

    fn trace(&self, prefix: &str, graph: &mut Graph, x: Value) -> Result<Value, NotTraced> {
        let up = self.model.trace(&format!("{prefix}model."), graph, x)?;
        match self.outermost {
            true => Ok(up),
            false => Ok(graph.push(Operation::Concat, &[x, up])),
        }
    }
}
