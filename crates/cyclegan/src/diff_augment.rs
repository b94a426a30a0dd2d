//! Augmentation that gradients flow through, of all that discriminators see: with few pictures they would
//! otherwise learn those by heart (Zhao, Liu, Lin, Zhu & Han, 2020, "Differentiable Augmentation for
//! Data-Efficient GAN Training").

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tensor::ops::PadMode;
use tensor::{Result, Shape, Tensor};

use crate::config::shortened;

/// The kinds of augmentation that are on, the paper's and with its strengths. As a string, as options
/// have it, the kinds' names with commas between them; empty for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiffAugment {
    /// Brightness, saturation and contrast.
    pub color: bool,
    /// A shift of up to an eighth of each side; zeros move in.
    pub translation: bool,
    /// Zeros in a rectangle of half of each side, which may hang over.
    pub cutout: bool,
}

/// A kind of augmentation that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "diffaugment knows no {0}; it takes color, translation and cutout, with commas between them"
)]
pub struct UnknownAugmentation(String);

impl DiffAugment {
    /// Whether nothing is on.
    pub fn is_off(self) -> bool {
        self == DiffAugment::default()
    }

    /// Pictures (N×C×H×W, −1…1) as a discriminator is to see them, each with draws of its own.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn augment(self, pictures: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
        let mut pictures = pictures.clone();
        if self.color {
            pictures = color(&pictures, rng)?;
        }
        if self.translation {
            pictures = translation(&pictures, rng)?;
        }
        if self.cutout {
            pictures = cutout(&pictures, rng)?;
        }
        Ok(pictures)
    }

    fn kinds(self) -> [(&'static str, bool); 3] {
        [
            ("color", self.color),
            ("translation", self.translation),
            ("cutout", self.cutout),
        ]
    }
}

impl FromStr for DiffAugment {
    type Err = UnknownAugmentation;

    fn from_str(given: &str) -> std::result::Result<Self, Self::Err> {
        let mut kinds = DiffAugment::default();
        let names = given.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty()) {
            match name {
                "color" => kinds.color = true,
                "translation" => kinds.translation = true,
                "cutout" => kinds.cutout = true,
                _ => return Err(UnknownAugmentation(shortened(name))),
            }
        }
        Ok(kinds)
    }
}

impl fmt::Display for DiffAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.kinds().into_iter().filter(|&(_, on)| on);
        f.write_str(&on.map(|(name, _)| name).collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<String> for DiffAugment {
    type Error = UnknownAugmentation;

    fn try_from(given: String) -> std::result::Result<Self, Self::Error> {
        given.parse()
    }
}

impl From<DiffAugment> for String {
    fn from(kinds: DiffAugment) -> String {
        kinds.to_string()
    }
}

/// A number of 0…1 for each picture.
fn uniform(n: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..n).map(|_| rng.random()).collect()
}

/// Brightness, then saturation, then contrast.
fn color(x: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let [n, _, h, w] = x.shape().nchw();
    let brightness = per_picture(x, uniform(n, rng).iter().map(|u| u - 0.5))?;
    let saturation = per_picture(x, uniform(n, rng).iter().map(|u| 2.0 * u))?;
    let contrast = per_picture(x, uniform(n, rng).iter().map(|u| u + 0.5))?;
    let x = x.add(&brightness)?;
    let x = spread(&x, [n, 1, h, w].into(), &saturation)?;
    spread(&x, [n, 1, 1, 1].into(), &contrast)
}

/// A value a picture, repeated over all of it.
fn per_picture(x: &Tensor, values: impl Iterator<Item = f32>) -> Result<Tensor> {
    let values: Vec<f32> = values.collect();
    Tensor::from_slice(&values, [values.len(), 1, 1, 1], x.device())?.expand(x.shape())
}

/// (x − mean)·factor + mean, for the means over what `means` lacks of x's shape.
fn spread(x: &Tensor, means: Shape, factor: &Tensor) -> Result<Tensor> {
    let mean = x.mean_to(means)?.expand(x.shape())?;
    x.sub(&mean)?.mul(factor)?.add(&mean)
}

/// Shifts each picture by whole pixels.
fn translation(x: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let [n, _, h, w] = x.shape().nchw();
    let mut shifted = Vec::new();
    for i in 0..n {
        let (down, right) = (shift(h, rng), shift(w, rng));
        let (rows, columns) = (remaining(h, down), remaining(w, right));
        let [top, left] = [down, right].map(|by| by.max(0) as usize);
        let rest = x
            .narrow(0, i, 1)?
            .narrow(2, rows.start, rows.len())?
            .narrow(3, columns.start, columns.len())?;
        let around = [left, w - columns.len() - left, top, h - rows.len() - top];
        shifted.push(rest.pad(PadMode::Zero, around)?);
    }
    Tensor::concat(&shifted.iter().collect::<Vec<_>>(), 0)
}

