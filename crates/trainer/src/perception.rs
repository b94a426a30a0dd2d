//! The network by whose sight generators are trained.

use std::sync::Arc;

use anyhow::{Context, Result};
use cyclegan::memory::{self, MemoryPlan};
use cyclegan::{Config, Model, Perception, PerceptionOn};
use tensor::Device;

use crate::settings::Settings;

/// The weights of a run's network, if it has one, for whatever device.
#[derive(Clone)]
pub struct Sight(Option<Arc<metrics::Perception>>);

impl Sight {
    /// Reads what the settings ask for.
    ///
    /// # Errors
    /// When the file can't be read or holds something else.
    pub fn of(settings: &Settings) -> Result<Self> {
        if !settings.model.perceives() {
            return Ok(Sight(None));
        }
        let file = &settings.run.perceptual;
        let weights = metrics::Perception::load(file)
            .with_context(|| format!("--perceptual {}", file.display()))?;
        Ok(Sight(Some(Arc::new(weights))))
    }

    /// Has a model trained by it.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn train(&self, model: &mut dyn Model, device: &Device) -> Result<()> {
        if let Some(weights) = &self.0 {
            model.train_by(Arc::new(weights.on(device)?));
        }
        Ok(())
    }

    /// What training with it takes of a device's memory.
    ///
    /// # Errors
    /// As [`cyclegan::memory::plan`].
    pub fn plan(&self, config: &Config, device: &Device) -> tensor::Result<MemoryPlan> {
        self.planned(|on| memory::plan(config, on, device))
    }

    /// For plans of memory.
    pub fn planned<T>(&self, plan: impl FnOnce(Option<&PerceptionOn>) -> T) -> T {
        match &self.0 {
            None => plan(None),
            Some(weights) => {
                let weights = weights.clone();
                plan(Some(&move |device: &Device| {
                    let perception: Perception = Arc::new(weights.on(device)?);
                    Ok(perception)
                }))
            }
        }
    }
}
