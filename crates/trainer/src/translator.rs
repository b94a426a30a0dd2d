//! A trained generator that translates pictures of any size.

use std::path::Path;

use anyhow::{Context, Result};
use cyclegan::{Config, Generator, Model, Tile, TiledGenerator, Tiling};
use images::RgbImage;
use indicatif::{MultiProgress, ProgressDrawTarget};
use nn::{Area, Module};
use tensor::{Device, Tensor, no_grad};

use crate::amount::Memory;
use crate::checkpoint::Checkpoint;
use crate::cli::Direction;
use crate::{interrupt, memory, report, tiles};

/// A run's generator, and how it goes about pictures: what `trainer translate` translates with.
///
/// Pictures may be of any size, and what comes out is of the same. What does not fit into memory as a whole goes
/// through in tiles, with the same result.
pub struct Translator {
    model: Box<dyn Model>,
    config: Config,
    direction: Direction,
    device: Device,
    tile: Option<usize>,
    memory: Memory,
    bars: MultiProgress,
}

impl Translator {
    /// Loads the newest whole checkpoint of a run's folder, or a checkpoint file.
    ///
    /// # Errors
    /// When there is none, it can't be read, its method has no generator of that direction, or the device has no
    /// room for it.
    pub fn load(run: impl AsRef<Path>, direction: Direction, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::find(run.as_ref(), |_| ())?;
        Self::of(&checkpoint, direction, device)
    }

    /// The generator of a checkpoint.
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        direction: Direction,
        device: &Device,
    ) -> Result<Self> {
        let config = checkpoint.header.settings.model.clone();
        let model = cyclegan::model(&config, device)?;
        direction.generator(&*model)?;
        model.load_networks(&checkpoint.state(device)?)?;
        Ok(Translator {
            model,
            config,
            direction,
            device: device.clone(),
            tile: None,
            memory: memory::for_translation(device)?,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
        })
    }

    /// Translates in tiles of `side`×`side` pixels, whatever fits into memory.
    pub fn with_tile(self, side: usize) -> Self {
        Translator {
            tile: Some(side),
            ..self
        }
    }

    /// Takes about so many bytes of memory for a picture at most, instead of half of what there is (of a GPU's own,
    /// else of what is free; 4 GB where that can't be told).
    pub fn with_memory(self, bytes: u64) -> Self {
        Translator {
            memory: Memory(bytes),
            ..self
        }
    }

    /// Shows a bar for tiles.
    pub(crate) fn with_bars(self, bars: MultiProgress) -> Self {
        Translator { bars, ..self }
    }

    /// The generator.
    fn generator(&self) -> &Generator {
        let generator = self.direction.generator(&*self.model);
        generator.expect("it was there when the run was loaded")
    }

    /// Translates a picture.
    ///
    /// # Errors
    /// When it does not fit into memory even in tiles, or the device fails.
    pub fn translate(&self, picture: &RgbImage) -> Result<RgbImage> {
        match self.tiling(picture)? {
            None => self.whole(picture),
            Some(tiling) => {
                let mut translated = RgbImage::new(picture.width(), picture.height());
                let mut y = 0;
                self.in_tiles(picture, &tiling, |band| {
                    images::paste(&mut translated, band, 0, y);
                    y += band.height();
                    Ok(())
                })?;
                Ok(translated)
            }
        }
    }

    /// Translates a picture into a PNG file. A row of tiles is written as soon as it is done, so that a result
    /// in tiles is never in memory as a whole.
    ///
    /// # Errors
    /// As [`Translator::translate`], and when the file can't be written; nothing is left of it then.
    pub fn translate_to(&self, picture: &RgbImage, path: &Path) -> Result<()> {
        let (width, height) = picture.dimensions();
        match self.tiling(picture)? {
            None => Ok(images::save_png(path, &self.whole(picture)?)?),
            Some(tiling) => images::save_png_rows(path, width, height, |rows| {
                self.in_tiles(picture, &tiling, |band| Ok(rows.push(band)?))
            }),
        }
    }

    /// How a picture is cut; none where it goes through as a whole.
    fn tiling(&self, picture: &RgbImage) -> Result<Option<Tiling>> {
        let generator = self.generator();
        let size = fitted(generator, picture);
        let core = match self.tile {
            Some(side) => tiles::given(generator, size, side)?,
            None => tiles::fitting(generator, &self.config, size, &self.device, self.memory)?,
        };
        Ok(core.map(|core| Tiling::new(generator, size, core)))
    }

    /// Translates a picture in one piece.
    fn whole(&self, picture: &RgbImage) -> Result<RgbImage> {
        whole(self.generator(), &self.device, picture)
    }

    /// Translates a picture tile by tile, and gives its rows from top to bottom to `push`.
    fn in_tiles(
        &self,
        picture: &RgbImage,
        tiling: &Tiling,
        mut push: impl FnMut(&RgbImage) -> Result<()>,
    ) -> Result<()> {
        let generator = self.generator();
        let passes = generator.norms() + 1;
        let bar = report::bar((passes * tiling.tiles().count()) as u64, "tiles");
        let bar = self.bars.add(bar);
        let mut tiled = TiledGenerator::new(generator);
        let forward = |tiled: &mut TiledGenerator<'_>, tile: &Tile| {
            interrupt::check()?;
            let pixels = tensor(generator, &cut_out(picture, &tile.whole), &self.device)?;
            let core = tiled.forward(tile, &pixels)?;
            // A GPU that is asked for one tile after the other would keep them all.
            self.device.synchronize()?;
            bar.inc(1);
            anyhow::Ok(core)
        };
        let mut translate = || {
            for _ in 0..generator.norms() {
                for tile in tiling.tiles() {
                    forward(&mut tiled, &tile)?;
                }
                tiled.end_pass()?;
            }
            let (width, height) = picture.dimensions();
            let mut band = RgbImage::default();
            for tile in tiling.tiles() {
                let Area {
                    rows: down,
                    columns,
                } = &tile.core;
                if columns.start == 0 {
                    let below = height.saturating_sub(down.start as u32);
                    band = RgbImage::new(width, below.min(down.len() as u32));
                }
                let core = forward(&mut tiled, &tile)?.context("a norm was not measured")?;
                let core = images::from_chw(&core.to_vec()?, down.len(), columns.len())?;
                images::paste(&mut band, &core, columns.start as u32, 0);
                if columns.end as u32 >= width {
                    push(&band)?;
                    band = RgbImage::default();
                }
            }
            Ok(())
        };
        let done = translate();
        bar.finish_and_clear();
        done
    }
}

