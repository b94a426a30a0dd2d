//! `cargo xtask kernel-report`: what a compiler for real hardware makes of every kernel, on a machine
//! without that hardware. Mesa's RADV compiles for the AMD chip that `RADV_FORCE_FAMILY` names and
//! says what came of it: registers, spills, occupancy, instructions.

#![allow(unsafe_code, reason = "Vulkan is a library of C's")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char};

use anyhow::{Context, Result, anyhow, bail};
use ash::{khr, vk};
use naga::back::spv;
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use shaders::{Binding, Kernel};

/// Compile every kernel for an AMD GPU that need not be there, and print what came of it
#[derive(clap::Args)]
pub struct Args {
    /// The chip to compile for, as Mesa names it: NAVI21 is RDNA2
    #[arg(long, default_value = "NAVI21")]
    chip: String,
    /// Only kernels whose name contains this
    #[arg(long, default_value = "", hide_default_value = true)]
    only: String,
    /// Compile kernels for storage in half precision, where they take it
    #[arg(long)]
    half: bool,
    /// Print the compiler's instructions too
    #[arg(long)]
    assembly: bool,
}

const INSTALL: &str = "install Mesa's Vulkan drivers (Debian and Ubuntu: apt-get install \
                       mesa-vulkan-drivers libvulkan1; Fedora: mesa-vulkan-drivers)";

/// Prints a Markdown table, a kernel and variant each row.
///
/// # Errors
/// When the compiler isn't there, or a kernel does not compile.
pub fn run(args: &Args) -> Result<()> {
    let compiler = Compiler::open(&args.chip)?;
    println!("{}, compiled by {}", args.chip, compiler.name);
    println!();
    println!(
        "| kernel | VGPRs | spills | workgroup memory, B | subgroups a SIMD | instructions | \
         inverse throughput | main loop: FMA / VALU / all |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let wanted = |kernel: &&&Kernel| {
        let takes_half = kernel.reals.iter().any(Option::is_some);
        kernel.name.contains(&args.only) && (takes_half || !args.half)
    };
    for kernel in shaders::ALL.iter().filter(wanted) {
        for (label, overrides) in variants(kernel) {
            let compiled = compiler
                .compile(kernel, args.half, &overrides)
                .with_context(|| format!("{} with {overrides:?}", kernel.name))?;
            println!("| {}{label} {}", kernel.name, compiled.row());
            if args.assembly {
                println!("{}", compiled.assembly);
            }
        }
    }
    Ok(())
}

