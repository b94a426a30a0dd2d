//! From folders of pictures to batches, on threads of their own.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, bail};
use cyclegan::{Config, Stage, Stream, rng};
use images::RgbImage;
use indicatif::ProgressBar;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

/// Pictures kept decoded, at their loading size; beyond, they are decoded each time.
const CACHE_BYTES: usize = 2 << 30;
/// Batches made ahead by each worker.
const AHEAD: usize = 2;
const WORKERS: usize = 2;

/// The pictures of a data folder, by their paths.
pub struct Pictures {
    folder: PathBuf,
    a: Vec<PathBuf>,
    b: Vec<PathBuf>,
}

impl Pictures {
    /// Lists `trainA` and `trainB` of a folder.
    ///
    /// # Errors
    /// When one is missing or empty.
    pub fn list(folder: &Path) -> Result<Self> {
        let list = |name: &str| {
            images::list(&folder.join(name)).with_context(|| {
                format!(
                    "{} can't be trained on (it must hold trainA and trainB, a folder of pictures \
                     each; `cargo xtask prepare-faces` makes such a set)",
                    folder.display()
                )
            })
        };
        Ok(Pictures {
            folder: folder.to_owned(),
            a: list("trainA")?,
            b: list("trainB")?,
        })
    }

    /// The numbers of pictures.
    pub fn lens(&self) -> [usize; 2] {
        [self.a.len(), self.b.len()]
    }

    /// Up to `count` pictures of each domain, evenly spread, as training would see their whole: resized
    /// to `size`. From `testA` and `testB`, or from the training folders where those are not.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn spread(&self, count: usize, size: usize) -> Result<[Vec<Vec<f32>>; 2]> {
        let spread = |test: &str, train: &[PathBuf]| -> Result<Vec<Vec<f32>>> {
            let test = images::list(&self.folder.join(test));
            let files = test.as_deref().unwrap_or(train);
            let count = count.min(files.len());
            let file = |i: usize| &files[i * files.len() / count];
            (0..count)
                .map(|i| Ok(images::to_chw(&load(file(i), size as u32)?)))
                .collect()
        };
        Ok([spread("testA", &self.a)?, spread("testB", &self.b)?])
    }
}

/// The pictures of one domain.
struct Domain {
    files: Vec<PathBuf>,
    cache: Vec<OnceLock<RgbImage>>,
    load_size: u32,
}

impl Domain {
    /// Decodes every picture once, so that a broken one is found now and not hours into the run.
    ///
    /// # Errors
    /// When pictures can't be read.
    fn open(files: &[PathBuf], load_size: usize, bar: &ProgressBar) -> Result<Self> {
        let load_size = load_size as u32;
        let bytes_each = 3 * (load_size * load_size) as usize;
        let cached = CACHE_BYTES / bytes_each;
        let cache: Vec<OnceLock<RgbImage>> = files.iter().map(|_| OnceLock::new()).collect();
        bar.inc_length(files.len() as u64);
        let broken: Vec<String> = files
            .par_iter()
            .enumerate()
            .filter_map(|(i, file)| {
                bar.inc(1);
                match load(file, load_size) {
                    Ok(picture) if i < cached => cache[i].set(picture).err().map(|_| String::new()),
                    Ok(_) => None,
                    Err(error) => Some(error.to_string()),
                }
            })
            .collect();
        if !broken.is_empty() {
            let more = match broken.len().saturating_sub(3) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            bail!(
                "{} of {} pictures can't be used: {}{more}. Remove them, or make a set with \
                 `cargo xtask prepare-faces`, which leaves such files out",
                broken.len(),
                files.len(),
                broken[..broken.len().min(3)].join("; ")
            );
        }
        Ok(Domain {
            files: files.to_vec(),
            cache,
            load_size,
        })
    }

    /// Picture `i`, cropped and perhaps mirrored, as C×H×W values in [−1, 1].
    fn augmented(&self, i: usize, config: &Config, rng: &mut ChaCha8Rng) -> Result<Vec<f32>> {
        let loaded;
        let picture = match self.cache[i].get() {
            Some(picture) => picture,
            None => {
                loaded = load(&self.files[i], self.load_size)?;
                &loaded
            }
        };
        let room = self.load_size - config.size as u32;
        let (x, y) = (rng.random_range(0..=room), rng.random_range(0..=room));
        let mirrored = rng.random_bool(0.5) && config.flip;
        let size = config.size as u32;
        let mut crop = images::crop(picture, x, y, size, size);
        if mirrored {
            crop = images::mirror(&crop);
        }
        Ok(images::to_chw(&crop))
    }
}

