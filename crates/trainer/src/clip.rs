//! Pictures that follow each other in time: videos, animations, numbered frames.

use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use images::{Animation, AnimationFormat, Frame, RgbImage, save_animation};

use crate::ffmpeg::{Encoder, Video};
use crate::interrupt;

/// Endings of files that ffmpeg is asked to read.
const VIDEOS: [&str; 15] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts", "wmv", "flv",
    "ogv", "3gp",
];
/// Those of them that it is asked to write.
const WRITTEN_VIDEOS: [&str; 5] = ["mp4", "m4v", "mov", "mkv", "webm"];
/// Endings of pictures that are read and not written.
const OTHER_PICTURES: [&str; 10] = [
    "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "avif", "qoi", "exr", "tga",
];

/// A number of frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    frames: u32,
    seconds: u32,
}

impl FrameRate {
    /// Frames a second.
    pub fn hertz(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }

    /// The time of a frame.
    fn time(self) -> Duration {
        Duration::from_secs(self.seconds.into()) / self.frames
    }

    /// That at which frames of an animation come if each is shown for `time`.
    fn of(time: Duration) -> Self {
        let milliseconds = time.as_millis().clamp(1, 10_000);
        FrameRate {
            frames: 1000,
            seconds: milliseconds as u32,
        }
    }
}

impl Default for FrameRate {
    /// That of ffmpeg for pictures.
    fn default() -> Self {
        FrameRate {
            frames: 25,
            seconds: 1,
        }
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.frames, self.seconds)
    }
}

impl FromStr for FrameRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once('/') {
            Some((frames, seconds)) => frames.trim().parse().ok().zip(seconds.trim().parse().ok()),
            None => match text.trim().parse::<f64>() {
                Ok(hertz) if hertz.fract() == 0.0 => Some((hertz as u32, 1)),
                Ok(hertz) => Some(((hertz * 1000.0).round() as u32, 1000)),
                Err(_) => None,
            },
        };
        let rate = parsed.map(|(frames, seconds)| FrameRate { frames, seconds });
        rate.filter(|rate| rate.seconds > 0 && (0.01..=100_000.0).contains(&rate.hertz()))
            .ok_or_else(|| "give frames a second, as in 25, 23.976 or 30000/1001".into())
    }
}

/// Where translations go.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output, for one picture.
    Standard,
    /// A PNG file, for one picture.
    Picture(PathBuf),
    /// A folder, for pictures or numbered frames.
    Folder(PathBuf),
    Gif(PathBuf),
    Apng(PathBuf),
    Video(PathBuf),
}

impl Target {
    /// What a path stands for: a file by its ending, else a folder.
    ///
    /// # Errors
    /// When the ending is one that is not written.
    pub fn of(path: &Path) -> Result<Self> {
        let file = path.to_owned();
        if path == Path::new("-") {
            return Ok(Target::Standard);
        }
        let ending = ending(path);
        let ending = ending.as_str();
        Ok(match ending {
            _ if path.is_dir() => Target::Folder(file),
            "png" => Target::Picture(file),
            "gif" => Target::Gif(file),
            "apng" => Target::Apng(file),
            _ if WRITTEN_VIDEOS.contains(&ending) => Target::Video(file),
            _ if OTHER_PICTURES.contains(&ending) || VIDEOS.contains(&ending) => bail!(
                "{} can't be written: pictures become .png, animations .gif or .apng (all colours; there is no \
                 encoder of animated WebP), videos {}; any other --output is a folder for PNG files",
                path.display(),
                WRITTEN_VIDEOS.map(|ending| format!(".{ending}")).join(", ")
            ),
            _ => Target::Folder(file),
        })
    }

    /// Whether it is a file of many frames.
    pub fn is_clip(&self) -> bool {
        matches!(self, Target::Gif(_) | Target::Apng(_) | Target::Video(_))
    }
}

/// Whether a file is one for ffmpeg, by its ending.
pub fn is_video(path: &Path) -> bool {
    VIDEOS.contains(&ending(path).as_str())
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
}

/// Frames, as they come.
pub struct Clip {
    frames: Box<dyn Iterator<Item = Result<Frame>>>,
    /// How many they are, where that is known exactly.
    len: Option<u32>,
    /// About how many they are.
    about: Option<u64>,
    /// That of a video made of them.
    rate: FrameRate,
    /// How often they are shown; none: without end.
    plays: Option<NonZeroU32>,
    /// The file that their sound is in, if there is any.
    sound: Option<PathBuf>,
}

impl Clip {
    /// An animation, each of whose frames is shown as long as it says, or at a constant rate.
    pub fn animation(animation: &Animation, rate: Option<FrameRate>) -> Self {
        let frames = animation.iter().map(move |frame| {
            let mut frame = frame?;
            if let Some(rate) = rate {
                frame.shown = rate.time();
            }
            Ok(frame)
        });
        Clip {
            frames: Box::new(frames),
            len: Some(animation.frames()),
            about: Some(animation.frames().into()),
            rate: rate.unwrap_or_else(|| FrameRate::of(animation.shortest())),
            plays: animation.plays(),
            sound: None,
        }
    }

    /// Pictures of one size.
    pub fn pictures(files: Vec<PathBuf>, rate: Option<FrameRate>) -> Self {
        let rate = rate.unwrap_or_default();
        let len = files.len();
        let mut size = None;
        let frames = files.into_iter().map(move |file| {
            let picture = images::decode(&file)?;
            let (width, height) = *size.get_or_insert(picture.dimensions());
            ensure!(
                picture.dimensions() == (width, height),
                "{} has {}×{} pixels, the frames before it {width}×{height}; make them all of one size",
                file.display(),
                picture.width(),
                picture.height()
            );
            Ok(Frame {
                picture,
                shown: rate.time(),
            })
        });
        Clip {
            frames: Box::new(frames),
            len: u32::try_from(len).ok(),
            about: Some(len as u64),
            rate,
            plays: None,
            sound: None,
        }
    }

