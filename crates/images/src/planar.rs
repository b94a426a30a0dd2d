use image::RgbImage;

use crate::{Error, Result};

/// Pixels as a network takes them: planes of red, green and blue (3 × height × width), 0…255 mapped
/// to −1…1.
pub fn to_chw(picture: &RgbImage) -> Vec<f32> {
    let area = picture.width() as usize * picture.height() as usize;
    let mut planes = vec![0.0; 3 * area];
    for (i, pixel) in picture.pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            planes[channel * area + i] = (f32::from(value) / 255.0 - 0.5) / 0.5;
        }
    }
    planes
}

/// The inverse of [`to_chw`]: rounded to the nearest of 256 levels, what is outside −1…1 clamped.
///
/// # Errors
/// When `planes` is not 3 × `height` × `width` long.
pub fn from_chw(planes: &[f32], height: usize, width: usize) -> Result<RgbImage> {
    let mismatch = || Error::Shape {
        given: planes.len(),
        expected: format!("3 × {height} × {width}"),
    };
    let area = height.checked_mul(width).ok_or_else(mismatch)?;
    if Some(planes.len()) != area.checked_mul(3) {
        return Err(mismatch());
    }
    let (Ok(w), Ok(h)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(mismatch());
    };
    let mut picture = RgbImage::new(w, h);
    for (i, pixel) in picture.pixels_mut().enumerate() {
        // `as` saturates, and takes NaN to 0.
        pixel.0 = [0, 1, 2]
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
        let planes = to_chw(&picture);
        assert_eq!((planes[0], planes[255]), (-1.0, 1.0));
        assert_eq!(from_chw(&planes, 16, 16).unwrap(), picture);
    }

    #[test]
    fn clamps_rounds_and_refuses_wrong_lengths() {
        let picture = from_chw(&[-7.0, 7.0, f32::NAN], 1, 1).unwrap();
        assert_eq!(picture.get_pixel(0, 0).0, [0, 255, 0]);
        assert!(from_chw(&[0.0; 5], 1, 2).is_err());
        assert!(from_chw(&[0.0; 5], usize::MAX, 2).is_err());
    }
}
