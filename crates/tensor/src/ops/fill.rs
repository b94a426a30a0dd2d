//! `out = value`: how tensors of one value come to be. It has no inputs, so it is no [`crate::Op`].

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::launch::{Launch, extents};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    len: u32,
    value: f32,
}

pub(crate) fn fill(gpu: &gpu::Context, out: &gpu::Buffer, len: usize, value: f32) -> Result<()> {
    let kernel = &shaders::pointwise::FILL;
    let [count] = extents(kernel, [len])?;
    let launch = Launch {
        gpu,
        kernel,
        overrides: &[],
        buffers: &[out],
    };
    launch.invocations(&Params { len: count, value }, len)
}
