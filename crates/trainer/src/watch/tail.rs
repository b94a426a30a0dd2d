//! A file of JSON lines, read as it grows.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// Longest line that is read; longer ones are passed over.
const LONGEST_LINE: usize = 1 << 20;
/// Bytes read at a time.
const CHUNK: usize = 1 << 18;

/// How far a file was read.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    at: u64,
    /// Of a line whose end is yet to come.
    rest: Vec<u8>,
    /// The step of the last line.
    last: u64,
}

/// What was found at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Growth {
    /// Lines, or none.
    Grown,
    /// It is another file than before, or was cut off: it is to be read again from its beginning.
    Rewritten,
}

impl Tail {
    /// Nothing read yet. The file need not be there yet either.
    pub fn new(path: PathBuf) -> Self {
        Tail {
            path,
            at: 0,
            rest: Vec::new(),
            last: 0,
        }
    }

    /// Goes back to the beginning.
    pub fn rewind(&mut self) {
        *self = Tail::new(std::mem::take(&mut self.path));
    }

    /// Calls `each` with the lines that came since and are whole; those without a step, or with one that was
    /// there already, are passed over.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&mut self, mut each: impl FnMut(Value)) -> io::Result<Growth> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && self.at == 0 => {
                return Ok(Growth::Grown);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Growth::Rewritten),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.at {
            return Ok(Growth::Rewritten);
        }
        let from_the_beginning = self.at == 0;
        file.seek(SeekFrom::Start(self.at))?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let len = file.read(&mut chunk)?;
            if len == 0 {
                return Ok(Growth::Grown);
            }
            self.at += len as u64;
            let mut lines = chunk[..len].split_inclusive(|&byte| byte == b'\n');
            let stepped_back = lines.any(|part| match self.line(part) {
                Some((step, _)) if step <= self.last => !from_the_beginning,
                Some((step, line)) => {
                    self.last = step;
                    each(line);
                    false
                }
                None => false,
            });
            if stepped_back {
                return Ok(Growth::Rewritten);
            }
        }
    }

    /// The line that ends with this part of one, if it does, and its step.
    fn line(&mut self, part: &[u8]) -> Option<(u64, Value)> {
        if self.rest.len() <= LONGEST_LINE {
            self.rest.extend(part);
        }
        if part.last() != Some(&b'\n') {
            return None;
        }
        let line: Option<Value> = serde_json::from_slice(&self.rest).ok();
        self.rest.clear();
        let line = line?;
        Some((line["step"].as_u64()?, line))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    fn append(path: &std::path::Path, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(tail: &mut Tail) -> (Growth, Vec<u64>) {
        let mut steps = Vec::new();
        let growth = tail.read(|line| steps.push(line["step"].as_u64().unwrap()));
        (growth.unwrap(), steps)
    }

    #[test]
    fn lines_are_read_once_and_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut tail = Tail::new(path.clone());
        assert_eq!(read(&mut tail), (Growth::Grown, vec![]));
        append(&path, "{\"step\":1}\n{\"step\":2}\n{\"st");
        assert_eq!(read(&mut tail), (Growth::Grown, vec![1, 2]));
        append(&path, "ep\":3}");
        assert_eq!(read(&mut tail), (Growth::Grown, vec![]));
        append(&path, "\nno json\n{\"other\":1}\n\0\0\n{\"step\":4}\n");
        assert_eq!(read(&mut tail), (Growth::Grown, vec![3, 4]));
        let long = "x".repeat(3 * LONGEST_LINE);
        append(&path, &format!("{long}\n{{\"step\":5}}\n"));
        assert_eq!(read(&mut tail), (Growth::Grown, vec![5]));
        assert!(tail.rest.is_empty());
    }

    #[test]
    fn a_file_that_was_cut_off_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = |step: u64| format!("{{\"step\":{step}}}\n");
        let text = |steps: std::ops::Range<u64>| steps.map(line).collect::<String>();
        append(&path, &text(1..10));
        let mut tail = Tail::new(path.clone());
        assert_eq!(read(&mut tail).1.len(), 9);
        // Cut off, and not as long again yet.
        fs::write(&path, text(1..5)).unwrap();
        assert_eq!(read(&mut tail).0, Growth::Rewritten);
        tail.rewind();
        assert_eq!(read(&mut tail), (Growth::Grown, vec![1, 2, 3, 4]));
        // Cut off, and longer than before already.
        fs::write(&path, text(1..5) + &text(3..9)).unwrap();
        assert_eq!(read(&mut tail).0, Growth::Rewritten);
        tail.rewind();
        let once: Vec<u64> = (1..9).collect();
        assert_eq!(read(&mut tail), (Growth::Grown, once));
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&mut tail).0, Growth::Rewritten);
    }
}
