//! `trainer runs` and `trainer keep`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::checkpoint;
use crate::cli::{KeepArgs, RunsArgs};
use crate::report;
use crate::run_dir::RunDir;
use crate::train::Ending;

/// Lists the runs of a folder.
///
/// # Errors
/// When there are none.
pub fn list(args: &RunsArgs) -> Result<Ending> {
    let runs = find(&args.folder)?;
    let rows: Vec<[String; 6]> = runs.iter().map(row).collect();
    let head = ["run", "state", "step", "checkpoints", "since", "device"].map(String::from);
    for line in aligned(&[&[head][..], &rows].concat()) {
        report::result(&line);
    }
    Ok(Ending::Finished)
}

/// Marks a checkpoint.
///
/// # Errors
/// When there is none, or it can't be marked.
pub fn keep(args: &KeepArgs) -> Result<Ending> {
    let kept = checkpoint::mark(&RunDir::open(&args.run)?, args.step)?;
    report::result(&format!("{} is kept", kept.display()));
    Ok(Ending::Finished)
}

/// A folder that is a run, or those in it that are.
fn find(folder: &Path) -> Result<Vec<RunDir>> {
    if let Ok(run) = RunDir::open(folder) {
        return Ok(vec![run]);
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    let runs = folders.iter().filter_map(|path| RunDir::open(path).ok());
    let runs: Vec<RunDir> = runs.collect();
    if runs.is_empty() {
        bail!(
            "there are no runs in {}; give the folder that they are in, or train one",
            folder.display()
        );
    }
    Ok(runs)
}

fn row(run: &RunDir) -> [String; 6] {
    let events = run.events();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or("?").to_owned();
    let begun = events.iter().rev().find(|event| event["event"] == "began");
    let metrics = run.last_metrics();
    let step = metrics.as_ref().and_then(|line| line["step"].as_u64());
    let of = begun.and_then(|event| event["of"].as_u64());
    let checkpoints = checkpoint::list(run).unwrap_or_default();
    let kept: Vec<String> = checkpoints
        .iter()
        .filter_map(|path| checkpoint::steps_of(path))
        .map(|steps| steps.to_string())
        .collect();
    [
        run.path().display().to_string(),
        state(run, events.last()).into(),
        match (step, of) {
            (step, Some(of)) => format!("{} of {of}", step.unwrap_or(0)),
            (Some(step), None) => step.to_string(),
            (None, None) => "?".into(),
        },
        match kept.is_empty() {
            true => "none".into(),
            false => kept.join(" "),
        },
        events
            .last()
            .map_or("?".into(), |event| text(event, "time")),
        begun.map_or("?".into(), |event| text(event, "device")),
    ]
}

/// How a run is, by its lock and by the last that was heard of it.
pub fn state(run: &RunDir, last: Option<&Value>) -> &'static str {
    match run.is_locked() {
        true => "at work",
        false => ended_as(last),
    }
}

/// How a run that nobody is at work on is, by the last that was heard of it.
pub fn ended_as(last: Option<&Value>) -> &'static str {
    match last.and_then(|event| event["event"].as_str()) {
        Some("finished") => "finished",
        Some("stopped") => "stopped",
        Some("failed") => "failed",
        Some("imported") => "imported",
        // Its end could not be written down any more.
        Some(_) => "broken off",
        None => "unknown",
    }
}

/// Rows as lines, with columns below each other.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |i: usize| {
        rows.iter()
            .map(|row| row[i].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