/// The settings of a kernel that networks run most, with a name each.
fn variants(kernel: &Kernel) -> Vec<(String, Vec<(&'static str, f64)>)> {
    let has = |name| kernel.overrides.iter().any(|o| o.name == name);
    if has("SUBGROUP") {
        let quads = vec![("SUBGROUP", 64.0), ("A_QUADS", 1.0), ("B_QUADS", 1.0)];
        return vec![
            (", by values".into(), vec![("SUBGROUP", 64.0)]),
            (", by fours".into(), quads),
        ];
    }
    if !has("KERNEL_H") {
        return vec![(String::new(), Vec::new())];
    }
    // Kernel, stride, padding.
    [[3, 1, 0], [3, 2, 1], [4, 2, 1], [7, 1, 0]]
        .map(|[k, stride, padding]| {
            let values = [k, k, stride, padding].map(f64::from);
            let names = ["KERNEL_H", "KERNEL_W", "STRIDE", "PADDING"];
            let label = format!(", {k}×{k} stride {stride}");
            (label, names.into_iter().zip(values).collect())
        })
        .to_vec()
}

/// What the compiler said of a kernel.
struct Compiled {
    statistics: HashMap<String, u64>,
    assembly: String,
}

impl Compiled {
    fn row(&self) -> String {
        let get = |name: &str| self.statistics.get(name).copied();
        let show = |name| get(name).map_or("?".into(), |value| value.to_string());
        let spills = get("Spilled VGPRs").unwrap_or(0) + get("Spilled SGPRs").unwrap_or(0);
        let inner = match main_loop(&self.assembly) {
            Some([fma, valu, all]) => format!("{fma} / {valu} / {all}"),
            None => "–".into(),
        };
        format!(
            "| {} | {spills} | {} | {} | {} | {} | {inner} |",
            show("VGPRs"),
            show("LDS size"),
            show("Subgroups per SIMD"),
            show("Instructions"),
            show("Inverse Throughput"),
        )
    }
}

/// Fused multiply-adds, vector arithmetic and all instructions of the loop with most of the first,
/// without the loops inside it.
fn main_loop(assembly: &str) -> Option<[usize; 3]> {
    let lines: Vec<&str> = assembly.lines().map(str::trim).collect();
    let labels: HashMap<&str, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(i, line)| Some((line.strip_suffix(':')?, i)))
        .collect();
    // From a label to the last branch back to it.
    let mut ends: HashMap<usize, usize> = HashMap::new();
    for (end, line) in lines.iter().enumerate() {
        let is_branch = line.starts_with("s_branch") || line.starts_with("s_cbranch");
        let label = line
            .split_whitespace()
            .nth(1)
            .and_then(|name| labels.get(name));
        if let (true, Some(&start)) = (is_branch, label)
            && start < end
        {
            ends.insert(start, end);
        }
    }
    let counts = |(&start, &end): (&usize, &usize)| {
        let inside = |i: usize| {
            let within = |(&from, &to): (&usize, &usize)| start < from && (from..=to).contains(&i);
            ends.iter().any(within)
        };
        let own = (start..=end).filter(|&i| !inside(i)).map(|i| lines[i]);
        own.fold([0; 3], |[fma, valu, all], line| {
            let starts = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
            let is_fma = starts(&[
                "v_fma_f",
                "v_fma_mix_f",
                "v_fmac_f",
                "v_fmaak_f",
                "v_fmamk_f",
                "v_mac_f",
                "v_mad_f",
                "v_pk_fma_f",
            ]);
            let is_any = starts(&["v_", "s_", "ds_", "buffer_", "global_"]);
            [
                fma + usize::from(is_fma),
                valu + usize::from(line.starts_with("v_")),
                all + usize::from(is_any),
            ]
        })
    };
    ends.iter().map(counts).max()
}

/// A Vulkan device that compiles and never runs.
struct Compiler {
    name: String,
    device: ash::Device,
    reports: khr::pipeline_executable_properties::Device,
    // Dropped last: it holds the library.
    _entry: ash::Entry,
}

