use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::manifest::is_replaceable;
use crate::{Error, Result, error};

/// A set in the making: a hidden folder beside where it will be, removed with all it holds unless
/// it is [installed](Self::install).
pub(crate) struct Staging {
    out: PathBuf,
    temporary: TempDir,
}

impl Staging {
    /// Begins a set that shall be at `out` one day.
    pub fn begin(out: &Path) -> Result<Self> {
        let (parent, name) = parent_and_name(out)?;
        fs::create_dir_all(&parent).map_err(error::write(&parent))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        let temporary = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&parent)
            .map_err(error::write(&parent))?;
        let staging = Self {
            out: out.into(),
            temporary,
        };
        // The set is a folder inside, since a temporary folder is closed to other users.
        for folder in [staging.set(), staging.work()] {
            fs::create_dir(&folder).map_err(error::write(&folder))?;
        }
        Ok(staging)
    }

    /// The folder to fill.
    pub fn set(&self) -> PathBuf {
        self.temporary.path().join("set")
    }

    /// A folder for what is not part of the set.
    pub fn work(&self) -> PathBuf {
        self.temporary.path().join("work")
    }

    /// Moves the set to its place, and away what [may be replaced](check_out) there.
    pub fn install(self) -> Result<()> {
        let old = self.temporary.path().join("old");
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
        })
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
            return Ok(real.join(rest));
        }
    }
    Ok(path)
}
