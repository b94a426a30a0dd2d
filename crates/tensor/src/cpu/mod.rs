//! What the processor's side of operations is made of: pooled buffers, SIMD dispatch, loops over
//! all cores, a matrix product, and convolution.

mod buffer;
mod columns;
mod convolution;
mod gemm;
mod implicit;
mod lanes;
mod planes;
mod simd;
mod tile;
mod transpose;
mod winograd;

pub use buffer::{Buffer, memory_in_use};
pub(crate) use convolution::Convolution;
pub(crate) use gemm::{Matrix, MatrixMut, SharedOut, gemm};
pub(crate) use simd::{dot_sum, for_each_chunk, map, map2, map3, sum, vectorised};
