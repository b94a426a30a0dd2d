//! Every reader of files and strings, as a function of bytes that anybody may have written. None may panic,
//! and none may take more memory than is said here. What is refused is an error, which the tests look at.
//!
//! The fuzz targets run these, and so does `tests/readers.rs` over the corpus.

#![allow(unsafe_code, reason = "an allocator counts what is held")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::str;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, Once, PoisonError};

use cyclegan::{Config, DiffAugment, Preset, Stages};
use images::Rgb;
use tempfile::TempDir;
use tensor::Device;

/// Nothing, or why the input was refused.
pub type Verdict = Result<(), String>;

const MIB: usize = 1 << 20;

/// What a picture's pixels may take here, so that bombs show that would need a gigabyte to go off.
const PIXELS: usize = 16 * MIB;

/// A picture: the format by its content, TGA where that has no signature. And the frames that it may have.
pub fn image(data: &[u8]) -> Verdict {
    // Panics of decoders are caught, and libFuzzer must not end at them: it would find no others.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        if std::env::var_os("HENSHIN_FUZZ_DECODERS").is_some() {
            std::panic::set_hook(usual); // but where they are what is looked for
        } else {
            std::panic::set_hook(Box::new(|info| eprintln!("caught or not: {info}")));
        }
    });
    // Some have bounds of their own: the pictures inside of WebP files are not larger than this, whatever
    // these say of themselves, and lists in TIFF files are not longer.
    let own = match data {
        [b'R', b'I', b'F', b'F', ..] => 2 * 4 * 16_383 * 16_383,
        [b'I' | b'M', b'I' | b'M', ..] => 256 * MIB,
        _ => 0,
    };
    // Decoders keep the picture in one form, and are about to give it in another; then it is converted.
    within(2 * data.len() + 6 * PIXELS + 16 * MIB + own, || {
        let path = Path::new("input.tga");
        let picture = images::decode_bytes(path, data.to_vec(), Rgb([255; 3]), PIXELS as u64)
            .map_err(text)?;
        let [width, height] = [picture.width(), picture.height()].map(|side| side as usize);
        assert!(3 * width * height <= PIXELS, "{width}×{height}");
        images::resize(&picture, 17, 16);
        drop(picture);
        images::Animation::from_bytes(path, data.to_vec(), PIXELS as u64).map_err(text)?;
        Ok(())
    })
}

/// A state file.
pub fn state(data: &[u8]) -> Verdict {
    let file = Scratch::with("state.safetensors", data);
    within(64 * data.len() + 16 * MIB, || {
        nn::load_file(&file.path(), &Device::Cpu).map_err(text)?;
        Ok(())
    })
}

/// A pickle of tensors.
pub fn pickle(data: &[u8]) -> Verdict {
    // A byte may make a value, which takes fifty, in a list that grows by doubling; a million are allowed.
    within(256 * data.len() + 16 * MIB, || {
        exchange::readers::pickle(data)
    })
}

/// A file of weights, as PyTorch, safetensors and we write them, and the networks that it may belong to.
pub fn pth(data: &[u8]) -> Verdict {
    within(512 * data.len() + 16 * MIB, || {
        let weights = exchange::read_bytes(data)?;
        let values: usize = weights.arrays.iter().map(|array| array.values.len()).sum();
        assert!(values <= 2 * data.len(), "{values}");
        // Hardly anything made at random fits; that it is told is enough.
        let paper = Config::preset(Preset::Paper);
        let _ = exchange::generator(&weights, &paper, exchange::Asked::default());
        let _ = exchange::discriminator(&weights, &paper);
        Ok(())
    })
}

/// A checkpoint: a state file with a configuration and a step.
pub fn checkpoint(data: &[u8]) -> Verdict {
    let file = Scratch::with("checkpoint.safetensors", data);
    within(64 * data.len() + 16 * MIB, || {
        trainer::readers::checkpoint(&file.path()).map_err(chain)
    })
}

/// A configuration.
pub fn settings(data: &[u8]) -> Verdict {
    let file = Scratch::with("config.toml", data);
    within(1024 * data.len() + 16 * MIB, || {
        trainer::readers::settings(&file.path()).map_err(chain)
    })
}

