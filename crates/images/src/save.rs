use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
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
    atomically(path, |file| {
        picture
            .write_with_encoder(PngEncoder::new(file))
            .map_err(|error| match error {
                ImageError::IoError(error) => refusal(path, error),
                error => refusal(path, io::Error::other(error)),
            })
    })
}

/// The rows of a PNG that is being written.
pub struct PngRows<'a> {
    path: &'a Path,
    stream: &'a mut dyn Write,
}

impl PngRows<'_> {
    /// Writes the rows of `band` below those before; it must be as wide as the whole.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn push(&mut self, band: &RgbImage) -> Result<()> {
        let written = self.stream.write_all(band.as_raw());
        written.map_err(|error| refusal(self.path, error))
    }
}

/// As [`save_png`], for a picture of `width`×`height` whose rows `write` gives from top to bottom as they
/// come to be.
///
/// # Errors
/// As [`save_png`], when rows are missing, and what `write` fails with: nothing is left behind then, too.
pub fn save_png_rows<E: From<Error>>(
    path: &Path,
    width: u32,
    height: u32,
    write: impl FnOnce(&mut PngRows<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let refuse = |error: png::EncodingError| match error {
        png::EncodingError::IoError(error) => refusal(path, error),
        error => refusal(path, io::Error::other(error)),
    };
    atomically(path, |file| {
        let mut encoder = png::Encoder::new(file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        // As `image` sets them in `save_png`.
        encoder.set_compression(png::Compression::Fast);
        encoder.set_filter(png::Filter::Adaptive);
        let mut png = encoder.write_header().map_err(refuse)?;
        let mut stream = png.stream_writer().map_err(refuse)?;
        write(&mut PngRows {
            path,
            stream: &mut stream,
        })?;
        stream.finish().map_err(refuse)?;
        Ok(png.finish().map_err(refuse)?)
    })
}

pub(crate) fn refusal(path: &Path, source: io::Error) -> Error {
    Error::Write {
        path: path.into(),
        source,
    }
}

/// A file that remembers why it could not be written: encoders make text of that, and a full disk is waited
/// for.
pub(crate) struct Watched {
    file: File,
    failed: Option<io::ErrorKind>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file
            .write(bytes)
            .inspect_err(|error| self.failed = Some(error.kind()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Lets `write` fill a file under another name and gives it its own when that is done. After an error
/// nothing of it is left.
pub(crate) fn atomically<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<Watched>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let refuse = |error| refusal(path, error);
    let name = path
        .file_name()
        .ok_or_else(|| refuse(io::ErrorKind::InvalidFilename.into()))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(hidden);

    let done = || {
        let file = File::create(&partial).map_err(refuse)?;
        let mut file = BufWriter::new(Watched { file, failed: None });
        if let Err(error) = write(&mut file) {
            return Err(match file.get_ref().failed {
                Some(kind) => refuse(kind.into()).into(),
                None => error,
            });
        }
        file.into_inner()
            .map_err(|error| refuse(error.into_error()))?;
        Ok(fs::rename(&partial, path).map_err(refuse)?)
    };
    done().inspect_err(|_| {
        // The first error is the one to tell; this file may never have come to be.
        let _ = fs::remove_file(&partial);
    })
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

    /// `/dev/full` takes no byte.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let partial = format!(".x.png.{}.partial", std::process::id());
        for rows in [false, true] {
            let partial = folder.path().join(&partial);
            std::os::unix::fs::symlink("/dev/full", partial).unwrap();
            // More than any buffer holds.
            let picture = RgbImage::from_fn(300, 300, |x, y| {
                image::Rgb([(x * y) as u8, (x * x) as u8, (y * x * 7) as u8])
            });
            let written = match rows {
                true => save_png_rows(&path, 300, 300, |rows| rows.push(&picture)),
                false => save_png(&path, &picture),
            };
            let Err(Error::Write { source, .. }) = written else {
                panic!("{written:?}");
            };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        }
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

    #[test]
    fn rows_as_they_come_make_the_same_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.png");
        let picture = RgbImage::from_fn(31, 50, |x, y| image::Rgb([(x * y) as u8, y as u8, 9]));
        let bands = |rows: &mut PngRows, until: u32| {
            (0..until)
                .step_by(7)
                .try_for_each(|y| rows.push(&crate::crop(&picture, 0, y, 31, 7.min(50 - y))))
        };
        save_png_rows(&path, 31, 50, |rows| bands(rows, 50)).unwrap();
        assert_eq!(crate::decode(&path).unwrap(), picture);

        let cut_short = folder.path().join("short.png");
        let error = save_png_rows(&cut_short, 31, 50, |rows| bands(rows, 20)).unwrap_err();
        assert!(error.to_string().contains("short.png"), "{error}");
        let stopped = save_png_rows(&cut_short, 31, 50, |rows| {
            bands(rows, 20)?;
            Err(Error::NotAnImage {
                path: "stopped".into(),
            })
        });
        assert!(stopped.unwrap_err().to_string().contains("stopped"));
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "only the whole one"
        );
    }
}