    /// A video, at its own rate, or with frames repeated or left out at another.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn video(path: &Path, rate: Option<FrameRate>) -> Result<Self> {
        let video = Video::probe(path)?;
        let rate = rate.unwrap_or(video.rate);
        let about = video.duration.map(|seconds| seconds * rate.hertz());
        let frames = video.decode(rate)?.map(move |picture| {
            Ok(Frame {
                picture: picture?,
                shown: rate.time(),
            })
        });
        Ok(Clip {
            frames: Box::new(frames),
            len: None,
            about: about.map(|frames| frames.round() as u64),
            rate,
            plays: None,
            sound: Some(path.to_owned()),
        })
    }

    /// About how many frames it has, where that is known.
    pub fn about(&self) -> Option<u64> {
        self.about
    }

    /// Writes what `make` makes of the frames, and says how many they are.
    ///
    /// # Errors
    /// When a frame can't be read, made or written. Of a file nothing is left then, in a folder the frames before.
    pub fn write(
        self,
        target: &Target,
        mut make: impl FnMut(&RgbImage) -> Result<RgbImage>,
    ) -> Result<u64> {
        let Clip {
            frames,
            len,
            rate,
            plays,
            sound,
            ..
        } = self;
        let mut done = 0;
        let made = frames.map(|frame| {
            interrupt::check()?;
            let Frame { picture, shown } = frame?;
            let picture = make(&picture)?;
            done += 1;
            Ok(Frame { picture, shown })
        });
        match target {
            Target::Standard | Target::Picture(_) => bail!(
                "one picture can't be made of a clip; give a folder, or a file that ends in .gif, .apng or .mp4"
            ),
            Target::Folder(folder) => write_numbered(folder, made),
            Target::Gif(path) => write_animation(path, AnimationFormat::Gif, plays, made),
            Target::Apng(path) => {
                let frames = len.with_context(|| {
                    format!(
                        "{} begins with the number of its frames, which is not known of a video; give a .gif, or \
                         a folder first",
                        path.display()
                    )
                })?;
                write_animation(path, AnimationFormat::Apng { frames }, plays, made)
            }
            Target::Video(path) => write_video(path, rate, sound.as_deref(), made),
        }?;
        Ok(done)
    }
}

fn write_numbered(folder: &Path, frames: impl Iterator<Item = Result<Frame>>) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))?;
    for (number, frame) in (1..).zip(frames) {
        let path = folder.join(format!("{number:06}.png"));
        images::save_png(&path, &frame?.picture)?;
    }
    Ok(())
}

fn write_animation(
    path: &Path,
    format: AnimationFormat,
    plays: Option<NonZeroU32>,
    mut frames: impl Iterator<Item = Result<Frame>>,
) -> Result<()> {
    save_animation(path, format, plays, |animation| {
        frames.try_for_each(|frame| {
            let Frame { picture, shown } = frame?;
            Ok(animation.push(&picture, shown)?)
        })
    })
}

/// Each frame is written as often as its time needs.
fn write_video(
    path: &Path,
    rate: FrameRate,
    sound: Option<&Path>,
    frames: impl Iterator<Item = Result<Frame>>,
) -> Result<()> {
    let mut encoder = None;
    let (mut shown, mut written) = (Duration::ZERO, 0);
    for frame in frames {
        let frame = frame?;
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::begin(path, &frame.picture, rate, sound)?),
        };
        shown += frame.shown;
        let until = (shown.as_secs_f64() * rate.hertz()).round() as u64;
        for _ in written..until {
            // An animation may say hours.
            interrupt::check()?;
            encoder.push(&frame.picture)?;
        }
        written = until;
    }
    match encoder {
        Some(encoder) => encoder.finish(),
        None => bail!("there are no frames to make a video of"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, rate) in [
            ("25", "25/1"),
            ("23.976", "23976/1000"),
            (" 30000/1001", "30000/1001"),
            ("0.5", "500/1000"),
        ] {
            assert_eq!(text.parse::<FrameRate>().unwrap().to_string(), rate);
        }
        for text in ["", "0", "-1", "nan", "25/0", "0/1", "1e9", "25fps", "1/2/3"] {
            assert!(text.parse::<FrameRate>().is_err(), "{text}");
        }
        assert_eq!(FrameRate::of(Duration::from_millis(80)).hertz(), 12.5);
    }

    #[test]
    fn files_are_told_by_their_endings() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| Target::of(Path::new(name));
        assert_eq!(of("-").unwrap(), Target::Standard);
        assert_eq!(of("x.PNG").unwrap(), Target::Picture("x.PNG".into()));
        assert_eq!(of("a.b/x").unwrap(), Target::Folder("a.b/x".into()));
        assert_eq!(of("v1.2").unwrap(), Target::Folder("v1.2".into()));
        assert_eq!(of("x.Mp4").unwrap(), Target::Video("x.Mp4".into()));
        let named = folder.path().join("x.gif");
        fs::create_dir(&named).unwrap();
        assert_eq!(Target::of(&named).unwrap(), Target::Folder(named));
        for name in ["x.webp", "x.jpg", "x.avi"] {
            let error = of(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(".apng"), "{error}");
        }
    }
}
