//! Henshin learns to turn one kind of picture into another without paired examples, on a compute
//! engine of its own: WGSL kernels on wgpu, and a processor path where there is no GPU.
//!
//! # Translating pictures
//!
//! [`Translator`] loads a run, or one of its checkpoints, and translates pictures of any size, as the program's
//! `translate` does (`examples/translate.rs` is all of a program):
//!
//! ```no_run
//! use std::path::Path;
//!
//! use henshin::tensor::Device;
//! use henshin::{Direction, Translator, images};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let translator = Translator::load("runs/demo", Direction::AtoB, &Device::best())?;
//! let photograph = images::decode(Path::new("photograph.jpg"))?;
//! let drawing = translator.translate(&photograph)?;
//! images::save_png(Path::new("drawing.png"), &drawing)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Computing
//!
//! [`tensor`] is the engine: arrays with gradients, of which there are gradients, too. [`nn`] has layers above it, and
//! [`cyclegan`] the models and their training step.
//!
//! ```
//! use henshin::tensor::{Device, Tensor, grad, grad_with_graph};
//!
//! # fn main() -> Result<(), henshin::tensor::Error> {
//! let x = Tensor::from_slice(&[1.0, 2.0, 3.0], [3], &Device::Cpu)?.with_grad();
//! let y = x.mul(&x)?.mul(&x)?.sum()?; // Σ x³
//! let dx = grad_with_graph(&y, &[&x])?.remove(0); // 3x²
//! let ddx = grad(&dx.sum()?, &[&x])?.remove(0); // 6x
//! assert_eq!(dx.to_vec()?, [3.0, 12.0, 27.0]);
//! assert_eq!(ddx.to_vec()?, [6.0, 12.0, 18.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! Each crate that is re-exported is documented where it lives. `Translator` comes from the program's, `trainer`, since
//! that is what knows runs; this crate depends on it for nothing else.

pub use cyclegan;
pub use exchange;
pub use faces;
pub use gpu;
pub use images;
pub use metrics;
pub use nn;
pub use shaders;
pub use tensor;
pub use trainer::{Direction, Translator};
