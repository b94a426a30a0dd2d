//! Event files as TensorBoard reads them: TFRecords of `Event` messages, encoded by hand.
//!
//! A run that goes on begins a new file with a `SessionLog` that says START at the first step to come.
//! TensorBoard then leaves out what earlier files have from that step on, so that no step counts twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::run_dir::RunDir;
use crate::watch::group;

/// Time between writes where no checkpoint asks for one.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Added to a rotated checksum, so that data with checksums inside can have one, too.
const MASK_DELTA: u32 = 0xa282_ead8;

/// `SessionLog.SessionStatus.START`
const START: u64 = 1;

/// A run's event file.
pub struct TensorBoard {
    file: File,
    path: PathBuf,
    /// Bytes of whole records in the file.
    len: u64,
    /// Records that are not in the file yet.
    pending: Vec<u8>,
    written: Instant,
}

impl TensorBoard {
    /// Begins a new event file of a run that has taken `steps` steps.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(dir: &RunDir, steps: u64) -> Result<Self> {
        let folder = dir.tensorboard();
        let (file, path) = fs::create_dir_all(&folder)
            .and_then(|()| new_file(&folder))
            .with_context(|| {
                let folder = folder.display();
                format!("{folder} can't be written; make room or leave --tensorboard out")
            })?;
        let mut board = TensorBoard {
            file,
            path,
            len: 0,
            pending: Vec::new(),
            written: Instant::now(),
        };
        board.push(0, |event| event.bytes(3, b"brain.Event:2"));
        board.push(steps + 1, |event| {
            event.message(7, |log| log.varint(1, START));
        });
        board.write()?;
        Ok(board)
    }

    /// Takes note of the numbers of a line of metrics.
    pub fn scalars(&mut self, step: u64, line: &Map<String, Value>) {
        let numbers = line.iter().filter(|(name, _)| *name != "step");
        let numbers = numbers.filter_map(|(name, value)| Some((name, value.as_f64()?)));
        self.push(step, |event| {
            event.message(5, |summary| {
                for (name, value) in numbers {
                    summary.message(1, |entry| {
                        entry.bytes(1, tag(name).as_bytes());
                        entry.float(2, value as f32);
                    });
                }
            });
        });
    }

    /// Takes note of a picture: an encoded PNG of `[width, height]`.
    pub fn picture(&mut self, step: u64, name: &str, [width, height]: [u32; 2], png: &[u8]) {
        const RGB: u64 = 3;
        self.push(step, |event| {
            event.message(5, |summary| {
                summary.message(1, |entry| {
                    entry.bytes(1, name.as_bytes());
                    entry.message(4, |image| {
                        image.varint(1, height.into());
                        image.varint(2, width.into());
                        image.varint(3, RGB);
                        image.bytes(4, png);
                    });
                });
            });
        });
    }

    /// Writes what was noted, if that was not done for some seconds.
    ///
    /// # Errors
    /// As [`TensorBoard::write`].
    pub fn write_now_and_then(&mut self) -> Result<()> {
        match self.written.elapsed() >= WRITE_EVERY {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Writes what was noted. What can't be written leaves nothing, and may be tried again.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&mut self) -> Result<()> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| self.file.write_all(&self.pending));
        match written {
            Ok(()) => self.len += self.pending.len() as u64,
            // The first error is the one to tell.
            Err(_) => _ = self.file.set_len(self.len),
        }
        written.with_context(|| format!("{} can't be written", self.path.display()))?;
        self.pending.clear();
        self.written = Instant::now();
        Ok(())
    }

    fn push(&mut self, step: u64, fill: impl FnOnce(&mut Message)) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut event = Message::default();
        event.double(1, since.unwrap_or_default().as_secs_f64());
        event.varint(2, step);
        fill(&mut event);
        record(&mut self.pending, &event.0);
    }
}

impl Drop for TensorBoard {
    fn drop(&mut self) {
        // The run itself ends as it does.
        let _ = self.write();
    }
}

/// A file of a name that no other has; TensorBoard reads them in the order of their names.
fn new_file(folder: &std::path::Path) -> io::Result<(File, PathBuf)> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    let names = (seconds..).map(|at| format!("events.out.tfevents.{at:010}.henshin"));
    for path in names.map(|name| folder.join(name)) {
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("seconds don't end")
}

/// What TensorBoard knows a number by: it puts together what has the same first part.
fn tag(name: &str) -> String {
    format!("{}/{name}", group(name))
}

