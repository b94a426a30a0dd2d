use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::error::{ImageError, UnsupportedErrorKind};
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage, Rgba,
    RgbaImage,
};

use crate::{Error, Result, exr, jpeg};

/// The longest side of a picture that is read, in pixels.
pub const MAX_SIDE: u32 = 65_535;

/// The most bytes that a file, or the pixels decoded from it, may take.
pub const MAX_BYTES: u64 = 1 << 30;

/// Reads a picture as 8-bit sRGB, the way a viewer shows it: of an animation the first frame,
/// turned as its EXIF orientation says, transparency laid onto white, 16 bits rounded to 8, linear
/// light (EXR, HDR) brought to sRGB.
///
/// The format is told by the content; the file's extension counts only for TGA, which has no
/// signature.
///
/// # Errors
/// When the file cannot be read, is no image, is damaged or cut short, or is over
/// [`MAX_SIDE`] or [`MAX_BYTES`].
pub fn decode(path: &Path) -> Result<RgbImage> {
    decode_onto(path, Rgb([255; 3]))
}

/// As [`decode`], with transparency laid onto a colour.
///
/// # Errors
/// As [`decode`].
pub fn decode_onto(path: &Path, background: Rgb<u8>) -> Result<RgbImage> {
    decode_bytes(path, read(path)?, background, MAX_BYTES)
}

/// As [`decode_onto`], of a file's bytes, where the pixels may take `most` bytes; `path` is for messages, and
/// for TGA.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(
    path: &Path,
    bytes: Vec<u8>,
    background: Rgb<u8>,
    most: u64,
) -> Result<RgbImage> {
    let format = format_of(path, &bytes)?;
    // Decoders meet files that nobody thought of. What they were given is not used again.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        pixels(path, bytes, format, background, most)
    }));
    decoded.unwrap_or_else(|_| Err(damaged(path, "decoding it fails")))
}

fn pixels(
    path: &Path,
    bytes: Vec<u8>,
    format: ImageFormat,
    background: Rgb<u8>,
    most: u64,
) -> Result<RgbImage> {
    let refuse = |error| refusal(path, error);
    let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
    let mut limits = limits(most);
    reader.limits(limits.clone());

    if format == ImageFormat::OpenExr {
        exr::check(&bytes, &limits).map_err(refuse)?;
    }
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    // What is made of the pixels counts too: a byte of grey becomes three.
    for color in [decoder.color_type(), ColorType::Rgb8] {
        let mut room = limits.clone();
        room.reserve_buffer(width, height, color).map_err(refuse)?;
    }
    limits.reserve(decoder.total_bytes()).map_err(refuse)?;
    decoder.set_limits(limits).map_err(refuse)?;
    let orientation = decoder.orientation().map_err(refuse)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    // The JPEG decoder fills what is missing with grey and says nothing.
    if format == ImageFormat::Jpeg && !jpeg::is_whole(&bytes) {
        return Err(damaged(path, "the end of the image is missing"));
    }
    if picture.width() == 0 || picture.height() == 0 {
        return Err(damaged(path, "it has no pixels"));
    }
    // What follows may need the memory: turning a picture, or taking alpha off, is a second one.
    drop(bytes);
    picture.apply_orientation(orientation);
    Ok(to_rgb8(picture, format, background))
}

/// What decoders are held to where pixels may take `most` bytes.
pub(crate) fn limits(most: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(most);
    limits
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |source| Error::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::new();
    if length <= MAX_BYTES {
        bytes.reserve_exact(length as usize);
        // Devices have no length, and files may grow.
        let mut part = file.take(MAX_BYTES + 1);
        part.read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if length.max(bytes.len() as u64) > MAX_BYTES {
        return Err(Error::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

pub(crate) fn format_of(path: &Path, bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(damaged(path, "the file is empty"));
    }
    match (image::guess_format(bytes), ImageFormat::from_path(path)) {
        (Ok(format), _) | (Err(_), Ok(format @ ImageFormat::Tga)) => Ok(format),
        _ => Err(Error::NotAnImage { path: path.into() }),
    }
}

pub(crate) fn refusal(path: &Path, error: ImageError) -> Error {
    let path_buf = path.to_path_buf();
    match error {
        ImageError::Limits(_) => Error::TooLarge { path: path_buf },
        ImageError::Unsupported(error) => {
            let format = match error.kind() {
                UnsupportedErrorKind::Format(hint) => hint.to_string(),
                _ => error.to_string(),
            };
            Error::Unsupported {
                path: path_buf,
                format,
            }
        }
        error => damaged(path, error.to_string()),
    }
}

pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Damaged {
        path: path.into(),
        reason: reason.into(),
    }
}

fn to_rgb8(picture: DynamicImage, format: ImageFormat, background: Rgb<u8>) -> RgbImage {
    if matches!(format, ImageFormat::OpenExr | ImageFormat::Hdr) {
        return flattened(&from_linear(picture), background);
    }
    if picture.color().has_alpha() {
        flattened(&picture.into_rgba8(), background)
    } else {
        picture.into_rgb8()
    }
}

pub(crate) fn flattened(picture: &RgbaImage, background: Rgb<u8>) -> RgbImage {
    let mut flat = RgbImage::new(picture.width(), picture.height());
    for (to, &Rgba([r, g, b, a])) in flat.pixels_mut().zip(picture.pixels()) {
        let alpha = u32::from(a);
        let over = |(front, back): (u8, u8)| {
            (u32::from(front) * alpha + u32::from(back) * (255 - alpha) + 127) / 255
        };
        let [on_r, on_g, on_b] = background.0;
        to.0 = [(r, on_r), (g, on_g), (b, on_b)].map(|pair| over(pair) as u8);
    }
    flat
}

fn from_linear(picture: DynamicImage) -> RgbaImage {
    let linear = picture.into_rgba32f();
    let mut srgb = RgbaImage::new(linear.width(), linear.height());
    for (to, &Rgba([r, g, b, a])) in srgb.pixels_mut().zip(linear.pixels()) {
        let [r, g, b] = [r, g, b].map(|c| byte(srgb_encode(c.clamp(0.0, 1.0))));
        to.0 = [r, g, b, byte(a)];
    }
    srgb
}

/// The transfer function of IEC 61966-2-1.
fn srgb_encode(linear: f32) -> f32 {
    if linear <= 0.003_130_8 {
        12.92 * linear
    } else {
        1.055 * linear.powf(1.0 / 2.4) - 0.055
    }
}

fn byte(value: f32) -> u8 {
    (value * 255.0).round() as u8 // `as` saturates, and takes NaN to 0
}
