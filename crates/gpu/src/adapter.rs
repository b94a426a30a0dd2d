//! Finding adapters and choosing among them.

use crate::{Error, Result};
use shaders::limits;
use std::fmt;
use std::sync::Mutex;

/// An adapter: a GPU, or a program that poses as one, through one of the machine's interfaces.
///
/// The same GPU is listed once for each backend that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Its name as the driver gives it: `AMD Radeon RX 6800 (RADV NAVI21)`.
    pub name: String,
    /// The interface to it.
    pub backend: Backend,
    /// What it is.
    pub kind: Kind,
    /// The driver and its version.
    pub driver: String,
    /// Whether it is the processor that computes: right results, far slower than `Device::Cpu`.
    pub is_software: bool,
}

impl AdapterInfo {
    /// The choice that opens this adapter.
    pub fn choice(&self) -> Choice {
        Choice::Named(format!("{}:{}", self.backend, self.name))
    }

    fn from_wgpu(info: wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
            wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
            wgpu::DeviceType::VirtualGpu => Kind::Virtual,
            wgpu::DeviceType::Cpu => Kind::Software,
            wgpu::DeviceType::Other => Kind::Other,
        };
        let driver = format!("{} {}", info.driver, info.driver_info);
        AdapterInfo {
            name: info.name,
            backend: Backend::from_wgpu(info.backend),
            kind,
            driver: driver.trim().to_owned(),
            is_software: kind == Kind::Software,
        }
    }

    /// Smaller is better.
    fn rank(&self) -> impl Ord + use<> {
        (self.is_software, self.kind, self.backend, self.name.clone())
    }

    fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let own = self.name.to_lowercase();
        let backend = self.backend.to_string();
        let qualified = name
            .split_once(':')
            .is_some_and(|(given, rest)| given == backend && own.contains(rest.trim_start()));
        qualified || own.contains(&name) || backend == name
    }
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend, self.name)
    }
}

/// An interface to GPUs, better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Backend {
    /// Linux, Windows, Android.
    Vulkan,
    /// macOS and iOS.
    Metal,
    /// Windows: Direct3D 12.
    Dx12,
    /// OpenGL (ES), where there is nothing better.
    Gl,
    /// Something newer than this crate.
    Other,
}

impl Backend {
    fn from_wgpu(backend: wgpu::Backend) -> Self {
        match backend {
            wgpu::Backend::Vulkan => Backend::Vulkan,
            wgpu::Backend::Metal => Backend::Metal,
            wgpu::Backend::Dx12 => Backend::Dx12,
            wgpu::Backend::Gl => Backend::Gl,
            _ => Backend::Other,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Backend::Vulkan => "vulkan",
            Backend::Metal => "metal",
            Backend::Dx12 => "dx12",
            Backend::Gl => "gl",
            Backend::Other => "other",
        })
    }
}

/// What an adapter is, better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A card with its own memory.
    Discrete,
    /// A part of the processor's chip, sharing its memory.
    Integrated,
    /// A share of a GPU, in a virtual machine.
    Virtual,
    /// The driver doesn't say (usual for GL).
    Other,
    /// A program on the processor: llvmpipe, lavapipe, SwiftShader, WARP.
    Software,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Discrete => "discrete",
            Kind::Integrated => "integrated",
            Kind::Virtual => "virtual",
            Kind::Other => "other",
            Kind::Software => "software",
        })
    }
}

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best there is, be it software.
    Best,
    /// The best real GPU.
    Hardware,
    /// The best whose name contains this, or whose backend is this, or both as `backend:name`;
    /// case does not matter: `nvidia`, `gl`, `vulkan:llvmpipe`.
    Named(String),
}

/// Every adapter that can run our kernels, best first: real GPUs before software, then by kind,
/// then Vulkan, Metal and DX12 before GL. Empty where there is no driver at all.
pub fn adapters() -> Vec<AdapterInfo> {
    let found = enumerate();
    found.into_iter().map(|(info, _)| info).collect()
}

/// One at a time: drivers' entry points, EGL's above all, are not all safe to enter together.
static ENUMERATION: Mutex<()> = Mutex::new(());

/// As [`adapters`], each on an instance of its own call: GL adapters of one instance share one
/// GL context, which two threads must not use at a time.
pub(crate) fn enumerate() -> Vec<(AdapterInfo, wgpu::Adapter)> {
    let _one = ENUMERATION
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        // Drivers' own debug layers only when asked for (WGPU_VALIDATION=1): they are slow and chatty.
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut adapters: Vec<_> = adapters
        .into_iter()
        .filter(can_compute)
        .map(|adapter| (AdapterInfo::from_wgpu(adapter.get_info()), adapter))
        .collect();
    adapters.sort_by_cached_key(|(info, _)| info.rank());
    adapters
}

