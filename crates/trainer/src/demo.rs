//! The demo faces, prepared when they aren't there.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result};
use faces::{LeftOut, Progress};
use indicatif::ProgressBar;

use crate::{interrupt, report};

/// The folder of the demo set.
///
/// # Errors
/// When its pictures aren't there or it can't be written.
pub fn ensure(quiet: bool) -> Result<PathBuf> {
    let progress = Bar {
        quiet,
        bar: Mutex::new(ProgressBar::hidden()),
    };
    faces::demo::ensure(&progress).context("the demo faces could not be prepared")
}

struct Bar {
    quiet: bool,
    bar: Mutex<ProgressBar>,
}

impl Bar {
    fn current(&self) -> ProgressBar {
        self.bar
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }
}

impl Progress for Bar {
    fn begin(&self, work: &str, pictures: usize) {
        if !self.quiet {
            let bar = report::bar(pictures as u64, &format!("preparing the demo: {work}"));
            *self
                .bar
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()) = bar;
        }
    }

    fn advance(&self) {
        self.current().inc(1);
    }

    fn left_out(&self, file: &LeftOut) {
        if !self.quiet {
            self.current()
                .println(format!("left out {}: {}", file.source, file.reason));
        }
    }

    fn is_cancelled(&self) -> bool {
        interrupt::is_requested()
    }
}
