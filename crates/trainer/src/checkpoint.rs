//! Checkpoints: one safetensors file with everything that training goes on from, and all else that it
//! depends on in the metadata.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use nn::{CHECKSUM, StateDict, StateError, StateFile, StateReader, load_file};
use tensor::Device;

use crate::cli::Step;
use crate::disk;
use crate::rate::Rate;
use crate::run_dir::RunDir;
use crate::settings::Settings;

/// The version of what is in the file.
const VERSION: u32 = 2;
const FORMAT: &str = "henshin-checkpoint-";
const EXTENSION: &str = "safetensors";
/// Of an empty file beside a checkpoint that is to be kept.
const MARK: &str = "keep";
/// The file that names the newest checkpoint.
const LATEST: &str = "latest";
/// The file that names the best checkpoint, where training evaluates.
const BEST: &str = "best";

/// What a checkpoint says beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub settings: Settings,
    /// Steps taken.
    pub steps: u64,
    /// Pictures of each domain taken.
    pub pictures: u64,
    /// Steps that were passed over, or will be when they come, because they gave no finite numbers.
    pub passed_over: BTreeSet<u64>,
    /// What the learning rate depends on beside the step.
    pub rate: Rate,
    /// Which of a GPU's kernels were chosen by measurement.
    pub kernels: String,
    /// What it was computed on, for people.
    pub device: String,
    /// The pictures trained on, see [`Pictures::fingerprint`](crate::data::Pictures::fingerprint).
    pub fingerprint: String,
}

/// A checkpoint file whose content agrees with its checksum.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub path: PathBuf,
    pub header: Header,
}

impl Checkpoint {
    /// Reads a file once to see whether it is whole.
    ///
    /// # Errors
    /// Why it can't be gone on from.
    pub fn verify(path: &Path) -> Result<Self> {
        let mut reader = StateReader::open(path)?;
        reader.verify()?;
        Self::of(path, &reader)
    }

    /// What a file says, whether or not it agrees with its checksum.
    ///
    /// # Errors
    /// When it is no checkpoint.
    pub fn of(path: &Path, reader: &StateReader) -> Result<Self> {
        let read = || {
            let header = Header::from_metadata(reader.metadata())?;
            // Networks are made before they are filled: not for a file that has nothing to fill them with.
            if reader.values() < header.settings.model.least_values() {
                bail!("its configuration asks for larger networks than it holds");
            }
            Ok(header)
        };
        let header = read().with_context(|| {
            format!(
                "{} is no checkpoint of this version of Henshin",
                path.display()
            )
        })?;
        Ok(Checkpoint {
            path: path.to_owned(),
            header,
        })
    }

    /// Its tensors, on a device.
    ///
    /// # Errors
    /// When they can't be read any more, or the device has no room.
    pub fn state(&self, device: &Device) -> Result<StateDict> {
        Ok(load_file(&self.path, device)?.0)
    }

    /// The newest whole checkpoint of a run, if it has any. `say` is told of those that are damaged.
    ///
    /// # Errors
    /// When the folder or a checkpoint can't be read, or none is whole.
    pub fn newest(dir: &RunDir, mut say: impl FnMut(&str)) -> Result<Option<Self>> {
        let all = list(dir)?;
        for path in all.iter().rev() {
            match Self::verify(path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) if is_damage(&error) => {
                    say(&format!("{error:#}; trying the one before it"));
                }
                Err(error) => return Err(error),
            }
        }
        if !all.is_empty() {
            bail!(
                "none of the {} checkpoints in {} is whole; begin a new run",
                all.len(),
                dir.checkpoints().display()
            );
        }
        Ok(None)
    }

    /// A checkpoint file, or the newest whole one of a run's folder.
    ///
    /// # Errors
    /// When there is none, or it is not whole.
    pub fn find(run: &Path, say: impl FnMut(&str)) -> Result<Self> {
        if run.is_file() {
            let pointed = [LATEST, BEST].iter().any(|name| run.ends_with(name));
            return match pointed.then(|| fs::read_to_string(run)) {
                Some(Ok(name)) => Self::verify(&run.with_file_name(name.trim())),
                _ => Self::verify(run),
            };
        }
        let newest = Self::newest(&RunDir::open(run)?, say)?;
        newest.with_context(|| {
            format!(
                "the run in {} has no checkpoint yet; train it first",
                run.display()
            )
        })
    }
}