/// What options take as strings: stages, or kinds of augmentation.
pub fn strings(data: &[u8]) -> Verdict {
    let given = str::from_utf8(data).map_err(text)?;
    within(64 * data.len() + 16 * MIB, || {
        if let Ok(kinds) = given.parse::<DiffAugment>() {
            assert_eq!(kinds.to_string().parse(), Ok(kinds));
            return Ok(());
        }
        let stages: Stages = given.parse().map_err(text)?;
        assert_eq!(stages.to_string().parse().as_ref(), Ok(&stages));
        let config = Config {
            stages,
            steps: 0,
            epochs: 0,
            ..Config::preset(Preset::Demo)
        };
        config.check().map_err(text)?;
        for stage in config.stages([100, 90]) {
            stage.pictures_before(stage.end);
        }
        Ok(())
    })
}

/// The manifest of a set.
pub fn manifest(data: &[u8]) -> Verdict {
    let set = Scratch::with("manifest.json", data);
    within(64 * data.len() + 16 * MIB, || {
        let manifest = faces::Manifest::read(set.folder.path());
        let manifest = manifest.ok_or("no manifest of ours, so no set of ours")?;
        let inside = |entry: &faces::Entry| !entry.file.split('/').any(|part| part == "..");
        assert!(manifest.pictures.iter().all(inside));
        match manifest.is_complete(set.folder.path()) {
            true => Ok(()),
            false => Err("pictures are missing, so the set is made anew".into()),
        }
    })
}

/// The journal of a set in the making: what of it is sound stays.
pub fn journal(data: &[u8]) -> Verdict {
    let file = Scratch::with("examined.jsonl", data);
    within(64 * data.len() + 16 * MIB, || {
        let known = faces::readers::journal(file.path()).map_err(text)?;
        let kept = fs::read(file.path()).map_err(text)?;
        assert!(data.starts_with(&kept));
        assert_eq!(faces::readers::journal(file.path()).map_err(text)?, known);
        shortened(data, &kept)
    })
}

/// The metrics of a run that took three steps: what of them is whole, and no later, stays.
pub fn metrics(data: &[u8]) -> Verdict {
    let file = Scratch::with("metrics.jsonl", data);
    fs::write(file.folder.path().join("config.toml"), "").map_err(text)?;
    within(64 * data.len() + 16 * MIB, || {
        let repair = || trainer::readers::metrics(file.folder.path(), 3).map_err(chain);
        repair()?;
        let kept = fs::read(file.path()).map_err(text)?;
        repair()?;
        assert_eq!(fs::read(file.path()).map_err(text)?, kept);
        shortened(data, &kept)
    })
}

fn shortened(given: &[u8], kept: &[u8]) -> Verdict {
    match given.len().saturating_sub(kept.len()) {
        0 => Ok(()),
        lost => Err(format!(
            "{lost} bytes are cut off, the rest is gone on with"
        )),
    }
}

/// The file of kernels that were chosen.
pub fn choices(data: &[u8]) -> Verdict {
    let file = Scratch::with("autotune.tsv", data);
    within(64 * data.len() + 16 * MIB, || {
        match gpu::read_choices(&file.path(), "device").map_err(text)? {
            0 => Err("no choices for this device: they are measured".into()),
            _ => Ok(()),
        }
    })
}

/// The weights of the face networks: a manifest, a line feed, and their bytes.
pub fn weights(data: &[u8]) -> Verdict {
    let end = data
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(data.len());
    let manifest = str::from_utf8(&data[..end]).map_err(text)?;
    let bytes = data.get(end + 1..).unwrap_or_default();
    within(64 * data.len() + 16 * MIB, || {
        faces::readers::weights(manifest, bytes)
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn chain(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}

/// A file in a folder of its own, in memory where the system has a place for that.
struct Scratch {
    folder: TempDir,
    name: &'static str,
}

impl Scratch {
    fn with(name: &'static str, data: &[u8]) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        let folder = folder.expect("a folder for a test's files can be made");
        fs::write(folder.path().join(name), data).expect("a test's file can be written");
        Scratch { folder, name }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(self.name)
    }
}

/// Does something, and refuses that it ever holds more than so many bytes.
fn within(most: usize, run: impl FnOnce() -> Verdict) -> Verdict {
    // What others allocate meanwhile would count too.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let verdict = run();
    let held = PEAK.load(Relaxed).saturating_sub(before);
    assert!(held <= most, "{held} bytes were held, {most} are allowed");
    verdict
}

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize, less: usize) {
    HELD.fetch_add(more, Relaxed);
    let held = HELD.fetch_sub(less, Relaxed) - less;
    PEAK.fetch_max(held, Relaxed);
}

// SAFETY: all work is the system allocator's, which is given what was asked for and whose answers are
// passed on; the counters touch no memory but their own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those that it asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above; all places come from there.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}
