//! What the processor's side of operations is made of: pooled buffers, SIMD dispatch, loops over
//! all cores, a matrix product, and convolution.

mod buffer;
mod columns;
mod convolution;
pub(crate) mod dry;
mod gemm;
mod implicit;
mod lanes;
mod planes;
mod simd;
mod tile;
mod transpose;
mod winograd;

pub use buffer::{Buffer, memory, trim};
pub(crate) use convolution::Convolution;
pub(crate) use gemm::{Matrix, MatrixMut, SharedOut, gemm};
pub(crate) use simd::{dot_sum, for_each_chunk, map, map2, map3, sum, vectorised};

/// Lets the calling thread do its share of operations on the processor, for as long as it lives: waking
/// another for every small one costs more than many of them. For `main`, before the first operation; it
/// does nothing where there are threads already.
pub fn work_on_this_thread() {
    let _ = rayon::ThreadPoolBuilder::new()
        .use_current_thread()
        .build_global();
}
