//! From folders of pictures to batches, on threads of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, bail};
use cyclegan::{Config, Stage, Stream, rng};
use images::{Affine, Jitter, RgbImage};
use indicatif::ProgressBar;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::sample::Samples;

/// Pictures kept decoded, at their loading size; beyond, they are decoded each time.
const CACHE_BYTES: usize = 2 << 30;
/// Batches made ahead by each worker.
const AHEAD: usize = 2;
const WORKERS: usize = 2;

/// What the folder of a style's pictures is called before the style's name.
const STYLE: &str = "style-";

/// The pictures of a data folder, by their paths.
pub struct Pictures {
    folder: PathBuf,
    /// Test pictures of domain B, if there are any.
    test_b: PathBuf,
    a: Vec<PathBuf>,
    b: Vec<PathBuf>,
}

impl Pictures {
    /// Lists `trainA` and `trainB` of a folder; of the latter one style, if it is named.
    ///
    /// # Errors
    /// When one is missing or empty, or there is no such style.
    pub fn list(folder: &Path, style: &str) -> Result<Self> {
        let list = |domain: &Path| {
            images::list(domain).with_context(|| {
                format!(
                    "{} can't be trained on (it must hold trainA and trainB, a folder of pictures \
                     each; `cargo xtask prepare-faces` makes such a set)",
                    folder.display()
                )
            })
        };
        let [mut train_b, mut test_b] = ["trainB", "testB"].map(|domain| folder.join(domain));
        if !style.is_empty() {
            check_style(&train_b, style)?;
            for domain in [&mut train_b, &mut test_b] {
                domain.push(format!("{STYLE}{style}"));
            }
        }
        Ok(Pictures {
            folder: folder.to_owned(),
            test_b,
            a: list(&folder.join("trainA"))?,
            b: list(&train_b)?,
        })
    }

    /// The numbers of pictures.
    pub fn lens(&self) -> [usize; 2] {
        [self.a.len(), self.b.len()]
    }

    /// What tells these pictures from others: their numbers, and a digest of their names and contents.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn fingerprint(&self) -> Result<String> {
        let digest = |file: &PathBuf| -> Result<[u8; 32]> {
            let content =
                fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
            // The folder may be moved.
            let name = file.strip_prefix(&self.folder).unwrap_or(file);
            let mut hash = Sha256::new();
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update([0]);
            hash.update(content);
            Ok(hash.finalize().into())
        };
        let files: Vec<&PathBuf> = self.a.iter().chain(&self.b).collect();
        let digests: Vec<[u8; 32]> = files.into_par_iter().map(digest).collect::<Result<_>>()?;
        let all = Sha256::digest(digests.concat());
        let hex: String = all[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let [a, b] = self.lens();
        Ok(format!("{a} of A, {b} of B, {hex}"))
    }

    /// Up to `count` pictures of each domain, evenly spread, as training would see their whole: resized
    /// to `size`. From `testA` and `testB`, or from the training folders where those are not.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn spread(&self, count: usize, size: usize) -> Result<[Vec<Vec<f32>>; 2]> {
        let spread = |test: &Path, train: &[PathBuf]| -> Result<Vec<Vec<f32>>> {
            let test = images::list(test);
            let files = test.as_deref().unwrap_or(train);
            let count = count.min(files.len());
            let file = |i: usize| &files[i * files.len() / count];
            (0..count)
                .map(|i| Ok(images::to_chw(&load(file(i), size as u32)?)))
                .collect()
        };
        let test_a = self.folder.join("testA");
        Ok([spread(&test_a, &self.a)?, spread(&self.test_b, &self.b)?])
    }
}

/// Refuses a style that a domain is not divided into.
fn check_style(domain: &Path, style: &str) -> Result<()> {
    let entries = fs::read_dir(domain)
        .with_context(|| format!("the folder {} can't be read", domain.display()))?;
    let is_folder = |entry: &fs::DirEntry| entry.path().is_dir();
    let mut styles: Vec<String> = entries
        .filter_map(|entry| entry.ok().filter(is_folder)?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_prefix(STYLE)?.to_owned()))
        .collect();
    if styles.is_empty() {
        bail!(
            "{} isn't divided into styles (folders {STYLE}0, {STYLE}1, …), so that there is no style \
             {style}; leave --style out, or have `cargo xtask prepare-faces … --styles auto` divide it",
            domain.display()
        );
    }
    if !styles.iter().any(|known| known == style) {
        // By number: 10 comes after 9.
        styles.sort_by_key(|style| (style.len(), style.clone()));
        bail!(
            "there is no style {style} in {}; --style takes one of {}",
            domain.display(),
            styles.join(", ")
        );
    }
    Ok(())
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

    /// Picture `i`, cropped, perhaps mirrored, and changed as the options say, as C×H×W values in
    /// [−1, 1].
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
        let mut seen = if config.rotate == 0.0 && config.zoom == 0.0 {
            let crop = images::crop(picture, x, y, size, size);
            match mirrored {
                true => images::mirror(&crop),
                false => crop,
            }
        } else {
            let angle = f64::from(either_way(config.rotate, rng)).to_radians();
            let scale = f64::from(1.0 + either_way(config.zoom, rng));
            let frame = frame([x, y], size, mirrored, angle, scale);
            images::warp(picture, &frame, [size, size])
        };
        if config.jitter > 0.0 {
            let mut factor = || 1.0 + either_way(config.jitter, rng);
            let factors = Jitter {
                brightness: factor(),
                contrast: factor(),
                saturation: factor(),
            };
            seen = images::jitter(&seen, &factors);
        }
        Ok(images::to_chw(&seen))
    }
}

