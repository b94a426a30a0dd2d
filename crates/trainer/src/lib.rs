//! The command line: trains CycleGAN models and translates pictures with them. For programs there is
//! [`Translator`], which is what its `translate` translates with.

mod amount;
mod bench;
mod checkpoint;
mod cli;
mod clip;
mod data;
mod demo;
mod devices;
mod disk;
mod evaluate;
mod export;
mod faults;
mod ffmpeg;
mod health;
mod history;
mod import;
mod interrupt;
mod memory;
mod pace;
mod rate;
mod report;
mod run_dir;
mod runs;
mod sample;
mod settings;
mod tensorboard;
mod tiles;
mod train;
mod translate;
mod translator;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::train::Ending;

pub use crate::cli::Direction;
pub use crate::translator::Translator;

/// What reads files, for the fuzz targets and nobody else.
#[doc(hidden)]
pub mod readers {
    use std::path::Path;

    use crate::checkpoint::Checkpoint;
    use crate::cli::Options;
    use crate::run_dir::RunDir;
    use crate::settings::Settings;
    use anyhow::{Result, ensure};

    /// Reads a configuration as `--config` does, and once more what it becomes.
    ///
    /// # Errors
    /// When it is none, or does not survive its own file.
    pub fn settings(file: &Path) -> Result<()> {
        let settings = Settings::resolve(Some(file), &Options::default())?;
        let again = Settings::from_toml(&settings.to_toml()?)?;
        ensure!(again == settings, "{settings:?} became {again:?}");
        Ok(())
    }

    /// Reads a checkpoint file's header, whether or not it agrees with its checksum, which hardly anything
    /// made at random does.
    ///
    /// # Errors
    /// When it is none.
    pub fn checkpoint(file: &Path) -> Result<()> {
        Checkpoint::of(file, &nn::StateReader::open(file)?).map(drop)
    }

    /// Reads the metrics of a run as its page does, then repairs them for one that has taken so many steps.
    ///
    /// # Errors
    /// When they can't be read or written.
    pub fn metrics(run: &Path, steps: u64) -> Result<()> {
        let run = RunDir::open(run)?;
        drop(crate::watch::read_all(&run));
        run.metrics(steps).map(drop)
    }
}

/// The exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// The program: reads its arguments, does what they ask for, says on standard error what went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tensor::cpu::work_on_this_thread();
    let done = match cli.command.unwrap_or(Command::Train(Box::new(cli.train))) {
        Command::Train(args) => train::run(&args),
        Command::Plan(args) => memory::run(&args),
        Command::Translate(args) => translate::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Runs(args) => runs::list(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Report(args) => watch::report(&args),
        Command::Keep(args) => runs::keep(&args),
        Command::Devices => {
            devices::list();
            Ok(Ending::Finished)
        }
    };
    match done {
        Ok(Ending::Finished) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // One paragraph: what was tried, then the cause, which says what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
