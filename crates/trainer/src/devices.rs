//! `trainer devices`

use tensor::Device;

/// Prints every device with the name that `--device` takes.
pub fn list() {
    let adapters = gpu::adapters();
    let best = match Device::best() {
        Device::Cpu => None,
        Device::Gpu(context) => Some(context.info().clone()),
    };
    let mark = |is_best: bool| if is_best { "  <- best" } else { "" };
    println!("{}{}", Device::Cpu, mark(best.is_none()));
    println!("    --device cpu");
    for info in &adapters {
        println!("{info}{}", mark(best.as_ref() == Some(info)));
        if info.is_software {
            println!("    a software rasteriser: correct, but far slower than the processor path");
        }
        println!("    --device \"{}:{}\"", info.backend, info.name);
    }
    if adapters.is_empty() {
        println!("no GPU adapter was found; {}", gpu::Error::NoAdapter);
    }
}
