use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::{Error, Result};

/// Bicubic, a = −0.5, its support widened by the scale when shrinking: Pillow's `BICUBIC` and
/// PyTorch's
/// `interpolate(mode="bicubic", antialias=True)`.
const BICUBIC: ResizeAlg = ResizeAlg::Convolution(FilterType::CatmullRom);

/// Resizes a picture, bicubic with antialiasing.
///
/// # Panics
/// When the picture or the result has no pixels.
pub fn resize(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let pixels = convolve(
        picture.as_raw(),
        PixelType::U8x3,
        picture.dimensions(),
        (width, height),
    );
    RgbImage::from_raw(width, height, pixels).expect("the buffer is of that size")
}

/// Resizes planes (`channels` × height × width) of any value range, bicubic with antialiasing;
/// nothing is clamped. Sizes are (height, width).
///
/// # Errors
/// When `planes` is not of the given shape, or a side is zero.
pub fn resize_f32(
    planes: &[f32],
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<Vec<f32>> {
    let mismatch = || Error::Shape {
        given: planes.len(),
        expected: format!(
            "{channels} × {} × {}, to be resized to {} × {}",
            from.0, from.1, to.0, to.1
        ),
    };
    let area = from.0.checked_mul(from.1).ok_or_else(mismatch)?;
    if area == 0 || to.0 == 0 || to.1 == 0 || Some(planes.len()) != area.checked_mul(channels) {
        return Err(mismatch());
    }
    let side = |length| u32::try_from(length).map_err(|_| mismatch());
    let (from, to) = ((side(from.1)?, side(from.0)?), (side(to.1)?, side(to.0)?));
    Ok(planes
        .chunks_exact(area)
        .flat_map(|plane| {
            let bytes = convolve(bytemuck::cast_slice(plane), PixelType::F32, from, to);
            bytemuck::pod_collect_to_vec::<u8, f32>(&bytes)
        })
        .collect())
}

fn convolve(pixels: &[u8], kind: PixelType, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    assert!(
        from.0 > 0 && from.1 > 0 && to.0 > 0 && to.1 > 0,
        "cannot resize {from:?} to {to:?} (width, height)"
    );
    let source = ImageRef::new(from.0, from.1, pixels, kind).expect("the buffer is of that size");
    let mut target = Image::new(to.0, to.1, kind);
    Resizer::new()
        .resize(
            &source,
            &mut target,
            &ResizeOptions::new().resize_alg(BICUBIC),
        )
        .expect("both pictures are of one type and not empty");
    target.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_flat_colour_and_takes_odd_shapes() {
        let picture = RgbImage::from_pixel(37, 5, image::Rgb([9, 200, 77]));
        for (width, height) in [(37, 5), (1, 1), (64, 64), (3, 100)] {
            let resized = resize(&picture, width, height);
            assert_eq!(resized.dimensions(), (width, height));
            assert!(resized.pixels().all(|pixel| pixel.0 == [9, 200, 77]));
        }
    }

    #[test]
    fn shrinking_averages_instead_of_picking() {
        let stripes = RgbImage::from_fn(64, 64, |x, _| {
            image::Rgb([if x % 2 == 0 { 0 } else { 255 }; 3])
        });
        let resized = resize(&stripes, 8, 8);
        assert!(
            resized
                .pixels()
                .all(|pixel| (100..156).contains(&pixel.0[0]))
        );
    }

    #[test]
    fn planes_are_resized_alike_unclamped_and_checked() {
        let planes: Vec<f32> = (0..2 * 6 * 4)
            .map(|i| if i < 24 { -5.0 } else { 7.0 })
            .collect();
        let resized = resize_f32(&planes, 2, (6, 4), (3, 5)).unwrap();
        assert_eq!(resized.len(), 2 * 3 * 5);
        assert!(resized[..15].iter().all(|v| (v + 5.0).abs() < 1e-5));
        assert!(resized[15..].iter().all(|v| (v - 7.0).abs() < 1e-5));
        assert!(resize_f32(&planes, 2, (6, 5), (3, 5)).is_err());
        assert!(resize_f32(&planes, 2, (6, 4), (0, 5)).is_err());
    }
}
