//! Writing to a disk that may be full.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::interrupt;
use crate::report::{self, Progress};

/// Room left on the disk, so that what is small can still be written.
const LEFT: u64 = 16 << 20;

/// Between two looks at a full disk.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two looks at whether Ctrl-C was pressed.
const GLANCE: Duration = Duration::from_millis(100);

/// Does something that writes. While the disk is full, says so and waits, until there is room or Ctrl-C is
/// pressed.
///
/// # Errors
/// Those of `write`; that the disk is full only after Ctrl-C.
pub fn patiently<T>(progress: &Progress, write: impl FnMut() -> Result<T>) -> Result<T> {
    wait_for_room(progress, write, || {
        let glances = PAUSE.div_duration_f32(GLANCE) as u32;
        (0..glances).all(|_| {
            thread::sleep(GLANCE);
            !interrupt::is_requested()
        })
    })
}

/// As [`patiently`]; `wait` says whether to try again.
fn wait_for_room<T>(
    progress: &Progress,
    mut write: impl FnMut() -> Result<T>,
    wait: impl Fn() -> bool,
) -> Result<T> {
    let mut paused = false;
    loop {
        match write() {
            Err(error) if is_full(&error) => {
                if !paused {
                    progress.say(&format!(
                        "paused: {error:#}. Make room and the run goes on by itself; Ctrl-C ends it \
                         at its last checkpoint"
                    ));
                    paused = true;
                }
                if !wait() {
                    return Err(error);
                }
            }
            done => {
                if paused && done.is_ok() {
                    progress.say("there is room again; the run goes on");
                }
                return done;
            }
        }
    }
}

/// Whether it is for want of room that something could not be written.
fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            )
        })
    })
}

/// Gives a file a new content: a temporary one beside it first, so that it is never seen half-written.
///
/// # Errors
/// When it can't be written; then it stays as it was.
pub fn replace(path: &Path, content: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

/// Refuses to write so many bytes to a folder's disk where they would fill it.
///
/// # Errors
/// That the disk is full, as writing would say.
pub fn ensure_room(folder: &Path, bytes: u64) -> std::io::Result<()> {
    // Where nobody knows how much is free, writing will tell.
    let free = fs4::available_space(folder).unwrap_or(u64::MAX);
    if free < bytes.saturating_add(LEFT) {
        let reason = format!(
            "the disk of {} is full: {} are needed and {} are free",
            folder.display(),
            report::bytes(bytes + LEFT),
            report::bytes(free)
        );
        return Err(Error::new(ErrorKind::StorageFull, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::Context;

    use super::*;

    fn full() -> anyhow::Error {
        let error = std::io::Error::from(ErrorKind::StorageFull);
        Err::<(), _>(error).context("the picture").unwrap_err()
    }

    #[test]
    fn a_full_disk_is_waited_for_and_other_errors_are_not() {
        let progress = Progress::start(true);
        let tries = Cell::new(0);
        let write = || {
            tries.set(tries.get() + 1);
            if tries.get() < 4 { Err(full()) } else { Ok(7) }
        };
        let done = wait_for_room(&progress, write, || true);
        assert_eq!((done.unwrap(), tries.get()), (7, 4));

        let stopped = wait_for_room(&progress, || Err::<(), _>(full()), || false);
        assert!(is_full(&stopped.unwrap_err()));

        let refused = || Err::<(), _>(Error::from(ErrorKind::PermissionDenied).into());
        let refused = wait_for_room(&progress, refused, || unreachable!("no reason to wait"));
        assert!(refused.is_err());
    }

    #[test]
    fn more_than_the_disk_has_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        ensure_room(folder.path(), 1).unwrap();
        let error = ensure_room(folder.path(), 1 << 60).unwrap_err();
        assert!(is_full(&error.into()));
    }
}
