use nn::{
    Activation, Conv2d, ConvTranspose2d, Graph, InstanceNorm, Module, Norm, NotTraced, Operation,
    Param, Sequential, Value, Weights,
};
use tensor::{Result, Tensor};

/// pix2pix's U-Net (Isola et al., 2017) with `downs` downsamplings, built from the inside out.
pub(crate) fn unet(
    weights: &mut Weights<'_>,
    norm: Norm,
    ngf: usize,
    downs: usize,
) -> Result<Level> {
    let mut level = Level::innermost(weights, norm, 8 * ngf)?;
    for _ in 0..downs - 5 {
        level = Level::between(weights, norm, [8 * ngf, 8 * ngf], level)?;
    }
    for outer in [4 * ngf, 2 * ngf, ngf] {
        level = Level::between(weights, norm, [outer, 2 * outer], level)?;
    }
    Level::outermost(weights, ngf, level)
}

/// One level: down, the levels inside, up, and (but for the outermost) joined with its input.
pub(crate) struct Level {
    model: Sequential,
    outermost: bool,
}

const LEAKY: Activation = Activation::LeakyRelu(0.2);

impl Level {
    fn innermost(weights: &mut Weights<'_>, norm: Norm, channels: usize) -> Result<Self> {
        let mut model = Sequential::new();
        model.push(LEAKY);
        model.push(Conv2d::new(weights, [channels, channels], 4, 2, 1)?);
        model.push(Activation::Relu);
        model.push(ConvTranspose2d::new(
            weights,
            [channels, channels],
            4,
            2,
            1,
            0,
        )?);
        model.push(InstanceNorm::new(weights, norm, channels)?);
        Ok(Level {
            model,
            outermost: false,
        })
    }

    fn between(
        weights: &mut Weights<'_>,
        norm: Norm,
        [outer, inner]: [usize; 2],
        inside: Level,
    ) -> Result<Self> {
        let mut model = Sequential::new();
        model.push(LEAKY);
        model.push(Conv2d::new(weights, [outer, inner], 4, 2, 1)?);
        model.push(InstanceNorm::new(weights, norm, inner)?);
        model.push(inside);
        model.push(Activation::Relu);
        model.push(ConvTranspose2d::new(
            weights,
            [2 * inner, outer],
            4,
            2,
            1,
            0,
        )?);
        model.push(InstanceNorm::new(weights, norm, outer)?);
        Ok(Level {
            model,
            outermost: false,
        })
    }

    fn outermost(weights: &mut Weights<'_>, inner: usize, inside: Level) -> Result<Self> {
        let mut model = Sequential::new();
        model.push(Conv2d::new(weights, [3, inner], 4, 2, 1)?);
        model.push(inside);
        model.push(Activation::Relu);
        model.push(ConvTranspose2d::new(weights, [2 * inner, 3], 4, 2, 1, 0)?);
        model.push(Activation::Tanh);
        Ok(Level {
            model,
            outermost: true,
        })
    }
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
