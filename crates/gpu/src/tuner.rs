//! Choosing among ways to compute the same thing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How a choice among several ways to compute the same thing is made. They round differently, so
/// results are the same bit for bit only where choices are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tuning {
    /// The first way, which is the best guess: the same at every run.
    #[default]
    Fixed,
    /// The fastest way by a short measurement at first use. A file keeps choices for later programs;
    /// one that can't be read or written is done without.
    Measured {
        /// A line for each choice: device and kernels, task, way, between tabs.
        file: Option<PathBuf>,
        /// Choices that an earlier program made, as [`Context::choices`](crate::Context::choices) gave
        /// them. They win over the file's; those of another device or other kernels don't count.
        known: String,
    },
    /// The way of that name where there is one, else the first.
    Named(&'static str),
}

/// A device's choices.
#[derive(Debug)]
pub(crate) struct Tuner {
    tuning: Tuning,
    /// Whether it stands in for another in a dry run, which can't be measured.
    dry: bool,
    /// What its lines begin with.
    device: String,
    chosen: Mutex<HashMap<String, String>>,
}

impl Tuner {
    /// For a device, by its name and driver.
    pub fn new(mut tuning: Tuning, device: &str) -> Self {
        let mut device = device.to_owned();
        let mut text = String::new();
        if let Tuning::Measured { file, known } = &mut tuning {
            let mut kernels = DefaultHasher::new();
            for kernel in shaders::ALL {
                kernel.source.hash(&mut kernels);
            }
            device = format!("{device} {:016x}", kernels.finish());
            let kept = file.as_deref().map(read).transpose();
            let kept = kept.unwrap_or_else(|error| {
                // It would only grow.
                if error.kind() == io::ErrorKind::FileTooLarge {
                    *file = None;
                }
                None
            });
            text = kept.unwrap_or_default() + "\n" + known;
        }
        Tuner {
            chosen: Mutex::new(choices(&text, &device)),
            tuning,
            dry: false,
            device,
        }
    }

