//! Fréchet inception distance (Heusel et al. 2017): that of two normal distributions with the means and
//! covariances of two sets of features.

use nalgebra::{DMatrix, RowDVector};

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
/// finite, of which there are no singular values.
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
    let ((mean_x, x), (mean_y, y)) = (centred(x), centred(y));
    let traces = x.norm_squared() + y.norm_squared() - 2.0 * trace_of_root(&x, &y);
    Some(Fid {
        value: (mean_x - mean_y).norm_squared() + traces,
        rank_deficient: fewest <= x.ncols(),
    })
}

/// The mean, and the deviations from it divided by √(n − 1): the covariance without bias is their square AᵀA.
fn centred(x: &Features) -> (RowDVector<f64>, DMatrix<f64>) {
    let mean = x.row_mean();
    let mut centred = x.clone();
    for mut row in centred.row_iter_mut() {
        row -= &mean;
    }
    (mean, centred / (x.nrows() as f64 - 1.0).sqrt())
}

/// tr √(AᵀA·BᵀB): the product has the eigenvalues of ABᵀ·(ABᵀ)ᵀ, whose roots are the singular values of ABᵀ. Roots
/// of eigenvalues that are but rounding, as covariances of few pictures have, never come up.
fn trace_of_root(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    (a * b.transpose()).singular_values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pictures_of_many_features_are_no_matter_of_rounding() {
        // Features that fall off by powers of ten, as those of pictures do.
        let value = |i: usize, j: usize| {
            let size = 10f64.powf(-4.0 * j as f64 / 512.0);
            size * (1.0 + ((i * 37 + j * 101) as f64 * 0.618).sin())
        };
        let x = Features::from_fn(40, 512, value);
        let doubled = &x * 2.0;
        let (mean, apart) = centred(&x);
        // The covariance is four times the other, and the mean twice.
        let expected = mean.norm_squared() + apart.norm_squared();
        let found = fid(&x, &doubled).unwrap();
        assert!(found.rank_deficient);
        assert!((found.value / expected - 1.0).abs() < 1e-9, "{found:?}");
        let same = fid(&x, &x).unwrap().value;
        assert!(same.abs() < 1e-9 * expected, "{same}");
    }
}