impl Checkpoint {
    /// A checkpoint file, or that of a run's folder after some steps, or its best or newest.
    ///
    /// # Errors
    /// When there is none, or it is not whole.
    pub fn at(run: &Path, step: Option<Step>, say: impl FnMut(&str)) -> Result<Self> {
        let Some(step) = step else {
            return Self::find(run, say);
        };
        if run.is_file() {
            bail!(
                "--step goes with a run's folder; {} is a file",
                run.display()
            );
        }
        let dir = RunDir::open(run)?;
        let steps = match step {
            Step::After(steps) => steps,
            Step::Best => best(&dir).with_context(|| {
                format!(
                    "the run in {} has no best checkpoint: it was not trained with --eval-every",
                    run.display()
                )
            })?,
        };
        let all = list(&dir)?;
        let found = all.iter().find(|path| steps_of(path) == Some(steps));
        Self::verify(found.with_context(|| {
            let there = all.iter().filter_map(|path| steps_of(path));
            let there: Vec<String> = there.map(|steps| steps.to_string()).collect();
            format!(
                "the run in {} has no checkpoint after step {steps}; it has those after {}",
                run.display(),
                there.join(", ")
            )
        })?)
    }
}

impl Header {
    fn to_metadata(&self) -> Result<HashMap<String, String>> {
        let passed_over: Vec<String> = self.passed_over.iter().map(u64::to_string).collect();
        let entries = [
            ("format", format!("{FORMAT}{VERSION}")),
            ("henshin", env!("CARGO_PKG_VERSION").to_owned()),
            ("steps", self.steps.to_string()),
            ("pictures", self.pictures.to_string()),
            ("passed_over", passed_over.join(",")),
            ("config", self.settings.to_toml()?),
            ("rate", self.rate.to_json()?),
            ("kernels", self.kernels.clone()),
            ("device", self.device.clone()),
            ("fingerprint", self.fingerprint.clone()),
        ];
        let owned = |(key, value): (&str, String)| (key.to_owned(), value);
        Ok(entries.into_iter().map(owned).collect())
    }

    fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self> {
        let entry = |key: &str| metadata.get(key).with_context(|| format!("it lacks {key}"));
        let version = entry("format")?.strip_prefix(FORMAT);
        match version.and_then(|version| version.parse::<u32>().ok()) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => bail!(
                "its format is {newer}, of a newer version of Henshin (this one reads {VERSION}); \
                 update Henshin"
            ),
            Some(older) => {
                bail!(
                    "its format is {older}, of an older version of Henshin (this one reads {VERSION})"
                )
            }
            None => bail!("its format is not {FORMAT}{VERSION}"),
        }
        entry(CHECKSUM)?;
        let passed_over = entry("passed_over")?;
        let numbers = passed_over.split(',').filter(|number| !number.is_empty());
        Ok(Header {
            settings: Settings::from_toml(entry("config")?)?,
            steps: number(entry("steps")?)?,
            pictures: number(entry("pictures")?)?,
            passed_over: numbers.map(number).collect::<Result<_>>()?,
            // Before there were other schedules than the linear one there was none.
            rate: match metadata.get("rate") {
                Some(rate) => Rate::from_json(rate)?,
                None => Rate::default(),
            },
            kernels: entry("kernels")?.clone(),
            device: entry("device")?.clone(),
            fingerprint: entry("fingerprint")?.clone(),
        })
    }
}

/// Whether a file is not what was written, rather than out of reach.
fn is_damage(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<StateError>() {
        Some(StateError::Io { source, .. }) => source.kind() != ErrorKind::PermissionDenied,
        Some(StateError::Format { .. }) => true,
        _ => false,
    }
}

/// Sets aside what a run that goes on after `steps` steps has of later checkpoints: they are damaged, or it
/// would not go back so far, and must not count as the newest when there are whole ones again.
///
/// # Errors
/// When the folder can't be written.
pub fn set_aside(dir: &RunDir, steps: u64) -> Result<()> {
    for path in list(dir)? {
        if steps_of(&path).is_some_and(|later| later > steps) {
            let mut aside = path.clone().into_os_string();
            aside.push(".damaged");
            fs::rename(&path, aside)
                .with_context(|| format!("{} can't be renamed", path.display()))?;
        }
    }
    Ok(())
}

fn number(text: &str) -> Result<u64> {
    u64::from_str(text).with_context(|| format!("{text:?} is no number"))
}

