//! Fréchet inception distance (Heusel et al. 2017): that of two normal distributions with the means and
//! covariances of two sets of features.

use nalgebra::{DMatrix, RowDVector, SymmetricEigen};

use crate::Features;

/// How far apart two sets are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fid {
    /// |m₁ − m₂|² + tr(C₁ + C₂ − 2·√(C₁·C₂))
    pub value: f64,
    /// Whether one set has no more pictures than features, so that its covariance lacks directions and the
    /// distance is too large by much: it compares with others of as many pictures only.
    pub rank_deficient: bool,
}

/// FID of two sets with features of one length; none when one has fewer than two rows, or numbers that are not
/// finite, of which there are no eigenvalues.
///
/// # Panics
/// When the features differ in length.
pub fn fid(x: &Features, y: &Features) -> Option<Fid> {
    assert_eq!(x.ncols(), y.ncols(), "features of one length");
    let fewest = x.nrows().min(y.nrows());
    let is_finite = |set: &Features| set.iter().all(|value| value.is_finite());
    if fewest < 2 || !is_finite(x) || !is_finite(y) {
        return None;
    }
    let ((mean_x, of_x), (mean_y, of_y)) = (moments(x), moments(y));
    let traces = of_x.trace() + of_y.trace() - 2.0 * trace_of_root(&of_x, &of_y);
    Some(Fid {
        value: (mean_x - mean_y).norm_squared() + traces,
        rank_deficient: fewest <= x.ncols(),
    })
}

/// Mean and covariance without bias.
fn moments(x: &Features) -> (RowDVector<f64>, DMatrix<f64>) {
    let mean = x.row_mean();
    let mut centred = x.clone();
    for mut row in centred.row_iter_mut() {
        row -= &mean;
    }
    let covariance = centred.transpose() * &centred / (x.nrows() as f64 - 1.0);
    (mean, covariance)
}

/// tr √(A·B) of two covariances: A·B has the eigenvalues of √A·B·√A, which is symmetric.
fn trace_of_root(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let SymmetricEigen {
        eigenvectors,
        eigenvalues,
    } = a.clone().symmetric_eigen();
    let roots = DMatrix::from_diagonal(&eigenvalues.map(root_above(eigenvalues.amax(), a.nrows())));
    let root = &eigenvectors * roots * eigenvectors.transpose();
    let product = &root * b * &root;
    let symmetric = (&product + product.transpose()) / 2.0;
    let values = symmetric.symmetric_eigenvalues();
    values
        .map(root_above(values.amax(), a.nrows()))
        .iter()
        .sum()
}

/// The root of an eigenvalue; of one that rounding can make of 0 it is 0.
fn root_above(largest: f64, size: usize) -> impl Fn(f64) -> f64 {
    let least = largest * size as f64 * f64::EPSILON;
    move |value| if value > least { value.sqrt() } else { 0.0 }
}
