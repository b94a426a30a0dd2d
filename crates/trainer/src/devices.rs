//! `trainer devices`

use tensor::Device;

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
