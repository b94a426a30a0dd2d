//! `trainer devices`, and opening the one that the user asked for.

use anyhow::Result;
use gpu::Tuning;
use tensor::Device;

use crate::cli::DeviceArg;
use crate::report;

/// Prints every device with the name that `--device` takes.
pub fn list() {
    let adapters = gpu::adapters();
    let best = match Device::best() {
        Device::Cpu => None,
        Device::Gpu(context) => Some(context.info().clone()),
    };
    let mark = |is_best: bool| if is_best { "  <- best" } else { "" };
    report::result(&format!("{}{}", Device::Cpu, mark(best.is_none())));
    report::result("    --device cpu");
    for info in &adapters {
        report::result(&format!("{info}{}", mark(best.as_ref() == Some(info))));
        if info.is_software {
            report::result(
                "    a software rasteriser: correct, but far slower than the processor path",
            );
        }
        report::result(&format!("    --device \"{}:{}\"", info.backend, info.name));
    }
    if adapters.is_empty() {
        report::result(&format!(
            "no GPU adapter was found; {}",
            gpu::Error::NoAdapter
        ));
    }
}

impl DeviceArg {
    /// Opens it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(&self) -> Result<Device> {
        open(&self.name, !self.no_autotune, "")
    }
}

/// Opens a device. What is measured of its kernels is kept in the user's folder for such things; what a
/// checkpoint knows of that counts more.
///
/// # Errors
/// When there is none of that name.
pub fn open(name: &str, autotune: bool, known: &str) -> Result<Device> {
    let file = || dirs::cache_dir().map(|folder| folder.join("henshin").join("autotune.tsv"));
    let tuning = match autotune {
        true => Tuning::Measured {
            file: file(),
            known: known.to_owned(),
        },
        false => Tuning::Fixed,
    };
    Ok(Device::open(name, tuning)?)
}
