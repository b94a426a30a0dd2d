//! Checkpoints: one safetensors file with everything that training goes on from, the settings and
//! the step in its metadata.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cyclegan::CycleGan;
use nn::{StateDict, load_file, save_file};
use tensor::Device;

use crate::run_dir::RunDir;
use crate::settings::Settings;

/// The version of what is in the file.
const FORMAT: &str = "henshin-checkpoint-1";
const EXTENSION: &str = "safetensors";

/// A checkpoint that was read.
pub struct Checkpoint {
    pub settings: Settings,
    pub steps: u64,
    pub state: StateDict,
}

/// Writes a checkpoint into a run's folder, and removes the oldest beyond those to keep.
///
/// # Errors
/// When the file can't be written or the device fails.
pub fn save(dir: &RunDir, model: &CycleGan, settings: &Settings) -> Result<PathBuf> {
    let path = dir
        .checkpoints()
        .join(format!("{:06}.{EXTENSION}", model.steps()));
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("steps".to_owned(), model.steps().to_string()),
        ("config".to_owned(), settings.to_toml()?),
    ]);
    save_file(&path, &model.state()?, metadata).context("the checkpoint could not be saved")?;
    let all = list(dir)?;
    for old in &all[..all.len().saturating_sub(settings.run.keep_checkpoints)] {
        // One too many is no reason to end a run.
        let _ = fs::remove_file(old);
    }
    Ok(path)
}

/// A run's checkpoints, oldest first.
fn list(dir: &RunDir) -> Result<Vec<PathBuf>> {
    let folder = dir.checkpoints();
    let context = || format!("the folder {} can't be read", folder.display());
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(context)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == EXTENSION)
        })
        .collect();
    // By number: 1000000 comes after 999999.
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(found)
}

/// Reads a checkpoint file, or the newest of a run's folder.
///
/// # Errors
/// When there is none, or it is not whole.
pub fn load(run: &Path, device: &Device) -> Result<Checkpoint> {
    if !run.exists() {
        bail!(
            "there is no {}; give a run's folder, such as runs/demo",
            run.display()
        );
    }
    let path = if run.is_dir() {
        let dir = RunDir::open(run)?;
        let newest = list(&dir)?.pop();
        newest.with_context(|| {
            format!(
                "the run in {} has no checkpoint yet; train it first",
                run.display()
            )
        })?
    } else {
        run.to_owned()
    };
    let (state, metadata) = load_file(&path, device)?;
    let read = || -> Result<Checkpoint> {
        if metadata.get("format").is_none_or(|format| format != FORMAT) {
            bail!("its format is not {FORMAT}");
        }
        let entry = |key: &str| metadata.get(key).with_context(|| format!("it lacks {key}"));
        let settings = Settings::from_toml(entry("config")?)?;
        // Networks are made before they are filled: not for a file that has nothing to fill them with.
        let values: usize = state.values().map(|tensor| tensor.shape().len()).sum();
        if values < settings.model.least_values() {
            bail!("its configuration asks for larger networks than it holds");
        }
        Ok(Checkpoint {
            steps: entry("steps")?.parse().context("its step is no number")?,
            settings,
            state,
        })
    };
    read().with_context(|| {
        format!(
            "{} is no checkpoint of this version of Henshin",
            path.display()
        )
    })
}
