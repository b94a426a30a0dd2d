//! Runs a generator's weights on tensors, for scripts that compare with other programs:
//!
//! ```text
//! cargo run -p exchange --example forward -- WEIGHTS IN.safetensors OUT.safetensors
//! ```
//!
//! Every tensor of IN is a batch N×3×H×W; OUT has what becomes of it, under the same name.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use cyclegan::{Config, Preset, Stream};
use exchange::Asked;
use nn::Module;
use tensor::{Device, no_grad};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [weights, input, output] = &args[..] else {
        return Err("usage: forward WEIGHTS IN.safetensors OUT.safetensors".into());
    };
    let weights = exchange::read(Path::new(weights))?;
    let base = Config::preset(Preset::Paper);
    let found = exchange::generator(&weights, &base, Asked::default())?;
    let mut drawn = nn::Weights {
        init: base.init,
        gain: base.init_gain,
        rng: &mut cyclegan::rng(base.seed, Stream::Weights, 0),
        device: &Device::Cpu,
    };
    let generator = cyclegan::generator(&found.config, found.config.channels(), &mut drawn)?;
    nn::load_state(&generator, "", &found.state)?;
    let (batches, _) = nn::load_file(Path::new(input), &Device::Cpu)?;
    let mut results = nn::StateDict::new();
    for (name, batch) in batches {
        results.insert(name, no_grad(|| generator.forward(&batch))?);
    }
    nn::save_file(Path::new(output), &results, HashMap::new())?;
    Ok(())
}
