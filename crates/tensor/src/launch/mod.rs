//! How operations run their kernels: parameters as bytes, and jobs cut into workgroups.

mod contraction;
mod convolution;
mod winograd;

pub(crate) use convolution::Convolution;

use bytemuck::NoUninit;
use gpu::{Buffer, Context, Dispatch, fold};
use shaders::Kernel;

use crate::Result;
use crate::ops::Sums;

/// A kernel with everything but its parameters.
pub(crate) struct Launch<'a> {
    pub gpu: &'a Context,
    pub kernel: &'static Kernel,
    pub overrides: &'a [(&'static str, f64)],
    pub buffers: &'a [&'a Buffer],
}

impl Launch<'_> {
    /// Runs at least `count` invocations, in workgroups of the kernel's default size.
    pub fn invocations(&self, params: &impl NoUninit, count: usize) -> Result<()> {
        let size: u32 = self.kernel.workgroup_size.iter().product();
        self.workgroups(params, count.div_ceil(size as usize))
    }

    /// Runs at least `count` workgroups.
    pub fn workgroups(&self, params: &impl NoUninit, count: usize) -> Result<()> {
        for buffer in self.buffers {
            u32_of(self.kernel, buffer.len())?;
        }
        self.gpu.dispatch(Dispatch {
            kernel: self.kernel,
            overrides: self.overrides,
            params: bytemuck::bytes_of(params),
            buffers: self.buffers,
            groups: fold(count as u64),
        })?;
        Ok(())
    }
}

/// Kernels count in 32 bits.
fn u32_of(kernel: &Kernel, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| {
        let reason = format!("it counts to {}, not to {value}", u32::MAX);
        crate::Error::Gpu(gpu::Error::Dispatch {
            kernel: kernel.name,
            reason,
        })
    })
}

/// Extents as a kernel's parameters have them.
pub(crate) fn extents<const N: usize>(kernel: &Kernel, values: [usize; N]) -> Result<[u32; N]> {
    let mut out = [0; N];
    for (out, value) in out.iter_mut().zip(values) {
        *out = u32_of(kernel, value)?;
    }
    Ok(out)
}

/// Depth that a workgroup of `lib/gemm.wgsl` takes at a time.
const K_STEP: usize = 16;

/// A matrix product by `lib/gemm.wgsl`.
pub(crate) struct Gemm<'a> {
    pub kernel: &'static Kernel,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// Independent products.
    pub layers: usize,
    pub overrides: &'a [(&'static str, f64)],
    /// The kernel's inputs.
    pub buffers: &'a [&'a Buffer],
}

/// How a product is cut up; a function of its extents, so that the result depends on nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    /// Invocations of a workgroup across rows and columns, with 4×4 results each.
    group: [usize; 2],
    column_tiles: usize,
    workgroups: usize,
    /// Depth of a split, and how many there are.
    split: usize,
    splits: usize,
}

impl Gemm<'_> {
    fn cut(&self, most_splits: usize) -> Cut {
        // Tiles of 64×64; less where there is less, and wider where there are few rows. Few sizes,
        // since each is a pipeline of its own.
        let group_m = match self.rows {
            0..=4 => 1,
            5..=16 => 4,
            17..=32 => 8,
            _ => 16,
        };
        let group_n = match self.columns {
            0..=16 => 4,
            _ if group_m == 16 => 16,
            _ => 32,
        };
        let row_tiles = self.rows.div_ceil(4 * group_m);
        let column_tiles = self.columns.div_ceil(4 * group_n);
        let tiles = row_tiles * column_tiles * self.layers;
        // Some hundred workgroups fill a GPU; a split should still have some depth.
        const ENOUGH: usize = 128;
        let wanted = match tiles {
            0..ENOUGH => (2 * ENOUGH).div_ceil(tiles.max(1)),
            _ => 1,
        };
        let splits = wanted
            .min(self.depth / (8 * K_STEP))
            .min(most_splits)
            .max(1);
        let split = self
            .depth
            .div_ceil(splits)
            .next_multiple_of(K_STEP)
            .max(K_STEP);
        let splits = self.depth.div_ceil(split).max(1);
        Cut {
            group: [group_m, group_n],
            column_tiles,
            workgroups: tiles * splits,
            split,
            splits,
        }
    }

    /// Runs it; `params` are those that follow `gemm`.
    pub fn run<const N: usize>(
        &self,
        gpu: &Context,
        params: [usize; N],
        out: &Buffer,
    ) -> Result<()> {
        let cut = self.cut(gpu.max_buffer_len() / out.len().max(1));
        let [group_m, group_n] = cut.group;
        let gemm = [
            self.rows,
            self.columns,
            self.depth,
            cut.split,
            cut.splits,
            cut.column_tiles,
            self.layers,
            out.len(),
        ];
        let words = [
            &extents(self.kernel, gemm)?[..],
            &extents(self.kernel, params)?[..],
        ]
        .concat();
        let overrides = [
            self.overrides,
            &[("GROUP_M", group_m as f64), ("GROUP_N", group_n as f64)],
        ]
        .concat();
        let launch = |onto: &Buffer| {
            let buffers = [self.buffers, &[onto]].concat();
            for buffer in &buffers {
                u32_of(self.kernel, buffer.len())?;
            }
            gpu.dispatch(Dispatch {
                kernel: self.kernel,
                overrides: &overrides,
                params: bytemuck::cast_slice(&words),
                buffers: &buffers,
                groups: fold(cut.workgroups as u64),
            })?;
            Ok(())
        };
        in_parts(gpu, cut.splits, out, launch)
    }
}

/// Has sums written in so many parts, each as long as `out`, and adds them there.
fn in_parts(
    gpu: &Context,
    parts: usize,
    out: &Buffer,
    write: impl FnOnce(&Buffer) -> Result<()>,
) -> Result<()> {
    if parts == 1 {
        return write(out);
    }
    let partial = gpu.alloc(parts * out.len())?;
    write(&partial)?;
    let sums = Sums {
        kept: [(1, 0), (out.len(), 1)],
        summed: [(1, 0), (parts, out.len())],
    };
    sums.run(gpu, &partial, out)
}
