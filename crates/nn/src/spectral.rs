use rand::RngExt;
use rand_distr::StandardNormal;
use tensor::{Result, Tensor, no_grad};

use crate::{Param, Weights, training};

/// Spectral norm (Miyato et al., 2018): a weight divided by its largest singular value, which is followed by a
/// round of the power method in each forward pass of training. Its vectors are PyTorch's `weight_u` and
/// `weight_v`.
pub(crate) struct SpectralNorm {
    /// The left singular vector, one value for each row of the weight.
    u: Param,
    /// The right one.
    v: Param,
}

/// Rounds before the first pass, so that it is divided by about the right value.
const ROUNDS_BEFORE: usize = 15;

impl SpectralNorm {
    /// For a weight that has just been drawn.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(weights: &mut Weights<'_>, weight: &Param) -> Result<Self> {
        let weight = weight.get().detach();
        let rows = weight.shape().nchw()[0];
        let (device, rng) = (weights.device, &mut *weights.rng);
        let draw = || {
            (0..rows)
                .map(|_| rng.sample::<f32, _>(StandardNormal))
                .collect()
        };
        let u = normalised(&Tensor::from_values([1, 1, rows], device, draw)?)?;
        let mut pair = next(&weight, &u)?;
        for _ in 1..ROUNDS_BEFORE {
            pair = next(&weight, &pair[0])?;
        }
        let flat = |vector: &Tensor| vector.reshape([vector.shape().len()]);
        let [u, v] = &pair;
        Ok(SpectralNorm {
            u: Param::buffer(&flat(u)?),
            v: Param::buffer(&flat(v)?),
        })
    }

    /// The weight divided by its largest singular value; the vectors count as constants.
    pub fn apply(&self, weight: &Tensor) -> Result<Tensor> {
        if training::is_first() {
            let [u, v] = no_grad(|| next(&weight.detach(), &row(&self.u)?))?;
            self.u.set(&u.reshape(self.u.shape())?);
            self.v.set(&v.reshape(self.v.shape())?);
        }
        let largest = row(&self.u)?.matmul(&matrix(weight)?)?;
        let largest = largest.mul(&row(&self.v)?)?.sum()?;
        let shape = weight.shape();
        let inverse = largest.reciprocal()?.reshape([1; 4])?;
        weight.mul(&inverse.expand(shape)?)
    }

    /// Calls `visit` with both vectors.
    pub fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Param)) {
        visit(&format!("{prefix}weight_u"), &self.u);
        visit(&format!("{prefix}weight_v"), &self.v);
    }
}

/// A vector as a matrix of one row.
fn row(vector: &Param) -> Result<Tensor> {
    vector.get().reshape([1, 1, vector.shape().len()])
}

/// A weight as a matrix with a row for each of its first extent.
fn matrix(weight: &Tensor) -> Result<Tensor> {
    let [rows, a, b, c] = weight.shape().nchw();
    weight.reshape([1, rows, a * b * c])
}

/// A round of the power method: v = Wᵀu and u = W·v, both of length one.
fn next(weight: &Tensor, u: &Tensor) -> Result<[Tensor; 2]> {
    let weight = matrix(weight)?;
    let v = normalised(&u.matmul(&weight)?)?;
    let u = normalised(&v.matmul_transposed(&weight)?)?;
    Ok([u, v])
}

fn normalised(vector: &Tensor) -> Result<Tensor> {
    let squares = vector.mul(vector)?.sum()?.scale_add(1.0, 1e-24)?;
    let shape = vector.shape();
    vector.mul(&squares.rsqrt()?.reshape([1; 3])?.expand(shape)?)
}
