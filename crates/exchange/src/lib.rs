//! Weights and networks from and to other programs: PyTorch's files and safetensors in and out, ONNX out.
//!
//! [`read`] gives the tensors of a file, whatever wrote it; [`generator`] and [`discriminator`] find out which
//! network they belong to, and bring them under our names.

mod fit;
mod kind;
pub mod onnx;
mod pickle;
mod protobuf;
pub mod pth;
mod safe;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

pub use fit::{Asked, Fitted, Misfit, discriminator, generator};
use kind::Kind;

/// The most bytes of a file that is read.
const MOST_BYTES: u64 = 4 << 30;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name in the file.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its values, row by row, whatever they were stored as.
    pub values: Vec<f32>,
}

/// The tensors of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// In the order of the file.
    pub arrays: Vec<Array>,
    /// Whether that is the order in which the network was built, as PyTorch's files have it. Safetensors files
    /// are sorted.
    pub in_order: bool,
    /// What a safetensors file says beside its tensors.
    pub metadata: HashMap<String, String>,
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no.
    #[error("{} could not be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },

    /// Not what it should be.
    #[error("{} holds no weights that can be read: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// It does not agree with its checksum.
    #[error(transparent)]
    State(#[from] nn::StateError),

    /// A layer that has no ONNX.
    #[error(transparent)]
    NotTraced(#[from] nn::NotTraced),

    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
}

/// Reads a state dict from a file of PyTorch's, of either of its formats, or from a safetensors file, which is held
/// against our checksum where it has one. Which it is, is told by its content.
///
/// PyTorch's files are pickles; only those of tensors alone are read, and nothing in them is run.
///
/// # Errors
/// When the file can't be read, is damaged, holds anything but tensors, or several state dicts.
pub fn read(path: &Path) -> Result<Weights, Error> {
    let io_error = |source| Error::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io_error)?;
    let mut file = file.take(MOST_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(io_error)?;
    let weights = read_bytes(&bytes).map_err(|reason| Error::Format {
        path: path.to_owned(),
        reason,
    })?;
    if weights.metadata.contains_key(nn::CHECKSUM) {
        nn::StateReader::open(path)?.verify()?;
    }
    Ok(weights)
}

/// As [`read`], of what a file holds.
///
/// # Errors
/// What is wrong with it.
pub fn read_bytes(bytes: &[u8]) -> Result<Weights, String> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("it is longer than {MOST_BYTES} bytes"));
    }
    match bytes {
        [b'P', b'K', ..] => pth::read_zip(bytes),
        [0x80, 0..=5, ..] if !safe::is_likely(bytes) => pth::read_legacy(bytes),
        _ => safe::read(bytes),
    }
}

/// Writes a file: a temporary one beside it first, so that it is never seen half-written.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let make = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&partial, path)
    };
    let done = make();
    if done.is_err() {
        // What could not be finished must not stay; a second failure adds nothing.
        let _ = fs::remove_file(&partial);
    }
    done.map_err(|source| Error::Io {
        path: path.to_owned(),
        action: "written",
        source,
    })
}

/// Readers of files, for the fuzz targets and nobody else.
#[doc(hidden)]
pub mod readers {
    use crate::pickle::Pickle;

    /// Reads a pickle and describes its tensors.
    ///
    /// # Errors
    /// When it is none of tensors.
    pub fn pickle(bytes: &[u8]) -> Result<(), String> {
        let (pickle, _) = Pickle::read(bytes)?;
        pickle.dicts().map(drop)
    }
}
