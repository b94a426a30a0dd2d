//! Penalties on how steep a discriminator is. They are functions of its gradient, so their own gradients are
//! second derivatives.

use tensor::{Result, Tensor, grad_with_graph};

use crate::Module;

/// How far the discriminator's slopes are from 1 between real pictures and fakes (Gulrajani et al., 2017):
/// the mean over pictures of (‖∇D(x)‖ − 1)², x = share·real + (1 − share)·fake with a share for each picture.
///
/// # Errors
/// When the shapes of `real` and `fake` differ, or the device fails.
pub fn gradient_penalty(
    discriminator: &dyn Module,
    real: &Tensor,
    fake: &Tensor,
    shares: &[f32],
) -> Result<Tensor> {
    let (real, fake) = (real.detach(), fake.detach());
    let each = Tensor::from_slice(shares, [shares.len(), 1, 1, 1], real.device())?;
    let towards = real.sub(&fake)?.mul(&each.expand(real.shape())?)?;
    let squares = squared_slopes(discriminator, &fake.add(&towards)?)?;
    // Where it is flat the root would have no gradient.
    let apart = squares
        .scale_add(1.0, 1e-12)?
        .sqrt()?
        .scale_add(1.0, -1.0)?;
    apart.mul(&apart)?.mean()
}

/// How steep the discriminator is where real pictures are (R1 of Mescheder, Geiger & Nowozin, 2018): half the
/// mean over pictures of ‖∇D(x)‖².
///
/// # Errors
/// A fault of the device.
pub fn r1_penalty(discriminator: &dyn Module, real: &Tensor) -> Result<Tensor> {
    squared_slopes(discriminator, real)?.mean()?.scale(0.5)
}

/// ‖∇D(x)‖² for each picture of a batch, [N, 1, 1, 1], where D is the sum over a picture's patches.
fn squared_slopes(discriminator: &dyn Module, x: &Tensor) -> Result<Tensor> {
    let x = x.detach().with_grad();
    let answers = discriminator.forward(&x)?.sum()?;
    let slope = &grad_with_graph(&answers, &[&x])?[0];
    slope.mul(slope)?.sum_to([x.shape().nchw()[0], 1, 1, 1])
}
