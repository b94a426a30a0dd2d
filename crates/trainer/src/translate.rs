//! `trainer translate`

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cyclegan::{CycleGan, Generator};
use images::RgbImage;
use indicatif::ProgressBar;
use nn::Module;
use tensor::{Device, Tensor, no_grad};

use crate::checkpoint::Checkpoint;
use crate::cli::{Direction, TranslateArgs};
use crate::train::Ending;
use crate::{interrupt, report};

/// Translates a picture or a folder of pictures.
///
/// # Errors
/// With what is wrong and what to do; pictures that can't be read are named at the end, after the
/// others were translated.
pub fn run(args: &TranslateArgs) -> Result<Ending> {
    interrupt::listen();
    let device = args.device.open()?;
    let inputs = match args.input.is_dir() {
        true => images::list(&args.input)?,
        false => vec![args.input.clone()],
    };
    let checkpoint = Checkpoint::find(&args.run, |damage| eprintln!("{damage}"))?;
    let model = CycleGan::new(&checkpoint.header.settings.model, &device)?;
    model.load_networks(&checkpoint.state(&device)?)?;
    let generator = match args.direction {
        Direction::AtoB => model.a_to_b(),
        Direction::BtoA => model.b_to_a(),
    };
    fs::create_dir_all(&args.output).with_context(|| {
        format!(
            "the folder {} can't be made; give one that you may write to with --output",
            args.output.display()
        )
    })?;

    let bar = match args.quiet || inputs.len() == 1 {
        true => ProgressBar::hidden(),
        false => report::bar(inputs.len() as u64, "translating"),
    };
    let mut failed = Vec::new();
    for (input, output) in inputs.iter().zip(output_names(&inputs)) {
        if interrupt::is_requested() {
            bar.finish_and_clear();
            eprintln!("stopped; what is in {} is whole", args.output.display());
            return Ok(Ending::Interrupted);
        }
        let output = args.output.join(output);
        let translated = images::decode(input)
            .map_err(anyhow::Error::from)
            .and_then(|picture| translate(generator, &picture, &device))
            .and_then(|picture| Ok(images::save_png(&output, &picture)?));
        if let Err(error) = translated {
            failed.push(format!("{error:#}"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let done = inputs.len() - failed.len();
    if !args.quiet {
        eprintln!(
            "translated {done} of {} pictures into {}",
            inputs.len(),
            args.output.display()
        );
    }
    if !failed.is_empty() {
        bail!(
            "{} pictures could not be translated: {}",
            failed.len(),
            failed.join("; ")
        );
    }
    Ok(Ending::Finished)
}

/// Output names: the inputs' with `.png`; where two would be the same, with the whole old name
/// before it, and a number if that is still not enough.
fn output_names(inputs: &[PathBuf]) -> Vec<PathBuf> {
    let mut taken = HashSet::new();
    let with_png = |name: &std::ffi::OsStr| {
        let mut name = OsString::from(name);
        name.push(".png");
        PathBuf::from(name)
    };
    inputs
        .iter()
        .map(|input| {
            let stem = with_png(input.file_stem().unwrap_or_default());
            let whole = with_png(input.file_name().unwrap_or_default());
            let numbered = (2..).map(|i| {
                with_png(&OsString::from(format!(
                    "{}-{i}",
                    input.file_stem().unwrap_or_default().to_string_lossy()
                )))
            });
            let mut names = [stem, whole].into_iter().chain(numbered);
            names
                .find(|name| taken.insert(name.clone()))
                .expect("numbers don't end")
        })
        .collect()
}

/// Translates a picture of any size: it is extended at its right and bottom to what the generator
/// takes, and the result cut back.
fn translate(generator: &Generator, picture: &RgbImage, device: &Device) -> Result<RgbImage> {
    let (width, height) = picture.dimensions();
    let fit = |side: u32| {
        (side as usize)
            .max(generator.at_least())
            .next_multiple_of(generator.multiple_of())
    };
    let (fit_width, fit_height) = (fit(width), fit(height));
    let extended = images::extend(picture, fit_width as u32, fit_height as u32);
    let shape = [1, 3, fit_height, fit_width];
    let input = Tensor::from_slice(&images::to_chw(&extended), shape, device)?;
    let output = no_grad(|| generator.forward(&input))?.to_vec()?;
    let output = images::from_chw(&output, fit_height, fit_width)?;
    Ok(images::crop(&output, 0, 0, width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_never_overwrite_each_other() {
        let inputs = ["d/a.jpg", "d/a.png", "e/a.png", "e/b.png"].map(PathBuf::from);
        let names = output_names(&inputs);
        assert_eq!(
            names,
            ["a.png", "a.png.png", "a-2.png", "b.png"].map(PathBuf::from)
        );
    }
}
