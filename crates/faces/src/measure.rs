//! Numbers by which pictures are told apart: how sharp, how bright, how flat they are, and what they look
//! like from afar.

use images::{RgbImage, resize};
use serde::{Deserialize, Serialize};

/// What filters go by, of a cut of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measures {
    /// Variance of the Laplacian of the luma.
    pub sharpness: f64,
    /// Mean luma, 0…255.
    pub brightness: f64,
    /// Share of the pixels that are equal to the next, as areas of one colour are.
    pub flatness: f64,
}

impl Measures {
    pub fn of(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let luma: Vec<f64> = picture.pixels().map(|pixel| luma(pixel.0)).collect();
        let laplacian = |i: usize| {
            luma[i - 1] + luma[i + 1] + luma[i - width] + luma[i + width] - 4.0 * luma[i]
        };
        let inner =
            (1..height.max(1) - 1).flat_map(|y| (1..width.max(1) - 1).map(move |x| y * width + x));
        let responses: Vec<f64> = inner.map(laplacian).collect();
        let pairs = picture.rows().flat_map(|row| {
            let next = row.clone().skip(1);
            row.zip(next).map(|(pixel, next)| pixel == next)
        });
        let (equal, all) = pairs.fold((0, 0), |(equal, all), same| {
            (equal + u32::from(same), all + 1)
        });
        Measures {
            sharpness: variance(&responses),
            brightness: luma.iter().sum::<f64>() / luma.len().max(1) as f64,
            flatness: f64::from(equal) / f64::from(all.max(1)),
        }
    }
}

/// ITU-R BT.601.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> f64 {
    0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count
}

/// Bits of a [`Look`].
pub(crate) const BITS: u32 = 256;

/// A difference hash: the picture at 17×16 pixels, whether each is darker than the next in its row. Pictures
/// that look alike, whatever their size and format, differ in few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look([u64; 4]);

impl Look {
    pub fn of(picture: &RgbImage) -> Self {
        let small = resize(picture, 17, 16);
        let mut bits = [0; 4];
        for i in 0..BITS {
            let at = |x: u32| luma(small.get_pixel(x, i / 16).0);
            // Nearly equal counts as equal: noise would toss these bits.
            if at(i % 16) + 2.0 < at(i % 16 + 1) {
                bits[i as usize / 64] |= 1 << (i % 64);
            }
        }
        Look(bits)
    }

    /// In how many bits two differ.
    pub fn distance(&self, other: &Look) -> u32 {
        let differ = self
            .0
            .iter()
            .zip(other.0)
            .map(|(a, b)| (a ^ b).count_ones());
        differ.sum()
    }

    fn bits(&self) -> u32 {
        self.0.iter().map(|part| part.count_ones()).sum()
    }

    fn bit(&self, i: u32) -> u64 {
        self.0[i as usize / 64] >> (i % 64) & 1
    }

    /// Every `parts`th bit, from bit `part` on.
    fn part(&self, part: u32, parts: u32) -> u64 {
        let bits = (part..BITS).step_by(parts as usize).take(64);
        bits.fold(0, |value, i| value << 1 | self.bit(i))
    }
}

/// Looks with fewer bits are of nearly blank pictures.
const ENOUGH_BITS: u32 = 8;

/// For each look the first kept one before it that it differs from in at most `most` bits. What has such a
/// one is not kept itself.
pub(crate) fn near_duplicates(looks: &[Look], most: u32) -> Vec<Option<usize>> {
    // Cut into one part more than bits may differ, two looks agree in a part at least: only those that share
    // one are compared. A part is made of bits from all over the picture, since blank corners are common.
    let parts = most + 1;
    let mut buckets: Vec<std::collections::HashMap<u64, Vec<usize>>> = Vec::new();
    buckets.resize_with(parts as usize, Default::default);
    let mut earlier = Vec::with_capacity(looks.len());
    for (i, look) in looks.iter().enumerate() {
        let keys: Vec<u64> = (0..parts).map(|part| look.part(part, parts)).collect();
        // Nearly blank ones say too little to be told apart by.
        let says_enough = look.bits() >= ENOUGH_BITS;
        let near = keys
            .iter()
            .zip(&buckets)
            .filter_map(|(key, bucket)| bucket.get(key))
            .flatten()
            .filter(|&&other| says_enough && look.distance(&looks[other]) <= most)
            .min();
        earlier.push(near.copied());
        if near.is_none() {
            for (key, bucket) in keys.into_iter().zip(&mut buckets) {
                bucket.entry(key).or_default().push(i);
            }
        }
    }
    earlier
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::imageops;
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn shipped(name: &str) -> RgbImage {
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        images::decode(&datasets.join(name)).unwrap()
    }

    #[test]
    fn blurred_dark_and_drawn_pictures_are_told() {
        let photo = shipped("orl/s01_01.png");
        let of = Measures::of(&photo);
        let blurred = Measures::of(&imageops::blur(&photo, 2.0));
        assert!(blurred.sharpness < 0.1 * of.sharpness, "{of:?} {blurred:?}");
        let dark = Measures::of(&imageops::brighten(&photo, -150));
        assert!(dark.brightness < 0.2 * of.brightness, "{of:?} {dark:?}");
        let drawn = Measures::of(&shipped("lorelei_ink/0001.png"));
        assert!(
            of.flatness < 0.3 && drawn.flatness > 0.6,
            "{of:?} {drawn:?}"
        );
        for extent in [(1, 1), (2, 5)] {
            let tiny = Measures::of(&RgbImage::new(extent.0, extent.1));
            assert_eq!((tiny.sharpness, tiny.brightness), (0.0, 0.0));
        }
    }

    #[test]
    fn the_same_picture_looks_the_same_at_any_size_and_contrast() {
        let photo = shipped("orl/s01_01.png");
        let look = Look::of(&photo);
        for changed in [
            resize(&photo, 300, 365),
            imageops::brighten(&photo, 20),
            imageops::contrast(&photo, -10.0),
        ] {
            let distance = look.distance(&Look::of(&changed));
            assert!(distance <= 6, "{distance}");
        }
        let distance = look.distance(&Look::of(&shipped("orl/s02_01.png")));
        assert!(distance > 40, "{distance}");
    }

    #[test]
    fn near_duplicates_are_those_that_comparing_all_finds() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut looks: Vec<Look> = Vec::new();
        for i in 0..300 {
            let mut look = match i % 3 {
                0 => Look([0; 4].map(|_: u64| rng.random())),
                _ => looks[rng.random_range(0..i)],
            };
            for _ in 0..rng.random_range(0..10) {
                let bit = rng.random_range(0..BITS);
                look.0[bit as usize / 64] ^= 1 << (bit % 64);
            }
            looks.push(look);
        }
        for most in [0, 3, 6] {
            let found = near_duplicates(&looks, most);
            let mut expected: Vec<Option<usize>> = Vec::new();
            for (i, look) in looks.iter().enumerate() {
                let kept = |&j: &usize| expected[j].is_none() && look.distance(&looks[j]) <= most;
                let first = (0..i).find(kept);
                expected.push(first);
            }
            assert_eq!(found, expected);
            assert!(expected.iter().flatten().count() > 10 * most as usize);
        }
    }
}
