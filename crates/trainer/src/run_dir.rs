//! A run's folder: `config.toml`, `history.jsonl`, `metrics.jsonl`, `pace.jsonl`, `samples/`, `checkpoints/`,
//! `report.html`, `tensorboard/`, `lock`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cyclegan::Preset;
use serde_json::{Map, Value};

use crate::disk;
use crate::settings::Settings;

const CONFIG: &str = "config.toml";

/// Longest line of metrics or history that is read.
const LONGEST_LINE: u64 = 1 << 20;

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// Keeps other trainers out of a run, until it is dropped or the program ends in whatever way.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the system lets go of it when it is closed")] File);

impl RunDir {
    /// Makes the folder of a new run; where none is named, the next free one below `runs`.
    ///
    /// # Errors
    /// When there is a run already, or the folder can't be written.
    pub fn create(settings: &mut Settings) -> Result<(Self, Lock)> {
        if settings.run.out.as_os_str().is_empty() {
            settings.run.out = free_folder(settings.run.preset);
        }
        let dir = RunDir(settings.run.out.clone());
        if dir.is_run() {
            let shown = dir.0.display();
            bail!(
                "there is a run in {shown} already; go on with it by --resume {shown}, or give \
                 another folder with --out"
            );
        }
        for folder in [dir.samples(), dir.checkpoints()] {
            fs::create_dir_all(&folder).with_context(|| {
                format!(
                    "the folder {} can't be made; give one that you may write to with --out",
                    folder.display()
                )
            })?;
        }
        let lock = dir.lock()?;
        dir.write_config(settings)?;
        Ok((dir, lock))
    }

    /// The folder of a run that is there.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = RunDir(path.to_owned());
        if !path.exists() {
            bail!(
                "there is no {}; give a run's folder, such as runs/demo (`trainer runs` lists them)",
                path.display()
            );
        }
        if !dir.is_run() {
            bail!(
                "{} is not the folder of a run: it holds no {CONFIG}; give the folder that \
                 training printed, such as runs/demo",
                path.display()
            );
        }
        Ok(dir)
    }

    /// Whether it is the folder of a run. One whose settings were lost is, if it has checkpoints.
    pub fn is_run(&self) -> bool {
        self.config().is_file() || self.checkpoints().is_dir()
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join(CONFIG)
    }

    pub fn samples(&self) -> PathBuf {
        self.0.join("samples")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    pub fn metrics_file(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    pub fn pace_file(&self) -> PathBuf {
        self.0.join("pace.jsonl")
    }

    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// The folder, whatever is in it. For tests.
    #[cfg(test)]
    pub fn at(path: &Path) -> Self {
        RunDir(path.to_owned())
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Keeps other trainers out.
    ///
    /// # Errors
    /// When one is at work there, or the folder can't be written.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.lock_file();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| {
                format!(
                    "{} can't be written, and neither could the run's results",
                    path.display()
                )
            })?;
        // Who only asks whether it is held holds it for a moment.
        let mut tried = file.try_lock();
        for _ in 0..3 {
            if let Err(TryLockError::WouldBlock) = tried {
                thread::sleep(Duration::from_millis(20));
                tried = file.try_lock();
            }
        }
        match tried {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is may be unreadable; that someone is there is what counts.
                let _ = file.take(100).read_to_string(&mut holder);
                bail!(
                    "another trainer is at work in {} ({}); wait for it or stop it",
                    self.0.display(),
                    holder.trim()
                );
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) => {}
        }
        // For whoever meets the lock; it holds without that, too.
        let _ = file
            .set_len(0)
            .and_then(|()| writeln!(file, "process {}", std::process::id()));
        Ok(Lock(file))
    }

    /// Removes what a crash left of files that were being written. For who holds the lock.
    pub fn sweep(&self) {
        for folder in [self.path(), &self.samples(), &self.checkpoints()] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let partial = |path: &PathBuf| path.extension().is_some_and(|end| end == "partial");
            for path in entries.map(|entry| entry.path()).filter(partial) {
                // It does no harm but take room.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Whether a trainer is at work there.
    pub fn is_locked(&self) -> bool {
        let file = File::open(self.lock_file());
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Records the settings.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_config(&self, settings: &Settings) -> Result<()> {
        disk::replace(&self.config(), &settings.to_toml()?)
            .with_context(|| format!("{} can't be written", self.config().display()))
    }

    /// The metrics file of a run that has taken `steps` steps: lines beyond, left by steps that no
    /// checkpoint kept, are cut off, and so is what a crash left of a line.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn metrics(&self, steps: u64) -> Result<Lines> {
        Lines::open(&self.metrics_file(), up_to(steps))
    }

    /// The same of its times.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn pace(&self, steps: u64) -> Result<Lines> {
        Lines::open(&self.pace_file(), up_to(steps))
    }

    /// What has happened to the run: when it began, went on and ended, where, and with what.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn history(&self) -> Result<Lines> {
        Lines::open(&self.history_file(), |_| true)
    }

    fn history_file(&self) -> PathBuf {
        self.0.join("history.jsonl")
    }

    /// The lines of the history that can be read.
    pub fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        if let Ok(file) = File::open(self.history_file()) {
            // What can't be read is where the history ends.
            let _ = whole_lines(BufReader::new(file), |line| {
                events.push(line.clone());
                true
            });
        }
        events
    }

    /// The last line of metrics.
    pub fn last_metrics(&self) -> Option<Value> {
        last_line(&self.metrics_file())
    }

    /// The last line of its times.
    pub fn last_pace(&self) -> Option<Value> {
        last_line(&self.pace_file())
    }
}

