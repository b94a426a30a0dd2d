use nn::{Ema, Module, Weights};
use tensor::Result;

use crate::{Config, Generator, generator};

/// A generator in training and, where there is one, its moving average, with which pictures are made.
pub struct Averaged {
    name: &'static str,
    /// The name of the average.
    ema_name: &'static str,
    generator: Generator,
    average: Option<(Generator, Ema)>,
}

impl Averaged {
    /// A generator by the names that it and its average have in checkpoints.
    pub(crate) fn new([name, ema_name]: [&'static str; 2], generator: Generator) -> Self {
        Averaged {
            name,
            ema_name,
            generator,
            average: None,
        }
    }

    /// Begins its average, if the configuration has one.
    pub(crate) fn average_from_here(
        &mut self,
        config: &Config,
        weights: &mut Weights<'_>,
    ) -> Result<()> {
        if config.ema > 0.0 {
            let average = generator(config, self.generator.channels(), weights)?;
            let ema = Ema::new(config.ema, &self.generator, &average);
            self.average = Some((average, ema));
        }
        Ok(())
    }

    /// Has the average take in the parameters after step `step`, counted from 1.
    pub(crate) fn update(&self, step: u64) -> Result<()> {
        match &self.average {
            Some((_, ema)) => ema.update(step),
            None => Ok(()),
        }
    }

    /// Begins the average anew with the parameters as they are.
    pub(crate) fn restart(&self) {
        if let Some((_, ema)) = &self.average {
            ema.restart();
        }
    }

    /// What pictures are made with.
    pub(crate) fn in_use(&self) -> &Generator {
        match &self.average {
            Some((average, _)) => average,
            None => &self.generator,
        }
    }

    /// What is trained.
    pub(crate) fn generator(&self) -> &Generator {
        &self.generator
    }

    /// Name and network of what is trained.
    pub(crate) fn trained(&self) -> (&'static str, &dyn Module) {
        (self.name, &self.generator)
    }

    /// Name and network of the average.
    pub(crate) fn average(&self) -> Option<(&'static str, &dyn Module)> {
        let (average, _) = self.average.as_ref()?;
        Some((self.ema_name, average))
    }
}
