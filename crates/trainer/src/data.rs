//! From folders of pictures to batches, on threads of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, bail};
use cyclegan::{Config, Preprocess, Stage, Stream, rng};
use images::{Affine, Jitter, RgbImage};
use indicatif::ProgressBar;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::cli::Direction;
use crate::evaluate::HeldOut;
use crate::sample::Samples;
use crate::settings::RunSettings;

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
    a: Folders,
    b: Folders,
}

/// The pictures of a domain, by their paths.
struct Folders {
    train: Vec<PathBuf>,
    /// The folder of its test pictures, if there is one.
    test: PathBuf,
}

impl Pictures {
    /// Lists `trainA` and `trainB` of a folder; of the latter one style, if the settings name it.
    ///
    /// # Errors
    /// When one is missing or empty, or there is no such style.
    pub fn list(folder: &Path, settings: &RunSettings) -> Result<Self> {
        let list = |domain: &Path| {
            let mut all = images::list(domain).with_context(|| {
                format!(
                    "{} can't be trained on (it must hold trainA and trainB, a folder of pictures \
                     each; `cargo xtask prepare-faces` makes such a set)",
                    folder.display()
                )
            })?;
            if settings.max_dataset_size > 0 {
                all.truncate(settings.max_dataset_size);
            }
            anyhow::Ok(all)
        };
        let style = settings.style.as_str();
        let [mut train_b, mut test_b] = ["trainB", "testB"].map(|domain| folder.join(domain));
        if !style.is_empty() {
            check_style(&train_b, style)?;
            for domain in [&mut train_b, &mut test_b] {
                domain.push(format!("{STYLE}{style}"));
            }
        }
        let photographs = Folders {
            train: list(&folder.join("trainA"))?,
            test: folder.join("testA"),
        };
        let drawings = Folders {
            train: list(&train_b)?,
            test: test_b,
        };
        let (a, b) = match settings.direction {
            Direction::AtoB => (photographs, drawings),
            Direction::BtoA => (drawings, photographs),
        };
        Ok(Pictures {
            folder: folder.to_owned(),
            a,
            b,
        })
    }

    /// The pictures to evaluate A and B with: those of `testA` and `testB`, or where there are none those that
    /// are trained on.
    pub fn held_out(&self) -> [HeldOut; 2] {
        [&self.a, &self.b].map(|domain| {
            let (files, is_test) = domain.held_out();
            let folder = match is_test {
                true => Some(domain.test.as_path()),
                false => domain.train.first().and_then(|file| file.parent()),
            };
            let folder = folder.map(|folder| folder.strip_prefix(&self.folder).unwrap_or(folder));
            HeldOut {
                folder: folder.unwrap_or(&self.folder).display().to_string(),
                files,
                is_test,
            }
        })
    }

    /// The numbers of pictures.
    pub fn lens(&self) -> [usize; 2] {
        [self.a.train.len(), self.b.train.len()]
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
        let files: Vec<&PathBuf> = self.a.train.iter().chain(&self.b.train).collect();
        let digests: Vec<[u8; 32]> = files.into_par_iter().map(digest).collect::<Result<_>>()?;
        let all = Sha256::digest(digests.concat());
        let hex: String = all[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let [a, b] = self.lens();
        Ok(format!("{a} of A, {b} of B, {hex}"))
    }

    /// Up to `count` pictures of each domain, evenly spread, as training would see their whole: resized
    /// to the size of a configuration. From `testA` and `testB`, or from the training folders where those are
    /// not.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn spread(&self, count: usize, config: &Config) -> Result<[Vec<Vec<f32>>; 2]> {
        let spread = |domain: &Folders, channels: usize| -> Result<Vec<Vec<f32>>> {
            let (files, _) = domain.held_out();
            spread(&files, count)
                .map(|file| Ok(images::to_chw(&squared(file, config.size)?, channels)))
                .collect()
        };
        let [a, b] = config.channels();
        Ok([spread(&self.a, a)?, spread(&self.b, b)?])
    }
}

impl Folders {
    /// Its test pictures, or where there are none those of training; and whether they are the former.
    fn held_out(&self) -> (Vec<PathBuf>, bool) {
        match images::list(&self.test) {
            Ok(test) => (test, true),
            Err(_) => (self.train.clone(), false),
        }
    }
}

/// Up to `count` files, evenly spread.
pub fn spread(files: &[PathBuf], count: usize) -> impl Iterator<Item = &PathBuf> {
    let count = count.min(files.len());
    (0..count).map(move |i| &files[i * files.len() / count])
}

/// A picture, resized to a square.
pub fn squared(file: &Path, side: usize) -> images::Result<RgbImage> {
    let side = side as u32;
    Ok(images::resize(&images::decode(file)?, side, side))
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
    config: Config,
    channels: usize,
    /// Pixels of the largest.
    largest: u64,
}

