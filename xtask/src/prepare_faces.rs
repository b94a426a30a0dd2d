use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use faces::{Domain, LeftOut, Options, Progress, demo};
use indicatif::{ProgressBar, ProgressStyle};

/// Make a training set of face photographs and drawn portraits.
///
/// Without arguments: the demo set, from the pictures in datasets/. With --photos, --anime and
/// --out: from any two folders, whose files are only read. Photographs are cropped to the largest
/// face's head, drawings to their middle. What cannot be used is left out, with the reason.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of photographs of people, one sub-folder or file-name prefix a person where possible
    #[arg(long, value_name = "DIR", requires_all = ["anime", "out"])]
    photos: Option<PathBuf>,

    /// Folder of drawn portraits
    #[arg(long, value_name = "DIR", requires_all = ["photos", "out"])]
    anime: Option<PathBuf>,

    /// Folder to make; an earlier set there is replaced, anything else is left alone
    #[arg(long, value_name = "DIR", requires_all = ["photos", "anime"])]
    out: Option<PathBuf>,

    /// Side of the pictures in pixels
    #[arg(long, value_name = "N", default_value_t = 256, requires = "out")]
    size: u32,

    /// Pictures of each domain for the test set; persons are not parted
    #[arg(long, value_name = "N", default_value_t = 40, requires = "out")]
    val: usize,

    /// Chooses the test set
    #[arg(long, value_name = "S", default_value_t = 1, requires = "out")]
    seed: u64,
}

impl Args {
    fn options(self) -> Result<Options> {
        let Self {
            photos,
            anime,
            out,
            size,
            val,
            seed,
        } = self;
        match (photos, anime, out) {
            (Some(photos), Some(anime), Some(out)) => Ok(Options {
                photos,
                anime,
                out,
                size,
                val,
                seed,
            }),
            _ => Ok(demo::options(&demo::datasets()?)),
        }
    }
}

/// Prepares the set and shows how it goes.
pub fn run(args: Args) -> Result<()> {
    let progress = Bar::new()?;
    let outcome = faces::prepare(&args.options()?, &progress);
    progress.bar.finish_and_clear();
    println!("{}", outcome?);
    Ok(())
}

/// Whether the user ended it.
pub fn is_interrupt(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(faces::Error::Interrupted))
}

struct Bar {
    bar: ProgressBar,
    cancelled: Arc<AtomicBool>,
}

impl Bar {
    fn new() -> Result<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = cancelled.clone();
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
            .context("cannot listen for Ctrl-C")?;

        let bar = ProgressBar::no_length();
        let style = "{msg:>12} {wide_bar} {pos}/{len}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        Ok(Self { bar, cancelled })
    }
}

impl Progress for Bar {
    fn begin(&self, domain: Domain, pictures: usize) {
        self.bar.reset();
        self.bar.set_length(pictures as u64);
        self.bar.set_message(domain.noun());
    }

    fn advance(&self) {
        self.bar.inc(1);
    }

    fn left_out(&self, file: &LeftOut) {
        // Not through the bar, which swallows what it prints when there is no terminal.
        self.bar.suspend(|| {
            println!(
                "left out of the {}: {}: {}",
                file.domain.noun(),
                file.source,
                file.reason
            )
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
