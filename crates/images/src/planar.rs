use image::{Rgb, RgbImage};

use crate::{Error, Result};

/// Pixels as a network takes them, 0…255 mapped to −1…1: planes of red, green and blue (3 × height × width),
/// or where `channels` is 1 one of brightness (1 × height × width).
///
/// # Panics
/// For another number of channels.
pub fn to_chw(picture: &RgbImage, channels: usize) -> Vec<f32> {
    assert!(matches!(channels, 1 | 3), "{channels} channels");
    let area = picture.width() as usize * picture.height() as usize;
    let mut planes = vec![0.0; channels * area];
    let scaled = |value: u8| (f32::from(value) / 255.0 - 0.5) / 0.5;
    for (i, pixel) in picture.pixels().enumerate() {
        if channels == 1 {
            planes[i] = scaled(brightness(*pixel));
            continue;
        }
        for (channel, &value) in pixel.0.iter().enumerate() {
            planes[channel * area + i] = scaled(value);
        }
    }
    planes
}

/// ITU-R BT.601's luma, rounded as Pillow does: 0.299·R + 0.587·G + 0.114·B.
fn brightness(Rgb([r, g, b]): Rgb<u8>) -> u8 {
    let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
    ((sum + (1 << 15)) >> 16) as u8
}

/// The inverse of [`to_chw`]: rounded to the nearest of 256 levels, what is outside −1…1 clamped. One plane
/// becomes shades of grey.
///
/// # Errors
/// When `planes` is not 3 or 1 × `height` × `width` long.
pub fn from_chw(planes: &[f32], height: usize, width: usize) -> Result<RgbImage> {
    let mismatch = || Error::Shape {
        given: planes.len(),
        expected: format!("3 (or 1) × {height} × {width}"),
    };
    let area = height.checked_mul(width).ok_or_else(mismatch)?;
    let channels = match Some(planes.len()) {
        len if len == area.checked_mul(3) => [0, 1, 2],
        len if len == Some(area) => [0; 3],
        _ => return Err(mismatch()),
    };
    let (Ok(w), Ok(h)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(mismatch());
    };
    let mut picture = RgbImage::new(w, h);
    for (i, pixel) in picture.pixels_mut().enumerate() {
        // `as` saturates, and takes NaN to 0.
        pixel.0 = channels
            .map(|channel| ((planes[channel * area + i] * 0.5 + 0.5) * 255.0).round() as u8);
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_survives_the_way_there_and_back() {
        let picture = RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(x + 16 * y) as u8, x as u8, y as u8])
        });
        let planes = to_chw(&picture, 3);
        assert_eq!((planes[0], planes[255]), (-1.0, 1.0));
        assert_eq!(from_chw(&planes, 16, 16).unwrap(), picture);
    }

    #[test]
    fn one_channel_is_brightness() {
        let colours = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [10, 200, 30]];
        let picture = RgbImage::from_fn(4, 1, |x, _| image::Rgb(colours[x as usize]));
        let planes = to_chw(&picture, 1);
        let grey = from_chw(&planes, 1, 4).unwrap();
        let levels: Vec<[u8; 3]> = grey.pixels().map(|pixel| pixel.0).collect();
        // Pillow's convert("L").
        assert_eq!(levels, [255, 0, 76, 124].map(|level| [level; 3]));
    }

    #[test]
    fn clamps_rounds_and_refuses_wrong_lengths() {
        let picture = from_chw(&[-7.0, 7.0, f32::NAN], 1, 1).unwrap();
        assert_eq!(picture.get_pixel(0, 0).0, [0, 255, 0]);
        assert!(from_chw(&[0.0; 5], 1, 2).is_err());
        assert!(from_chw(&[0.0; 5], usize::MAX, 2).is_err());
    }
}
