//! Every kind of picture that a folder may hold, whole and damaged.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use images::{Error, MAX_BYTES, decode, decode_bytes};

const RED: [u8; 3] = [220, 30, 30];
const GREEN: [u8; 3] = [30, 200, 30];
const BLUE: [u8; 3] = [30, 30, 220];

/// The samples show red on the left, blue on the right and a green bar on top, 32 × 24.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn drawn() -> RgbImage {
    RgbImage::from_fn(32, 24, |x, y| {
        Rgb(if y < 6 {
            GREEN
        } else if x < 16 {
            RED
        } else {
            BLUE
        })
    })
}

fn saved(picture: impl Into<DynamicImage>, name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    picture.into().save(&path).unwrap();
    (folder, path)
}

#[track_caller]
fn assert_pixel(picture: &RgbImage, x: u32, y: u32, expected: [u8; 3], tolerance: u8) {
    let found = picture.get_pixel(x, y).0;
    let near = found
        .iter()
        .zip(expected)
        .all(|(a, b)| a.abs_diff(b) <= tolerance);
    assert!(near, "at {x},{y}: {found:?}, expected {expected:?}");
}

#[track_caller]
fn assert_upright(picture: &RgbImage, tolerance: u8) {
    assert_eq!(picture.dimensions(), (32, 24));
    assert_pixel(picture, 4, 2, GREEN, tolerance);
    assert_pixel(picture, 4, 16, RED, tolerance);
    assert_pixel(picture, 28, 16, BLUE, tolerance);
}

#[test]
fn reads_lossless_formats_exactly() {
    for name in [
        "a.png", "a.bmp", "a.tiff", "a.tga", "a.qoi", "a.ppm", "a.webp",
    ] {
        let (_folder, path) = saved(drawn(), name);
        assert_eq!(decode(&path).unwrap(), drawn(), "{name}");
    }
}

#[test]
fn tells_the_format_by_content() {
    let (_folder, path) = saved(drawn(), "a.png");
    let misnamed = path.with_extension("jpg");
    fs::rename(&path, &misnamed).unwrap();
    assert_eq!(decode(&misnamed).unwrap(), drawn());
}

#[test]
fn reads_jpeg_of_every_kind() {
    for (name, tolerance) in [
        ("cmyk.jpg", 12),
        ("progressive.jpg", 12),
        ("thumbnail.jpg", 12),
    ] {
        assert_upright(&decode(&sample(name)).unwrap(), tolerance);
    }
}

#[test]
fn turns_as_exif_says() {
    let picture = decode(&sample("orientation-6.jpg")).unwrap();
    assert_eq!(picture.dimensions(), (24, 32));
    assert_pixel(&picture, 21, 4, GREEN, 12);
    assert_pixel(&picture, 6, 4, RED, 12);
    assert_pixel(&picture, 6, 28, BLUE, 12);
}

#[test]
fn takes_the_first_frame_of_animations() {
    for name in ["animated.gif", "animated.webp", "animated.png"] {
        assert_upright(&decode(&sample(name)).unwrap(), 2);
    }
}

#[test]
fn brings_every_depth_and_colour_to_rgb8() {
    assert_upright(&decode(&sample("palette.png")).unwrap(), 2);

    let deep = ImageBuffer::from_fn(2, 1, |x, _| {
        Rgb([x as u16 * 65535, 257 * 100 + 100, 257 * 200])
    });
    let (_folder, path) = saved(DynamicImage::ImageRgb16(deep), "deep.png");
    assert_eq!(
        decode(&path).unwrap().into_raw(),
        [0, 100, 200, 255, 100, 200]
    );

    let grey = ImageBuffer::from_pixel(1, 1, Luma([77u8]));
    let (_folder, path) = saved(grey, "grey.png");
    assert_eq!(decode(&path).unwrap().into_raw(), [77; 3]);

    let clear = ImageBuffer::from_fn(3, 1, |x, _| Rgba([0u8, 0, 200, [0, 128, 255][x as usize]]));
    let (_folder, path) = saved(clear, "clear.png");
    assert_eq!(
        decode(&path).unwrap().into_raw(),
        [255, 255, 255, 127, 127, 227, 0, 0, 200]
    );

    let grey = ImageBuffer::from_pixel(1, 1, LumaA([0u16, 0]));
    let (_folder, path) = saved(DynamicImage::ImageLumaA16(grey), "clear-grey.png");
    assert_eq!(decode(&path).unwrap().into_raw(), [255; 3]);

    let linear = ImageBuffer::from_pixel(2, 2, Rgb([0.214_041_14f32, 0.0, 0.99]));
    for name in ["linear.exr", "linear.hdr"] {
        let (_folder, path) = saved(DynamicImage::ImageRgb32F(linear.clone()), name);
        assert_pixel(&decode(&path).unwrap(), 1, 1, [128, 0, 254], 2);
    }
}

#[test]
fn refuses_what_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.jpg");
    fs::write(&text, "just some words, no picture at all").unwrap();
    assert!(matches!(decode(&text), Err(Error::NotAnImage { .. })));

    let empty = folder.path().join("empty.png");
    fs::write(&empty, "").unwrap();
    assert!(matches!(decode(&empty), Err(Error::Damaged { .. })));

    assert!(matches!(
        decode(&folder.path().join("missing.png")),
        Err(Error::Read { .. })
    ));
    assert!(matches!(decode(folder.path()), Err(Error::Read { .. })));

    let avif = folder.path().join("a.avif");
    fs::write(&avif, b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B").unwrap();
    let error = decode(&avif).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn refuses_files_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    // Enough content that a cut at three quarters goes through the pixels, whatever the format.
    let noise = RgbImage::from_fn(96, 96, |x, y| {
        Rgb([(x * x + 7 * y) as u8, (x * y) as u8, (x ^ y) as u8])
    });
    for format in [
        "png", "jpg", "gif", "webp", "bmp", "tiff", "tga", "qoi", "ppm",
    ] {
        let path = folder.path().join(format!("a.{format}"));
        noise.save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in [whole.len() * 3 / 4, whole.len() / 2, 40] {
            fs::write(&path, &whole[..length]).unwrap();
            let outcome = decode(&path);
            assert!(
                matches!(outcome, Err(Error::Damaged { .. })),
                "{format} cut to {length}: {outcome:?}"
            );
        }
    }
    for name in ["progressive.jpg", "thumbnail.jpg"] {
        let whole = fs::read(sample(name)).unwrap();
        let path = folder.path().join(name);
        fs::write(&path, &whole[..whole.len() - 60]).unwrap();
        assert!(
            matches!(decode(&path), Err(Error::Damaged { .. })),
            "{name}"
        );
    }
}

#[test]
fn refuses_bombs_before_allocating() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.png");
    drawn().save_with_format(&path, ImageFormat::Bmp).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[18..22].copy_from_slice(&60_000u32.to_le_bytes()); // width and height of the BMP header
    bytes[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = decode(&path).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn what_pixels_become_has_to_fit_too() {
    // Of the largest pictures to be translated.
    const { assert!(20_000 * 10_000 * 4 <= MAX_BYTES) };
    let grey = ImageBuffer::from_pixel(40, 30, Luma([7u8]));
    let (_folder, path) = saved(grey, "grey.png");
    let bytes = fs::read(path).unwrap();
    let decode = |most| decode_bytes(Path::new("grey.png"), bytes.clone(), Rgb([255; 3]), most);
    assert_eq!(decode(3 * 40 * 30).unwrap().dimensions(), (40, 30));
    let error = decode(3 * 40 * 30 - 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}
