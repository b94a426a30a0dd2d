use std::fmt;

use gpu::{Memory, Tuning};

use crate::{Result, cpu};

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
        Device::best_tuned(Tuning::Fixed)
    }

    fn best_tuned(tuning: Tuning) -> Device {
        open(&gpu::Choice::Hardware, tuning).unwrap_or(Device::Cpu)
    }

    /// The device a user asked for: `best`, `cpu`, `gpu` (any adapter, real ones first), or a part
    /// of an adapter's name or backend as in `nvidia`, `vulkan`, `gl:llvmpipe`.
    ///
    /// # Errors
    /// When no adapter goes by that name; the error lists those there are.
    pub fn by_name(name: &str) -> Result<Device> {
        Device::open(name, Tuning::Fixed)
    }

    /// As [`Device::by_name`], saying how a GPU chooses among ways to compute the same thing.
    ///
    /// # Errors
    /// As [`Device::by_name`].
    pub fn open(name: &str, tuning: Tuning) -> Result<Device> {
        match name.to_lowercase().as_str() {
            "best" => Ok(Device::best_tuned(tuning)),
            "cpu" => Ok(Device::Cpu),
            "gpu" => open(&gpu::Choice::Best, tuning),
            _ => open(&gpu::Choice::Named(name.to_owned()), tuning),
        }
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

    /// The version of the driver that a GPU is reached by; empty for the processor.
    pub fn driver(&self) -> String {
        match self {
            Device::Cpu => String::new(),
            Device::Gpu(context) => context.info().driver.clone(),
        }
    }

    /// Which ways to compute things a GPU chose by measurement, for [`Tuning::Measured`] of a later program
    /// that shall give the same bits.
    pub fn choices(&self) -> String {
        match self {
            Device::Cpu => String::new(),
            Device::Gpu(context) => context.choices(),
        }
    }

    /// Bytes held by live tensors: now, and at the most since the program started.
    pub fn memory_in_use(&self) -> (u64, u64) {
        let memory = self.memory();
        (memory.in_use, memory.peak)
    }

    /// Bytes held by live tensors and kept for later ones; in a dry run, those it counts.
    pub fn memory(&self) -> Memory {
        match self {
            Device::Cpu => cpu::memory(),
            Device::Gpu(context) => context.memory(),
        }
    }

    /// Gives memory that no tensor holds back to the system; waits for the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn trim(&self) -> Result<()> {
        match self {
            Device::Cpu => cpu::trim(),
            Device::Gpu(context) => context.trim()?,
        }
        Ok(())
    }

    /// Runs `f` without data, on a stand-in for this device that begins with no memory taken and counts
    /// what is: [`Device::memory`] of the stand-in says how much. Tensors have shapes there and read as
    /// zeros; nothing is computed, and no memory is touched. `f` should use no tensors of other devices,
    /// and on the processor no other threads.
    ///
    /// ```
    /// # fn main() -> tensor::Result<()> {
    /// use tensor::{Device, Tensor};
    /// let bytes: tensor::Result<u64> = Device::Cpu.dry_run(|device| {
    ///     let x = Tensor::zeros([1, 64, 4096, 4096], device)?;
    ///     x.scale(2.0)?;
    ///     Ok(device.memory().peak)
    /// });
    /// assert!(bytes? > 8 << 30);
    /// # Ok(())
    /// # }
    /// ```
    pub fn dry_run<T>(&self, f: impl FnOnce(&Device) -> T) -> T {
        match self {
            Device::Cpu => cpu::dry::run(|| f(self)),
            Device::Gpu(context) => f(&Device::Gpu(context.dry())),
        }
    }

    /// Whether this is a stand-in, see [`Device::dry_run`].
    pub fn is_dry(&self) -> bool {
        match self {
            Device::Cpu => cpu::dry::is_on(),
            Device::Gpu(context) => context.is_dry(),
        }
    }
}

fn open(choice: &gpu::Choice, tuning: Tuning) -> Result<Device> {
    let options = gpu::Options {
        tuning,
        ..gpu::Options::default()
    };
    Ok(Device::Gpu(gpu::Context::open_with(choice, &options)?))
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
