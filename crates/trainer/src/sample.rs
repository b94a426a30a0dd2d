//! Sample sheets: the same test pictures, there and back, as training goes on.

use anyhow::Result;
use cyclegan::{Config, Method, Model};
use images::{RgbImage, Sheet};
use tensor::{Device, Tensor};

use crate::data::Pictures;

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
    method: Method,
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
            method: config.method,
        })
    }

    /// Bytes that sheets at a size take: the test pictures, what is shown of them, and the sheet.
    pub fn memory(size: usize) -> u64 {
        let pixels = 3 * (size * size) as u64;
        let shown = pixels * (SHOWN.div_ceil(size).max(1) as u64).pow(2);
        let rows = ROWS as u64;
        rows * (2 * 4 * pixels + 6 * (pixels + shown))
    }

    /// Translates the pictures, onto a sheet; and says what strikes about them, if there are
    /// enough.
    ///
    /// # Errors
    /// When the device fails.
    pub fn translate(
        &self,
        model: &dyn Model,
        device: &Device,
    ) -> Result<(RgbImage, Option<Statistics>)> {
        let scale = SHOWN.div_ceil(self.size).max(1) as u32;
        let columns = self.method.columns();
        let mut sheet = Sheet::new(columns.len())
            .scale(scale)
            .captions(columns.iter().copied());
        let pixels = self.size * self.size;
        let mut seen = Vec::new();
        for (domain, columns) in self.method.translations() {
            seen.push((*domain, *columns, Pairs::new(pixels)));
        }
        for (a, b) in self.a.iter().zip(self.b.iter().cycle()) {
            let [shape_a, shape_b] = self.channels.map(|c| [1, c, self.size, self.size]);
            let real_a = Tensor::from_slice(a, shape_a, device)?;
            let real_b = Tensor::from_slice(b, shape_b, device)?;
            let row = model.sample(&real_a, &real_b)?;
            let row = row.iter().map(Tensor::to_vec);
            let row = row.collect::<tensor::Result<Vec<_>>>()?;
            for picture in &row {
                sheet.push(images::from_chw(picture, self.size, self.size)?);
            }
            for (_, [before, after], pairs) in &mut seen {
                pairs.push(&row[*before], &row[*after]);
            }
        }
        let each = seen.iter().map(|(domain, _, pairs)| {
            let (correlation, variety) = pairs.statistics()?;
            Some(OfDomain {
                domain,
                correlation,
                variety,
            })
        });
        let statistics = each.collect::<Option<_>>().map(Statistics);
        Ok((sheet.render(), statistics))
    }
}

/// What strikes about the translations on a sample sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics(pub Vec<OfDomain>);

/// What strikes about the translations of a domain's pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfDomain {
    /// Where the pictures are from.
    pub domain: &'static str,
    /// Pearson's correlation of brightness between pictures and their translations, pixel by pixel, in the
    /// mean: 1 alike, −1 inverted.
    pub correlation: f32,
    /// How much translations differ from each other, as a share of how much the pictures do.
    pub variety: f32,
}

impl Statistics {
    /// Name and value of each.
    pub fn named(&self) -> impl Iterator<Item = (String, f32)> + '_ {
        self.0.iter().flat_map(|of| {
            let named = |name: &str, value| (format!("{name}_{}", of.domain), value);
            [
                named("correlation", of.correlation),
                named("variety", of.variety),
            ]
        })
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
