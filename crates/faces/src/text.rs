//! Text files, read with bounds: anything may lie where one of ours is expected.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// Reads a file of at most so many bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    // Its length may be unknown, as that of a device is.
    let length = File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    match length as u64 > most {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// Whether a file holds this text and nothing else.
pub(crate) fn holds(path: &Path, text: &str) -> bool {
    read(path, text.len() as u64).is_ok_and(|found| found == text)
}

/// The next line without its end; nothing where that is missing, or the line is longer than `most` bytes.
pub(crate) fn line(reader: &mut impl BufRead, most: u64) -> Option<String> {
    let mut line = Vec::new();
    reader.take(most).read_until(b'\n', &mut line).ok()?;
    let is_whole = line.pop() == Some(b'\n');
    is_whole.then(|| String::from_utf8(line).ok())?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_read_up_to_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "12345");
        assert_eq!(
            read(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(holds(&path, "12345") && !holds(&path, "1234") && !holds(&path, "123456"));
        if cfg!(unix) {
            assert!(read(Path::new("/dev/zero"), 1000).is_err());
        }
    }

    #[test]
    fn lines_are_whole_and_short_or_none() {
        let mut text = &b"one\n\nlonger\ncut"[..];
        assert_eq!(line(&mut text, 4).as_deref(), Some("one"));
        assert_eq!(line(&mut text, 4).as_deref(), Some(""));
        assert_eq!(line(&mut text, 4), None);
        let mut text = &b"cut"[..];
        assert_eq!(line(&mut text, 4), None);
    }
}
