//! `trainer translate`

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use faces::{Detector, Manifest, Portraits};
use images::{Animation, RgbImage, Smoothing};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use crate::checkpoint::Checkpoint;
use crate::cli::TranslateArgs;
use crate::clip::{self, Clip, Target};
use crate::interrupt::{self, Interrupted};
use crate::settings::Settings;
use crate::train::Ending;
use crate::translator::Translator;
use crate::{demo, report};

/// Translates pictures, or the frames of a clip.
///
/// # Errors
/// With what is wrong and what to do; pictures that can't be read are named at the end, after the
/// others were translated.
pub fn run(args: &TranslateArgs) -> Result<Ending> {
    interrupt::listen();
    let device = args.device.open()?;
    let target = Target::of(&args.output)?;
    let source = Source::of(args, &target)?;
    let checkpoint = Checkpoint::find(&args.run, |damage| eprintln!("{damage}"))?;
    let bars = match args.quiet {
        true => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
        false => MultiProgress::new(),
    };
    let mut translator =
        Translator::of(&checkpoint, args.direction, &device)?.with_bars(bars.clone());
    if let Some(side) = args.tile {
        translator = translator.with_tile(side as usize);
    }
    if let Some(memory) = args.memory {
        translator = translator.with_memory(memory.0);
    }
    let faces = match args.faces {
        true => Some(FaceFinder::new(args, &checkpoint.header.settings)?),
        false => None,
    };
    let work = Work {
        translator,
        faces,
        bars,
        args,
        target: &target,
    };
    let done = match source {
        Source::Pictures(files) => work.pictures(&files),
        Source::Clip(clip) => work.clip(clip),
    };
    match done {
        Err(error) if error.is::<Interrupted>() => {
            match &target {
                Target::Folder(folder) => {
                    eprintln!("stopped; what is in {} is whole", folder.display());
                }
                _ => eprintln!("stopped; {} was not written", args.output.display()),
            }
            Ok(Ending::Interrupted)
        }
        done => done.map(|()| Ending::Finished),
    }
}

/// What is translated.
enum Source {
    /// Pictures that stand, each by itself.
    Pictures(Vec<PathBuf>),
    Clip(Clip),
}

impl Source {
    /// What `--input` stands for, for a target.
    fn of(args: &TranslateArgs, target: &Target) -> Result<Self> {
        let input = &args.input;
        if clip::is_video(input) && !input.is_dir() {
            ensure!(
                target.is_clip() || matches!(target, Target::Folder(_)),
                "{} is a video; give one as --output, or a folder for its frames",
                input.display()
            );
            return Ok(Source::Clip(Clip::video(input, args.fps)?));
        }
        if let Some(animation) = animation(input, target)? {
            return Ok(Source::Clip(Clip::animation(&animation, args.fps)));
        }
        let files = files(input)?;
        if target.is_clip() {
            return Ok(Source::Clip(Clip::pictures(files, args.fps)));
        }
        ensure!(
            args.fps.is_none(),
            "--fps is for videos and animations; {} becomes pictures",
            input.display()
        );
        match target {
            Target::Standard => ensure!(
                files.len() == 1,
                "standard output takes one picture; give a folder as --output"
            ),
            Target::Picture(path) => ensure!(
                files.len() == 1,
                "{} is one picture; give a folder as --output",
                path.display()
            ),
            _ => {}
        }
        Ok(Source::Pictures(files))
    }
}

/// The animation that an input is, where more than its first frame is wanted.
fn animation(input: &Path, target: &Target) -> Result<Option<Animation>> {
    if is_standard(input) && target.is_clip() {
        let name = Path::new(STANDARD);
        let animation = Animation::from_bytes(name, read_standard()?, images::MAX_BYTES)?;
        // What was read can't be read again as a picture.
        ensure!(animation.is_some(), "there is no animation in {STANDARD}");
        return Ok(animation);
    }
    match target {
        Target::Standard | Target::Picture(_) => Ok(None),
        _ if is_standard(input) || input.is_dir() => Ok(None),
        _ => Ok(Animation::open(input)?),
    }
}

/// A picture, or those of a folder, in the order of their numbers.
fn files(input: &Path) -> Result<Vec<PathBuf>> {
    if !input.is_dir() {
        return Ok(vec![input.to_owned()]);
    }
    let mut files = images::list(input)?;
    files.sort_by(|a, b| images::natural_order(a, b));
    Ok(files)
}

/// What is called so in messages.
const STANDARD: &str = "standard input";

