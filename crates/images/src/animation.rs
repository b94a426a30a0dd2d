use std::io::Cursor;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::LoopCount;
use image::{
    AnimationDecoder, ColorType, Frames, ImageDecoder, ImageFormat, ImageResult, Rgb, RgbImage,
};

use crate::Result;
use crate::decode::{MAX_BYTES, damaged, flattened, format_of, limits, read, refusal};

/// How long viewers show a frame of which the file says nothing, or next to nothing.
const USUAL: Duration = Duration::from_millis(100);

/// A picture of an animation, and how long it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it, as a viewer shows it, on white.
    pub picture: RgbImage,
    /// As the file says, but for frames of 10 ms or less, which viewers show for 100 ms.
    pub shown: Duration,
}

/// An animated GIF, WebP or PNG. Its file is in memory; its frames are made one after the other.
#[derive(Clone, Debug)]
pub struct Animation {
    path: PathBuf,
    bytes: Arc<[u8]>,
    format: ImageFormat,
    most: u64,
    frames: u32,
    plays: Option<NonZeroU32>,
    shortest: Duration,
}

impl Animation {
    /// Reads a file; none where that is a picture that stands. All frames are decoded once, so that what is
    /// damaged is known before anything is done with them.
    ///
    /// # Errors
    /// As [`decode`](crate::decode), for any of its frames after the second; a file that is damaged before is
    /// taken for a picture that stands.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        Self::from_bytes(path, read(path)?, MAX_BYTES)
    }

    /// As [`Animation::open`], of a file's bytes, where the pixels of a frame may take `most` bytes; `path` is
    /// for messages.
    ///
    /// # Errors
    /// As [`Animation::open`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>, most: u64) -> Result<Option<Self>> {
        let format = format_of(path, &bytes)?;
        let mut animation = Animation {
            path: path.into(),
            bytes: bytes.into(),
            format,
            most,
            frames: 0,
            plays: None,
            shortest: Duration::MAX,
        };
        let Ok((_, plays)) = animation.decoder() else {
            return Ok(None); // decoding it as a picture says why
        };
        for frame in animation.iter() {
            match frame {
                Ok(frame) => animation.shortest = animation.shortest.min(frame.shown),
                Err(_) if animation.frames < 2 => return Ok(None),
                Err(error) => return Err(error),
            }
            animation.frames += 1;
        }
        animation.plays = plays;
        Ok((animation.frames > 1).then_some(animation))
    }

    /// Its frames, from the first on.
    pub fn iter(&self) -> impl Iterator<Item = Result<Frame>> + use<> {
        let path = self.path.clone();
        let mut frames = self.decoder().map(|(frames, _)| Some(frames));
        std::iter::from_fn(move || match &mut frames {
            Ok(decoder) => {
                let next = next(&path, decoder.as_mut()?);
                if !matches!(next, Some(Ok(_))) {
                    *decoder = None;
                }
                next
            }
            Err(_) => {
                let error = std::mem::replace(&mut frames, Ok(None)).err()?;
                Some(Err(refusal(&path, error)))
            }
        })
    }

    /// How many frames it has: two or more.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// How often it is shown; none: without end.
    pub fn plays(&self) -> Option<NonZeroU32> {
        self.plays
    }

    /// For how long its shortest frame is shown.
    pub fn shortest(&self) -> Duration {
        self.shortest
    }

    /// What decodes its frames, and how often they are shown.
    fn decoder(&self) -> ImageResult<(Frames<'static>, Option<NonZeroU32>)> {
        let reader = || Cursor::new(Arc::clone(&self.bytes));
        let limits = limits(self.most);
        let begun = catch_unwind(AssertUnwindSafe(|| match self.format {
            ImageFormat::Gif => {
                let mut decoder = GifDecoder::new(reader())?;
                decoder.set_limits(limits)?;
                let plays = gif_plays(&self.bytes, &decoder);
                Ok((decoder.into_frames(), plays))
            }
            ImageFormat::WebP => {
                let mut decoder = WebPDecoder::new(reader())?;
                if !decoder.has_animation() {
                    return Ok((no_frames(), None));
                }
                // It keeps a picture, and gives one, and looks at no limits but those of the sides.
                let (width, height) = decoder.dimensions();
                let mut room = limits.clone();
                for _ in 0..2 {
                    room.reserve_buffer(width, height, ColorType::Rgba8)?;
                }
                decoder.set_limits(limits)?;
                let plays = plays(&decoder);
                Ok((decoder.into_frames(), plays))
            }
            ImageFormat::Png => {
                let decoder = PngDecoder::with_limits(reader(), limits)?;
                if !decoder.is_apng()? {
                    return Ok((no_frames(), None));
                }
                let decoder = decoder.apng()?;
                let plays = plays(&decoder);
                Ok((decoder.into_frames(), plays))
            }
            _ => Ok((no_frames(), None)),
        }));
        begun.unwrap_or_else(|_| Ok((no_frames(), None)))
    }
}

/// The next frame. Decoders meet files that nobody thought of; one that panicked is not used again.
fn next(path: &Path, frames: &mut Frames<'static>) -> Option<Result<Frame>> {
    let frame = match catch_unwind(AssertUnwindSafe(|| frames.next())) {
        Ok(frame) => frame?,
        Err(_) => return Some(Err(damaged(path, "decoding it fails"))),
    };
    Some(match frame {
        Ok(frame) => Ok(Frame {
            shown: match Duration::from(frame.delay()) {
                time if time.as_millis() <= 10 => USUAL,
                time => time,
            },
            picture: flattened(frame.buffer(), Rgb([255; 3])),
        }),
        Err(error) => Err(refusal(path, error)),
    })
}

fn no_frames() -> Frames<'static> {
    Frames::new(Box::new(std::iter::empty()))
}

fn plays<'a>(decoder: &impl AnimationDecoder<'a>) -> Option<NonZeroU32> {
    match decoder.loop_count() {
        LoopCount::Infinite => None,
        LoopCount::Finite(count) => Some(count),
    }
}

/// GIF says how often an animation is shown again, and nothing where it is shown once, which `image` does not
/// tell from without end.
fn gif_plays<'a>(bytes: &[u8], decoder: &impl AnimationDecoder<'a>) -> Option<NonZeroU32> {
    const REPEATED: &[u8] = b"NETSCAPE2.0";
    match bytes.windows(REPEATED.len()).any(|part| part == REPEATED) {
        true => plays(decoder).and_then(|again| again.checked_add(1)),
        false => Some(NonZeroU32::MIN),
    }
}
