use std::fmt;

use crate::Result;

/// Where tensors live and are computed on.
#[derive(Clone)]
pub enum Device {
    /// The processor: all cores, SIMD.
    Cpu,
    /// A GPU (or a software rasteriser) through wgpu.
    Gpu(gpu::Context),
}

impl Device {
    /// A real GPU where there is one, else the processor. A software rasteriser is a hundred times
    /// slower than the processor path, so it is taken only by name.
    pub fn best() -> Device {
        gpu::Context::open(&gpu::Choice::Hardware).map_or(Device::Cpu, Device::Gpu)
    }

    /// The device a user asked for: `best`, `cpu`, `gpu` (any adapter, real ones first), or a part
    /// of an adapter's name or backend as in `nvidia`, `vulkan`, `gl:llvmpipe`.
    ///
    /// # Errors
    /// When no adapter goes by that name; the error lists those there are.
    pub fn by_name(name: &str) -> Result<Device> {
        Ok(match name.to_lowercase().as_str() {
            "best" => Device::best(),
            "cpu" => Device::Cpu,
            "gpu" => Device::Gpu(gpu::Context::open(&gpu::Choice::Best)?),
            _ => Device::Gpu(gpu::Context::open(&gpu::Choice::Named(name.to_owned()))?),
        })
    }

    /// Waits until everything asked of the device is done.
    ///
    /// # Errors
    /// A fault of the device since the last check.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Gpu(context) => Ok(context.synchronize()?),
        }
    }

    /// Bytes held by live tensors: now, and at the most since the program started.
    pub fn memory_in_use(&self) -> (u64, u64) {
        match self {
            Device::Cpu => crate::cpu::memory_in_use(),
            Device::Gpu(context) => {
                let memory = context.memory();
                (memory.in_use, memory.peak)
            }
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Device::Cpu, Device::Cpu) => true,
            (Device::Gpu(a), Device::Gpu(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => {
                write!(f, "processor ({} threads)", rayon::current_num_threads())
            }
            Device::Gpu(context) => write!(f, "{}", context.info()),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
