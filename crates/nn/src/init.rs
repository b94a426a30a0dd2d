use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};
use tensor::{Device, Result, Tensor};

use crate::Param;

/// How convolution weights are drawn; biases start at zero. `gain` is the reference's `init_gain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// N(0, gain²)
    Normal,
    /// N(0, gain²·2 / (fan_in + fan_out)) (Glorot & Bengio, 2010)
    Xavier,
    /// N(0, 2 / fan_in) (He et al., 2015); takes no gain
    Kaiming,
    /// A random orthogonal matrix times gain (Saxe et al., 2014)
    Orthogonal,
}

/// Draws the weights of a network on a device.
pub struct Weights<'a> {
    /// The distribution.
    pub init: Init,
    /// Its scale.
    pub gain: f32,
    /// The source of randomness.
    pub rng: &'a mut ChaCha8Rng,
    /// Where parameters live.
    pub device: &'a Device,
}

impl Weights<'_> {
    /// A convolution weight of `[out, in, kh, kw]`, or `[in, out, kh, kw]` when transposed. Fans
    /// are counted as PyTorch counts them: the second extent is the fan in.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn weight(&mut self, shape: [usize; 4]) -> Result<Param> {
        let [rows, cols, kh, kw] = shape;
        let (fan_out, fan_in) = ((rows * kh * kw) as f32, (cols * kh * kw) as f32);
        let device = self.device;
        let values = || match self.init {
            Init::Normal => self.normal(shape, self.gain),
            Init::Xavier => self.normal(shape, self.gain * (2.0 / (fan_in + fan_out)).sqrt()),
            Init::Kaiming => self.normal(shape, (2.0 / fan_in).sqrt()),
            Init::Orthogonal => self.orthogonal(rows, cols * kh * kw),
        };
        Ok(Param::new(&Tensor::from_values(shape, device, values)?))
    }

    /// `len` values, all the same.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn constant(&self, len: usize, value: f32) -> Result<Param> {
        Ok(Param::new(&Tensor::full([len], value, self.device)?))
    }

    /// `len` factors, drawn from N(1, gain²).
    ///
    /// # Errors
    /// When the device has no room.
    pub fn around_one(&mut self, len: usize) -> Result<Param> {
        let (device, gain) = (self.device, self.gain);
        let values = || {
            let mut values = self.normal([len, 1, 1, 1], gain);
            values.iter_mut().for_each(|value| *value += 1.0);
            values
        };
        Ok(Param::new(&Tensor::from_values([len], device, values)?))
    }

    fn normal(&mut self, shape: [usize; 4], deviation: f32) -> Vec<f32> {
        let len = shape.iter().product();
        (0..len)
            .map(|_| deviation * self.rng.sample::<f32, _>(StandardNormal))
            .collect()
    }

    /// The shorter side's vectors made orthonormal by Gram and Schmidt, twice each for accuracy.
    fn orthogonal(&mut self, rows: usize, cols: usize) -> Vec<f32> {
        let (count, len) = (rows.min(cols), rows.max(cols));
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
        for _ in 0..count {
            let mut vector: Vec<f64> = (0..len).map(|_| self.rng.sample(StandardNormal)).collect();
            for earlier in basis.iter().chain(basis.iter()) {
                let along = dot(earlier, &vector);
                vector
                    .iter_mut()
                    .zip(earlier)
                    .for_each(|(value, e)| *value -= along * e);
            }
            let norm = dot(&vector, &vector).sqrt();
            vector.iter_mut().for_each(|value| *value /= norm);
            basis.push(vector);
        }
        let at = |row: usize, col: usize| match rows <= cols {
            true => basis[row][col],
            false => basis[col][row],
        };
        let gain = f64::from(self.gain);
        (0..rows * cols)
            .map(|i| (gain * at(i / cols, i % cols)) as f32)
            .collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn draw(init: Init, shape: [usize; 4]) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut weights = Weights {
            init,
            gain: 0.02,
            rng: &mut rng,
            device: &Device::Cpu,
        };
        weights.weight(shape).unwrap().get().to_vec().unwrap()
    }

    #[test]
    fn deviations_are_those_of_the_formulas() {
        let shape = [64, 32, 3, 3];
        for (init, expected) in [
            (Init::Normal, 0.02),
            (Init::Xavier, 0.02 * (2.0f32 / (96.0 * 9.0)).sqrt()),
            (Init::Kaiming, (2.0f32 / (32.0 * 9.0)).sqrt()),
        ] {
            let values = draw(init, shape);
            let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
            assert!((square.sqrt() / expected - 1.0).abs() < 0.02, "{init:?}");
        }
    }

    #[test]
    fn orthogonal_rows_or_columns_are_orthonormal_times_gain() {
        for shape in [[8, 4, 3, 3], [40, 2, 3, 3]] {
            let values = draw(Init::Orthogonal, shape);
            let (rows, cols) = (shape[0], values.len() / shape[0]);
            let vector = |i: usize| -> Vec<f64> {
                let at = |j| {
                    if rows <= cols {
                        i * cols + j
                    } else {
                        j * cols + i
                    }
                };
                (0..rows.max(cols))
                    .map(|j| f64::from(values[at(j)]))
                    .collect()
            };
            for i in 0..rows.min(cols) {
                for j in 0..=i {
                    let expected = if i == j { 0.02 * 0.02 } else { 0.0 };
                    assert!((dot(&vector(i), &vector(j)) - expected).abs() < 1e-9);
                }
            }
        }
    }
}
