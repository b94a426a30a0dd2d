//! A run's folder: `config.toml`, `metrics.jsonl`, `samples/`, `checkpoints/`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cyclegan::{Losses, Preset};

use crate::settings::Settings;

const CONFIG: &str = "config.toml";

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the folder of a new run; where none is named, the next free one below `runs`.
    ///
    /// # Errors
    /// When there is a run already, or the folder can't be written.
    pub fn create(settings: &mut Settings) -> Result<Self> {
        if settings.run.out.as_os_str().is_empty() {
            settings.run.out = free_folder(settings.run.preset);
        }
        let dir = RunDir(settings.run.out.clone());
        if dir.config().exists() {
            let shown = dir.0.display();
            bail!(
                "there is a run in {shown} already; go on with it by --resume {shown}, or give \
                 another folder with --out"
            );
        }
        for folder in [dir.samples(), dir.checkpoints()] {
            fs::create_dir_all(&folder).with_context(|| {
                format!(
                    "the folder {} can't be made; give one that you may write to with --out",
                    folder.display()
                )
            })?;
        }
        dir.write_config(settings)?;
        Ok(dir)
    }

    /// The folder of a run that is there.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = RunDir(path.to_owned());
        if !dir.config().is_file() {
            bail!(
                "{} is not the folder of a run: it holds no {CONFIG}; give the folder that \
                 training printed, such as runs/demo",
                path.display()
            );
        }
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join(CONFIG)
    }

    pub fn samples(&self) -> PathBuf {
        self.0.join("samples")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Records the settings.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_config(&self, settings: &Settings) -> Result<()> {
        fs::write(self.config(), settings.to_toml()?)
            .with_context(|| format!("{} can't be written", self.config().display()))
    }

    /// The metrics file of a run that has taken `steps` steps: lines beyond, left by steps that no
    /// checkpoint kept, are cut off.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn metrics(&self, steps: u64) -> Result<Metrics> {
        let path = self.0.join("metrics.jsonl");
        let context = || format!("{} can't be written", path.display());
        let mut kept = String::new();
        if path.exists() {
            let mut lines = BufReader::new(File::open(&path).with_context(context)?);
            while let Some(line) = short_line(&mut lines) {
                let step = serde_json::from_str::<serde_json::Value>(&line)
                    .ok()
                    .and_then(|line| line["step"].as_u64());
                if step.is_some_and(|step| step <= steps) {
                    kept += &line;
                    kept.push('\n');
                }
            }
            fs::write(&path, kept).with_context(context)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(context)?;
        Ok(Metrics { file, path })
    }
}

/// The next line without its end; nothing after the last, and where one is no text or absurdly long.
fn short_line(reader: &mut impl BufRead) -> Option<String> {
    const LONGEST: u64 = 64 << 10;
    let mut line = String::new();
    let length = reader.take(LONGEST).read_line(&mut line).ok()?;
    let whole = length > 0 && (length as u64) < LONGEST;
    whole.then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn free_folder(preset: Preset) -> PathBuf {
    let name = match preset {
        Preset::Demo => "demo",
        Preset::Paper => "paper",
    };
    let runs = Path::new("runs");
    let numbered = (2..).map(|i| runs.join(format!("{name}-{i}")));
    let mut candidates = std::iter::once(runs.join(name)).chain(numbered);
    candidates
        .find(|folder| !folder.exists())
        .expect("numbers don't end")
}

/// `metrics.jsonl`, a line a step.
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// Appends the losses of a step, counted from 1, and how those of the generators and the discriminators
    /// were scaled, if they were.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn append(
        &mut self,
        step: u64,
        losses: &Losses<f32>,
        learning_rate: f32,
        loss_scales: Option<[f32; 2]>,
    ) -> Result<()> {
        let mut line = serde_json::Map::new();
        line.insert("step".into(), step.into());
        for (name, &value) in losses.named() {
            line.insert(name.into(), value.into());
        }
        line.insert("learning_rate".into(), learning_rate.into());
        for (name, factor) in ["loss_scale_G", "loss_scale_D"]
            .into_iter()
            .zip(loss_scales.into_iter().flatten())
        {
            line.insert(name.into(), factor.into());
        }
        let line = serde_json::Value::Object(line).to_string() + "\n";
        // One write a line, so that a crash leaves whole lines.
        self.file.write_all(line.as_bytes()).with_context(|| {
            format!(
                "{} can't be written; is the disk full?",
                self.path.display()
            )
        })
    }
}
