//! What is found out about one picture, and kept so that it need not be found out again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Write};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use images::{MAX_SIDE, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::measure::{Look, Measures};
use crate::{Cause, Detector, Domain, Frame, Landmarks, MIN_SIDE, Result, error, text};

/// Pixels a side at which faces are measured, whatever their size.
const MEASURED: u32 = 112;

/// What was found in a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Examined {
    /// Width and height, as its EXIF orientation turns it.
    pub extent: [u32; 2],
    /// Hash of its pixels.
    pub content: u64,
    pub look: Look,
    /// The largest first.
    pub faces: Vec<Found>,
}

/// A face in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub landmarks: Landmarks,

    pub score: f64,
    pub measures: Measures,
}

impl Examined {
    /// Whether all of it can have been found in a picture; what reckons with it need not expect more.
    fn is_sound(&self) -> bool {
        let sides = self.extent.iter();
        let near = |point: &[f64; 2]| point.iter().all(|at| at.abs() <= FARTHEST);
        let is_sound = |found: &Found| {
            let Landmarks {
                eyes: [left, right],
                nose,
                mouth,
                brows,
                chin,
            } = &found.landmarks;
            [left, right, nose, mouth, brows, chin]
                .into_iter()
                .all(near)
                && found.landmarks.are_plausible()
        };
        sides
            .clone()
            .all(|side| (MIN_SIDE..=MAX_SIDE).contains(side))
            && self.faces.iter().all(is_sound)
    }
}

/// A face's landmarks may lie outside of its picture, but no farther than this from its corner.
const FARTHEST: f64 = 16.0 * MAX_SIDE as f64;

/// Why a picture can't be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub cause: Cause,
    pub reason: String,
}

pub(crate) type Outcome = std::result::Result<Examined, Refusal>;

/// Reads a picture as the set takes it.
pub(crate) fn read(file: &Path, background: [u8; 3]) -> std::result::Result<RgbImage, Refusal> {
    images::decode_onto(file, Rgb(background)).map_err(|error| Refusal {
        cause: Cause::Broken,
        reason: error.reason(),
    })
}

/// Looks a picture over.
pub(crate) fn examine(file: &Path, background: [u8; 3], detector: &Detector) -> Outcome {
    // Decoders meet files that nobody thought of; one of them must not end the work on all others.
    catch_unwind(|| look_over(file, background, detector)).unwrap_or_else(|_| {
        Err(Refusal {
            cause: Cause::Broken,
            reason: "decoding it fails".into(),
        })
    })
}

fn look_over(file: &Path, background: [u8; 3], detector: &Detector) -> Outcome {
    let picture = read(file, background)?;
    let (width, height) = picture.dimensions();
    if width.min(height) < MIN_SIDE {
        return Err(Refusal {
            cause: Cause::Small,
            reason: format!("{width}×{height}, less than {MIN_SIDE} pixels a side"),
        });
    }

    let found = |face: crate::Face| {
        let (core, extent) = face.landmarks.core();
        let frame = Frame {
            centre: core,
            side: extent,
            angle: face.landmarks.roll(),
        };
        Found {
            landmarks: face.landmarks,
            score: face.score,
            measures: Measures::of(&frame.cut(&picture, MEASURED)),
        }
    };
    let faces = detector.faces(&picture).into_iter().map(found).collect();
    Ok(Examined {
        extent: [width, height],
        content: content_of(&picture),
        look: Look::of(&picture),
        faces,
    })
}

/// Tells pictures apart by their pixels.
pub(crate) fn content_of(picture: &RgbImage) -> u64 {
    let mut hasher = DefaultHasher::new();
    (picture.dimensions(), picture.as_raw()).hash(&mut hasher);
    hasher.finish()
}

