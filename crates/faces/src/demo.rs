//! The demo set: what it is made of, where its pictures lie, and how it comes to be there when it
//! is needed.

use std::env;
use std::path::{Path, PathBuf};

use crate::prepare::prepare_unless;
use crate::{Error, Manifest, Options, Progress, Result, Summary, prepare};

/// The folder inside `datasets` that holds the photographs: AT&T's "Database of Faces".
const PHOTOS: &str = "orl";
/// The folder that holds the drawings: "Lorelei" by Lisa Wischofsky.
const ANIME: &str = "lorelei_ink";
/// The folder that the set is written to.
const OUT: &str = "demo";
/// The side of its pictures in pixels.
pub const SIZE: u32 = 96;
/// Pictures of each domain to test with: four of the forty persons.
pub const VAL: usize = 40;
const SEED: u64 = 1;

/// Names the folder that `datasets` is to be looked for in.
pub const DATASETS_VARIABLE: &str = "HENSHIN_DATASETS";

/// The folder with the demo pictures: `$HENSHIN_DATASETS` if it is set, else `./datasets`, else the
/// one in the source tree that this program was built from.
///
/// # Errors
/// When the pictures aren't there.
pub fn datasets() -> Result<PathBuf> {
    if let Some(named) = env::var_os(DATASETS_VARIABLE) {
        return check_sources(named.into());
    }
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    check_sources("datasets".into()).or_else(|error| check_sources(built_from).map_err(|_| error))
}

fn check_sources(datasets: PathBuf) -> Result<PathBuf> {
    match [PHOTOS, ANIME]
        .into_iter()
        .find(|folder| !datasets.join(folder).is_dir())
    {
        None => Ok(datasets),
        Some(missing) => Err(Error::NoDatasets {
            missing: missing.into(),
            searched: datasets,
        }),
    }
}

/// How the demo set is made from the pictures in `datasets`.
pub fn options(datasets: &Path) -> Options {
    Options {
        size: SIZE,
        val: VAL,
        seed: SEED,
        ..Options::new(
            datasets.join(PHOTOS),
            datasets.join(ANIME),
            datasets.join(OUT),
        )
    }
}

/// Makes the demo set anew.
///
/// # Errors
/// As [`prepare()`], and when the pictures that it is made of aren't there.
pub fn renew(progress: &dyn Progress) -> Result<Summary> {
    prepare(&options(&datasets()?), progress)
}

/// The folder of the demo set, which is made first unless it is there, whole, and made as it would
/// be now.
///
/// # Errors
/// As [`renew`].
pub fn ensure(progress: &dyn Progress) -> Result<PathBuf> {
    ensure_in(&datasets()?, progress)
}

fn ensure_in(datasets: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let options = options(datasets);
    if !is_current(&options) {
        // Another process may be as busy: its set is waited for.
        prepare_unless(&options, progress, || is_current(&options))?;
    }
    Ok(options.out)
}

fn is_current(options: &Options) -> bool {
    Manifest::read(&options.out).is_some_and(|manifest| {
        let moved = |path: &Path| path.file_name().map(PathBuf::from).unwrap_or_default();
        let asked = |options: &Options| Options {
            photos: moved(&options.photos), // the checkout may have moved
            anime: moved(&options.anime),
            out: PathBuf::new(),
            ..options.clone()
        };
        manifest.version == Manifest::VERSION
            && asked(&manifest.options) == asked(options)
            && manifest.is_complete(&options.out)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Five persons and fifty drawings of the real ones.
    fn small_datasets() -> tempfile::TempDir {
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let folder = tempfile::tempdir().unwrap();
        for source in [PHOTOS, ANIME] {
            fs::create_dir(folder.path().join(source)).unwrap();
            for file in images::list(&datasets.join(source))
                .unwrap()
                .iter()
                .take(50)
            {
                fs::copy(
                    file,
                    folder.path().join(source).join(file.file_name().unwrap()),
                )
                .unwrap();
            }
        }
        folder
    }

    #[test]
    fn is_made_when_it_is_missing_or_damaged_only() {
        let folder = small_datasets();
        // Two processes may start at once.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| ensure_in(folder.path(), &()).unwrap());
            }
        });
        let set = ensure_in(folder.path(), &()).unwrap();
        let made = fs::metadata(&set).unwrap().created().unwrap();
        ensure_in(folder.path(), &()).unwrap();
        assert_eq!(fs::metadata(&set).unwrap().created().unwrap(), made);

        let lost = set.join("trainB/0001.png");
        let lost = if lost.exists() {
            lost
        } else {
            set.join("testB/0001.png")
        };
        fs::remove_file(&lost).unwrap();
        ensure_in(folder.path(), &()).unwrap();
        assert!(lost.is_file());

        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [OUT, ANIME, PHOTOS]);
    }

    #[test]
    fn says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let message = check_sources(folder.path().into()).unwrap_err().to_string();
        assert!(
            message.contains(&folder.path().display().to_string())
                && message.contains(DATASETS_VARIABLE)
        );
        assert!(datasets().is_ok());
    }
}
