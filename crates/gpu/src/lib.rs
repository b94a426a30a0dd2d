//! The GPU behind the tensors: adapters, buffers and kernels. The only crate that names wgpu.
//!
//! ```no_run
//! use gpu::{Choice, Context, Dispatch, fold};
//!
//! # fn main() -> gpu::Result<()> {
//! let context = Context::open(&Choice::Best)?;
//! let out = context.alloc(1000)?;
//! let params = [1000u32.to_le_bytes(), 0.5f32.to_le_bytes()].concat();
//! context.dispatch(Dispatch {
//!     kernel: &shaders::pointwise::FILL,
//!     overrides: &[],
//!     params: &params,
//!     buffers: &[&out],
//!     groups: fold(1000u64.div_ceil(256)),
//! })?;
//! assert_eq!(context.download(&out)?, [0.5; 1000]);
//! # Ok(())
//! # }
//! ```

mod adapter;
mod buffer;
mod context;
mod error;
mod heaps;
#[cfg(feature = "testing")]
mod inject;
mod pipeline;
mod pool;
mod profile;
mod recorder;
#[cfg(feature = "testing")]
pub mod testing;
mod tuner;

pub use adapter::{AdapterInfo, Backend, Choice, Kind, adapters};
pub use buffer::{Buffer, Pending, Precision};
pub use context::{Context, Limits, Options};
pub use error::{Error, Result};
pub use pipeline::Checks;
pub use pool::Memory;
pub use profile::KernelTime;
pub use recorder::{Dispatch, fold};
pub use tuner::Tuning;
#[doc(hidden)]
pub use tuner::read_choices;
