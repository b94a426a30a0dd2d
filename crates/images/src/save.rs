use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ImageError, RgbImage};

use crate::{Error, Result};

/// Writes a PNG: into a temporary file beside `path` first, then under its name, so that nobody
/// ever sees half of it.
///
/// # Errors
/// When the file cannot be written; then nothing is left behind, and what was there before stays.
pub fn save_png(path: &Path, picture: &RgbImage) -> Result<()> {
    let refuse = |source: io::Error| Error::Write {
        path: path.into(),
        source,
    };
    let name = path
        .file_name()
        .ok_or_else(|| refuse(io::ErrorKind::InvalidFilename.into()))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(hidden);

    write(&partial, picture)
        .and_then(|()| Ok(fs::rename(&partial, path)?))
        .map_err(|error| {
            // The first error is the one to tell; this file may never have come to be.
            let _ = fs::remove_file(&partial);
            refuse(match error {
                ImageError::IoError(error) => error,
                other => io::Error::other(other),
            })
        })
}

fn write(path: &Path, picture: &RgbImage) -> std::result::Result<(), ImageError> {
    let mut file = BufWriter::new(File::create(path)?);
    picture.write_with_encoder(PngEncoder::new(&mut file))?;
    file.into_inner().map_err(|error| error.into_error())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_whole_files_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b ü.png");
        let picture = RgbImage::from_fn(7, 5, |x, y| image::Rgb([x as u8, y as u8, 99]));
        save_png(&path, &picture).unwrap();
        assert_eq!(crate::decode(&path).unwrap(), picture);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn names_the_file_that_it_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken.png");
        fs::create_dir(&taken).unwrap();
        let picture = RgbImage::new(2, 2);
        for path in [folder.path().join("missing/x.png"), taken] {
            let message = save_png(&path, &picture).unwrap_err().to_string();
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
