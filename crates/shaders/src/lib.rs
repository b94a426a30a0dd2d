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
//! - every `override` has a default, so that a kernel is complete by itself
//! - with those defaults it fits the [`limits`] that every WebGPU device has

#[path = "../build/limits.rs"]
pub mod limits;

/// A compute kernel: its WGSL and what was read from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    /// Path of its file in `shaders/` without the extension: `conv/conv2d`.
    pub name: &'static str,
    /// The WGSL with its imports pasted in.
    pub source: &'static str,
    /// Size of the uniform `Params` in bytes; 0 where the kernel has none.
    pub params_size: u32,
    /// What is bound in group 0, in order: [`Binding::Uniform`] first where `params_size` > 0.
    pub bindings: &'static [Binding],
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
