//! State dicts: tensors by name, in safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tensor::{Device, Shape, Tensor};

use crate::Module;

/// Tensors by name.
pub type StateDict = BTreeMap<String, Tensor>;

/// Why a state could not be read, written or taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system said no.
    #[error("{} could not be {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },

    /// Not a safetensors file, or cut short.
    #[error(
        "{} is no whole safetensors file ({reason}); it may have been cut short while it was \
         written or copied: take another checkpoint", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor that the network has and the file lacks.
    #[error(
        "the tensor {0} is missing; the file belongs to a network with other options \
         (generator, ngf, norm …)"
    )]
    Missing(String),

    /// A tensor of another shape than the network's.
    #[error(
        "the tensor {name} is {found}, but the network's is {expected}; the file belongs to a \
         network with other options (generator, ngf, norm …)"
    )]
    Shape {
        /// Its name.
        name: String,
        /// The file's shape.
        found: Shape,
        /// The network's shape.
        expected: Shape,
    },

    /// The device or a shape failed.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
}

/// The values of all parameters under their names, `prefix` in front.
pub fn state_dict(module: &dyn Module, prefix: &str) -> StateDict {
    let mut state = StateDict::new();
    module.visit(prefix, &mut |name, param| {
        state.insert(name.to_owned(), param.get().detach());
    });
    state
}

/// Replaces all parameters by those of a state dict. Names that the module does not have are
/// passed over; nothing changes unless everything fits.
///
/// # Errors
/// When a tensor is missing or of another shape.
pub fn load_state(module: &dyn Module, prefix: &str, state: &StateDict) -> Result<(), StateError> {
    let mut found = Vec::new();
    module.visit(prefix, &mut |name, param| {
        found.push(get(state, name, param.shape()).map(|value| (param.clone(), value)));
    });
    for (param, value) in found.into_iter().collect::<Result<Vec<_>, _>>()? {
        param.set(&value);
    }
    Ok(())
}

/// The tensor of a name and an expected shape.
pub(crate) fn get(state: &StateDict, name: &str, expected: Shape) -> Result<Tensor, StateError> {
    let value = state
        .get(name)
        .ok_or_else(|| StateError::Missing(name.to_owned()))?;
    if value.shape() != expected {
        let (name, found) = (name.to_owned(), value.shape());
        return Err(StateError::Shape {
            name,
            found,
            expected,
        });
    }
    Ok(value.clone())
}

/// Writes tensors and metadata to a safetensors file: a temporary one first, then renamed, so that
/// a file of that name is always whole.
///
/// # Errors
/// When the file can't be written or the device fails.
pub fn save_file(
    path: &Path,
    state: &StateDict,
    metadata: HashMap<String, String>,
) -> Result<(), StateError> {
    let values: Vec<Vec<f32>> = state
        .values()
        .map(Tensor::to_vec)
        .collect::<Result<_, tensor::Error>>()?;
    let views = state.iter().zip(&values).map(|((name, tensor), values)| {
        let bytes = bytemuck::cast_slice(values);
        let view = TensorView::new(Dtype::F32, tensor.shape().dims().to_vec(), bytes)
            .expect("a tensor holds as many values as its shape says");
        (name, view)
    });
    let io_error = |source| StateError::Io {
        path: path.to_owned(),
        action: "written",
        source,
    };
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|error| io_error(io::Error::other(error)))?;
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = fs::File::create(&partial)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        // What could not be finished must not stay; a second failure adds nothing.
        let _ = fs::remove_file(&partial);
        io_error(error)
    })
}

/// Reads a safetensors file of `f32` tensors with its metadata.
///
/// # Errors
/// When it can't be read, is not whole, or holds other than `f32` tensors.
pub fn load_file(
    path: &Path,
    device: &Device,
) -> Result<(StateDict, HashMap<String, String>), StateError> {
    let bytes = fs::read(path).map_err(|source| StateError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    let format = |reason: String| StateError::Format {
        path: path.to_owned(),
        reason,
    };
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| format(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
    let mut state = StateDict::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format(format!("{name} is {:?}, not F32", view.dtype())));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        let shape = Shape::try_from(view.shape())?;
        state.insert(name.to_owned(), Tensor::from_slice(&values, shape, device)?);
    }
    Ok((state, header.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> StateDict {
        let tensor = Tensor::from_slice(&[1.0, -2.5, 3.0], [3], &Device::Cpu).unwrap();
        StateDict::from([("a.weight".to_owned(), tensor)])
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        save_file(&path, &sample(), HashMap::from([("k".into(), "v".into())])).unwrap();
        let (state, metadata) = load_file(&path, &Device::Cpu).unwrap();
        assert_eq!(state["a.weight"].to_vec().unwrap(), [1.0, -2.5, 3.0]);
        assert_eq!(metadata["k"], "v");
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_file_cut_short_is_named_and_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        save_file(&path, &sample(), HashMap::new()).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in [0, 4, 20, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let error = load_file(&path, &Device::Cpu).unwrap_err().to_string();
            assert!(
                error.contains("x.safetensors") && error.contains("cut short"),
                "{error}"
            );
        }
    }
}