    /// All choices so far, a line each.
    pub fn choices(&self) -> String {
        let line = |(task, way): (&String, &String)| format!("{}\t{task}\t{way}\n", self.device);
        let mut lines: Vec<String> = self.chosen().iter().map(line).collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// The same for a dry run: what is not chosen yet is done in all ways, as a measurement does, of which
    /// the first is chosen.
    pub fn dry(&self) -> Self {
        Tuner {
            tuning: match &self.tuning {
                Tuning::Measured { .. } => Tuning::Measured {
                    file: None,
                    known: String::new(),
                },
                fixed => fixed.clone(),
            },
            dry: true,
            device: self.device.clone(),
            chosen: Mutex::new(self.chosen().clone()),
        }
    }

    /// Does a task in one of several ways, by name; `run` does it the `i`th way and says how long it took.
    pub fn choose<E>(
        &self,
        task: impl FnOnce() -> String,
        ways: &[&'static str],
        mut run: impl FnMut(usize, Timed) -> Result<Duration, E>,
    ) -> Result<(), E> {
        let named = |name: &str| ways.iter().position(|&way| way == name);
        let known = match &self.tuning {
            Tuning::Fixed => Some(0),
            Tuning::Named(name) => Some(named(name).unwrap_or(0)),
            Tuning::Measured { .. } if ways.len() == 1 => Some(0),
            Tuning::Measured { .. } => None,
        };
        if let Some(way) = known {
            return run(way, Timed::No).map(drop);
        }
        let task = task();
        let remembered = self.chosen().get(&task).and_then(|name| named(name));
        if let Some(way) = remembered {
            return run(way, Timed::No).map(drop);
        }
        if self.dry {
            for way in (0..ways.len()).rev() {
                run(way, Timed::No)?;
            }
            self.remember(task, ways[0]);
            return Ok(());
        }
        let mut best: Option<(Duration, usize)> = None;
        for way in 0..ways.len() {
            let mut least = run(way, Timed::Yes)?;
            // The first run compiles. Those that are slow beyond that need no second.
            let hopeless = best.is_some_and(|(best, _)| least > 10 * best + HOPELESS);
            let again = if hopeless { 0 } else { REPEATS };
            for _ in 0..again {
                least = least.min(run(way, Timed::Yes)?);
            }
            if best.is_none_or(|(best, _)| least < best) {
                best = Some((least, way));
            }
        }
        let (_, way) = best.unwrap_or_default();
        if way + 1 != ways.len() {
            run(way, Timed::No)?;
        }
        self.remember(task, ways[way]);
        Ok(())
    }

    fn chosen(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, task: String, name: &str) {
        if let Tuning::Measured {
            file: Some(file), ..
        } = &self.tuning
        {
            let append = || {
                if let Some(folder) = file.parent() {
                    fs::create_dir_all(folder)?;
                }
                let mut file = File::options().append(true).create(true).open(file)?;
                // One write, so that lines of two programs don't mix.
                file.write_all(format!("{}\t{task}\t{name}\n", self.device).as_bytes())
            };
            // Without it the next program measures again.
            let _: std::io::Result<()> = append();
        }
        self.chosen().insert(task, name.to_owned());
    }
}

/// The longest file of choices that is read: those of hundreds of drivers and sets of kernels.
const LONGEST: u64 = 16 << 20;

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(file)?
        .take(LONGEST + 1)
        .read_to_string(&mut text)?;
    match length as u64 > LONGEST {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// What was chosen for a device, by task.
fn choices(text: &str, device: &str) -> HashMap<String, String> {
    let line = |line: &str| {
        let mut parts = line.split('\t');
        let [of, task, name] = [parts.next()?, parts.next()?, parts.next()?];
        let is_ours = of == device && parts.next().is_none();
        is_ours.then(|| (task.to_owned(), name.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// How many choices a file holds for a device: for the fuzz targets.
///
/// # Errors
/// When it can't be read, or is absurdly long.
pub fn read_choices(file: &Path, device: &str) -> io::Result<usize> {
    Ok(choices(&read(file)?, device).len())
}

/// Whether a run's time matters, and so has to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    Yes,
    No,
}

/// Runs after the first of each way.
const REPEATS: usize = 2;

/// What a first run may take for compiling.
const HOPELESS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [&str; 3] = ["slow", "fast", "hopeless"];

    /// The ways run, in order, under a tuner.
    fn runs(tuner: &Tuner) -> Vec<usize> {
        let mut runs = Vec::new();
        let times = [30, 2, 4000].map(Duration::from_millis);
        let outcome: Result<(), ()> = tuner.choose(
            || "task".to_owned(),
            &WAYS,
            |way, _| {
                runs.push(way);
                Ok(times[way])
            },
        );
        assert_eq!(outcome, Ok(()));
        runs
    }

    #[test]
    fn the_fastest_is_found_once_and_kept_for_the_device() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new folder").join("choices");
        let tuning = Tuning::Measured {
            file: Some(file.clone()),
            known: String::new(),
        };
        let tuner = Tuner::new(tuning.clone(), "a device");
        assert_eq!(runs(&tuner), [0, 0, 0, 1, 1, 1, 2, 1]);
        assert_eq!(runs(&tuner), [1]);
        assert_eq!(runs(&Tuner::new(tuning.clone(), "a device")), [1]);
        assert_eq!(runs(&Tuner::new(tuning.clone(), "another")).len(), 8);
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
        // What no way is called any more, and what is no line.
        let text = fs::read_to_string(&file).unwrap().replace("fast", "gone");
        fs::write(&file, format!("{text}\n\t\u{0}nonsense")).unwrap();
        assert_eq!(runs(&Tuner::new(tuning, "a device")).len(), 8);
    }

    #[test]
    fn a_file_that_is_absurdly_long_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("choices");
        File::create(&file).unwrap().set_len(LONGEST + 1).unwrap();
        let tuning = Tuning::Measured {
            file: Some(file.clone()),
            known: String::new(),
        };
        let tuner = Tuner::new(tuning, "a device");
        assert_eq!(runs(&tuner).len(), 8);
        assert_eq!(runs(&tuner), [1]);
        assert_eq!(fs::metadata(&file).unwrap().len(), LONGEST + 1);
    }

    #[test]
    fn without_a_file_choices_last_as_long_as_the_device() {
        let nowhere = Some(PathBuf::from("/dev/null/choices"));
        for file in [None, nowhere] {
            let tuning = |known: &str| Tuning::Measured {
                file: file.clone(),
                known: known.to_owned(),
            };
            let tuner = Tuner::new(tuning(""), "a device");
            assert_eq!(tuner.choices(), "");
            assert_eq!(runs(&tuner).len(), 8);
            assert_eq!(runs(&tuner), [1]);
            let known = tuner.choices();
            assert_eq!(runs(&Tuner::new(tuning(&known), "a device")), [1]);
            assert_eq!(runs(&Tuner::new(tuning(&known), "another")).len(), 8);
            let other = known.replace("fast", "slow");
            assert_eq!(runs(&Tuner::new(tuning(&other), "a device")), [0]);
        }
    }

    #[test]
    fn a_dry_run_does_what_is_not_chosen_in_all_ways() {
        let tuning = Tuning::Measured {
            file: None,
            known: String::new(),
        };
        let tuner = Tuner::new(tuning, "a device");
        let dry = tuner.dry();
        assert_eq!(runs(&dry), [2, 1, 0]);
        assert_eq!(runs(&dry), [0]);
        runs(&tuner);
        assert_eq!(runs(&tuner.dry()), [1], "what is chosen stays so");
    }

    #[test]
    fn a_fixed_choice_measures_nothing() {
        assert_eq!(runs(&Tuner::new(Tuning::Fixed, "a device")), [0]);
        let named = |name| runs(&Tuner::new(Tuning::Named(name), "a device"));
        assert_eq!(named("hopeless"), [2]);
        assert_eq!(named("unheard of"), [0]);
    }
}
