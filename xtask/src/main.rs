//! Chores of the repository, each a subcommand with a file of its own: `cargo xtask --help`.

mod kernel_report;
mod prepare_faces;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the Henshin repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    PrepareFaces(prepare_faces::Args),
    KernelReport(kernel_report::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::PrepareFaces(args) => prepare_faces::run(args),
        Task::KernelReport(args) => kernel_report::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if prepare_faces::is_interrupt(&error) {
                130
            } else {
                1
            })
        }
    }
}
