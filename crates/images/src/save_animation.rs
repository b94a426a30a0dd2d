use std::io::{self, BufWriter};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageError, RgbImage, RgbaImage};

use crate::save::{Watched, atomically, refusal};
use crate::{Error, Result};

/// What an animation is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnimationFormat {
    /// 256 colours a frame, times in hundredths of a second.
    Gif,
    /// All colours, times in milliseconds. The file begins with the number of its frames.
    Apng {
        /// As many as will be written.
        frames: u32,
    },
}

/// The frames of an animation that is being written.
pub struct AnimationFrames<'a> {
    path: &'a Path,
    encoder: Encoder<'a>,
    /// Of all frames so far, exactly, and in the format's unit as they were written.
    shown: Duration,
    written: u32,
}

type Stream<'a> = &'a mut BufWriter<Watched>;

enum Encoder<'a> {
    Gif(GifEncoder<Stream<'a>>),
    /// The size is known with the first frame.
    ApngToBe {
        stream: Option<Stream<'a>>,
        frames: u32,
        plays: u32,
    },
    Apng(png::Writer<Stream<'a>>),
}

impl AnimationFrames<'_> {
    /// Writes the next frame, which must be of the first one's size. Its time is rounded to the format's unit
    /// such that the sum of all times stays right.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, picture: &RgbImage, shown: Duration) -> Result<()> {
        self.shown += shown;
        let unit = match self.encoder {
            Encoder::Gif(_) => 10.0,
            _ => 1.0,
        };
        let until = (self.shown.as_secs_f64() * 1000.0 / unit).round() as u32;
        let time = until - self.written;
        self.written = until;
        self.encode(picture, time)
            .map_err(|error| refusal(self.path, error))
    }

    /// Writes a frame that is shown for so many units.
    fn encode(&mut self, picture: &RgbImage, time: u32) -> io::Result<()> {
        if let Encoder::ApngToBe {
            stream,
            frames,
            plays,
        } = &mut self.encoder
        {
            let stream = stream.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let mut png = png::Encoder::new(stream, picture.width(), picture.height());
            png.set_color(png::ColorType::Rgb);
            png.set_compression(png::Compression::Fast);
            png.set_filter(png::Filter::Adaptive);
            png.set_animated(*frames, *plays)?;
            png.validate_sequence(true);
            self.encoder = Encoder::Apng(png.write_header()?);
        }
        match &mut self.encoder {
            Encoder::Gif(encoder) => {
                let opaque = RgbaImage::from_fn(picture.width(), picture.height(), |x, y| {
                    let [r, g, b] = picture.get_pixel(x, y).0;
                    image::Rgba([r, g, b, 255])
                });
                let delay = Delay::from_numer_denom_ms(time.saturating_mul(10), 1);
                let encoded = encoder.encode_frame(Frame::from_parts(opaque, 0, 0, delay));
                encoded.map_err(|error| match error {
                    ImageError::IoError(error) => error,
                    error => io::Error::other(error),
                })
            }
            Encoder::Apng(png) => {
                let time = u16::try_from(time).unwrap_or(u16::MAX);
                png.set_frame_delay(time, 1000)?;
                Ok(png.write_image_data(picture.as_raw())?)
            }
            Encoder::ApngToBe { .. } => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends the file. GIF's end is written when its encoder goes.
    fn finish(self) -> Result<()> {
        match self.encoder {
            Encoder::Gif(_) | Encoder::ApngToBe { .. } => Ok(()),
            Encoder::Apng(png) => png
                .finish()
                .map_err(|error| refusal(self.path, error.into())),
        }
    }
}

/// Writes an animation whose frames `write` gives, as [`save_png`](crate::save_png) writes a picture. It is shown
/// as often as `plays` says; none: without end.
///
/// # Errors
/// When the file cannot be written, when it is an APNG and has other than as many frames as were said, and
/// what `write` fails with; then nothing is left behind.
pub fn save_animation<E: From<Error>>(
    path: &Path,
    format: AnimationFormat,
    plays: Option<NonZeroU32>,
    write: impl FnOnce(&mut AnimationFrames<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    atomically(path, |stream| {
        let encoder = match format {
            AnimationFormat::Gif => {
                // A tenth of the pixels choose the colours, as in `gif` itself.
                let mut encoder = GifEncoder::new_with_speed(stream, 10);
                let repeat = match plays.map(|plays| u16::try_from(plays.get() - 1)) {
                    None | Some(Err(_)) => Repeat::Infinite,
                    Some(Ok(again)) => Repeat::Finite(again),
                };
                let set = encoder.set_repeat(repeat);
                set.map_err(|error| refusal(path, io::Error::other(error)))?;
                Encoder::Gif(encoder)
            }
            AnimationFormat::Apng { frames } => Encoder::ApngToBe {
                stream: Some(stream),
                frames,
                plays: plays.map_or(0, NonZeroU32::get),
            },
        };
        let mut frames = AnimationFrames {
            path,
            encoder,
            shown: Duration::ZERO,
            written: 0,
        };
        write(&mut frames)?;
        Ok(frames.finish()?)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::Rgb;

    use super::*;
    use crate::Animation;

    fn frame(i: u32) -> RgbImage {
        RgbImage::from_fn(20, 10, |x, _| Rgb([(40 * i) as u8, 10 * (x / 2) as u8, 7]))
    }

    fn times() -> impl Iterator<Item = Duration> {
        [80, 100, 20, 170].into_iter().map(Duration::from_millis)
    }

    fn push_all(frames: &mut AnimationFrames<'_>) -> Result<()> {
        (0..)
            .zip(times())
            .try_for_each(|(i, time)| frames.push(&frame(i), time))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let formats = [AnimationFormat::Gif, AnimationFormat::Apng { frames: 4 }];
        for format in formats {
            for plays in [0, 1, 2, 7].map(NonZeroU32::new) {
                let path = folder.path().join("x");
                save_animation(&path, format, plays, push_all).unwrap();
                let animation = Animation::open(&path).unwrap().unwrap();
                assert_eq!(animation.plays(), plays, "{format:?}");
                assert_eq!(
                    (animation.frames(), animation.shortest()),
                    (4, Duration::from_millis(20))
                );
                let frames: Vec<_> = animation.iter().map(|frame| frame.unwrap()).collect();
                for ((i, time), found) in (0..).zip(times()).zip(&frames) {
                    assert_eq!(
                        (&found.picture, found.shown),
                        (&frame(i), time),
                        "{format:?}"
                    );
                }
                assert_eq!(crate::decode(&path).unwrap(), frame(0));
            }
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn times_are_rounded_such_that_their_sum_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gif");
        let twelfth = Duration::from_secs(1) / 12;
        save_animation(&path, AnimationFormat::Gif, None, |frames| {
            (0..12).try_for_each(|i| frames.push(&frame(i), twelfth))
        })
        .unwrap();
        let animation = Animation::open(&path).unwrap().unwrap();
        let sum: Duration = animation.iter().map(|frame| frame.unwrap().shown).sum();
        assert_eq!(sum, Duration::from_secs(1));
        assert_eq!(animation.shortest(), Duration::from_millis(80));
    }

    #[test]
    fn nothing_is_left_of_an_animation_that_was_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gif");
        let stopped = save_animation(&path, AnimationFormat::Gif, None, |frames| {
            push_all(frames)?;
            Err(Error::NotAnImage {
                path: "stopped".into(),
            })
        });
        assert!(stopped.unwrap_err().to_string().contains("stopped"));
        // Frames that were promised and are missing.
        let format = AnimationFormat::Apng { frames: 5 };
        let error = save_animation(&path, format, None, push_all).unwrap_err();
        assert!(error.to_string().contains("x.gif"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
