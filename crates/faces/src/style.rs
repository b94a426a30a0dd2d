//! Drawings divided by style.
//!
//! What tells styles apart are correlations between the features of a convolutional network (the Gram
//! matrices of Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", 2016, freed from
//! means and scales), their means, and the strength of colour, each taken over the four quarters of a picture.
//! What differs between quarters of one picture is what it shows; what they share is its style. So features
//! count by how they vary between pictures beside how they vary within one (a linear discriminant analysis).
//!
//! Divided is in two, again and again, as long as the halves are apart: the mean silhouette over all pictures
//! for some K prefers coarse divisions, and does not say whether there is one at all.

use std::fs;
use std::path::Path;

use images::{RgbImage, resize};
use nalgebra::{Cholesky, DMatrix, DVector, SymmetricEigen};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::measure::luma;
use crate::network::{LANDMARKS_SIDE, Networks};
use crate::{Domain, Entry, Error, Progress, Result, Styles, error, parallel};

/// So many drawings, evenly chosen, say what styles there are; the others are put to the nearest.
const SAMPLE: usize = 1500;

/// Channels that features are reduced to before they are correlated.
const CHANNELS: usize = 16;

/// Added to variances of about one, so that what does not vary correlates with nothing.
const QUIET: f64 = 1e-2;

/// Dimensions in which styles are compared.
const DIMENSIONS: usize = 4;

/// By so much the covariance within pictures is drawn to the unit matrix.
const SHRINKAGE: f64 = 0.02;

/// Two halves are styles of their own when their mean silhouette is at least so much. Halves of a single
/// style had 0.19 to 0.41 (fifteen sets), of mixed ones 0.43 to 0.76.
const APART: f64 = 0.42;

/// Fewer pictures are not divided; smaller shares of all are no style.
const FEWEST: usize = 16;
const LEAST_SHARE: f64 = 0.02;

/// Attempts of k-means, of which the best counts, and rounds of each.
const ATTEMPTS: usize = 6;
const ROUNDS: usize = 100;

/// How drawings were divided by style.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Division {
    /// Pictures of each style, the largest first.
    pub sizes: Vec<usize>,
    /// K and the mean silhouette of K clusters, for K from 2 to 8: how far pictures are from the nearest other
    /// cluster beside their own, from −1 to 1.
    pub silhouettes: Vec<(usize, f64)>,
}

