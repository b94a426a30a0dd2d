use std::collections::HashMap;

use serde::Deserialize;
use tensor::{Device, Shape, Tensor};

/// The weights of a network as TensorFlow.js stores them: a manifest with names, shapes and how the bytes
/// map to values (as they are where it does not say), and the bytes of all tensors one after another.
pub struct Weights(HashMap<String, Stored>);

struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Group {
    weights: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Option<String>,
    quantization: Option<Quantization>,
}

/// A byte b stands for b·scale + min.
#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: f64,
    min: f64,
}

impl Weights {
    /// Reads a manifest and its bytes; why not, when they don't go together.
    pub fn read(manifest: &str, bytes: &[u8]) -> Result<Self, String> {
        let groups: Vec<Group> =
            serde_json::from_str(manifest).map_err(|error| error.to_string())?;
        let mut rest = bytes;
        let mut stored = HashMap::new();
        for entry in groups.into_iter().flat_map(|group| group.weights) {
            let Entry {
                name,
                shape,
                dtype,
                quantization,
            } = entry;
            // Bytes of a value.
            let size = if quantization.is_some() { 1 } else { 4 };
            // Of nothing there may be any number in each other dimension.
            if shape.contains(&0) {
                return Err(format!("{name} has no values"));
            }
            let (stored_as, expected) = match &quantization {
                Some(quantization) => (quantization.dtype.as_str(), "uint8"),
                None => (dtype.as_deref().unwrap_or("nothing"), "float32"),
            };
            if stored_as != expected {
                return Err(format!("{name} is stored as {stored_as}, not {expected}"));
            }
            let len = shape
                .iter()
                .try_fold(size, |len: usize, &extent| len.checked_mul(extent));
            let (own, after) = len
                .and_then(|len| rest.split_at_checked(len))
                .ok_or_else(|| format!("{name} reaches past the end of the bytes"))?;
            rest = after;
            let values: Vec<f32> = match quantization {
                Some(Quantization { scale, min, .. }) => {
                    let value = |&byte: &u8| (f64::from(byte) * scale + min) as f32;
                    own.iter().map(value).collect()
                }
                None => {
                    let (values, _) = own.as_chunks::<4>();
                    values
                        .iter()
                        .map(|&value| f32::from_le_bytes(value))
                        .collect()
                }
            };
            if !values.iter().all(|value| value.is_finite()) {
                return Err(format!("{name} has values that are no finite numbers"));
            }
            stored.insert(name, Stored { shape, values });
        }
        match rest.len() {
            0 => Ok(Weights(stored)),
            more => Err(format!("{more} bytes belong to no tensor")),
        }
    }

    /// A vector, as biases are.
    pub fn vector(&self, name: &str) -> Result<Tensor, String> {
        self.permuted(name, [0])
    }

    /// Filters, stored as kh×kw×in×out, as a convolution takes them: out×in×kh×kw.
    pub fn filters(&self, name: &str) -> Result<Tensor, String> {
        self.permuted(name, [3, 2, 0, 1])
    }

    /// Depthwise filters, stored as kh×kw×C×1, as C×1×kh×kw.
    pub fn depthwise(&self, name: &str) -> Result<Tensor, String> {
        self.permuted(name, [2, 3, 0, 1])
    }

    /// The matrix of a fully connected layer, stored as in×out, as out×in.
    pub fn matrix(&self, name: &str) -> Result<Tensor, String> {
        self.permuted(name, [1, 0])
    }

    /// The tensor whose dimension i is dimension `order[i]` of what is stored.
    fn permuted<const N: usize>(&self, name: &str, order: [usize; N]) -> Result<Tensor, String> {
        let Stored { shape, values } = self.0.get(name).ok_or(format!("there is no {name}"))?;
        if shape.len() != N {
            return Err(format!("{name} has {} dimensions, not {N}", shape.len()));
        }
        let step = |dimension: usize| shape[dimension + 1..].iter().product::<usize>();
        let mut indices = vec![0];
        for &dimension in &order {
            let along = |&start: &usize| (0..shape[dimension]).map(move |i| (start, i));
            let step = step(dimension);
            indices = indices
                .iter()
                .flat_map(along)
                .map(|(start, i)| start + i * step)
                .collect();
        }
        let values: Vec<f32> = indices.into_iter().map(|i| values[i]).collect();
        let extents = order.map(|dimension| shape[dimension]);
        let shape = Shape::try_from(&extents[..]).map_err(|error| error.to_string())?;
        Tensor::from_slice(&values, shape, &Device::Cpu).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"[{"weights": [
        {"name": "a", "shape": [2, 3], "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        {"name": "b", "shape": [2], "quantization": {"dtype": "uint8", "scale": 1, "min": 0}}
    ]}]"#;

    #[test]
    fn bytes_become_values_in_the_order_asked_for() {
        let weights = Weights::read(MANIFEST, &[0, 1, 2, 3, 4, 5, 250, 7]).unwrap();
        let matrix = weights.matrix("a").unwrap();
        assert_eq!(matrix.shape().dims(), [3, 2]);
        assert_eq!(matrix.to_vec().unwrap(), [-1.0, 0.5, -0.5, 1.0, 0.0, 1.5]);
        assert_eq!(weights.vector("b").unwrap().to_vec().unwrap(), [250.0, 7.0]);
    }

    #[test]
    fn says_what_does_not_go_together() {
        for (bytes, complaint) in [(&[0; 7][..], "past the end"), (&[0; 9], "1 bytes")] {
            let error = Weights::read(MANIFEST, bytes).err().unwrap();
            assert!(error.contains(complaint), "{error}");
        }
        let weights = Weights::read(MANIFEST, &[0; 8]).unwrap();
        assert!(weights.vector("a").unwrap_err().contains("2 dimensions"));
        assert!(weights.vector("c").unwrap_err().contains("no c"));
        let huge = MANIFEST.replace("[2, 3]", "[4294967296, 4294967296]");
        assert!(Weights::read(&huge, &[0; 8]).is_err());
        let nothing = MANIFEST.replace("[2, 3]", "[0, 4294967296]");
        let error = Weights::read(&nothing, &[0; 2]).err().unwrap();
        assert!(error.contains("a has no values"), "{error}");
    }
}
