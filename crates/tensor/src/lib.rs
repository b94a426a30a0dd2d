//! Tensors with automatic differentiation, on the GPU and on the processor.
//!
//! A [`Tensor`] is an immutable array of `f32` (NCHW, row-major, at most four dimensions) behind a
//! cheap handle. Operations run at once; where a gradient may be asked for they also leave a node
//! on the tape. Gradients are tensor expressions themselves, so they can be differentiated again.
//!
//! ```
//! use tensor::{Device, Tensor, grad};
//! # fn main() -> tensor::Result<()> {
//! let x = Tensor::from_slice(&[1.0, 2.0, 3.0], [3], &Device::Cpu)?.with_grad();
//! let y = x.mul(&x)?.mul(&x)?.sum()?; // Σ x³
//! let dx = grad(&y, &[&x])?; // 3x²
//! assert_eq!(dx[0].to_vec()?, [3.0, 12.0, 27.0]);
//! # Ok(())
//! # }
//! ```
//!
//! Everything about an operation stands in one file of [`ops`].

pub mod cpu;
mod device;
mod error;
mod launch;
mod op;
pub mod ops;
mod shape;
mod tape;
mod tensor;

pub use device::Device;
pub use error::{Error, Result};
pub use gpu::{Memory, Precision};
pub use op::{Array, Backward, Cost, CpuArray, GpuArray, Op, Reads, apply, costs};
pub use shape::Shape;
pub use tape::{Gradients, checkpoint, grad, grad_with_graph, no_grad};
pub use tensor::{Reading, Tensor};