/// A shift by up to an eighth of a side, to either side.
fn shift(side: usize, rng: &mut ChaCha8Rng) -> isize {
    let most = (side as f32 / 8.0).round() as usize;
    rng.random_range(0..=2 * most) as isize - most as isize
}

/// What a shift does not move out.
fn remaining(side: usize, by: isize) -> Range<usize> {
    let out = by.unsigned_abs();
    if by < 0 { out..side } else { 0..side - out }
}

/// Multiplies each picture with a mask that is zero in a rectangle.
fn cutout(x: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let [n, _, h, w] = x.shape().nchw();
    let mut mask = vec![1.0; n * h * w];
    for mask in mask.chunks_exact_mut(h * w) {
        let (rows, columns) = (cut(h, rng), cut(w, rng));
        for row in rows {
            mask[row * w..][columns.clone()].fill(0.0);
        }
    }
    let mask = Tensor::from_slice(&mask, [n, 1, h, w], x.device())?;
    x.mul(&mask.expand(x.shape())?)
}

/// A stretch of half a side, with its middle anywhere on it; what hangs over is left out.
fn cut(side: usize, rng: &mut ChaCha8Rng) -> Range<usize> {
    let len = side.div_ceil(2);
    // A stretch of even length has its middle between two pixels: there is one place more.
    let middle = rng.random_range(0..side + (1 - len % 2));
    middle.saturating_sub(len / 2)..(middle + len - len / 2).min(side)
}

#[cfg(test)]
mod tests {
    use tensor::{Device, grad};

    use super::*;
    use crate::{Stream, rng};

    const SHAPE: [usize; 4] = [3, 3, 16, 10];

    fn draws(step: u64) -> ChaCha8Rng {
        rng(5, Stream::DiffAugment, step)
    }

    fn pictures([n, c, h, w]: [usize; 4]) -> Tensor {
        // Nowhere zero, so that zeros are those of the augmentation.
        let value = |i: usize| 0.1 + 0.8 * ((i * 37 % 101) as f32 / 101.0);
        let values: Vec<f32> = (0..n * c * h * w).map(value).collect();
        Tensor::from_slice(&values, [n, c, h, w], &Device::Cpu).unwrap()
    }

    fn only(kind: &str) -> DiffAugment {
        kind.parse().unwrap()
    }

    /// The augmented pictures of some steps, planes of H×W: (before, after, picture).
    fn planes(kind: &str, shape: [usize; 4], step: u64) -> Vec<(Vec<f32>, Vec<f32>, usize)> {
        let x = pictures(shape);
        let out = only(kind).augment(&x, &mut draws(step)).unwrap();
        assert_eq!(out.shape(), x.shape());
        let area = shape[2] * shape[3];
        let (x, out) = (x.to_vec().unwrap(), out.to_vec().unwrap());
        let planes = x.chunks(area).zip(out.chunks(area)).enumerate();
        planes
            .map(|(i, (x, out))| (x.to_vec(), out.to_vec(), i / shape[1]))
            .collect()
    }

    #[test]
    fn color_is_brightness_saturation_contrast() {
        let x = pictures(SHAPE);
        let out = only("color").augment(&x, &mut draws(1)).unwrap();
        let (x, out) = (x.to_vec().unwrap(), out.to_vec().unwrap());
        let [n, c, h, w] = SHAPE;
        let rng = &mut draws(1);
        let [brightness, saturation, contrast] = [(); 3].map(|()| uniform(n, rng));
        assert!(brightness[0] != brightness[1], "each picture has its own");
        for i in 0..n {
            let mut picture = x[i * c * h * w..][..c * h * w].to_vec();
            for value in &mut picture {
                *value += brightness[i] - 0.5;
            }
            for p in 0..h * w {
                let mean = (0..c).map(|c| picture[c * h * w + p]).sum::<f32>() / c as f32;
                for c in 0..c {
                    let value = &mut picture[c * h * w + p];
                    *value = (*value - mean) * 2.0 * saturation[i] + mean;
                }
            }
            let mean = picture.iter().sum::<f32>() / (c * h * w) as f32;
            for value in &mut picture {
                *value = (*value - mean) * (contrast[i] + 0.5) + mean;
            }
            for (expected, given) in picture.iter().zip(&out[i * c * h * w..]) {
                assert!((expected - given).abs() < 1e-5, "{given} for {expected}");
            }
        }
    }

