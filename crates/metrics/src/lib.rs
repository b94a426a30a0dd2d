//! How good translations are.
//!
//! - [`kid`], [`fid`] and [`diversity`] are statistics of [`Features`], in `f64`; they know nothing of pictures
//! - [`Network`] makes features of pictures, and tells how different two of them look (LPIPS); its weights come
//!   from a file of the user's
//!
//! Figures of different networks or sizes can't be compared: [`Network::layer`] names what goes with one.

mod efficientnet;
mod fid;
mod file;
mod inception;
mod kid;
mod network;
mod perception;
mod vgg;

pub use fid::{Fid, fid};
pub use kid::{Kid, SUBSET, SUBSETS, kid, over};
pub use network::{Error, Look, Network};
pub use perception::Perception;

/// Features of pictures: a row each.
pub type Features = nalgebra::DMatrix<f64>;

/// Rows as a matrix.
///
/// # Panics
/// When rows differ in length.
pub fn features(rows: &[Vec<f32>]) -> Features {
    let columns = rows.first().map_or(0, Vec::len);
    assert!(rows.iter().all(|row| row.len() == columns), "ragged rows");
    let values = rows.iter().flatten().map(|&value| f64::from(value));
    Features::from_row_iterator(rows.len(), columns, values)
}

/// The mean Euclidean distance of two rows; none for fewer than two.
pub fn diversity(x: &Features) -> Option<f64> {
    let pairs = (0..x.nrows()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let distances = pairs.map(|(i, j)| (x.row(i) - x.row(j)).norm());
    let (sum, count) = distances.fold((0.0, 0), |(sum, count), d| (sum + d, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