/// Whether a path stands for standard input or output.
fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// All that comes from standard input.
fn read_standard() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin()
        .take(images::MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a picture, from standard input where the path says so.
fn read(input: &Path) -> Result<RgbImage> {
    if !is_standard(input) {
        return Ok(images::decode(input)?);
    }
    let white = images::Rgb([255; 3]);
    let name = Path::new(STANDARD);
    Ok(images::decode_bytes(
        name,
        read_standard()?,
        white,
        images::MAX_BYTES,
    )?)
}

/// What translates, and where to.
struct Work<'a> {
    translator: Translator,
    faces: Option<FaceFinder>,
    bars: MultiProgress,
    args: &'a TranslateArgs,
    target: &'a Target,
}

impl Work<'_> {
    /// Translates the frames of a clip. One in which no face is found stays as it is, with `--faces`.
    fn clip(&self, clip: Clip) -> Result<()> {
        let bar = report::bar(clip.about().unwrap_or_default(), "frames");
        let bar = self.bars.add(bar);
        let mut smoothing = Smoothing::new(self.args.smooth);
        let done = clip.write(self.target, |frame| {
            let made = self.translated(frame)?;
            bar.inc(1);
            Ok(smoothing.next(frame, made.unwrap_or_else(|| frame.clone())))
        });
        bar.finish_and_clear();
        let done = done?;
        if !self.args.quiet {
            eprintln!(
                "translated {done} frames into {}",
                self.args.output.display()
            );
        }
        Ok(())
    }

    /// Translates pictures. Where they are smoothed, they are frames of a clip, in their order.
    fn pictures(&self, inputs: &[PathBuf]) -> Result<()> {
        if let Target::Folder(folder) = self.target {
            fs::create_dir_all(folder).with_context(|| {
                format!(
                    "the folder {} can't be made; give one that you may write to with --output",
                    folder.display()
                )
            })?;
        }
        let bar = match inputs.len() {
            1 => ProgressBar::hidden(),
            all => self.bars.add(report::bar(all as u64, "translating")),
        };
        let mut smoothing = Smoothing::new(self.args.smooth);
        let mut failed = Vec::new();
        for (input, name) in inputs.iter().zip(output_names(inputs)) {
            let done = interrupt::check()
                .map_err(Into::into)
                .and_then(|()| self.picture(input, &name, &mut smoothing));
            match done {
                Err(error) if error.is::<Interrupted>() => {
                    bar.finish_and_clear();
                    return Err(error);
                }
                Err(error) => failed.push(format!("{error:#}")),
                Ok(()) => {}
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if !self.args.quiet && *self.target != Target::Standard {
            eprintln!(
                "translated {} of {} pictures into {}",
                inputs.len() - failed.len(),
                inputs.len(),
                self.args.output.display()
            );
        }
        if !failed.is_empty() {
            bail!(
                "{} pictures could not be translated: {}",
                failed.len(),
                failed.join("; ")
            );
        }
        Ok(())
    }

    /// Translates a picture, into a folder under the given name.
    fn picture(&self, input: &Path, name: &Path, smoothing: &mut Smoothing) -> Result<()> {
        let picture = read(input)?;
        let failing = || format!("{} can't be translated", input.display());
        let path = match self.target {
            Target::Folder(folder) => Some(folder.join(name)),
            Target::Picture(path) => Some(path.clone()),
            _ => None,
        };
        match path {
            Some(path) if self.faces.is_none() && self.args.smooth == 0.0 => {
                let done = self.translator.translate_to(&picture, &path);
                return done.with_context(failing);
            }
            _ => {}
        }
        let Some(made) = self.translated(&picture).with_context(failing)? else {
            bail!(
                "no face was found in {}; without --faces all of it is translated",
                input.display()
            );
        };
        let made = smoothing.next(&picture, made);
        match path {
            Some(path) => images::save_png(&path, &made)?,
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&images::encode_png(&made))?;
                stdout.flush()?;
            }
        }
        Ok(())
    }

    /// The translation of a picture, or of its faces; none where it has no face.
    fn translated(&self, picture: &RgbImage) -> Result<Option<RgbImage>> {
        match &self.faces {
            Some(faces) => faces.translate(&self.translator, picture),
            None => Ok(Some(self.translator.translate(picture)?)),
        }
    }
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

    /// Translates the faces of a photograph and leaves the rest as it is; none where it has no face.
    fn translate(&self, translator: &Translator, picture: &RgbImage) -> Result<Option<RgbImage>> {
        let faces = Detector::photographs().faces(picture);
        let mut result = picture.clone();
        // Those in front are larger, and come last.
        for face in faces.iter().rev() {
            let frame = self.portraits.frame(&face.landmarks);
            let square = frame.cut(picture, self.side as u32);
            frame.paste(&mut result, &translator.translate(&square)?);
        }
        Ok((!faces.is_empty()).then_some(result))
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