    #[test]
    fn translation_moves_all_channels_of_a_picture_and_zeros_in() {
        let [_, _, h, w] = SHAPE.map(|side| side as isize);
        let mut seen = std::collections::HashSet::new();
        for step in 0..40 {
            let mut shifts = [None; 3];
            for (x, out, picture) in planes("translation", SHAPE, step) {
                let shifted = |(down, right): (isize, isize)| {
                    let at = |y: isize, x_: isize| {
                        let (from, left) = (y - down, x_ - right);
                        let inside = (0..h).contains(&from) && (0..w).contains(&left);
                        if inside {
                            x[(from * w + left) as usize]
                        } else {
                            0.0
                        }
                    };
                    (0..h * w).map(|i| at(i / w, i % w)).eq(out.iter().copied())
                };
                let found: Vec<_> = (-h..=h)
                    .flat_map(|down| (-w..=w).map(move |right| (down, right)))
                    .filter(|&by| shifted(by))
                    .collect();
                let &[by] = &found[..] else {
                    panic!("{} shifts explain it", found.len())
                };
                assert!(by.0.abs() <= 2 && by.1.abs() <= 1, "{by:?}");
                assert_eq!(*shifts[picture].get_or_insert(by), by, "channels together");
                seen.insert(by);
            }
        }
        assert_eq!(seen.len(), 5 * 3, "every shift comes");
    }

    #[test]
    fn cutout_zeroes_one_rectangle_of_half_the_sides() {
        for (shape, most) in [(SHAPE, [8, 5]), ([2, 3, 9, 6], [5, 3])] {
            let [_, _, h, w] = shape;
            let (mut whole, mut overhanging) = (false, false);
            for step in 0..60 {
                let mut rectangles = [None, None, None];
                for (x, out, picture) in planes("cutout", shape, step) {
                    let zero = |y: usize, x: usize| out[y * w + x] == 0.0;
                    let rows: Vec<_> = (0..h).filter(|&y| (0..w).any(|x| zero(y, x))).collect();
                    let columns: Vec<_> = (0..w).filter(|&x| (0..h).any(|y| zero(y, x))).collect();
                    for y in 0..h {
                        for column in 0..w {
                            let inside = rows.contains(&y) && columns.contains(&column);
                            let expected = if inside { 0.0 } else { x[y * w + column] };
                            assert_eq!(out[y * w + column], expected);
                        }
                    }
                    let size = [rows.len(), columns.len()];
                    assert!(rows[rows.len() - 1] - rows[0] + 1 == rows.len());
                    assert!(size[0] <= most[0] && size[1] <= most[1], "{size:?}");
                    whole |= size == most;
                    overhanging |= size[0] < most[0];
                    let rectangle = rectangles[picture].get_or_insert((rows, columns)).clone();
                    assert_eq!(rectangle.0.len(), size[0], "channels together");
                }
            }
            assert!(whole && overhanging);
        }
    }

    #[test]
    fn gradients_flow_through() {
        // Every kind is linear in the pictures but for an offset, so: ⟨Ax, y⟩ − ⟨A0, y⟩ = ⟨x, Aᵀy⟩.
        for kind in ["color", "translation", "cutout", "color,translation,cutout"] {
            let augment = |x: &Tensor| only(kind).augment(x, &mut draws(2)).unwrap();
            let x = pictures(SHAPE).with_grad();
            let y = pictures(SHAPE).scale_add(-1.0, 0.3).unwrap();
            let product = |a: &Tensor, b: &Tensor| a.mul(b).unwrap().sum().unwrap();
            let there = product(&augment(&x), &y);
            let back = grad(&there, &[&x]).unwrap().remove(0);
            let nothing = Tensor::zeros(SHAPE, &Device::Cpu).unwrap();
            let offset = product(&augment(&nothing), &y).item().unwrap();
            let expected = there.item().unwrap() - offset;
            let given = product(&x, &back).item().unwrap();
            assert!((given - expected).abs() < 1e-3 * expected.abs(), "{kind}");
            assert!(expected.abs() > 1.0, "{kind}: the test would see nothing");
        }
    }

    #[test]
    fn a_step_of_a_seed_draws_the_same_and_another_other() {
        let all = only("color,translation,cutout");
        let at = |step| {
            let out = all.augment(&pictures(SHAPE), &mut draws(step));
            out.unwrap().to_vec().unwrap()
        };
        assert_eq!(at(3), at(3));
        assert_ne!(at(3), at(4));
        let off = DiffAugment::default();
        let x = pictures(SHAPE);
        let out = off.augment(&x, &mut draws(0)).unwrap();
        assert_eq!(out.to_vec().unwrap(), x.to_vec().unwrap());
    }

    #[test]
    fn options_are_read_and_written() {
        for text in [
            "",
            "color",
            "translation,cutout",
            "color,translation,cutout",
        ] {
            assert_eq!(only(text).to_string(), text);
        }
        assert_eq!(only(" cutout, color"), only("color,cutout"));
        let error = "color,blur".parse::<DiffAugment>().unwrap_err().to_string();
        assert!(
            error.contains("blur") && error.contains("cutout"),
            "{error}"
        );
    }
}
