//! `trainer export`

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;
use cyclegan::Config;
use nn::{save_file, state_dict};
use tensor::Device;

use crate::checkpoint::{Checkpoint, Header};
use crate::cli::{Direction, ExportArgs, Format};
use crate::settings::shown;
use crate::train::Ending;

/// Writes a run's generator for other programs.
///
/// # Errors
/// With what is wrong and what to do; no part of a file is left then.
pub fn run(args: &ExportArgs) -> Result<Ending> {
    let format = match args.format {
        Some(format) => format,
        None => by_ending(&args.output)?,
    };
    let checkpoint = Checkpoint::at(&args.run, args.step, |damage| eprintln!("{damage}"))?;
    let config = Config {
        // That of pictures, of which there are none here; the processor has no other.
        precision: cyclegan::Stored::Single,
        ..checkpoint.header.settings.model.clone()
    };
    let model = cyclegan::model(&config, &Device::Cpu)?;
    model.load_networks(&checkpoint.state(&Device::Cpu)?)?;
    let generator = args.direction.generator(&*model)?;
    let metadata = metadata(&checkpoint.header, args.direction);
    match format {
        Format::Safetensors => {
            let owned = |(key, value): (&str, String)| (key.to_owned(), value);
            let metadata: HashMap<String, String> = metadata.into_iter().map(owned).collect();
            save_file(&args.output, &state_dict(generator, ""), metadata)?;
        }
        Format::Pth => exchange::pth::write(&args.output, generator)?,
        Format::Onnx => {
            exchange::onnx::write(&args.output, generator, generator.channels(), &metadata)?
        }
    }
    eprintln!(
        "wrote the generator {} after {} steps to {}",
        named(args.direction),
        checkpoint.header.steps,
        args.output.display()
    );
    Ok(Ending::Finished)
}

/// The format whose name a file ends in.
fn by_ending(path: &Path) -> Result<Format> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    match Format::from_str(&ending, true) {
        Ok(format) => Ok(format),
        Err(_) => bail!(
            "{} ends in none of .safetensors, .pth and .onnx; say what it shall be with --format",
            path.display()
        ),
    }
}

fn named(direction: Direction) -> &'static str {
    match direction {
        Direction::AtoB => "AtoB",
        Direction::BtoA => "BtoA",
    }
}

/// What whoever uses the file should know.
fn metadata(header: &Header, direction: Direction) -> Vec<(&'static str, String)> {
    let config = &header.settings.model;
    let option = |key| shown(config, key);
    vec![
        ("henshin", env!("CARGO_PKG_VERSION").into()),
        ("direction", named(direction).into()),
        ("generator", option("generator")),
        ("ngf", option("ngf")),
        ("norm", option("norm")),
        ("size", config.last_size().to_string()),
        ("steps", header.steps.to_string()),
        ("layout", "NCHW, RGB (brightness where C is 1)".into()),
        ("value_range", "[-1, 1]".into()),
        (
            "sides_multiple_of",
            config.generator.multiple_of().to_string(),
        ),
        ("sides_at_least", config.generator.at_least().to_string()),
    ]
}