/// Which lines are of the first so many steps.
fn up_to(steps: u64) -> impl FnMut(&Value) -> bool {
    move |line| line["step"].as_u64().is_some_and(|step| step <= steps)
}

/// The last JSON line of a file that is whole.
fn last_line(path: &Path) -> Option<Value> {
    let mut file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(1 << 14)))
        .ok()?;
    let mut tail = Vec::new();
    file.take(1 << 14).read_to_end(&mut tail).ok()?;
    let mut lines = tail.split(|&byte| byte == b'\n').rev();
    lines.find_map(|line| serde_json::from_slice(line).ok())
}

fn free_folder(preset: Preset) -> PathBuf {
    let name = match preset {
        Preset::Demo => "demo",
        Preset::Paper => "paper",
    };
    let runs = Path::new("runs");
    let numbered = (2..).map(|i| runs.join(format!("{name}-{i}")));
    let mut candidates = std::iter::once(runs.join(name)).chain(numbered);
    candidates
        .find(|folder| !folder.exists())
        .expect("numbers don't end")
}

/// Calls `keep` with one JSON line after another, until it has enough of them or one is not whole. Returns
/// how many bytes the lines that it kept take.
pub fn whole_lines(
    mut from: impl BufRead,
    mut keep: impl FnMut(&Value) -> bool,
) -> io::Result<u64> {
    let mut kept = 0;
    loop {
        let mut line = Vec::new();
        let len = from
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)? as u64;
        if line.last() != Some(&b'\n') {
            return Ok(kept);
        }
        match serde_json::from_slice(&line) {
            Ok(line) if keep(&line) => kept += len,
            _ => return Ok(kept),
        }
    }
}

/// A file to which a JSON object is appended now and then, as a line.
pub struct Lines {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Lines {
    /// Opens or makes the file, and cuts off all from the first line on that is not whole or that `keep`
    /// does not want.
    fn open(path: &Path, mut keep: impl FnMut(&Value) -> bool) -> Result<Self> {
        let mut open = || {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            let len = whole_lines(BufReader::new(&file), &mut keep)?;
            file.set_len(len)?;
            Ok::<_, io::Error>((file, len))
        };
        let (file, len) = open().with_context(|| format!("{} can't be written", path.display()))?;
        Ok(Lines {
            file,
            path: path.to_owned(),
            len,
        })
    }

    /// Appends an object. One that can't be written whole leaves nothing.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn append(&mut self, line: Map<String, Value>) -> Result<()> {
        let line = Value::Object(line).to_string() + "\n";
        let written = self
            .file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| self.file.write_all(line.as_bytes()));
        match written {
            Ok(()) => self.len += line.len() as u64,
            // The first error is the one to tell.
            Err(_) => _ = self.file.set_len(self.len),
        }
        written.with_context(|| format!("{} can't be written", self.path.display()))
    }

    /// Has all lines on the disk, even after a power failure.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.with_context(|| format!("{} can't be written", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(step: u64) -> Map<String, Value> {
        Map::from_iter([("step".to_owned(), step.into())])
    }

    #[test]
    fn lines_survive_a_crash_in_the_middle_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir(folder.path().to_owned());
        let path = folder.path().join("metrics.jsonl");
        let mut lines = dir.metrics(0).unwrap();
        for step in 1..=5 {
            lines.append(object(step)).unwrap();
        }
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(whole.lines().count(), 5);
        for (tail, steps, kept) in [
            ("{\"step\":6", 9, 5),
            ("\0\0\0\0\n{\"step\":6}\n", 9, 5),
            ("{\"step\":6}\n", 6, 6),
            ("{\"step\":6}\n", 3, 3),
            ("{\"other\":6}\n", 9, 5),
        ] {
            fs::write(&path, format!("{whole}{tail}")).unwrap();
            dir.metrics(steps).unwrap().append(object(7)).unwrap();
            let now = fs::read_to_string(&path).unwrap();
            assert_eq!(now.lines().count(), kept + 1, "{tail:?}");
            assert_eq!(now.lines().last(), Some("{\"step\":7}"));
            assert_eq!(dir.last_metrics().unwrap()["step"], 7);
        }
    }

    #[test]
    fn one_trainer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir(folder.path().to_owned());
        assert!(!dir.is_locked());
        let lock = dir.lock().unwrap();
        assert!(dir.is_locked());
        let message = dir.lock().unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        drop(lock);
        assert!(!dir.is_locked());
        dir.lock().unwrap();
    }
}
