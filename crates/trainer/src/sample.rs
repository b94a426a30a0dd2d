//! Sample sheets: the same test pictures, there and back, as training goes on.

use anyhow::Result;
use cyclegan::{Config, CycleGan};
use images::{RgbImage, Sheet};
use tensor::{Device, Tensor};

use crate::data::Pictures;

/// What is above the columns of a sheet.
pub const CAPTIONS: [&str; 6] = ["real A", "fake B", "A again", "real B", "fake A", "B again"];

/// Rows of a sheet.
const ROWS: usize = 6;
/// Sheets show pictures at least this large.
const SHOWN: usize = 128;

/// The fixed test pictures of a run.
pub struct Samples {
    a: Vec<Vec<f32>>,
    b: Vec<Vec<f32>>,
    size: usize,
    channels: [usize; 2],
}

impl Samples {
    /// Picks pictures, to be shown at the size of a configuration.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn pick(pictures: &Pictures, config: &Config) -> Result<Self> {
        let [a, b] = pictures.spread(ROWS, config)?;
        Ok(Samples {
            a,
            b,
            size: config.size,
            channels: config.channels(),
        })
    }

    /// Bytes that sheets at a size take: the test pictures, what is shown of them, and the sheet.
    pub fn memory(size: usize) -> u64 {
        let pixels = 3 * (size * size) as u64;
        let shown = pixels * (SHOWN.div_ceil(size).max(1) as u64).pow(2);
        let rows = ROWS as u64;
        rows * (2 * 4 * pixels + 6 * (pixels + shown))
    }

    /// Translates the pictures there and back, onto a sheet; and says what strikes about them, if there are
    /// enough.
    ///
    /// # Errors
    /// When the device fails.
    pub fn translate(
        &self,
        model: &CycleGan,
        device: &Device,
    ) -> Result<(RgbImage, Option<Statistics>)> {
        let scale = SHOWN.div_ceil(self.size).max(1) as u32;
        let mut sheet = Sheet::new(CAPTIONS.len()).scale(scale).captions(CAPTIONS);
        let pixels = self.size * self.size;
        let (mut a_to_b, mut b_to_a) = (Pairs::new(pixels), Pairs::new(pixels));
        for (a, b) in self.a.iter().zip(self.b.iter().cycle()) {
            let [shape_a, shape_b] = self.channels.map(|c| [1, c, self.size, self.size]);
            let real_a = Tensor::from_slice(a, shape_a, device)?;
            let real_b = Tensor::from_slice(b, shape_b, device)?;
            let there = model.sample(&real_a, &real_b)?;
            let row = [
                &real_a,
                &there.fake_b,
                &there.rec_a,
                &real_b,
                &there.fake_a,
                &there.rec_b,
            ];
            let row = row.map(Tensor::to_vec).into_iter();
            let row = row.collect::<tensor::Result<Vec<_>>>()?;
            for picture in &row {
                sheet.push(images::from_chw(picture, self.size, self.size)?);
            }
            a_to_b.push(&row[0], &row[1]);
            b_to_a.push(&row[3], &row[4]);
        }
        let statistics = a_to_b.statistics().zip(b_to_a.statistics());
        let statistics = statistics.map(|(a, b)| Statistics {
            correlation: [a.0, b.0],
            variety: [a.1, b.1],
        });
        Ok((sheet.render(), statistics))
    }
}

/// What strikes about the translations on a sample sheet, A to B and B to A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Pearson's correlation of brightness between pictures and their translations, pixel by pixel, in the
    /// mean: 1 alike, −1 inverted.
    pub correlation: [f32; 2],
    /// How much translations differ from each other, as a share of how much the pictures do.
    pub variety: [f32; 2],
}

impl Statistics {
    /// Name and value of each.
    pub fn named(&self) -> [(&'static str, f32); 4] {
        let ([ab, ba], [variety_ab, variety_ba]) = (self.correlation, self.variety);
        [
            ("correlation_A", ab),
            ("correlation_B", ba),
            ("variety_A", variety_ab),
            ("variety_B", variety_ba),
        ]
    }
}

/// The brightness of pictures and of their translations.
struct Pairs {
    /// Of each.
    pixels: usize,
    pictures: Vec<Vec<f32>>,
    translations: Vec<Vec<f32>>,
}

impl Pairs {
    fn new(pixels: usize) -> Self {
        Pairs {
            pixels,
            pictures: Vec::new(),
            translations: Vec::new(),
        }
    }

    fn push(&mut self, picture: &[f32], translation: &[f32]) {
        self.pictures.push(brightness(picture, self.pixels));
        self.translations.push(brightness(translation, self.pixels));
    }

    /// Correlation and variety; none where pictures are flat or all the same.
    fn statistics(&self) -> Option<(f32, f32)> {
        let each = self.pictures.iter().zip(&self.translations);
        let each: Vec<f32> = each.filter_map(|(a, b)| correlation(a, b)).collect();
        let among = differences(&self.pictures)?;
        let correlation = each.iter().sum::<f32>() / each.len() as f32;
        let variety = differences(&self.translations)? / among;
        (correlation.is_finite() && variety.is_finite()).then_some((correlation, variety))
    }
}

/// The mean of three channels, one after another.
fn brightness(chw: &[f32], pixels: usize) -> Vec<f32> {
    let channels = chw.len() / pixels;
    let at = |i: usize| chw[i..].iter().step_by(pixels).sum::<f32>() / channels as f32;
    (0..pixels).map(at).collect()
}

/// Pearson's correlation; none for flat pictures.
fn correlation(a: &[f32], b: &[f32]) -> Option<f32> {
    let mean = |x: &[f32]| x.iter().sum::<f32>() / x.len() as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let mut sums = [0.0; 3];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        for (sum, product) in sums.iter_mut().zip([a * b, a * a, b * b]) {
            *sum += product;
        }
    }
    let correlation = sums[0] / (sums[1] * sums[2]).sqrt();
    correlation.is_finite().then_some(correlation)
}

/// The mean difference of two pictures of some, pixel by pixel; none for fewer than two.
fn differences(pictures: &[Vec<f32>]) -> Option<f32> {
    let difference = |a: &[f32], b: &[f32]| -> f32 {
        let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
        sum / a.len() as f32
    };
    let pairs = (0..pictures.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let each: Vec<f32> = pairs
        .map(|(i, j)| difference(&pictures[i], &pictures[j]))
        .collect();
    (!each.is_empty()).then(|| each.iter().sum::<f32>() / each.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_tell_likeness_inversion_and_monotony() {
        let picture = |seed: usize| -> Vec<f32> {
            (0..48)
                .map(|i| ((i * (seed + 3)) % 7) as f32 / 7.0)
                .collect()
        };
        let of = |translate: &dyn Fn(&[f32]) -> Vec<f32>| {
            let mut pairs = Pairs::new(16);
            for picture in (0..3).map(picture) {
                pairs.push(&picture, &translate(&picture));
            }
            pairs.statistics()
        };
        let (alike, variety) = of(&|x| x.to_vec()).unwrap();
        assert!((alike - 1.0).abs() < 1e-5 && (variety - 1.0).abs() < 1e-5);
        let (inverted, variety) = of(&|x| x.iter().map(|x| 0.5 - x / 2.0).collect()).unwrap();
        assert!((inverted + 1.0).abs() < 1e-5 && (variety - 0.5).abs() < 1e-5);
        let (_, variety) = of(&|_| picture(9)).unwrap();
        assert_eq!(variety, 0.0);
        assert_eq!(
            of(&|x| vec![0.0; x.len()]),
            None,
            "nothing to correlate with"
        );
    }
}
