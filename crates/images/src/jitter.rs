use image::RgbImage;

/// Factors on a picture's colours; 1 changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// On all values; at 0 all is black.
    pub brightness: f32,
    /// On the distance from the picture's mean lightness; at 0 all is of that grey.
    pub contrast: f32,
    /// On the distance from the pixel's own lightness; at 0 all is in shades of grey.
    pub saturation: f32,
}

/// Changes brightness, then contrast, then saturation, as torchvision's `ColorJitter` defines them, but
/// rounded and clamped to 0…255 once, at the end.
pub fn jitter(picture: &RgbImage, factors: &Jitter) -> RgbImage {
    let Jitter {
        brightness: b,
        contrast: c,
        saturation: s,
    } = *factors;
    let sum: f64 = picture.pixels().map(|p| f64::from(lightness(p.0))).sum();
    let mean = (sum / f64::from(picture.width() * picture.height()).max(1.0)) as f32;
    // The three after each other, multiplied out: lightness is linear.
    let (own, grey, flat) = (b * c * s, b * c * (1.0 - s), b * (1.0 - c) * mean);
    let mut jittered = picture.clone();
    for pixel in jittered.pixels_mut() {
        let shared = grey * lightness(pixel.0) + flat;
        pixel.0 = pixel
            .0
            .map(|value| (own * f32::from(value) + shared).round() as u8);
    }
    jittered
}

/// ITU-R BT.601's luma.
fn lightness([r, g, b]: [u8; 3]) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(9, 7, |x, y| {
            Rgb([(x * 25) as u8, (y * 30) as u8, (x * y * 5) as u8])
        })
    }

    fn factors(brightness: f32, contrast: f32, saturation: f32) -> Jitter {
        Jitter {
            brightness,
            contrast,
            saturation,
        }
    }

    #[test]
    fn is_one_change_after_the_other() {
        let picture = picture();
        assert_eq!(jitter(&picture, &factors(1.0, 1.0, 1.0)), picture);

        let (b, c, s) = (0.9, 1.2, 0.4);
        let grey = |p: [f32; 3]| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
        let mix = |p: [f32; 3], grey: f32, factor: f32| p.map(|v| grey + factor * (v - grey));
        let bright: Vec<_> = picture
            .pixels()
            .map(|p| p.0.map(|v| b * f32::from(v)))
            .collect();
        let mean = bright.iter().map(|&p| grey(p)).sum::<f32>() / bright.len() as f32;
        let jittered = jitter(&picture, &factors(b, c, s));
        for (&p, given) in bright.iter().zip(jittered.pixels()) {
            let p = mix(p, mean, c);
            let p = mix(p, grey(p), s);
            for (expected, given) in p.into_iter().zip(given.0) {
                let expected = expected.clamp(0.0, 255.0);
                assert!((expected - f32::from(given)).abs() <= 0.51);
            }
        }
    }

    #[test]
    fn zero_takes_away() {
        let black = jitter(&picture(), &factors(0.0, 1.0, 1.0));
        assert!(black.pixels().all(|pixel| pixel.0 == [0; 3]));
        let flat = jitter(&picture(), &factors(1.0, 0.0, 1.0));
        assert!(flat.pixels().all(|pixel| pixel == flat.get_pixel(0, 0)));
        let grey = jitter(&picture(), &factors(1.0, 1.0, 0.0));
        assert!(grey.pixels().all(|Rgb([r, g, b])| r == g && g == b));
        assert_ne!(grey, flat);
        let bright = jitter(&picture(), &factors(9.0, 1.0, 1.0));
        assert_eq!(bright.get_pixel(8, 6).0, [255; 3], "clamped");
    }
}
