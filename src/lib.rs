//! Henshin learns to turn one kind of picture into another without paired examples, on a compute
//! engine of its own: WGSL kernels on wgpu, and a processor path where there is no GPU.
//!
//! This crate re-exports the parts; each is documented where it lives.

pub use cyclegan;
pub use exchange;
pub use faces;
pub use gpu;
pub use images;
pub use metrics;
pub use nn;
pub use shaders;
pub use tensor;
