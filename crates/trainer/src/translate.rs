//! `trainer translate`

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cyclegan::{Config, Generator, Tile, TiledGenerator, Tiling};
use faces::{Detector, Manifest, Portraits};
use images::RgbImage;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use nn::{Area, Module};
use tensor::{Device, Tensor, no_grad};

use crate::amount::Memory;
use crate::checkpoint::Checkpoint;
use crate::cli::TranslateArgs;
use crate::settings::Settings;
use crate::train::Ending;
use crate::{demo, interrupt, memory, report, tiles};

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
    let checkpoint = Checkpoint::at(&args.run, args.step, |damage| eprintln!("{damage}"))?;
    let model = cyclegan::model(&checkpoint.header.settings.model, &device)?;
    model.load_networks(&checkpoint.state(&device)?)?;
    let generator = args.direction.generator(&*model)?;
    if is_standard(&args.output) {
        ensure!(
            inputs.len() == 1,
            "standard output takes one picture; give a folder as --output"
        );
    } else {
        fs::create_dir_all(&args.output).with_context(|| {
            format!(
                "the folder {} can't be made; give one that you may write to with --output",
                args.output.display()
            )
        })?;
    }

    let bars = match args.quiet {
        true => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
        false => MultiProgress::new(),
    };
    let bar = match inputs.len() {
        1 => ProgressBar::hidden(),
        all => bars.add(report::bar(all as u64, "translating")),
    };
    let translator = Translator {
        generator,
        config: &checkpoint.header.settings.model,
        device: &device,
        tile: args.tile.map(|tile| tile as usize),
        memory: match args.memory {
            Some(memory) => memory,
            None => memory::for_translation(&device)?,
        },
        bars,
    };
    let faces = match args.faces {
        true => Some(FaceFinder::new(args, &checkpoint.header.settings)?),
        false => None,
    };
    let mut failed = Vec::new();
    for (input, name) in inputs.iter().zip(output_names(&inputs)) {
        let output = match is_standard(&args.output) {
            true => args.output.clone(),
            false => args.output.join(name),
        };
        let translated = match interrupt::is_requested() {
            true => Err(Interrupted.into()),
            false => match &faces {
                Some(faces) => faces.translate(&translator, input, &output),
                None => translator.translate(input, &output),
            },
        };
        if let Err(error) = translated {
            if error.is::<Interrupted>() {
                bar.finish_and_clear();
                eprintln!("stopped; what is in {} is whole", args.output.display());
                return Ok(Ending::Interrupted);
            }
            failed.push(format!("{error:#}"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let done = inputs.len() - failed.len();
    if !args.quiet && !is_standard(&args.output) {
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

/// Whether a path stands for standard input or output.
fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a picture, from standard input where the path says so.
fn read(input: &Path) -> Result<RgbImage> {
    if !is_standard(input) {
        return Ok(images::decode(input)?);
    }
    /// Bytes of the largest file.
    const MOST: u64 = 1 << 30;
    let mut bytes = Vec::new();
    io::stdin().take(MOST).read_to_end(&mut bytes)?;
    let white = images::Rgb([255; 3]);
    let name = Path::new("standard input");
    Ok(images::decode_bytes(name, bytes, white, images::MAX_BYTES)?)
}

/// Writes a picture as PNG, to standard output where the path says so.
fn write(output: &Path, picture: &RgbImage) -> Result<()> {
    if !is_standard(output) {
        return Ok(images::save_png(output, picture)?);
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&images::encode_png(picture))?;
    Ok(stdout.flush()?)
}

/// What finds faces, and knows how training saw them.
struct FaceFinder {
    portraits: Portraits,
    side: usize,
}

impl FaceFinder {
    fn new(args: &TranslateArgs, settings: &Settings) -> Result<Self> {
        // A run from trainB to trainA takes photographs on its way back.
        if args.direction != settings.run.direction {
            bail!("--faces finds the faces of photographs, which this direction does not take");
        }
        let data = match settings.run.data.as_os_str().is_empty() {
            true => demo::ensure(args.quiet)?,
            false => settings.run.data.clone(),
        };
        let known = Manifest::read(&data);
        let portraits = known.as_ref().and_then(Portraits::of);
        if portraits.is_none() && !args.quiet {
            eprintln!(
                "{} does not say how its faces were cut (prepare-faces leaves a manifest.json that does); \
                 taking them as portraits usually are",
                data.display()
            );
        }
        Ok(FaceFinder {
            portraits: portraits.unwrap_or_else(Portraits::usual),
            side: match args.face_size {
                Some(side) => side as usize,
                None => settings.model.last_size(),
            },
        })
    }

    /// Translates the faces of a photograph and leaves the rest as it is.
    fn translate(&self, translator: &Translator<'_>, input: &Path, output: &Path) -> Result<()> {
        let picture = read(input)?;
        let faces = Detector::photographs().faces(&picture);
        if faces.is_empty() {
            bail!(
                "no face was found in {}; without --faces all of it is translated",
                input.display()
            );
        }
        let Translator {
            generator, device, ..
        } = translator;
        let mut result = picture.clone();
        // Those in front are larger, and come last.
        for face in faces.iter().rev() {
            let frame = self.portraits.frame(&face.landmarks);
            let square = frame.cut(&picture, self.side as u32);
            let size = fitted(generator, &square);
            frame.paste(&mut result, &whole(generator, device, &square, size)?);
        }
        write(output, &result)
    }
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

/// Ctrl-C was pressed.
#[derive(Debug)]
struct Interrupted;

impl std::error::Error for Interrupted {}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

/// A generator, and how it is to go about pictures.
struct Translator<'a> {
    generator: &'a Generator,
    config: &'a Config,
    device: &'a Device,
    tile: Option<usize>,
    memory: Memory,
    bars: MultiProgress,
}

impl Translator<'_> {
    /// Translates a picture of any size: it is extended at its right and bottom to what the generator takes,
    /// and the result cut back.
    fn translate(&self, input: &Path, output: &Path) -> Result<()> {
        let picture = read(input)?;
        let size = fitted(self.generator, &picture);
        let core = match self.tile {
            Some(side) => tiles::given(self.generator, size, side)?,
            None => tiles::fitting(self.generator, self.config, size, self.device, self.memory)
                .with_context(|| format!("{} can't be translated", input.display()))?,
        };
        match core {
            None => {
                let whole = whole(self.generator, self.device, &picture, size)?;
                write(output, &whole)
            }
            Some(_) if is_standard(output) => bail!(
                "a picture in tiles is written row by row, which standard output does not take; give a folder \
                 as --output, or more --memory"
            ),
            Some(core) => self.in_tiles(&picture, &Tiling::new(self.generator, size, core), output),
        }
    }

    /// The same, tile by tile. A row of tiles is written as soon as it is done, so that the result is never in
    /// memory as a whole.
    fn in_tiles(&self, picture: &RgbImage, tiling: &Tiling, output: &Path) -> Result<()> {
        let passes = self.generator.norms() + 1;
        let bar = report::bar((passes * tiling.tiles().count()) as u64, "tiles");
        let bar = self.bars.add(bar);
        let mut tiled = TiledGenerator::new(self.generator);
        let forward = |tiled: &mut TiledGenerator<'_>, tile: &Tile| {
            if interrupt::is_requested() {
                return Err(Interrupted.into());
            }
            let pixels = tensor(self.generator, &cut_out(picture, &tile.whole), self.device)?;
            let core = tiled.forward(tile, &pixels)?;
            // A GPU that is asked for one tile after the other would keep them all.
            self.device.synchronize()?;
            bar.inc(1);
            anyhow::Ok(core)
        };
        for _ in 0..self.generator.norms() {
            for tile in tiling.tiles() {
                forward(&mut tiled, &tile)?;
            }
            tiled.end_pass()?;
        }
        let (width, height) = picture.dimensions();
        let done = images::save_png_rows(output, width, height, |rows| {
            let mut band = RgbImage::default();
            for tile in tiling.tiles() {
                let Area {
                    rows: down,
                    columns,
                } = &tile.core;
                if columns.start == 0 {
                    let below = height.saturating_sub(down.start as u32);
                    band = RgbImage::new(width, below.min(down.len() as u32));
                }
                let core = forward(&mut tiled, &tile)?.context("a norm was not measured")?;
                let core = images::from_chw(&core.to_vec()?, down.len(), columns.len())?;
                images::paste(&mut band, &core, columns.start as u32, 0);
                if columns.end as u32 >= width {
                    rows.push(&band)?;
                    band = RgbImage::default();
                }
            }
            anyhow::Ok(())
        });
        bar.finish_and_clear();
        done
    }
}

/// The `[height, width]` to which a picture is extended, so that a generator takes it.
pub fn fitted(generator: &Generator, picture: &RgbImage) -> [usize; 2] {
    [picture.height(), picture.width()].map(|side| {
        (side as usize)
            .max(generator.at_least())
            .next_multiple_of(generator.multiple_of())
    })
}

/// Translates a picture in one piece, extended to `[height, width]`; the result is of its own size.
///
/// # Errors
/// When the device fails.
pub fn whole(
    generator: &Generator,
    device: &Device,
    picture: &RgbImage,
    [height, width]: [usize; 2],
) -> Result<RgbImage> {
    let extended = images::extend(picture, width as u32, height as u32);
    let input = tensor(generator, &extended, device)?;
    let output = no_grad(|| generator.forward(&input))?.to_vec()?;
    let output = images::from_chw(&output, height, width)?;
    let (width, height) = picture.dimensions();
    Ok(images::crop(&output, 0, 0, width, height))
}

fn tensor(generator: &Generator, picture: &RgbImage, device: &Device) -> Result<Tensor> {
    let [channels, _] = generator.channels();
    let [height, width] = [picture.height(), picture.width()].map(|extent| extent as usize);
    let planes = images::to_chw(picture, channels);
    Ok(Tensor::from_slice(
        &planes,
        [1, channels, height, width],
        device,
    )?)
}

/// An area of a picture, which may lie over its right and lower edge.
fn cut_out(picture: &RgbImage, Area { rows, columns }: &Area) -> RgbImage {
    let [x, y] = [columns.start, rows.start].map(|at| at as u32);
    let [width, height] = [columns.len(), rows.len()].map(|len| len as u32);
    images::crop_extended(picture, x, y, width, height)
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
