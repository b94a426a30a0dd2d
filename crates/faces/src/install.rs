use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};

use same_file::Handle;

use crate::manifest::is_replaceable;
use crate::{Error, Result, error, text};

/// A set in the making: a hidden folder beside where it will be. A run that ends early leaves it, and the
/// next goes on from it; only one at a time may hold it.
pub(crate) struct Staging {
    out: PathBuf,
    folder: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

impl Staging {
    /// Begins a set that shall be at `out` one day, or goes on with one that was begun from the same
    /// `settings`. Where another run is busy with it: waits, or fails.
    pub fn begin(out: &Path, settings: &str, wait: bool) -> Result<Self> {
        let (parent, name) = parent_and_name(out)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let folder = parent.join(hidden);
        // What would be written, or removed, through a link is somewhere else.
        if holds_links(&folder) {
            return Err(Error::Occupied { path: folder });
        }
        let staging = Self {
            _lock: lock(out, &folder, wait)?,
            out: out.into(),
            folder,
        };
        let path = staging.folder.join(SETTINGS);
        if !text::holds(&path, settings) {
            for folder in [staging.set(), staging.work()] {
                remove(&folder)?;
            }
            fs::write(&path, settings).map_err(error::write(&path))?;
        }
        for folder in [staging.set(), staging.work()] {
            fs::create_dir_all(&folder).map_err(error::write(&folder))?;
        }
        Ok(staging)
    }

    /// The folder to fill.
    pub fn set(&self) -> PathBuf {
        self.folder.join("set")
    }

    /// Empties it.
    pub fn clear_set(&self) -> Result<()> {
        remove(&self.set())?;
        fs::create_dir_all(self.set()).map_err(error::write(&self.set()))
    }

    /// A folder for what is not part of the set.
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Moves the set to its place, and away what [may be replaced](check_out) there.
    pub fn install(self) -> Result<()> {
        // Something may have come there meanwhile.
        if self.out.symlink_metadata().is_ok() && !is_replaceable(&self.out) {
            return Err(Error::Occupied { path: self.out });
        }
        let old = self.folder.join("old");
        remove(&old)?;
        let refuse = || error::write(&self.out);
        let replaces = self.out.exists();
        if replaces {
            fs::rename(&self.out, &old).map_err(refuse())?;
        }
        fs::rename(self.set(), &self.out).map_err(|error| {
            if replaces {
                // The first error is the one to tell.
                let _ = fs::rename(&old, &self.out);
            }
            refuse()(error)
        })?;
        self.discard()
    }

    /// Removes all that was done so far.
    pub fn discard(self) -> Result<()> {
        for part in ["old", "set", "work"] {
            remove(&self.folder.join(part))?;
        }
        // Without its lock the folder may be another run's at once; then it stays.
        let _ = fs::remove_file(self.folder.join(SETTINGS));
        let _ = fs::remove_file(self.folder.join(LOCK));
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

const LOCK: &str = "lock";
const SETTINGS: &str = "settings.json";

/// The lock of a set's folder, which is made if need be.
fn lock(out: &Path, folder: &Path, wait: bool) -> Result<File> {
    let path = folder.join(LOCK);
    let refuse = || error::write(folder);
    loop {
        fs::create_dir_all(folder).map_err(refuse())?;
        let opened = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            // Whoever held it took the folder away just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refuse()(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if !wait => return Err(Error::Busy { out: out.into() }),
            Err(TryLockError::WouldBlock) => file.lock().map_err(refuse())?,
            Err(TryLockError::Error(error)) => return Err(refuse()(error)),
        }
        // The file under that name may be another by now: then this lock keeps nobody out.
        let held = file
            .try_clone()
            .and_then(Handle::from_file)
            .map_err(refuse())?;
        if Handle::from_path(&path).is_ok_and(|found| found == held) {
            return Ok(file);
        }
    }
}

/// Whether a file is a symbolic link, or a folder holds one. Another run may be busy in it: what is gone
/// meanwhile is none.
fn holds_links(path: &Path) -> bool {
    let Ok(metadata) = path.symlink_metadata() else {
        return false;
    };
    let entries = || fs::read_dir(path).into_iter().flatten().flatten();
    metadata.is_symlink()
        || metadata.is_dir()
            && entries().any(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => holds_links(&entry.path()),
                kind => kind.is_ok_and(|kind| kind.is_symlink()),
            })
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error::write(folder)(error)),
        _ => Ok(()),
    }
}

/// Refuses an output folder that would be part of an input or the other way round, or that holds
/// something else.
pub(crate) fn check_out(out: &Path, inputs: [&Path; 2]) -> Result<()> {
    let [photos, anime] = inputs;
    for (one, other) in [(out, photos), (out, anime), (photos, anime)] {
        let resolve = |path: &Path| resolve(path).map_err(error::write(path));
        let (resolved, against) = (resolve(one)?, resolve(other)?);
        if resolved.starts_with(&against) || against.starts_with(&resolved) {
            return Err(Error::Nested {
                one: one.into(),
                other: other.into(),
            });
        }
    }
    if out.symlink_metadata().is_ok() && !is_replaceable(out) {
        return Err(Error::Occupied { path: out.into() });
    }
    Ok(())
}

fn parent_and_name(out: &Path) -> Result<(PathBuf, OsString)> {
    let absolute = std::path::absolute(out).map_err(error::write(out))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.into(), name.into())),
        _ => Err(Error::Option {
            name: "--out",
            given: out.display().to_string(),
            expected: "the path of a new folder".into(),
        }),
    }
}

/// The real path, links followed, of something that need not be there yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            let rest = path
                .strip_prefix(ancestor)
                .expect("an ancestor is a prefix");
            let mut resolved = real;
            for part in rest.components() {
                match part {
                    Component::ParentDir => drop(resolved.pop()),
                    part => resolved.push(part),
                }
            }
            return Ok(resolved);
        }
    }
    Ok(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_in_an_unfinished_set_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (out, kept) = (folder.path().join("out"), folder.path().join("kept"));
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("empty.png"), "").unwrap();
        let partial = folder.path().join(".out.partial");
        for place in ["work/examined.jsonl", "set/trainA", "settings.json"] {
            let link = partial.join(place);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&kept, &link).unwrap();
            let error = Staging::begin(&out, "settings", false).err().unwrap();
            assert!(error.to_string().contains(".out.partial"), "{error}");
            fs::remove_file(&link).unwrap();
        }
        fs::remove_dir_all(&partial).unwrap();
        symlink(&kept, &partial).unwrap();
        assert!(Staging::begin(&out, "settings", false).is_err());
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
        fs::remove_file(&partial).unwrap();
        Staging::begin(&out, "settings", false).unwrap();
    }
}
