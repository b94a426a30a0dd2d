//! What the processor's side of operations is made of: pooled buffers, SIMD dispatch, loops over
//! all cores, and a matrix product.

mod buffer;
mod gemm;
mod im2col;
mod simd;

pub use buffer::{Buffer, memory_in_use};
pub(crate) use gemm::{Matrix, MatrixMut, SharedOut, gemm};
pub(crate) use im2col::{Window, col2im_add, im2col, rows_per_strip};
pub(crate) use simd::{dot_sum, for_each_chunk, map, map2, map3, sum, vectorised};