/// The `[height, width]` to which a picture is extended, so that a generator takes it.
pub fn fitted(generator: &Generator, picture: &RgbImage) -> [usize; 2] {
    [picture.height(), picture.width()].map(|side| {
        (side as usize)
            .max(generator.at_least())
            .next_multiple_of(generator.multiple_of())
    })
}

/// Translates a picture in one piece: it is extended at its right and bottom to what the generator takes, and the
/// result cut back.
///
/// # Errors
/// When the device fails.
pub fn whole(generator: &Generator, device: &Device, picture: &RgbImage) -> Result<RgbImage> {
    let [height, width] = fitted(generator, picture);
    let extended = images::extend(picture, width as u32, height as u32);
    let input = tensor(generator, &extended, device)?;
    let output = no_grad(|| generator.forward(&input))?.to_vec()?;
    let output = images::from_chw(&output, height, width)?;
    let (width, height) = picture.dimensions();
    Ok(images::crop(&output, 0, 0, width, height))
}

fn tensor(generator: &Generator, picture: &RgbImage, device: &Device) -> Result<Tensor> {
    let [channels, _] = generator.channels();
    let [height, width] = [picture.height(), picture.width()].map(|extent| extent as usize);
    let planes = images::to_chw(picture, channels);
    Ok(Tensor::from_slice(
        &planes,
        [1, channels, height, width],
        device,
    )?)
}

/// An area of a picture, which may lie over its right and lower edge.
fn cut_out(picture: &RgbImage, Area { rows, columns }: &Area) -> RgbImage {
    let [x, y] = [columns.start, rows.start].map(|at| at as u32);
    let [width, height] = [columns.len(), rows.len()].map(|len| len as u32);
    images::crop_extended(picture, x, y, width, height)
}