/// A number from −`most` to `most`.
fn either_way(most: f32, rng: &mut ChaCha8Rng) -> f32 {
    most * (2.0 * rng.random::<f32>() - 1.0)
}

/// Where in a picture the points of a crop at `corner` lie that is mirrored if asked for, and then turned
/// by `angle` (radians) and scaled about its middle.
fn frame(corner: [u32; 2], size: u32, mirrored: bool, angle: f64, scale: f64) -> Affine {
    let half = f64::from(size) / 2.0;
    let middle = corner.map(|at| f64::from(at) + half);
    let across = if mirrored { -1.0 } else { 1.0 };
    Affine::similarity(1.0, 0.0, [-half, -half])
        .then(&Affine::similarity(1.0 / scale, -angle, [0.0, 0.0]))
        .then(&Affine([[across, 0.0, middle[0]], [0.0, 1.0, middle[1]]]))
}

fn load(file: &Path, side: u32) -> images::Result<RgbImage> {
    Ok(images::resize(&images::decode(file)?, side, side))
}

/// Bytes of pictures that training on so many of each domain holds at the most: those kept decoded, the
/// batches made ahead, and a sample sheet.
pub fn memory(lens: [usize; 2], config: &Config) -> u64 {
    let pixels = |side: usize| 3 * (side * side) as u64;
    let decoded = |len: usize| {
        let all = len as u64 * pixels(config.load_size());
        all.min(CACHE_BYTES as u64)
    };
    let batch = 2 * 4 * config.batch as u64 * pixels(config.size);
    // Of each worker those that wait and the one it makes; and the one that is being trained on.
    let batches = (WORKERS * (AHEAD + 1) + 1) as u64 * batch;
    decoded(lens[0]) + decoded(lens[1]) + batches + Samples::memory(config.size)
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
            files: Vec::new(),
        };
        for i in 0..config.batch as u64 {
            let index = stage.pictures_before(step) + i;
            let (round, place) = (index / len_a as u64, (index % len_a as u64) as usize);
            let a = shuffled(config.seed, round, len_a)[place];
            let b = rng.random_range(0..len_b);
            batch
                .files
                .push([self.a.files[a].clone(), self.b.files[b].clone()]);
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
    /// Where they come from, pair by pair.
    pub files: Vec<[PathBuf; 2]>,
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
    fn a_frame_at_rest_is_a_crop_and_others_keep_its_middle() {
        let picture = RgbImage::from_fn(30, 20, |x, y| {
            images::Rgb([(8 * x) as u8, (12 * y) as u8, (x * y) as u8])
        });
        let crop = images::crop(&picture, 11, 2, 16, 16);
        for (mirrored, expected) in [(false, crop.clone()), (true, images::mirror(&crop))] {
            let still = frame([11, 2], 16, mirrored, 0.0, 1.0);
            assert_eq!(images::warp(&picture, &still, [16, 16]), expected);
            let moved = frame([11, 2], 16, mirrored, 0.4, 1.25);
            let [x, y] = moved.apply([8.0, 8.0]);
            assert!((x - 19.0).abs() < 1e-9 && (y - 10.0).abs() < 1e-9);
            assert!((moved.scale() - 0.8).abs() < 1e-9, "enlarged: less is seen");
        }
        // A quarter turn of what is seen, clockwise as rows go down.
        let turned = frame([11, 2], 16, false, std::f64::consts::FRAC_PI_2, 1.0);
        let turned = images::warp(&picture, &turned, [16, 16]);
        assert_eq!(turned.get_pixel(15, 0), crop.get_pixel(0, 0));
        assert_eq!(turned.get_pixel(15, 15), crop.get_pixel(15, 0));
    }

    #[test]
    fn draws_reach_both_ways() {
        let rng = &mut rng(1, Stream::Data, 0);
        let draws: Vec<f32> = (0..1000).map(|_| either_way(10.0, rng)).collect();
        assert!(draws.iter().all(|draw| draw.abs() <= 10.0));
        assert!(draws.iter().any(|&draw| draw > 9.0) && draws.iter().any(|&draw| draw < -9.0));
        assert_eq!(either_way(0.0, rng), 0.0);
    }

    #[test]
    fn every_picture_of_a_comes_once_a_round() {
        let mut first = shuffled(3, 0, 100);
        assert_ne!(first, shuffled(3, 1, 100), "each round has its order");
        assert_eq!(first, shuffled(3, 0, 100), "which the seed determines");
        first.sort_unstable();
        assert_eq!(first, (0..100).collect::<Vec<_>>());
    }
}
