use std::io;
use std::path::PathBuf;

use crate::decode::{MAX_BYTES, MAX_SIDE};

/// Why a picture or a folder of pictures could not be used. Each message names the path;
/// [`Error::reason`] leaves it out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("cannot read {}: {source}; check that the file is there and that you may read it", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("{} is not an image, whatever its name says: its content is of no known image format; remove it or convert it to PNG", path.display())]
    NotAnImage { path: PathBuf },

    #[error("{} is of an image format that cannot be read here ({format}); convert it to PNG or JPEG", path.display())]
    Unsupported { path: PathBuf, format: String },

    #[error("{} is damaged or cut short ({reason}); replace it with a whole copy", path.display())]
    Damaged { path: PathBuf, reason: String },

    #[error(
        "{} is too large: at most {MAX_SIDE} pixels a side and {} MiB of pixels are read; shrink it first",
        path.display(), MAX_BYTES >> 20
    )]
    TooLarge { path: PathBuf },

    #[error("there is no folder {}; check the path", path.display())]
    NoFolder { path: PathBuf },

    #[error("{} is not a folder; give the folder that the images are in", path.display())]
    NotAFolder { path: PathBuf },

    #[error("cannot list the folder {}: {reason}; check its permissions", path.display())]
    ReadFolder { path: PathBuf, reason: String },

    #[error(
        "there are no images in {}; put some there (PNG, JPEG, WebP, GIF, BMP, TIFF …; sub-folders count, hidden files don't)",
        path.display()
    )]
    NoImages { path: PathBuf },

    #[error("cannot write {}: {source}; check that the folder exists, that you may write there and that the disk is not full", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("{given} values cannot be a picture of {expected}")]
    Shape { given: usize, expected: String },
}

impl Error {
    /// The cause in a few words, for a list that names the path itself.
    pub fn reason(&self) -> String {
        match self {
            Error::Read { source, .. } => format!("cannot be read: {source}"),
            Error::NotAnImage { .. } => "not an image".into(),
            Error::Unsupported { format, .. } => format!("format cannot be read: {format}"),
            Error::Damaged { reason, .. } => format!("damaged or cut short: {reason}"),
            Error::TooLarge { .. } => "too large".into(),
            other => other.to_string(),
        }
    }
}