fn load(file: &Path, side: u32) -> images::Result<RgbImage> {
    Ok(images::resize(&images::decode(file)?, side, side))
}

/// Both domains, decoded for a stage.
pub struct Dataset {
    a: Domain,
    b: Domain,
}

impl Dataset {
    /// Decodes pictures at a size.
    ///
    /// # Errors
    /// When some can't be read.
    pub fn open(pictures: &Pictures, load_size: usize, bar: &ProgressBar) -> Result<Self> {
        let open = |files: &[PathBuf]| {
            Domain::open(files, load_size, bar)
                .with_context(|| format!("{} can't be trained on", pictures.folder.display()))
        };
        Ok(Dataset {
            a: open(&pictures.a)?,
            b: open(&pictures.b)?,
        })
    }

    /// The batch of a step, a function of seed and step alone: A in shuffled order, every picture
    /// once before any comes again; B at random, as in the reference.
    fn batch(&self, stage: &Stage, step: u64) -> Result<Batch> {
        let config = &stage.config;
        let [len_a, len_b] = [&self.a, &self.b].map(|domain| domain.files.len());
        let mut rng = rng(config.seed, Stream::Data, step);
        let mut batch = Batch {
            step,
            a: Vec::new(),
            b: Vec::new(),
        };
        for i in 0..config.batch as u64 {
            let index = stage.pictures_before(step) + i;
            let (round, place) = (index / len_a as u64, (index % len_a as u64) as usize);
            let a = shuffled(config.seed, round, len_a)[place];
            let b = rng.random_range(0..len_b);
            batch.a.extend(self.a.augmented(a, config, &mut rng)?);
            batch.b.extend(self.b.augmented(b, config, &mut rng)?);
        }
        Ok(batch)
    }
}

/// The order of domain A in a round through it.
fn shuffled(seed: u64, round: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut rng(seed, Stream::Order, round));
    order
}

/// Pictures of both domains, N×3×size×size each.
pub struct Batch {
    pub step: u64,
    pub a: Vec<f32>,
    pub b: Vec<f32>,
}

/// Makes the batches of a stage ahead of time; worker w of W makes those of steps w, w + W, …
pub struct Loader {
    workers: Vec<Receiver<Result<Batch>>>,
    next: u64,
}

impl Loader {
    /// Starts the workers at a step.
    pub fn start(dataset: Dataset, stage: &Stage, first: u64) -> Self {
        let dataset = Arc::new(dataset);
        let worker = |w: u64| {
            let (sender, receiver) = sync_channel(AHEAD);
            let (dataset, stage) = (dataset.clone(), stage.clone());
            let start = first + (w + WORKERS as u64 - first % WORKERS as u64) % WORKERS as u64;
            thread::spawn(move || work(&dataset, &stage, start, &sender));
            receiver
        };
        Loader {
            workers: (0..WORKERS as u64).map(worker).collect(),
            next: first,
        }
    }

    /// The next step's batch.
    ///
    /// # Errors
    /// When a picture can't be read any more.
    pub fn next(&mut self) -> Result<Batch> {
        let worker = &self.workers[(self.next % WORKERS as u64) as usize];
        let batch = worker
            .recv()
            .context("a thread that loads pictures has died")??;
        debug_assert_eq!(batch.step, self.next);
        self.next += 1;
        Ok(batch)
    }
}

fn work(dataset: &Dataset, stage: &Stage, start: u64, sender: &SyncSender<Result<Batch>>) {
    for step in (start..stage.end).step_by(WORKERS) {
        // The run is over when nobody takes batches any more.
        if sender.send(dataset.batch(stage, step)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_of_a_comes_once_a_round() {
        let mut first = shuffled(3, 0, 100);
        assert_ne!(first, shuffled(3, 1, 100), "each round has its order");
        assert_eq!(first, shuffled(3, 0, 100), "which the seed determines");
        first.sort_unstable();
        assert_eq!(first, (0..100).collect::<Vec<_>>());
    }
}
