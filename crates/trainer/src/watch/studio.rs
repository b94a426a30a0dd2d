//! Pictures translated by a run's newest checkpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cyclegan::{Config, CycleGan};
use images::{Rgb, RgbImage};
use serde::Serialize;
use tensor::Device;

use crate::checkpoint::{self, Checkpoint};
use crate::cli::Direction;
use crate::run_dir::RunDir;
use crate::translator::{fitted, whole};
use crate::{memory, tiles};

/// The longest side of a picture that is translated.
pub const LONGEST_SIDE: u32 = 2048;
/// The most bytes that a picture's pixels may take when it is decoded.
const MOST_PIXEL_BYTES: u64 = 256 << 20;

/// What is to be translated.
pub struct Order {
    /// A file's content.
    pub picture: Vec<u8>,
    pub direction: Direction,
    /// What its shorter side becomes, in pixels; none: as it is.
    pub side: Option<u32>,
}

/// A picture before and after, as `data:` URLs.
#[derive(Debug, Serialize)]
pub struct Translated {
    before: String,
    after: String,
    width: u32,
    height: u32,
    /// Steps of the checkpoint.
    step: u64,
    seconds: f64,
}

/// A run's newest networks, kept until there are newer ones.
pub struct Studio {
    run: RunDir,
    device: Device,
    loaded: Option<Loaded>,
}

struct Loaded {
    /// The newest file when they were loaded, whole or not.
    newest: (PathBuf, Option<SystemTime>),
    model: CycleGan,
    config: Config,
    step: u64,
}

impl Studio {
    /// Nothing loaded yet.
    pub fn new(run: RunDir, device: Device) -> Self {
        Studio {
            run,
            device,
            loaded: None,
        }
    }

    /// Translates a picture.
    ///
    /// # Errors
    /// In words for whoever gave it.
    pub fn translate(&mut self, order: Order) -> Result<Translated> {
        let name = Path::new("the picture");
        let white = Rgb([255; 3]);
        let picture = images::decode_bytes(name, order.picture, white, MOST_PIXEL_BYTES)?;
        let picture = sized(picture, order.side);
        let device = self.device.clone();
        let Loaded {
            model,
            config,
            step,
            ..
        } = self.networks()?;
        let generator = order.direction.generator(model);
        let size = fitted(generator, &picture);
        let room = memory::for_translation(&device)?;
        if !matches!(
            tiles::fitting(generator, config, size, &device, room),
            Ok(None)
        ) {
            let (width, height) = picture.dimensions();
            bail!(
                "the picture is too large to be translated here ({width}×{height}); choose a smaller size, or \
                 take `trainer translate`"
            );
        }
        let begun = Instant::now();
        let translated = whole(generator, &device, &picture)?;
        Ok(Translated {
            seconds: begun.elapsed().as_secs_f64(),
            before: url(&picture),
            after: url(&translated),
            width: picture.width(),
            height: picture.height(),
            step: *step,
        })
    }

    /// The newest networks.
    fn networks(&mut self) -> Result<&Loaded> {
        let all = checkpoint::list(&self.run)?;
        let newest = all.last().context(
            "the run has no checkpoint yet; try again when it has written one (--checkpoint-every)",
        )?;
        let modified = fs::metadata(newest).and_then(|file| file.modified()).ok();
        let newest = (newest.clone(), modified);
        let loaded = match self.loaded.take() {
            Some(loaded) if loaded.newest == newest => loaded,
            _ => {
                let checkpoint = Checkpoint::find(self.run.path(), |_| ())?;
                let config = checkpoint.header.settings.model.clone();
                let model = CycleGan::new(&config, &self.device)?;
                model.load_networks(&checkpoint.state(&self.device)?)?;
                Loaded {
                    newest,
                    model,
                    config,
                    step: checkpoint.header.steps,
                }
            }
        };
        Ok(self.loaded.insert(loaded))
    }
}

fn url(picture: &RgbImage) -> String {
    let png = images::encode_png(picture);
    format!("data:image/png;base64,{}", BASE64.encode(png))
}

/// A picture whose shorter side is as asked for, unless its longer one would be too long.
fn sized(picture: RgbImage, side: Option<u32>) -> RgbImage {
    let [width, height] = [picture.width(), picture.height()].map(f64::from);
    let asked = side.map_or(1.0, |side| f64::from(side) / width.min(height));
    let scale = asked.min(f64::from(LONGEST_SIDE) / width.max(height));
    let [width, height] = [width, height].map(|side| (side * scale).round().max(1.0) as u32);
    match (width, height) == picture.dimensions() {
        true => picture,
        false => images::resize(&picture, width, height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_brought_to_the_size_that_was_asked_for_within_bounds() {
        let sized = |width, height, side| sized(RgbImage::new(width, height), side).dimensions();
        assert_eq!(sized(100, 200, Some(64)), (64, 128));
        assert_eq!(sized(30, 20, Some(64)), (96, 64));
        assert_eq!(sized(100, 200, None), (100, 200));
        assert_eq!(sized(5000, 50, None), (2048, 20));
        assert_eq!(sized(9000, 1, Some(2048)), (2048, 1));
    }
}
