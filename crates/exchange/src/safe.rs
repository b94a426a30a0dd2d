//! Safetensors files, whoever wrote them.

use safetensors::SafeTensors;

use crate::{Array, Kind, Weights};

/// Whether bytes begin as such a file does: the length of a header, and a brace.
pub fn is_likely(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Reads all tensors.
///
/// # Errors
/// What is wrong with the file.
pub fn read(bytes: &[u8]) -> Result<Weights, String> {
    if !is_likely(bytes) {
        return Err("it is neither a file of PyTorch's (.pth) nor of safetensors".into());
    }
    let damaged = |error| format!("{error}; it may have been damaged or cut short: copy it again");
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let arrays = file.iter().map(|(name, tensor)| {
        let dtype = tensor.dtype();
        let kind = Kind::of_safetensors(dtype)
            .ok_or_else(|| format!("{name} is stored as {dtype:?}, which can't be read"))?;
        Ok(Array {
            name: name.to_owned(),
            shape: tensor.shape().to_vec(),
            values: kind.values(tensor.data()),
        })
    });
    let arrays: Vec<Array> = arrays.collect::<Result<_, String>>()?;
    match arrays.is_empty() {
        true => Err("there are no tensors in it".into()),
        false => Ok(Weights {
            arrays,
            in_order: false,
            metadata: metadata.metadata().clone().unwrap_or_default(),
        }),
    }
}