/// Divides the drawings of a set and moves their files to `trainB/style-0`, `testB/style-0`, ….
pub(crate) fn divide(
    set: &Path,
    pictures: &mut [Entry],
    styles: Styles,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Division> {
    let drawings: Vec<usize> = (0..pictures.len())
        .filter(|&i| pictures[i].domain == Domain::B)
        .collect();
    let entries: &[Entry] = pictures;
    let load = |i: usize| {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let texture = Texture::of(&images::decode(&set.join(&entries[drawings[i]].file))?);
        progress.advance();
        Ok(texture)
    };
    if let Styles::Count(count) = styles
        && count > drawings.len()
    {
        return Err(Error::Option {
            name: "--styles",
            given: count.to_string(),
            expected: format!("no more than the {} drawings", drawings.len()),
        });
    }
    let sampled = drawings.len().min(SAMPLE);
    progress.begin("comparing styles", drawings.len());
    let places: Vec<usize> = (0..sampled).map(|i| i * drawings.len() / sampled).collect();
    let textures = parallel::map(sampled, |i| load(places[i]))?;
    let model = Model::learn(&textures, styles, seed);
    let labels = parallel::map(drawings.len(), |i| match places.binary_search(&i) {
        Ok(known) => Ok(model.style(&textures[known])),
        Err(_) => Ok(model.style(&load(i)?)),
    })?;

    let mut sizes = vec![0; model.count];
    labels.iter().for_each(|&label| sizes[label] += 1);
    // The largest first; at equality the one found first.
    let mut order: Vec<usize> = (0..model.count).filter(|&label| sizes[label] > 0).collect();
    order.sort_by_key(|&label| std::cmp::Reverse(sizes[label]));
    for (&i, label) in drawings.iter().zip(labels) {
        let style = order.iter().position(|&found| found == label);
        let style = style.expect("each label has been counted");
        move_to_style(set, &mut pictures[i], style)?;
    }
    Ok(Division {
        sizes: order.into_iter().map(|label| sizes[label]).collect(),
        silhouettes: model.silhouettes,
    })
}

fn move_to_style(set: &Path, entry: &mut Entry, style: usize) -> Result<()> {
    let (part, name) = entry.file.split_once('/').expect("a folder and a name");
    let file = format!("{part}/style-{style}/{name}");
    let target = set.join(&file);
    let folder = target.parent().expect("it is in a folder");
    fs::create_dir_all(folder).map_err(error::write(folder))?;
    fs::rename(set.join(&entry.file), &target).map_err(error::write(&target))?;
    (entry.file, entry.style) = (file, Some(style));
    Ok(())
}

/// Quarters of a picture.
const QUARTERS: usize = 4;

/// What is kept of a picture, for each quarter of it.
struct Texture([Quarter; QUARTERS]);

struct Quarter {
    means: DVector<f64>,
    covariance: DMatrix<f64>,
    /// The root of the mean chroma.
    colour: f64,
}

impl Texture {
    fn of(picture: &RgbImage) -> Self {
        let seen = resize(picture, LANDMARKS_SIDE, LANDMARKS_SIDE);
        let (features, channels) = Networks::shipped().landmarks.texture(&seen);
        let area = features.len() / channels;
        let side = area.isqrt();
        Texture([[0, 0], [0, 1], [1, 0], [1, 1]].map(|[down, across]| {
            let half = side / 2;
            let pixels = (0..half * half)
                .map(|i| (down * half + i / half) * side + across * half + i % half);
            let values = pixels.flat_map(|at| {
                let features = &features;
                (0..channels).map(move |channel| f64::from(features[channel * area + at]))
            });
            let columns = DMatrix::from_iterator(channels, half * half, values);
            let means = columns.column_mean();
            let products = &columns * columns.transpose() / (half * half) as f64;
            Quarter {
                covariance: products - &means * means.transpose(),
                means,
                colour: chroma(&seen, [across as u32, down as u32]).sqrt(),
            }
        }))
    }
}

/// The mean distance from grey, in Cb and Cr, of a quarter of a picture.
fn chroma(picture: &RgbImage, [across, down]: [u32; 2]) -> f64 {
    let half = [picture.width() / 2, picture.height() / 2];
    let part = images::crop(picture, across * half[0], down * half[1], half[0], half[1]);
    let chroma = |pixel: &images::Rgb<u8>| {
        let [r, _, b] = pixel.0.map(f64::from);
        let y = luma(pixel.0);
        (0.564 * (b - y)).hypot(0.713 * (r - y))
    };
    part.pixels().map(chroma).sum::<f64>() / f64::from(half[0] * half[1])
}

/// From a picture to its style.
struct Model {
    /// From the network's channels to a few that don't covary and vary by one.
    reduction: DMatrix<f64>,
    divider: Divider,
    /// How many styles there are.
    count: usize,
    silhouettes: Vec<(usize, f64)>,
}

/// How a picture's features lead to the number of its style.
enum Divider {
    Style(usize),
    Nearest {
        space: Space,
        centres: Vec<DVector<f64>>,
        then: Vec<Divider>,
    },
}

impl Model {
    fn learn(textures: &[Texture], styles: Styles, seed: u64) -> Self {
        let reduction = reduction(textures);
        let features: Vec<Features> = textures
            .iter()
            .map(|texture| Features::of(texture, &reduction))
            .collect();
        let all: Vec<&Features> = features.iter().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let space = Space::of(&all);
        let points = space.points(&all);
        let silhouettes = (2..=8).filter(|&k| k < points.len()).map(|k| {
            let clusters = k_means(&points, k, &mut rng);
            (k, silhouette(&points, &clusters.labels))
        });
        let silhouettes = silhouettes.collect();
        let mut count = 0;
        let divider = match styles {
            Styles::Count(k) if k <= points.len() => {
                count = k;
                Divider::Nearest {
                    centres: k_means(&points, k, &mut rng).centres,
                    then: (0..k).map(Divider::Style).collect(),
                    space,
                }
            }
            _ => bisect(&all, all.len(), &mut count, &mut rng),
        };
        Model {
            reduction,
            divider,
            count,
            silhouettes,
        }
    }

    fn style(&self, texture: &Texture) -> usize {
        let features = Features::of(texture, &self.reduction);
        let mut divider = &self.divider;
        loop {
            match divider {
                Divider::Style(style) => return *style,
                Divider::Nearest {
                    space,
                    centres,
                    then,
                } => divider = &then[nearest(&space.point(&features), centres).0],
            }
        }
    }
}

/// Divides pictures in two as long as the halves are apart.
fn bisect(features: &[&Features], all: usize, count: &mut usize, rng: &mut ChaCha8Rng) -> Divider {
    let mut style = || {
        *count += 1;
        Divider::Style(*count - 1)
    };
    if features.len() < FEWEST {
        return style();
    }
    let space = Space::of(features);
    let points = space.points(features);
    let Clusters { centres, labels } = k_means(&points, 2, rng);
    let ones = labels.iter().filter(|&&label| label == 1).count();
    let smaller = ones.min(labels.len() - ones);
    let least = (LEAST_SHARE * all as f64).max(4.0);
    if (smaller as f64) < least || silhouette(&points, &labels) < APART {
        return style();
    }
    let half = |wanted: usize| {
        let with_label = features.iter().zip(&labels);
        let own = with_label.filter(|(_, label)| **label == wanted);
        own.map(|(features, _)| *features).collect::<Vec<_>>()
    };
    let then = [half(0), half(1)];
    let then = then.map(|half| bisect(&half, all, count, rng)).into();
    Divider::Nearest {
        space,
        centres,
        then,
    }
}

/// The principal axes of the covariance within quarters, each divided by the deviation along it.
fn reduction(textures: &[Texture]) -> DMatrix<f64> {
    let quarters = || textures.iter().flat_map(|texture| &texture.0);
    let first = &textures[0].0[0].covariance;
    let mut mean = DMatrix::zeros(first.nrows(), first.ncols());
    for quarter in quarters() {
        mean += &quarter.covariance / quarters().count() as f64;
    }
    let (values, vectors) = principal(mean, CHANNELS);
    let scaled = vectors.column_iter().zip(values.iter());
    let scaled: Vec<DVector<f64>> = scaled
        .map(|(vector, value)| vector / value.max(1e-9).sqrt())
        .collect();
    DMatrix::from_columns(&scaled)
}

/// The largest eigenvalues of a symmetric matrix and their vectors, in falling order.
fn principal(matrix: DMatrix<f64>, most: usize) -> (Vec<f64>, DMatrix<f64>) {
    let eigen = SymmetricEigen::new(matrix);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(most);
    let columns: Vec<_> = order
        .iter()
        .map(|&i| eigen.eigenvectors.column(i))
        .collect();
    let values = order.iter().map(|&i| eigen.eigenvalues[i]).collect();
    (values, DMatrix::from_columns(&columns))
}

/// A picture's features: a column a quarter.
struct Features(DMatrix<f64>);

impl Features {
    fn of(texture: &Texture, reduction: &DMatrix<f64>) -> Self {
        let columns = texture.0.each_ref().map(|quarter| {
            let covariance = reduction.transpose() * &quarter.covariance * reduction;
            let deviation = covariance
                .diagonal()
                .map(|variance| (variance.max(0.0) + QUIET).sqrt());
            let n = covariance.nrows();
            let pairs = (0..n).flat_map(|i| (i..n).map(move |j| (i, j)));
            let correlations =
                pairs.map(|(i, j)| covariance[(i, j)] / (deviation[i] * deviation[j]));
            let means = reduction.transpose() * &quarter.means;
            let values = correlations.chain(means.iter().copied());
            DVector::from_iterator(n * (n + 1) / 2 + n + 1, values.chain([quarter.colour]))
        });
        Features(DMatrix::from_columns(&columns))
    }
}

/// Where pictures are compared: axes along which they differ most, beside what differs within them.
struct Space {
    mean: DVector<f64>,
    deviation: DVector<f64>,
    axes: DMatrix<f64>,
}

impl Space {
    fn of(pictures: &[&Features]) -> Self {
        let quarters: Vec<_> = pictures
            .iter()
            .flat_map(|picture| picture.0.column_iter())
            .collect();
        let quarters = DMatrix::from_columns(&quarters);
        let mean = quarters.column_mean();
        let deviation = quarters
            .column_variance()
            .map(|variance| variance.sqrt() + 1e-6);
        let mut space = Space {
            axes: DMatrix::identity(mean.len(), mean.len()),
            mean,
            deviation,
        };
        let scaled: Vec<DMatrix<f64>> = pictures
            .iter()
            .map(|picture| space.scaled(picture))
            .collect();
        let n = space.mean.len();
        // What the same quarter of all pictures has in common is no difference within one.
        let mut usual = DMatrix::zeros(n, QUARTERS);
        for picture in &scaled {
            usual += inner(picture) / scaled.len() as f64;
        }
        let mut within = DMatrix::zeros(n, n);
        for picture in &scaled {
            let differences = inner(picture) - &usual;
            within +=
                &differences * differences.transpose() / (scaled.len() * (QUARTERS - 1)) as f64;
        }
        let level = within.trace() / n as f64;
        within = within * (1.0 - SHRINKAGE)
            + DMatrix::identity(n, n) * (SHRINKAGE * level.max(f64::MIN_POSITIVE));
        let root = Cholesky::new(within)
            .expect("a shrunk covariance is positive")
            .unpack();

        let whitened: Vec<DVector<f64>> = scaled
            .iter()
            .map(|picture| {
                let mean = picture.column_mean();
                root.solve_lower_triangular(&mean)
                    .expect("its diagonal is positive")
            })
            .collect();
        let whitened = DMatrix::from_columns(&whitened);
        let centre = whitened.column_mean();
        let mut between = DMatrix::zeros(n, n);
        for picture in whitened.column_iter() {
            let difference = picture - &centre;
            between += &difference * difference.transpose() / scaled.len() as f64;
        }
        let (_, vectors) = principal(between, DIMENSIONS);
        space.axes = root
            .transpose()
            .solve_upper_triangular(&vectors)
            .expect("its diagonal is positive");
        space
    }

    /// Each feature by its deviation, a column a quarter.
    fn scaled(&self, picture: &Features) -> DMatrix<f64> {
        let mut scaled = picture.0.clone();
        for mut column in scaled.column_iter_mut() {
            column -= &self.mean;
            column.component_div_assign(&self.deviation);
        }
        scaled
    }

    fn point(&self, picture: &Features) -> DVector<f64> {
        self.axes.transpose() * self.scaled(picture).column_mean()
    }

    fn points(&self, pictures: &[&Features]) -> Vec<DVector<f64>> {
        pictures.iter().map(|picture| self.point(picture)).collect()
    }
}

/// What each quarter has more or less than the mean of its picture.
fn inner(picture: &DMatrix<f64>) -> DMatrix<f64> {
    let mean = picture.column_mean();
    let mut inner = picture.clone();
    inner
        .column_iter_mut()
        .for_each(|mut column| column -= &mean);
    inner
}

struct Clusters {
    centres: Vec<DVector<f64>>,
    labels: Vec<usize>,
}

/// Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii, 2007), the best of some attempts.
fn k_means(points: &[DVector<f64>], k: usize, rng: &mut ChaCha8Rng) -> Clusters {
    let attempts = (0..ATTEMPTS).map(|_| {
        let mut centres = seeds(points, k, rng);
        let mut labels = Vec::new();
        for _ in 0..ROUNDS {
            let found: Vec<usize> = points
                .iter()
                .map(|point| nearest(point, &centres).0)
                .collect();
            if found == labels {
                break;
            }
            labels = found;
            for (label, centre) in centres.iter_mut().enumerate() {
                let own: Vec<&DVector<f64>> = (points.iter().zip(&labels))
                    .filter(|(_, own)| **own == label)
                    .map(|(point, _)| point)
                    .collect();
                // A centre that lost all its points stays where it is.
                if let Some((first, others)) = own.split_first() {
                    let sum = others
                        .iter()
                        .fold((*first).clone(), |sum, point| sum + *point);
                    *centre = sum / own.len() as f64;
                }
            }
        }
        let error: f64 = points.iter().map(|point| nearest(point, &centres).1).sum();
        (error, Clusters { centres, labels })
    });
    let best = attempts.min_by(|(a, _), (b, _)| a.total_cmp(b));
    best.expect("there are attempts").1
}

/// Points to begin with: each is drawn in proportion to its squared distance from the nearest before it.
fn seeds(points: &[DVector<f64>], k: usize, rng: &mut ChaCha8Rng) -> Vec<DVector<f64>> {
    let mut centres = vec![points[rng.random_range(0..points.len())].clone()];
    while centres.len() < k {
        let distances: Vec<f64> = points
            .iter()
            .map(|point| nearest(point, &centres).1)
            .collect();
        let mut left = rng.random_range(0.0..1.0) * distances.iter().sum::<f64>();
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        centres.push(points[drawn.unwrap_or(points.len() - 1)].clone());
    }
    centres
}

/// The nearest centre and the squared distance to it.
fn nearest(point: &DVector<f64>, centres: &[DVector<f64>]) -> (usize, f64) {
    let distances = centres.iter().map(|centre| (point - centre).norm_squared());
    let nearest = distances
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b));
    nearest.expect("there are centres")
}

