//! What has happened to a run, a line an event: `history.jsonl`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Map, Value, json};
use tensor::Device;

use crate::run_dir::{Lines, RunDir};
use crate::train::Ending;

/// The file, open.
pub struct History(Lines);

impl History {
    /// Opens a run's.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(dir: &RunDir) -> Result<Self> {
        dir.history().map(History)
    }

    /// Training begins, or goes on after `steps` steps of `total`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn began(
        &mut self,
        steps: u64,
        total: u64,
        device: &Device,
        pictures: &str,
        changes: &[String],
    ) -> Result<()> {
        self.add(
            "began",
            json!({
                "step": steps,
                "of": total,
                "henshin": env!("CARGO_PKG_VERSION"),
                "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
                "device": device.to_string(),
                "driver": device.driver(),
                "pictures": pictures,
                "changes": changes,
                "process": std::process::id(),
            }),
        )
    }

    /// The run was made of what another program trained.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn imported(&mut self, networks: &[String]) -> Result<()> {
        self.add("imported", json!({ "networks": networks }))
    }

    /// Training goes on after something went wrong.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn recovered(&mut self, reason: &str) -> Result<()> {
        self.add("recovered", json!({ "reason": reason }))
    }

    /// Training ended, with a checkpoint after `step` steps as the last.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn ended(&mut self, step: u64, outcome: &Result<Ending>) -> Result<()> {
        match outcome {
            Ok(Ending::Finished) => self.add("finished", json!({ "step": step })),
            Ok(Ending::Interrupted) => self.add("stopped", json!({ "step": step })),
            Err(error) => self.add(
                "failed",
                json!({ "step": step, "reason": format!("{error:#}") }),
            ),
        }
    }

    fn add(&mut self, event: &str, details: Value) -> Result<()> {
        let mut line = Map::from_iter([
            ("event".to_owned(), event.into()),
            ("time".to_owned(), now().into()),
        ]);
        if let Value::Object(details) = details {
            line.extend(details);
        }
        self.0.append(line)
    }
}

/// The time as people and programs read it, of a clock that may be wrong.
pub fn now() -> String {
    const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since.min(YEAR_9999)).to_string()
}