/// Writes a checkpoint into a run's folder, has `latest` name it, and removes the oldest beyond those to
/// keep.
///
/// # Errors
/// When there is no room, the file can't be written, or the device fails; the others stay as they are then.
pub fn save(dir: &RunDir, state: &StateDict, header: &Header) -> Result<()> {
    let path = dir
        .checkpoints()
        .join(format!("{:06}.{EXTENSION}", header.steps));
    let write = || -> Result<()> {
        let file = StateFile::new(state, header.to_metadata()?)?;
        disk::ensure_room(&dir.checkpoints(), file.size())?;
        file.write(&path)?;
        // It only helps people and their scripts: what is newest is told by the names.
        let name = format!("{:06}.{EXTENSION}\n", header.steps);
        Ok(disk::replace(&dir.checkpoints().join(LATEST), &name)?)
    };
    write().context("the checkpoint could not be saved")?;
    let run = &header.settings.run;
    let best = best(dir);
    for old in superfluous(list(dir)?, run.keep_checkpoints, run.keep_every) {
        if steps_of(&old) != best {
            // One too many is no reason to end a run.
            let _ = fs::remove_file(old);
        }
    }
    Ok(())
}

/// The steps of the best checkpoint, if one is named.
pub fn best(dir: &RunDir) -> Option<u64> {
    // A name, or it is none of ours.
    let file = File::open(dir.checkpoints().join(BEST)).ok()?;
    let mut name = String::new();
    file.take(100).read_to_string(&mut name).ok()?;
    steps_of(Path::new(name.trim()))
}

/// Has `best` name the checkpoint after so many steps, so that it is kept; or none.
///
/// # Errors
/// When the file can't be written.
pub fn set_best(dir: &RunDir, steps: Option<u64>) -> Result<()> {
    let path = dir.checkpoints().join(BEST);
    let written = match steps {
        Some(steps) => disk::replace(&path, &format!("{steps:06}.{EXTENSION}\n")),
        None if path.exists() => fs::remove_file(&path),
        None => Ok(()),
    };
    written.with_context(|| format!("{} can't be written", path.display()))
}

/// Of checkpoints, oldest first, those that are neither among the last `last` nor marked nor at a multiple
/// of `every` steps.
fn superfluous(mut all: Vec<PathBuf>, last: usize, every: u64) -> Vec<PathBuf> {
    all.truncate(all.len().saturating_sub(last));
    all.retain(|path| {
        let is_due = |steps: u64| every > 0 && steps.is_multiple_of(every);
        !path.with_extension(MARK).exists() && !steps_of(path).is_some_and(is_due)
    });
    all
}

/// Marks the checkpoint that a run has after `steps` steps, so that it is kept.
///
/// # Errors
/// When there is none, or the folder can't be written.
pub fn mark(dir: &RunDir, steps: Option<u64>) -> Result<PathBuf> {
    let all = list(dir)?;
    let wanted = match steps {
        Some(steps) => all.iter().find(|path| steps_of(path) == Some(steps)),
        None => all.last(),
    };
    let path = wanted.with_context(|| {
        let there: Vec<String> = all
            .iter()
            .filter_map(|path| steps_of(path))
            .map(|steps| steps.to_string())
            .collect();
        format!(
            "the run in {} has no such checkpoint; it has those after the steps {}",
            dir.path().display(),
            there.join(", ")
        )
    })?;
    let mark = path.with_extension(MARK);
    fs::write(&mark, "").with_context(|| format!("{} can't be written", mark.display()))?;
    Ok(path.clone())
}

/// The steps that a checkpoint's name says.
pub fn steps_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// A run's checkpoints, oldest first.
///
/// # Errors
/// When the folder can't be read.
pub fn list(dir: &RunDir) -> Result<Vec<PathBuf>> {
    let folder = dir.checkpoints();
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("the folder {} can't be read", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new(EXTENSION)) && steps_of(path).is_some())
        .collect();
    found.sort_by_key(|path| steps_of(path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_the_marked_and_the_due_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |steps: u64| folder.path().join(format!("{steps:06}.{EXTENSION}"));
        fs::write(path(20).with_extension(MARK), "").unwrap();
        let all = || (1..=10).map(|i| path(10 * i)).collect::<Vec<_>>();
        let removed = |last, every| -> Vec<u64> {
            let removed = superfluous(all(), last, every);
            removed.iter().filter_map(|path| steps_of(path)).collect()
        };
        assert_eq!(removed(3, 0), [10, 30, 40, 50, 60, 70]);
        assert_eq!(removed(3, 30), [10, 40, 50, 70]);
        assert_eq!(removed(20, 0), [0; 0]);
    }
}