impl Domain {
    /// Decodes every picture once, so that a broken one is found now and not hours into the run.
    ///
    /// # Errors
    /// When pictures can't be read.
    fn open(
        files: &[PathBuf],
        channels: usize,
        config: &Config,
        bar: &ProgressBar,
    ) -> Result<Self> {
        let (cached, largest) = (AtomicUsize::new(0), AtomicU64::new(0));
        let cache: Vec<OnceLock<RgbImage>> = files.iter().map(|_| OnceLock::new()).collect();
        bar.inc_length(files.len() as u64);
        let broken: Vec<String> = files
            .par_iter()
            .enumerate()
            .filter_map(|(i, file)| {
                bar.inc(1);
                match load(file, config) {
                    Ok(picture) => {
                        let bytes = picture.as_raw().len();
                        largest.fetch_max(bytes as u64 / 3, Ordering::Relaxed);
                        if cached.fetch_add(bytes, Ordering::Relaxed) + bytes <= CACHE_BYTES {
                            // Nobody else has filled it.
                            let _ = cache[i].set(picture);
                        }
                        None
                    }
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
            config: config.clone(),
            channels,
            largest: largest.into_inner(),
        })
    }

    /// Picture `i`, cropped, perhaps mirrored, and changed as the options say.
    fn augmented(&self, i: usize, rng: &mut ChaCha8Rng) -> Result<RgbImage> {
        let config = &self.config;
        let loaded;
        let picture = match self.cache[i].get() {
            Some(picture) => picture,
            None => {
                loaded = load(&self.files[i], config)?;
                &loaded
            }
        };
        let whole = [picture.width(), picture.height()];
        let size = match config.preprocess.crops() {
            true => [config.size as u32; 2],
            false => whole,
        };
        let [x, y] = [0, 1].map(|axis| rng.random_range(0..=whole[axis] - size[axis]));
        let mirrored = rng.random_bool(0.5) && config.flip;
        let mut seen = if config.rotate == 0.0 && config.zoom == 0.0 {
            let crop = images::crop(picture, x, y, size[0], size[1]);
            match mirrored {
                true => images::mirror(&crop),
                false => crop,
            }
        } else {
            let angle = f64::from(either_way(config.rotate, rng)).to_radians();
            let scale = f64::from(1.0 + either_way(config.zoom, rng));
            let frame = frame([x, y], size, mirrored, angle, scale);
            images::warp(picture, &frame, size)
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
        Ok(seen)
    }
}

/// A number from −`most` to `most`.
fn either_way(most: f32, rng: &mut ChaCha8Rng) -> f32 {
    most * (2.0 * rng.random::<f32>() - 1.0)
}

/// Where in a picture the points of a crop at `corner` lie that is mirrored if asked for, and then turned
/// by `angle` (radians) and scaled about its middle.
fn frame(corner: [u32; 2], size: [u32; 2], mirrored: bool, angle: f64, scale: f64) -> Affine {
    let half = size.map(|extent| f64::from(extent) / 2.0);
    let middle = [0, 1].map(|axis| f64::from(corner[axis]) + half[axis]);
    let across = if mirrored { -1.0 } else { 1.0 };
    Affine::similarity(1.0, 0.0, half.map(|half| -half))
        .then(&Affine::similarity(1.0 / scale, -angle, [0.0, 0.0]))
        .then(&Affine([[across, 0.0, middle[0]], [0.0, 1.0, middle[1]]]))
}

/// A picture as crops are taken from it.
fn load(file: &Path, config: &Config) -> Result<RgbImage> {
    let picture = images::decode(file)?;
    let given = [picture.width(), picture.height()];
    let [width, height] = loaded_size(given, config);
    if config.preprocess.crops() && width.min(height) < config.size as u32 {
        let ([w, h], size) = (given, config.size);
        bail!(
            "{} has {w}×{h} pixels, from which {size}×{size} can't be cropped: give a smaller --size or \
             --preprocess resize_and_crop",
            file.display()
        );
    }
    Ok(match given == [width, height] {
        true => picture,
        false => images::resize(&picture, width, height),
    })
}

/// Width and height that a picture of a width and height is brought to before it is cropped.
fn loaded_size([width, height]: [u32; 2], config: &Config) -> [u32; 2] {
    let (wide, size) = (config.load_size() as u32, config.size as u32);
    let proportional = || {
        let high = u64::from(wide) * u64::from(height) / u64::from(width.max(1));
        high.min(16 * u64::from(wide)) as u32
    };
    // What is not cropped has to go through the generator.
    let whole = |[width, height]: [u32; 2]| {
        let (multiple, least) = (config.generator.multiple_of(), config.generator.at_least());
        let rounded = |extent: u32| (extent as usize + multiple / 2) / multiple * multiple;
        [width, height].map(|extent| rounded(extent).max(least) as u32)
    };
    match config.preprocess {
        Preprocess::ResizeAndCrop => [wide, wide],
        Preprocess::Crop => [width, height],
        Preprocess::ScaleWidth => whole([wide, proportional()]),
        Preprocess::ScaleWidthAndCrop => [wide, proportional().max(size)],
        Preprocess::None => whole([width, height]),
    }
}

/// Bytes of pictures that training on so many of each domain holds at the most: those kept decoded, the
/// batches made ahead, and a sample sheet.
pub fn memory(lens: [usize; 2], config: &Config) -> u64 {
    let pixels = |side: usize| 3 * (side * side) as u64;
    let loaded = match config.preprocess {
        Preprocess::ResizeAndCrop | Preprocess::ScaleWidthAndCrop => config.load_size(),
        // As if none were larger.
        Preprocess::Crop | Preprocess::ScaleWidth | Preprocess::None => config.size,
    };
    let decoded = |len: usize| {
        let all = len as u64 * pixels(loaded);
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
    /// Decodes pictures as a configuration asks for them.
    ///
    /// # Errors
    /// When some can't be read.
    pub fn open(pictures: &Pictures, config: &Config, bar: &ProgressBar) -> Result<Self> {
        let open = |domain: &Folders, channels: usize| {
            Domain::open(&domain.train, channels, config, bar)
                .with_context(|| format!("{} can't be trained on", pictures.folder.display()))
        };
        let [a, b] = config.channels();
        Ok(Dataset {
            a: open(&pictures.a, a)?,
            b: open(&pictures.b, b)?,
        })
    }

    /// Pixels of the largest picture.
    pub fn largest(&self) -> u64 {
        self.a.largest.max(self.b.largest)
    }

    /// The batch of a step, a function of seed and step alone: A in shuffled order, every picture
    /// once before any comes again; B at random, as in the reference. Or both in order.
    fn batch(&self, stage: &Stage, step: u64) -> Result<Batch> {
        let config = &stage.config;
        let [len_a, len_b] = [&self.a, &self.b].map(|domain| domain.files.len());
        let mut rng = rng(config.seed, Stream::Data, step);
        let mut batch = Batch {
            step,
            a: Seen::default(),
            b: Seen::default(),
            files: Vec::new(),
        };
        for i in 0..config.batch as u64 {
            let index = stage.pictures_before(step) + i;
            let (round, place) = (index / len_a as u64, (index % len_a as u64) as usize);
            let (a, b) = match config.serial_batches {
                true => (place, (index % len_b as u64) as usize),
                false => {
                    let a = shuffled(config.seed, round, len_a)[place];
                    (a, rng.random_range(0..len_b))
                }
            };
            batch
                .files
                .push([self.a.files[a].clone(), self.b.files[b].clone()]);
            for (seen, domain, i) in [(&mut batch.a, &self.a, a), (&mut batch.b, &self.b, b)] {
                seen.push(&domain.augmented(i, &mut rng)?, domain.channels);
            }
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

/// Pictures of one size, as a network takes them.
#[derive(Default)]
pub struct Seen {
    /// N×C×H×W
    pub shape: [usize; 4],
    pub values: Vec<f32>,
}

impl Seen {
    fn push(&mut self, picture: &RgbImage, channels: usize) {
        let [height, width] = [picture.height(), picture.width()].map(|extent| extent as usize);
        self.shape = [self.shape[0] + 1, channels, height, width];
        self.values.extend(images::to_chw(picture, channels));
    }
}

/// Pictures of both domains.
pub struct Batch {
    pub step: u64,
    pub a: Seen,
    pub b: Seen,
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
            let still = frame([11, 2], [16; 2], mirrored, 0.0, 1.0);
            assert_eq!(images::warp(&picture, &still, [16, 16]), expected);
            let moved = frame([11, 2], [16; 2], mirrored, 0.4, 1.25);
            let [x, y] = moved.apply([8.0, 8.0]);
            assert!((x - 19.0).abs() < 1e-9 && (y - 10.0).abs() < 1e-9);
            assert!((moved.scale() - 0.8).abs() < 1e-9, "enlarged: less is seen");
        }
        // A quarter turn of what is seen, clockwise as rows go down.
        let turned = frame([11, 2], [16; 2], false, std::f64::consts::FRAC_PI_2, 1.0);
        let turned = images::warp(&picture, &turned, [16, 16]);
        assert_eq!(turned.get_pixel(15, 0), crop.get_pixel(0, 0));
        assert_eq!(turned.get_pixel(15, 15), crop.get_pixel(15, 0));
    }

    #[test]
    fn pictures_are_brought_to_sizes_as_the_reference_does() {
        let with = |preprocess| Config {
            preprocess,
            ..Config::preset(cyclegan::Preset::Paper)
        };
        let size = |preprocess, given| loaded_size(given, &with(preprocess));
        assert_eq!(size(Preprocess::ResizeAndCrop, [640, 480]), [286, 286]);
        assert_eq!(size(Preprocess::Crop, [640, 480]), [640, 480]);
        // 286·480/640 = 214.5, below the crop; 286·800/640 = 357.5.
        assert_eq!(size(Preprocess::ScaleWidthAndCrop, [640, 480]), [286, 256]);
        assert_eq!(size(Preprocess::ScaleWidthAndCrop, [640, 800]), [286, 357]);
        assert_eq!(size(Preprocess::ScaleWidth, [640, 480]), [288, 216]);
        assert_eq!(size(Preprocess::None, [641, 482]), [640, 484]);
        assert_eq!(size(Preprocess::None, [3, 5]), [8, 8]);
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
