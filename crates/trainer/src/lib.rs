//! The command line: trains CycleGAN models and translates pictures with them.

mod amount;
mod bench;
mod checkpoint;
mod cli;
mod data;
mod demo;
mod devices;
mod disk;
mod faults;
mod health;
mod history;
mod interrupt;
mod memory;
mod report;
mod run_dir;
mod runs;
mod sample;
mod settings;
mod tiles;
mod train;
mod translate;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::train::Ending;

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
        Command::Bench(args) => bench::run(&args),
        Command::Runs(args) => runs::list(&args),
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