/// The mean silhouette (Rousseeuw, 1987).
fn silhouette(points: &[DVector<f64>], labels: &[usize]) -> f64 {
    let k = labels.iter().max().map_or(0, |last| last + 1);
    let mut sizes = vec![0.0; k];
    labels.iter().for_each(|&label| sizes[label] += 1.0);
    let each = points.iter().zip(labels).map(|(point, &own)| {
        let mut sums = vec![0.0; k];
        for (other, &label) in points.iter().zip(labels) {
            sums[label] += (point - other).norm();
        }
        let inside = sums[own] / f64::max(sizes[own] - 1.0, 1.0);
        let others = (0..k).filter(|&label| label != own && sizes[label] > 0.0);
        let outside = others
            .map(|label| sums[label] / sizes[label])
            .fold(f64::INFINITY, f64::min);
        match sizes[own] > 1.0 && outside.is_finite() {
            true => (outside - inside) / outside.max(inside).max(f64::MIN_POSITIVE),
            false => 0.0,
        }
    });
    each.sum::<f64>() / points.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use image::{Rgb, imageops};

    use super::*;

    fn drawings(folder: &str, count: usize) -> Vec<RgbImage> {
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let files = images::list(&datasets.join(folder)).unwrap();
        files
            .iter()
            .take(count)
            .map(|file| images::decode(file).unwrap())
            .collect()
    }

    fn learn(pictures: &[RgbImage], styles: Styles) -> (Model, Vec<usize>) {
        let textures: Vec<Texture> = pictures.iter().map(Texture::of).collect();
        let model = Model::learn(&textures, styles, 1);
        let labels = textures
            .iter()
            .map(|texture| model.style(texture))
            .collect();
        (model, labels)
    }

    #[test]
    fn styles_are_told_apart_without_being_counted() {
        let ink = drawings("lorelei_ink", 40);
        let coloured = ink[20..].iter().map(|picture| {
            let mut coloured = picture.clone();
            coloured.pixels_mut().for_each(|Rgb([r, g, b])| {
                (*r, *g, *b) = (*r / 2 + 90, *g / 3 + 120, *b / 2 + 20);
            });
            coloured
        });
        // Of as many people: ten pictures of one would be a style of their own.
        let people = drawings("orl", 200).into_iter().step_by(10);
        let photographs = people.map(|photo| images::crop(&photo, 0, 10, 92, 92));
        let mixed: Vec<RgbImage> = ink[..20]
            .iter()
            .cloned()
            .chain(coloured)
            .chain(photographs)
            .collect();
        let (model, labels) = learn(&mixed, Styles::Auto);
        assert_eq!(model.count, 3, "{labels:?}");
        for group in labels.chunks(20) {
            let same = group.iter().filter(|&&label| label == group[0]);
            assert!(same.count() >= 19, "{labels:?}");
        }
        assert_eq!(model.silhouettes.len(), 7);
        let (model, labels) = learn(&mixed, Styles::Count(2));
        assert_eq!((model.count, labels.iter().max()), (2, Some(&1)));
    }

    #[test]
    fn one_style_is_not_divided() {
        let ink = drawings("lorelei_ink", 60);
        assert_eq!(learn(&ink, Styles::Auto).0.count, 1);
        let blurred: Vec<RgbImage> = ink[..5]
            .iter()
            .map(|picture| imageops::blur(picture, 2.0))
            .collect();
        assert_eq!(learn(&blurred, Styles::Auto).0.count, 1, "too few");
        let white = vec![RgbImage::from_pixel(50, 50, Rgb([255; 3])); 30];
        assert_eq!(learn(&white, Styles::Auto).0.count, 1, "all the same");
    }

    #[test]
    fn silhouettes_are_those_of_the_definition() {
        let points = [0.0, 1.0, 5.0, 7.0].map(|x| DVector::from_element(1, x));
        // Of each point, (to the others − to its own) / the larger.
        let expected =
            ((6.0 - 1.0) / 6.0 + (5.0 - 1.0) / 5.0 + (4.5 - 2.0) / 4.5 + (6.5 - 2.0) / 6.5) / 4.0;
        assert!((silhouette(&points, &[0, 0, 1, 1]) - expected).abs() < 1e-12);
        assert_eq!(silhouette(&points, &[0; 4]), 0.0);
    }
}
