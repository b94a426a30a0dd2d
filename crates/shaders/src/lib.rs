//! Every WGSL kernel of the workspace's `shaders/` folder as a constant.
//!
//! `shaders/conv/conv2d.wgsl` becomes [`Kernel`] `shaders::conv::CONV2D`. The build script
//! preprocesses each file (`#import lib/….wgsl` only), parses and validates it with naga and
//! reads its bindings from it, so a broken kernel is a build error that names file and line,
//! and nothing about a kernel is written down twice.
//!
//! What every kernel keeps to (`build/kernel.rs` enforces it):
//! - one compute entry point, `main`; everything bound in group 0
//! - parameters, where there are any, are `@binding(0) var<uniform> params: Params`, at most
//!   [`limits::MAX_PARAMS`] bytes
//! - storage buffers follow at bindings 1, 2, …, whether there are parameters or not
//! - the elements of a storage `NAME` whose values may be kept in half precision are of type `real_NAME`,
//!   which is `f32` or `f16`; arithmetic converts what it reads, `f32(x[i])`, and what it writes,
//!   `real_out(sum)`, and is in `f32` itself
//! - every `override` has a default, so that a kernel is complete by itself
//! - with those defaults it fits the [`limits`] that every WebGPU device has

#[path = "../build/limits.rs"]
pub mod limits;

/// A compute kernel: its WGSL and what was read from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    /// Path of its file in `shaders/` without the extension: `conv/conv2d`.
    pub name: &'static str,
    /// The WGSL with its imports pasted in; see [`Kernel::wgsl`].
    pub source: &'static str,
    /// Size of the uniform `Params` in bytes; 0 where the kernel has none.
    pub params_size: u32,
    /// What is bound in group 0, in order: [`Binding::Uniform`] first where `params_size` > 0.
    pub bindings: &'static [Binding],
    /// The name of each storage binding's element type, where that may be of either precision.
    pub reals: &'static [Option<&'static str>],
    /// The `override` constants, in source order.
    pub overrides: &'static [Override],
    /// Invocations of a workgroup. Where it depends on overrides: with their defaults.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory, likewise with the defaults.
    pub workgroup_memory: u32,
    /// Whether it takes a device with subgroup operations.
    pub subgroups: bool,
}

impl Kernel {
    /// The storage bindings, in the order in which buffers are given to a dispatch.
    pub fn storage(&self) -> impl ExactSizeIterator<Item = Binding> + '_ {
        let first = usize::from(self.params_size > 0);
        self.bindings[first..].iter().copied()
    }
}

impl Kernel {
    /// The WGSL with those storage bindings in half precision whose bits are set in `half`, the first being
    /// the lowest.
    pub fn wgsl(&self, half: u32) -> String {
        let enable = match half {
            0 => "",
            _ => "enable f16;\n",
        };
        let mut wgsl = format!("{enable}{}", self.source);
        for (i, name) in self.reals.iter().enumerate() {
            if let Some(name) = name {
                let real = match half >> i & 1 {
                    0 => "f32",
                    _ => "f16",
                };
                wgsl += &format!("alias {name} = {real};\n");
            }
        }
        wgsl
    }
}

/// How a kernel uses one binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The parameters, `var<uniform>` at binding 0.
    Uniform,
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// An `override` constant, set when a pipeline is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Override {
    /// Its name in the WGSL.
    pub name: &'static str,
    /// Its default; `None` where that is computed from other overrides. Booleans are 0 and 1.
    pub default: Option<f64>,
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