/// What was found so far, in a file that a later run goes on from: a line a picture.
pub(crate) struct Journal {
    known: HashMap<(Domain, String), Line>,
    file: Mutex<File>,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line {
    domain: Domain,
    source: String,
    /// Length and time of the last change, by which a file is known again.
    stamp: (u64, u128),
    outcome: Outcome,
}

impl Line {
    fn is_sound(&self) -> bool {
        self.outcome.as_ref().map_or(true, Examined::is_sound)
    }
}

/// The longest line of a journal that is read; a face takes about half a kilobyte.
const LONGEST_LINE: u64 = 4 << 20;

/// Opens a journal as a run does, and says how many pictures it knows.
///
/// # Errors
/// When the file can't be written.
pub fn read_journal(path: PathBuf) -> Result<usize> {
    Ok(Journal::open(path)?.known.len())
}

impl Journal {
    /// Opens the journal at a path, new or from an earlier run.
    pub fn open(path: PathBuf) -> Result<Self> {
        let mut known = HashMap::new();
        let mut whole = 0;
        if let Ok(file) = File::open(&path) {
            let mut reader = BufReader::new(file);
            while let Some(text) = text::line(&mut reader, LONGEST_LINE) {
                // The last line may be cut short; what follows it would be lost with it.
                let line = serde_json::from_str::<Line>(&text).ok();
                let Some(line) = line.filter(Line::is_sound) else {
                    break;
                };
                whole += text.len() as u64 + 1;
                known.insert((line.domain, line.source.clone()), line);
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(error::write(&path))?;
        file.set_len(whole).map_err(error::write(&path))?;
        let file = Mutex::new(file);
        Ok(Journal { known, file, path })
    }

    /// What is known of a picture, or what `examine` finds.
    pub fn outcome(
        &self,
        domain: Domain,
        source: &str,
        file: &Path,
        examine: impl FnOnce() -> Outcome,
    ) -> Result<Outcome> {
        let stamp = stamp(file);
        if let Some(line) = self.known.get(&(domain, source.to_owned()))
            && line.stamp == stamp
        {
            return Ok(line.outcome.clone());
        }
        let line = Line {
            domain,
            source: source.to_owned(),
            stamp,
            outcome: examine(),
        };
        let mut text = serde_json::to_string(&line).expect("plain data can be written as JSON");
        text.push('\n');
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // One write a line, so that whatever ends the program leaves whole lines.
        file.write_all(text.as_bytes())
            .map_err(error::write(&self.path))?;
        Ok(line.outcome)
    }
}

fn stamp(file: &Path) -> (u64, u128) {
    fs::metadata(file).map_or((0, 0), |metadata| {
        let changed = metadata.modified().ok();
        let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (metadata.len(), since.map_or(0, |since| since.as_nanos()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_not_looked_for_again_unless_the_file_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, picture) = (folder.path().join("journal"), folder.path().join("a.png"));
        fs::write(&picture, "one").unwrap();
        let refusal = |reason: &str| {
            Err(Refusal {
                cause: Cause::Broken,
                reason: reason.into(),
            })
        };
        let ask = |journal: &Journal, reason: &str| {
            journal
                .outcome(Domain::A, "a.png", &picture, || refusal(reason))
                .unwrap()
        };
        assert_eq!(
            ask(&Journal::open(path.clone()).unwrap(), "first"),
            refusal("first")
        );
        // Whatever ended the program in the middle of a line.
        let mut text = fs::read_to_string(&path).unwrap();
        text += "{\"domain\": \"B\", \"sou";
        fs::write(&path, text).unwrap();
        let journal = Journal::open(path.clone()).unwrap();
        assert_eq!(ask(&journal, "second"), refusal("first"));
        fs::write(&picture, "changed").unwrap();
        assert_eq!(ask(&journal, "third"), refusal("third"));
        assert_eq!(
            ask(&Journal::open(path).unwrap(), "fourth"),
            refusal("third")
        );
    }

    #[test]
    fn a_journal_goes_on_after_its_last_sound_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let line = |outcome: Outcome| {
            let line = Line {
                domain: Domain::A,
                source: "a.png".into(),
                stamp: (1, 2),
                outcome,
            };
            serde_json::to_string(&line).unwrap()
        };
        let refusal = line(Err(Refusal {
            cause: Cause::Broken,
            reason: "torn".into(),
        }));
        let found = |extent: [u32; 2], far: f64| {
            let landmarks = Landmarks {
                eyes: [[30.0, 40.0], [70.0, 40.0]],
                nose: [50.0, 60.0],
                mouth: [50.0, 80.0],
                brows: [50.0, 30.0],
                chin: [far, 100.0],
            };
            let measures = Measures {
                sharpness: 1.0,
                brightness: 1.0,
                flatness: 0.0,
            };
            line(Ok(Examined {
                extent,
                content: 0,
                look: Look::of(&RgbImage::new(1, 1)),
                faces: vec![Found {
                    landmarks,
                    score: 1.0,
                    measures,
                }],
            }))
        };
        let sound = found([100, 100], 50.0);
        for (rest, kept) in [
            (format!("{sound}\n"), true),
            // It is all there but its end: the next line would be written behind it.
            (sound.clone(), false),
            (format!("{sound}\r\n"), true),
            (format!("{}\n", found([0, 100], 50.0)), false),
            (format!("{}\n", found([100, 100], 1e300)), false),
            (format!("{{{}\n", " ".repeat(LONGEST_LINE as usize)), false),
        ] {
            let whole = format!("{refusal}\n");
            fs::write(&path, format!("{whole}{rest}")).unwrap();
            Journal::open(path.clone()).unwrap();
            let length = whole.len() + if kept { rest.len() } else { 0 };
            let found = fs::metadata(&path).unwrap().len();
            assert_eq!(found, length as u64, "{:.60}", rest);
        }
    }
}
