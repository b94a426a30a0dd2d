//! Compiled kernels, kept by kernel and overrides.

#![allow(
    unsafe_code,
    reason = "wgpu takes our own kernels without its run-time checks"
)]

use shaders::{Binding, Kernel};
use std::collections::HashMap;
use std::sync::Arc;

/// Whether kernels check at run time what they index.
///
/// Results are the same for correct kernels. Loops are never bounded artificially: ours all end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Out-of-bounds accesses and divisions by zero have defined results: for tests.
    On,
    /// They are undefined, as in any GPU program: for speed.
    Off,
}

impl Default for Checks {
    /// On in builds with debug assertions (`cargo test`, `cargo run`), off in `--release`.
    fn default() -> Self {
        if cfg!(debug_assertions) {
            Checks::On
        } else {
            Checks::Off
        }
    }
}

/// A kernel ready to run.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// A kernel's name, and the bits of its storage that is in half precision.
type Variant = (&'static str, u32);

type Key = (Variant, Vec<(&'static str, u64)>);

#[derive(Debug)]
pub(crate) struct Pipelines {
    checks: Checks,
    modules: HashMap<Variant, wgpu::ShaderModule>,
    pipelines: HashMap<Key, Arc<Pipeline>>,
}

impl Pipelines {
    pub fn new(checks: Checks) -> Self {
        Pipelines {
            checks,
            modules: HashMap::new(),
            pipelines: HashMap::new(),
        }
    }

    /// The pipeline of a kernel with some overrides and some storage in half precision, compiled at first
    /// use.
    pub fn get(
        &mut self,
        device: &wgpu::Device,
        kernel: &'static Kernel,
        half: u32,
        overrides: &[(&'static str, f64)],
    ) -> Result<Arc<Pipeline>, String> {
        let mut constants: Vec<_> = overrides
            .iter()
            .map(|&(name, value)| (name, value.to_bits()))
            .collect();
        constants.sort_unstable();
        let variant = (kernel.name, half);
        let key = (variant, constants);
        if let Some(pipeline) = self.pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let pipeline = self.compile(device, kernel, half, overrides);
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        if let Some(error) = validation.or(internal) {
            self.modules.remove(&variant);
            return Err(format!("it does not compile with {overrides:?}: {error}"));
        }
        let pipeline = Arc::new(pipeline);
        self.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(
        &mut self,
        device: &wgpu::Device,
        kernel: &'static Kernel,
        half: u32,
        overrides: &[(&'static str, f64)],
    ) -> Pipeline {
        let checked = self.checks == Checks::On;
        let module = self.modules.entry((kernel.name, half)).or_insert_with(|| {
            let mut checks = wgpu::ShaderRuntimeChecks::unchecked();
            checks.bounds_checks = checked;
            checks.int_div_checks = checked;
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(kernel.wgsl(half).into()),
            };
            // SAFETY: kernels are our own, compiled into the program: their loops end, and the
            // tests run them with bounds and divisions checked.
            unsafe { device.create_shader_module_trusted(descriptor, checks) }
        });
        let entries: Vec<_> = binding_numbers(kernel)
            .map(|(number, binding)| wgpu::BindGroupLayoutEntry {
                binding: number,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding {
                        Binding::Uniform => wgpu::BufferBindingType::Uniform,
                        Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Binding::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: binding == Binding::Uniform,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: overrides,
                // Kernels write workgroup memory before they read it. Zeroing it first takes time,
                // and GL's compilers seconds for the unrolled assignments.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

/// A kernel's bindings with their numbers: the uniform is 0, storage starts at 1.
pub(crate) fn binding_numbers(kernel: &Kernel) -> impl Iterator<Item = (u32, Binding)> + '_ {
    let uniform = (kernel.params_size > 0).then_some((0, Binding::Uniform));
    uniform.into_iter().chain((1..).zip(kernel.storage()))
}
