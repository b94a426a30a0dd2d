//! Every operation, a file each: its shape rule, its kernel, its processor twin, its gradient,
//! its cost, and the cases by which tests and benches know it.
//!
//! To add one, write its file here and its WGSL in `shaders/`, and add it to [`registry`].

mod activation;
mod adam;
mod arithmetic;
mod avg_pool2d;
mod cast;
mod concat;
mod conv2d;
mod conv2d_weight_grad;
mod conv_transpose2d;
mod depthwise_conv2d;
mod dropout;
mod expand;
mod exponential;
mod fill;
mod finite_or_zero;
mod gather;
mod gradient_gate;
mod instance_norm;
mod loss;
mod matmul;
mod max_pool2d;
mod normalise;
mod pad;
mod power;
mod registry;
mod reshape;
mod scale;
mod sum;
mod upsample;

pub use activation::Activation;
pub use adam::{AdamMoments, AdamUpdate};
pub use gradient_gate::GradientGate;
pub use loss::Loss;
pub use pad::PadMode;
pub use registry::{Case, Family, Input, Values};
pub use upsample::Interpolation;

pub(crate) use fill::fill;
use registry::draw;
pub(crate) use sum::Sums;

/// All operations that compute something.
pub fn registry() -> Vec<Family> {
    vec![
        activation::family(),
        adam::family(),
        arithmetic::family(),
        avg_pool2d::family(),
        cast::family(),
        concat::family(),
        conv2d::family(),
        conv2d_weight_grad::family(),
        conv_transpose2d::family(),
        depthwise_conv2d::family(),
        dropout::family(),
        expand::family(),
        exponential::family(),
        finite_or_zero::family(),
        gather::family(),
        gradient_gate::family(),
        instance_norm::family(),
        loss::family(),
        matmul::family(),
        max_pool2d::family(),
        normalise::family(),
        pad::family(),
        power::family(),
        scale::family(),
        sum::family(),
        upsample::family(),
    ]
}
