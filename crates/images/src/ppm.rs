use std::io::BufRead;
use std::path::Path;

use image::codecs::pnm::PnmDecoder;
use image::{ColorType, DynamicImage, ImageDecoder, RgbImage};

use crate::decode::{MAX_BYTES, limits, refusal};
use crate::{Error, Result};

/// Reads the next of the PPM pictures that follow each other in a stream, as `ffmpeg` writes them; none at its
/// end. `path` is for messages.
///
/// # Errors
/// When the stream fails or ends within a picture, or what comes is no PPM or too large.
pub fn read_ppm(path: &Path, mut stream: impl BufRead) -> Result<Option<RgbImage>> {
    let unreadable = |source| Error::Read {
        path: path.into(),
        source,
    };
    if stream.fill_buf().map_err(unreadable)?.is_empty() {
        return Ok(None);
    }
    let refuse = |error| refusal(path, error);
    let decoder = PnmDecoder::new(stream).map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    let mut limits = limits(MAX_BYTES);
    let room = limits.reserve_buffer(width, height, ColorType::Rgb8);
    room.map_err(refuse)?;
    limits.check_dimensions(width, height).map_err(refuse)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    Ok(Some(picture.into_rgb8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_each_other() {
        let pictures = [3, 7].map(|side| {
            RgbImage::from_fn(side, 5, |x, y| image::Rgb([x as u8, (y * side) as u8, 10]))
        });
        let mut stream = Vec::new();
        for picture in &pictures {
            stream.extend(format!("P6\n{} 5\n255\n", picture.width()).bytes());
            stream.extend(picture.as_raw());
        }
        let read = |stream: &mut &[u8]| read_ppm(Path::new("x"), stream);
        let mut rest = &stream[..];
        for picture in pictures {
            assert_eq!(read(&mut rest).unwrap(), Some(picture));
        }
        assert_eq!(read(&mut rest).unwrap(), None);
        let mut cut = &stream[..stream.len() - 1];
        read(&mut cut).unwrap();
        assert!(matches!(read(&mut cut), Err(Error::Damaged { .. })));
        let large = &mut &b"P6\n60000 60000\n255\n"[..];
        assert!(matches!(read(large), Err(Error::TooLarge { .. })));
        assert!(read(&mut &b"some words"[..]).is_err());
    }
}