/// Appends a TFRecord: length and data, each with a checksum.
fn record(out: &mut Vec<u8>, data: &[u8]) {
    let len = (data.len() as u64).to_le_bytes();
    out.extend(len);
    out.extend(masked_crc(&len).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(MASK_DELTA)
}

/// A protocol buffer message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw(field << 3 | wire_type);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.raw(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.raw(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of all records, whose checksums must be right.
    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !file.is_empty() {
            let (len, rest) = file.split_at(8);
            let (len_crc, rest) = rest.split_at(4);
            assert_eq!(len_crc, masked_crc(len).to_le_bytes());
            let len = u64::from_le_bytes(len.try_into().unwrap()) as usize;
            let (data, rest) = rest.split_at(len);
            let (crc, rest) = rest.split_at(4);
            assert_eq!(crc, masked_crc(data).to_le_bytes());
            found.push(data.to_vec());
            file = rest;
        }
        found
    }

    #[derive(Debug, PartialEq)]
    enum Field {
        Varint(u64),
        Fixed(Vec<u8>),
        Bytes(Vec<u8>),
    }

    fn varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = data.split_first().unwrap();
            *data = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn take(data: &mut &[u8], len: usize) -> Vec<u8> {
        let (part, rest) = data.split_at(len);
        *data = rest;
        part.to_vec()
    }

    fn fields(mut data: &[u8]) -> Vec<(u64, Field)> {
        let mut found = Vec::new();
        while !data.is_empty() {
            let key = varint(&mut data);
            let field = match key & 7 {
                0 => Field::Varint(varint(&mut data)),
                1 => Field::Fixed(take(&mut data, 8)),
                2 => {
                    let len = varint(&mut data) as usize;
                    Field::Bytes(take(&mut data, len))
                }
                5 => Field::Fixed(take(&mut data, 4)),
                other => panic!("wire type {other}"),
            };
            found.push((key >> 3, field));
        }
        found
    }

    fn inner(field: &Field) -> Vec<(u64, Field)> {
        match field {
            Field::Bytes(data) => fields(data),
            other => panic!("{other:?} is no message"),
        }
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // As TensorBoard's own `masked_crc32c` has them: the same, and a length of 24.
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
        assert_eq!(masked_crc(&24_u64.to_le_bytes()), 0x224b_7fa3);
    }

    #[test]
    fn events_hold_what_was_noted_and_a_run_that_goes_on_says_from_where() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::at(folder.path());
        let mut board = TensorBoard::open(&dir, 0).unwrap();
        let line = serde_json::json!({"step": 300, "G_A": 0.25, "none": null, "learning_rate": 2});
        board.scalars(300, line.as_object().unwrap());
        board.picture(300, "samples", [7, 5], b"png");
        drop(board);
        drop(TensorBoard::open(&dir, 200).unwrap());

        let mut files: Vec<PathBuf> = fs::read_dir(dir.tensorboard())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert_eq!(files.len(), 2);
        let read = |path: &PathBuf| -> Vec<Vec<(u64, Field)>> {
            let records = records(&fs::read(path).unwrap());
            records.iter().map(|record| fields(record)).collect()
        };
        let events = read(&files[0]);
        assert_eq!(events.len(), 4);
        assert_eq!(events[0][2], (3, Field::Bytes(b"brain.Event:2".to_vec())));
        assert_eq!(events[2][1], (2, Field::Varint(300)));
        let summary = inner(&events[2][2].1);
        let numbers: Vec<_> = summary.iter().map(|(_, value)| inner(value)).collect();
        assert_eq!(
            numbers,
            [("G/G_A", 0.25_f32), ("learning_rate/learning_rate", 2.0)].map(|(tag, value)| vec![
                (1, Field::Bytes(tag.as_bytes().to_vec())),
                (2, Field::Fixed(value.to_le_bytes().to_vec())),
            ])
        );
        let picture = inner(&inner(&events[3][2].1)[0].1);
        assert_eq!(
            inner(&picture[1].1),
            [
                (1, Field::Varint(5)),
                (2, Field::Varint(7)),
                (3, Field::Varint(3)),
                (4, Field::Bytes(b"png".to_vec())),
            ]
        );

        let resumed = read(&files[1]);
        assert_eq!(resumed[1][1], (2, Field::Varint(201)));
        assert_eq!(inner(&resumed[1][2].1), [(1, Field::Varint(START))]);
    }
}