/// Whether an adapter has what kernels may rely on; old GL drivers do not.
fn can_compute(adapter: &wgpu::Adapter) -> bool {
    let flags = adapter.get_downlevel_capabilities().flags;
    let has = adapter.limits();
    flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
        && has.max_storage_buffers_per_shader_stage as usize >= limits::MAX_STORAGE_BUFFERS
        && has.max_compute_invocations_per_workgroup >= limits::MAX_INVOCATIONS
        && has.max_compute_workgroup_storage_size >= limits::MAX_WORKGROUP_MEMORY
        && has.min_uniform_buffer_offset_alignment <= limits::MAX_PARAMS
}

/// Indices of the adapters that a choice allows, best first; never empty.
pub(crate) fn select(adapters: &[&AdapterInfo], choice: &Choice) -> Result<Vec<usize>> {
    if adapters.is_empty() {
        return Err(Error::NoAdapter);
    }
    let allowed = |adapter: &AdapterInfo| match choice {
        Choice::Best => true,
        Choice::Hardware => !adapter.is_software,
        Choice::Named(name) => adapter.matches(name),
    };
    let selected: Vec<usize> = (0..adapters.len())
        .filter(|&i| allowed(adapters[i]))
        .collect();
    if !selected.is_empty() {
        return Ok(selected);
    }
    let available = adapters.iter().map(|adapter| adapter.to_string()).collect();
    Err(match choice {
        Choice::Named(asked) => Error::UnknownAdapter {
            asked: asked.clone(),
            available,
        },
        Choice::Best | Choice::Hardware => Error::NoHardware { available },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, backend: Backend, kind: Kind) -> AdapterInfo {
        AdapterInfo {
            name: name.into(),
            backend,
            kind,
            driver: String::new(),
            is_software: kind == Kind::Software,
        }
    }

    fn machine() -> Vec<AdapterInfo> {
        let mut adapters = vec![
            adapter(
                "llvmpipe (LLVM 15.0.6, 256 bits)",
                Backend::Gl,
                Kind::Software,
            ),
            adapter("AMD Radeon RX 6800", Backend::Gl, Kind::Other),
            adapter(
                "llvmpipe (LLVM 15.0.6, 256 bits)",
                Backend::Vulkan,
                Kind::Software,
            ),
            adapter("Intel UHD", Backend::Vulkan, Kind::Integrated),
            adapter("AMD Radeon RX 6800", Backend::Vulkan, Kind::Discrete),
        ];
        adapters.sort_by_cached_key(AdapterInfo::rank);
        adapters
    }

    fn names(choice: &Choice) -> Result<Vec<String>> {
        let adapters = machine();
        let adapters: Vec<&AdapterInfo> = adapters.iter().collect();
        Ok(select(&adapters, choice)?
            .iter()
            .map(|&i| adapters[i].to_string())
            .collect())
    }

    #[test]
    fn real_gpus_come_first_and_gl_last() {
        let expected = [
            "vulkan:AMD Radeon RX 6800",
            "vulkan:Intel UHD",
            "gl:AMD Radeon RX 6800",
            "vulkan:llvmpipe (LLVM 15.0.6, 256 bits)",
            "gl:llvmpipe (LLVM 15.0.6, 256 bits)",
        ];
        assert_eq!(names(&Choice::Best).unwrap(), expected);
        assert_eq!(names(&Choice::Hardware).unwrap(), expected[..3]);
    }

    #[test]
    fn names_match_in_part_by_backend_or_both() {
        let first = |name: &str| names(&Choice::Named(name.into())).unwrap()[0].clone();
        assert_eq!(first("radeon"), "vulkan:AMD Radeon RX 6800");
        assert_eq!(first("GL"), "gl:AMD Radeon RX 6800");
        assert_eq!(first("gl:LLVMpipe"), "gl:llvmpipe (LLVM 15.0.6, 256 bits)");
        assert_eq!(
            first("Vulkan:llvm"),
            "vulkan:llvmpipe (LLVM 15.0.6, 256 bits)"
        );
        for info in machine() {
            assert_eq!(names(&info.choice()).unwrap(), [info.to_string()]);
        }
    }

    #[test]
    fn a_wrong_name_lists_what_there_is() {
        let error = names(&Choice::Named("voodoo".into()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"voodoo\""), "{error}");
        assert!(error.contains("vulkan:Intel UHD; gl:AMD"), "{error}");
        let none = select(&[], &Choice::Best).unwrap_err().to_string();
        assert!(none.contains("mesa-vulkan-drivers"), "{none}");
        let software = adapter("llvmpipe", Backend::Gl, Kind::Software);
        let error = select(&[&software], &Choice::Hardware)
            .unwrap_err()
            .to_string();
        assert!(error.contains("gl:llvmpipe"), "{error}");
    }
}
