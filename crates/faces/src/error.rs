use std::io;
use std::path::{Path, PathBuf};

/// Why a set could not be prepared. Each message names the path or the option and says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error(transparent)]
    Images(#[from] images::Error),

    #[error("{name} is {given}; give {expected}")]
    Option {
        name: &'static str,
        given: String,
        expected: String,
    },

    #[error(
        "{usable} of the {found} {noun} in {} can be used, which leaves none to train on after {val} for the test set \
         (whole groups); the others are named above with their reasons: add pictures, lower --val, or let more through",
        folder.display()
    )]
    TooFew {
        noun: &'static str,
        folder: PathBuf,
        found: usize,
        usable: usize,
        val: usize,
    },

    #[error(
        "{} and {} lie one inside the other, so that one would be read or written as the other; give separate folders",
        one.display(), other.display()
    )]
    Nested { one: PathBuf, other: PathBuf },

    #[error("{} is there already and is no prepared set; give another --out, or remove it first", path.display())]
    Occupied { path: PathBuf },

    #[error("cannot write {}: {source}; check that you may write there and that the disk is not full", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error(
        "cannot find the demo pictures ({missing}) in {}; set HENSHIN_DATASETS to the repository's datasets folder, or \
         prepare a set of your own: cargo xtask prepare-faces --photos DIR --anime DIR --out DIR",
        searched.display()
    )]
    NoDatasets { missing: String, searched: PathBuf },

    #[error("{} was changed while the set was made: {reason}; run the same command again", path.display())]
    Changed { path: PathBuf, reason: String },

    #[error("another run is preparing {} right now; wait for it, or give another --out", out.display())]
    Busy { out: PathBuf },

    #[error(
        "{} can't be used as the network that tells people apart: {reason}; it is face_recognition_model.bin of the npm \
         package @vladmandic/face-api, with its manifest beside it",
        path.display()
    )]
    Weights { path: PathBuf, reason: String },

    #[error(transparent)]
    Tensor(#[from] tensor::Error),

    #[error("interrupted; the same command goes on where this one stopped")]
    Interrupted,
}

/// For `map_err`: a failure to write `path`.
pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Write {
        path: path.into(),
        source,
    }
}