impl Compiler {
    fn open(chip: &str) -> Result<Self> {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("RADV_FORCE_FAMILY", chip) };
        // SAFETY: the system's Vulkan loader does what Vulkan demands.
        let entry = unsafe { ash::Entry::load() }
            .map_err(|error| anyhow!("there is no Vulkan loader ({error}); {INSTALL}"))?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_2);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: the entry outlives the instance, here and below handles are valid.
        let instance = unsafe { entry.create_instance(&info, None) }
            .with_context(|| format!("no Vulkan driver loads; {INSTALL}"))?;
        // SAFETY: as above.
        let found = unsafe { instance.enumerate_physical_devices() }?
            .into_iter()
            .find_map(|device| {
                // SAFETY: as above.
                let properties = unsafe { instance.get_physical_device_properties(device) };
                let name = text(&properties.device_name);
                (name.contains("RADV") || name.to_uppercase().contains(&chip.to_uppercase()))
                    .then_some((device, name))
            });
        let Some((physical, name)) = found else {
            bail!("Mesa's RADV is not there, or knows no chip {chip}; {INSTALL}");
        };
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let extensions = [khr::pipeline_executable_properties::NAME.as_ptr()];
        let mut reporting = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut memory_model =
            vk::PhysicalDeviceVulkanMemoryModelFeatures::default().vulkan_memory_model(true);
        let mut half_arithmetic =
            vk::PhysicalDeviceShaderFloat16Int8Features::default().shader_float16(true);
        let mut half_storage =
            vk::PhysicalDevice16BitStorageFeatures::default().storage_buffer16_bit_access(true);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut reporting)
            .push_next(&mut memory_model)
            .push_next(&mut half_arithmetic)
            .push_next(&mut half_storage);
        // SAFETY: as above.
        let device = unsafe { instance.create_device(physical, &info, None) }
            .context("RADV makes no device for reports; a newer Mesa may")?;
        let reports = khr::pipeline_executable_properties::Device::new(&instance, &device);
        Ok(Compiler {
            name,
            device,
            reports,
            _entry: entry,
        })
    }

    fn compile(
        &self,
        kernel: &Kernel,
        half: bool,
        overrides: &[(&'static str, f64)],
    ) -> Result<Compiled> {
        let spirv = spirv(kernel, half, overrides)?;
        let numbers = (u32::from(kernel.params_size == 0)..).zip(kernel.bindings);
        let bindings: Vec<_> = numbers
            .map(|(number, binding)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(number)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    .descriptor_type(match binding {
                        Binding::Uniform => vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
                        Binding::Read | Binding::ReadWrite => vk::DescriptorType::STORAGE_BUFFER,
                    })
            })
            .collect();
        let device = &self.device;
        // Nothing is freed: the process ends soon.
        // SAFETY: handles are valid, and what infos point to lives as long as they do.
        unsafe {
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [device.create_descriptor_set_layout(&info, None)?];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&info, None)?;
            let info = vk::ShaderModuleCreateInfo::default().code(&spirv);
            let module = device.create_shader_module(&info, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                )
                .stage(stage)
                .layout(layout);
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = made.map_err(|(_, error)| error)?[0];
            let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = self
                .reports
                .get_pipeline_executable_statistics(&executable)?;
            Ok(Compiled {
                statistics: statistics
                    .iter()
                    // RADV's are all unsigned.
                    .map(|one| (text(&one.name), one.value.u64))
                    .collect(),
                assembly: self.assembly(&executable)?,
            })
        }
    }

    /// The compiler's text in its last form: first asked for its length, then for itself.
    fn assembly(&self, executable: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String> {
        let get = self
            .reports
            .fp()
            .get_pipeline_executable_internal_representations_khr;
        let mut count = 0;
        // SAFETY: handles are valid; the second call has room for as many as the first found, the
        // third for as much text as the second did.
        unsafe {
            let handle = self.device.handle();
            get(handle, executable, &mut count, std::ptr::null_mut()).result()?;
            let mut forms =
                vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            get(handle, executable, &mut count, forms.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> =
                forms.iter().map(|form| vec![0; form.data_size]).collect();
            for (form, text) in forms.iter_mut().zip(&mut texts) {
                form.p_data = text.as_mut_ptr().cast();
            }
            get(handle, executable, &mut count, forms.as_mut_ptr()).result()?;
            let last = texts.pop().unwrap_or_default();
            Ok(String::from_utf8_lossy(&last)
                .trim_end_matches('\0')
                .to_owned())
        }
    }
}

/// A kernel as wgpu hands it to Vulkan, without checks of bounds.
fn spirv(kernel: &Kernel, half: bool, overrides: &[(&'static str, f64)]) -> Result<Vec<u32>> {
    let module = naga::front::wgsl::parse_str(&kernel.wgsl(if half { u32::MAX } else { 0 }))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module)?;
    let constants = overrides
        .iter()
        .map(|&(name, value)| (name.to_owned(), value))
        .collect();
    let entry = Some((naga::ShaderStage::Compute, "main"));
    let (module, info) =
        naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)?;
    let binding_map = (0..=kernel.bindings.len() as u32)
        .map(|binding| {
            let from = naga::ResourceBinding { group: 0, binding };
            let onto = spv::BindingInfo {
                descriptor_set: 0,
                binding,
                binding_array_size: None,
            };
            (from, onto)
        })
        .collect();
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        binding_map,
        bounds_check_policies: BoundsCheckPolicies::default(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: "main".into(),
    };
    Ok(spv::write_vec(&module, &info, &options, Some(&pipeline))?)
}

/// A text in Vulkan's arrays of characters.
fn text(characters: &[c_char]) -> String {
    // SAFETY: Vulkan ends its texts with a zero inside the array.
    let text = unsafe { CStr::from_ptr(characters.as_ptr()) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::main_loop;

    #[test]
    fn a_loop_counts_without_those_inside_it() {
        let assembly = "BB0:\n v_fma_f32 v0\nBB1:\n v_add_u32 v1\n v_fma_f32 v0\n v_fmac_f32 v1\nBB2:\n \
                        v_fma_f32 v0\n ds_read_b32 v2\n s_cbranch_scc1 BB2\n s_branch BB1\nBB3:\n s_endpgm";
        assert_eq!(main_loop(assembly), Some([2, 3, 4]));
        assert_eq!(main_loop("BB0:\n v_fma_f32 v0\n s_endpgm"), None);
    }
}
