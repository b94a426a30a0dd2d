use nn::{
    Activation, Conv2d, Dropout, Graph, MixedNorm, Module, NotTraced, Param, ReflectionPad2d,
    Value, Weights,
};
use tensor::{Result, Tensor};

use crate::generator::DROPOUT;

/// Residual blocks whose norms are AdaLIN (Kim et al., 2020, U-GAT-IT): factor and summand of every channel are
/// made of what the picture holds in the mean, by two linear layers.
pub(crate) struct AdaLinBlocks {
    style: [Conv2d; 2],
    gamma: Conv2d,
    beta: Conv2d,
    blocks: Vec<Block>,
    dropout: bool,
}

struct Block {
    convolutions: [Conv2d; 2],
    norms: [MixedNorm; 2],
}

impl AdaLinBlocks {
    pub fn new(
        weights: &mut Weights<'_>,
        channels: usize,
        blocks: usize,
        dropout: bool,
    ) -> Result<Self> {
        let through = [channels; 2];
        let mut linear = || Conv2d::new(weights, through, 1, 1, 0);
        let style = [linear()?, linear()?];
        let (gamma, beta) = (linear()?, linear()?);
        let blocks = (0..blocks).map(|_| {
            let mut conv = || Conv2d::new(weights, through, 3, 1, 0);
            let convolutions = [conv()?, conv()?];
            let norm = || MixedNorm::new(weights, channels, 0.9);
            Ok(Block {
                convolutions,
                norms: [norm()?, norm()?],
            })
        });
        Ok(AdaLinBlocks {
            style,
            gamma,
            beta,
            blocks: blocks.collect::<Result<_>>()?,
            dropout,
        })
    }
}

impl Block {
    fn forward(&self, x: &Tensor, [gamma, beta]: [&Tensor; 2], dropout: bool) -> Result<Tensor> {
        let normed = |x: &Tensor, i: usize| {
            let padded = ReflectionPad2d(1).forward(x)?;
            let change = self.convolutions[i].forward(&padded)?;
            self.norms[i].forward_with(&change, gamma, beta)
        };
        let mut change = normed(x, 0)?.activation(Activation::Relu)?;
        if dropout {
            change = Dropout(DROPOUT).forward(&change)?;
        }
        x.add(&normed(&change, 1)?)
    }
}

impl Module for AdaLinBlocks {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [n, c, _, _] = x.shape().nchw();
        let mut style = x.mean_to([n, c, 1, 1])?;
        for layer in &self.style {
            style = layer.forward(&style)?.activation(Activation::Relu)?;
        }
        // Factors around one: weights are drawn small, and nothing would go through at first.
        let gamma = self.gamma.forward(&style)?.scale_add(1.0, 1.0)?;
        let beta = self.beta.forward(&style)?;
        let mut blocks = self.blocks.iter();
        blocks.try_fold(x.clone(), |x, block| {
            block.forward(&x, [&gamma, &beta], self.dropout)
        })
    }

    fn trace(&self, _: &str, _: &mut Graph, _: Value) -> Result<Value, NotTraced> {
        Err(NotTraced("AdaLIN"))
    }

    fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        for (i, layer) in self.style.iter().enumerate() {
            layer.visit(&format!("{prefix}style.{i}."), visit);
        }
        self.gamma.visit(&format!("{prefix}gamma."), visit);
        self.beta.visit(&format!("{prefix}beta."), visit);
        for (i, block) in self.blocks.iter().enumerate() {
            let layers = block.convolutions.iter().zip(&block.norms).enumerate();
            for (j, (convolution, norm)) in layers {
                convolution.visit(&format!("{prefix}blocks.{i}.conv{j}."), visit);
                norm.visit(&format!("{prefix}blocks.{i}.norm{j}."), visit);
            }
        }
    }
}
