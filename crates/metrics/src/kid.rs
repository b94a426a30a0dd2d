//! Kernel inception distance (Bińkowski et al. 2018): the squared maximum mean discrepancy of two sets of
//! features, without bias, so that it is 0 in the mean for two sets of one kind, however small they are, and
//! may be a little below.

use nalgebra::DMatrix;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::index::sample;

use crate::Features;

/// Subsets that the mean is taken over, as torch-fidelity does.
pub const SUBSETS: usize = 100;
/// Pictures of each set in a subset, or all of the smaller set where it has fewer.
pub const SUBSET: usize = 1000;

/// How far apart two sets are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kid {
    /// The estimate from all pairs of both sets: that with the least spread.
    pub whole: f64,
    /// Its standard error, by leaving out one picture after the other (the jackknife).
    pub error: f64,
    /// The mean over subsets, which is what torch-fidelity and clean-fid report.
    pub mean: f64,
    /// The standard deviation of the subsets' estimates. They share pictures: it is no error of the mean.
    pub deviation: f64,
    /// How many subsets.
    pub subsets: usize,
    /// How many of each set in one.
    pub subset: usize,
}

/// KID of two sets with features of one length; none when one has fewer than three rows. Subsets are drawn by
/// `seed` alone.
///
/// # Panics
/// When the features differ in length.
pub fn kid(x: &Features, y: &Features, seed: u64) -> Option<Kid> {
    if x.nrows().min(y.nrows()) < 3 {
        return None;
    }
    let subset = SUBSET.min(x.nrows()).min(y.nrows());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let subsets: Vec<[Vec<usize>; 2]> = (0..SUBSETS)
        .map(|_| [x, y].map(|set| sample(&mut rng, set.nrows(), subset).into_vec()))
        .collect();
    let kernels = Kernels::new(x, y);
    let (whole, error) = kernels.jackknife();
    let (mean, deviation) = kernels.over(&subsets);
    Some(Kid {
        whole,
        error,
        mean,
        deviation,
        subsets: SUBSETS,
        subset,
    })
}

/// Mean and standard deviation (dividing by their number) of the estimates from given subsets: rows of `x` and
/// rows of `y`, at least two of each.
///
/// # Panics
/// When the features differ in length, or there are no such rows.
pub fn over(x: &Features, y: &Features, subsets: &[[Vec<usize>; 2]]) -> (f64, f64) {
    Kernels::new(x, y).over(subsets)
}

/// The kernel of all pairs.
struct Kernels {
    xx: DMatrix<f64>,
    yy: DMatrix<f64>,
    xy: DMatrix<f64>,
}

impl Kernels {
    /// (x·y / d + 1)³
    fn new(x: &Features, y: &Features) -> Self {
        assert_eq!(x.ncols(), y.ncols(), "features of one length");
        let scale = 1.0 / x.ncols() as f64;
        let kernel = |a: &Features, b: &Features| {
            (a * b.transpose()).map(|product| (product * scale + 1.0).powi(3))
        };
        Kernels {
            xx: kernel(x, x),
            yy: kernel(y, y),
            xy: kernel(x, y),
        }
    }

    fn over(&self, subsets: &[[Vec<usize>; 2]]) -> (f64, f64) {
        let each: Vec<f64> = subsets.iter().map(|[x, y]| self.of(x, y)).collect();
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        let squares = each.iter().map(|estimate| (estimate - mean).powi(2));
        (mean, (squares.sum::<f64>() / each.len() as f64).sqrt())
    }

    /// The estimate from some rows of each.
    fn of(&self, x: &[usize], y: &[usize]) -> f64 {
        let among = |kernel: &DMatrix<f64>, rows: &[usize]| {
            let off = |i: usize| rows.iter().filter(move |&&j| j != i).map(move |&j| (i, j));
            let sum: f64 = rows.iter().flat_map(|&i| off(i)).map(|at| kernel[at]).sum();
            sum / (rows.len() * (rows.len() - 1)) as f64
        };
        let between = x.iter().flat_map(|&i| y.iter().map(move |&j| (i, j)));
        let between: f64 = between.map(|at| self.xy[at]).sum();
        let pairs = (x.len() * y.len()) as f64;
        among(&self.xx, x) + among(&self.yy, y) - 2.0 * between / pairs
    }

    /// The estimate from all rows, and its standard error: what leaving one out changes, summed over the
    /// rows of both.
    fn jackknife(&self) -> (f64, f64) {
        let off_diagonal = |kernel: &DMatrix<f64>| -> Vec<f64> {
            let row = |i| kernel.row(i).sum() - kernel[(i, i)];
            (0..kernel.nrows()).map(row).collect()
        };
        let [in_x, in_y] = [&self.xx, &self.yy].map(off_diagonal);
        let to_y: Vec<f64> = self.xy.row_iter().map(|row| row.sum()).collect();
        let to_x: Vec<f64> = self.xy.column_iter().map(|column| column.sum()).collect();
        let [m, n] = [in_x.len(), in_y.len()].map(|rows| rows as f64);
        let [sum_x, sum_y, between] = [&in_x, &in_y, &to_y].map(|sums| sums.iter().sum::<f64>());
        let estimate = |[sum_x, sum_y, between]: [f64; 3], [m, n]: [f64; 2]| {
            sum_x / (m * (m - 1.0)) + sum_y / (n * (n - 1.0)) - 2.0 * between / (m * n)
        };
        // A row's pairs count twice, as row and as column.
        let without_x = in_x.iter().zip(&to_y).map(|(among, between_one)| {
            let sums = [sum_x - 2.0 * among, sum_y, between - between_one];
            estimate(sums, [m - 1.0, n])
        });
        let without_y = in_y.iter().zip(&to_x).map(|(among, between_one)| {
            let sums = [sum_x, sum_y - 2.0 * among, between - between_one];
            estimate(sums, [m, n - 1.0])
        });
        let variance = jackknife_variance(&without_x.collect::<Vec<_>>())
            + jackknife_variance(&without_y.collect::<Vec<_>>());
        (estimate([sum_x, sum_y, between], [m, n]), variance.sqrt())
    }
}

/// Of an estimate, from those that leave out one observation each.
fn jackknife_variance(estimates: &[f64]) -> f64 {
    let count = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / count;
    let squares = estimates.iter().map(|estimate| (estimate - mean).powi(2));
    squares.sum::<f64>() * (count - 1.0) / count
}
