//! Translation of pictures that don't fit into memory as a whole: tile by tile, with the same result.
//!
//! A tile is a core, which it adds to the result, and a halo around that, as wide as the generator sees or up to
//! the picture's border, where the network's own padding acts. Norms take the statistics of the whole picture
//! ([`nn::TiledNorms`]), for which all tiles go through once a norm, ever further, before results come out.

use std::ops::Range;

use nn::{Area, Norm, TiledNorms};
use tensor::{Result, Tensor};

use crate::{Generator, GeneratorKind, Upsampling};

/// How a picture is cut into tiles.
#[derive(Clone, Debug)]
pub struct Tiling {
    size: [usize; 2],
    core: usize,
    halo: usize,
}

/// A part of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// What it adds to the result, in pixels of the picture. Tiles' cores cover the picture once.
    pub core: Area,
    /// What it sees.
    pub whole: Area,
}

impl Tiling {
    /// Cuts a picture of `[height, width]`, multiples of what the generator asks for, into cores of at most
    /// `core`×`core` (rounded up to such a multiple).
    pub fn new(generator: &Generator, size: [usize; 2], core: usize) -> Self {
        Tiling {
            size,
            core: core.max(1).next_multiple_of(generator.multiple_of()),
            halo: generator.halo(),
        }
    }

    /// Height and width of every tile.
    pub fn tile_size(&self) -> [usize; 2] {
        self.size
            .map(|extent| extent.min(self.core + 2 * self.halo))
    }

    /// The tiles, row after row from the upper left.
    pub fn tiles(&self) -> impl Iterator<Item = Tile> + '_ {
        let [height, width] = self.size;
        let rows = self.ranges(height);
        rows.flat_map(move |rows| {
            self.ranges(width)
                .map(move |columns| self.tile(&rows, columns))
        })
    }

    fn ranges(&self, extent: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let core = self.core;
        let starts = (0..extent).step_by(core);
        starts.map(move |start| start..(start + core).min(extent))
    }

    fn tile(&self, rows: &Range<usize>, columns: Range<usize>) -> Tile {
        // At borders tiles are moved, not cut: of one size they find their memory, and their kernels, again.
        let wider = |range: &Range<usize>, extent: usize, side: usize| {
            let start = range.start.saturating_sub(self.halo).min(extent - side);
            start..start + side
        };
        let ([height, width], [tile_height, tile_width]) = (self.size, self.tile_size());
        Tile {
            whole: Area {
                rows: wider(rows, height, tile_height),
                columns: wider(&columns, width, tile_width),
            },
            core: Area {
                rows: rows.clone(),
                columns,
            },
        }
    }
}

impl Tile {
    /// The core in pixels of the tile.
    pub fn core_within(&self) -> Area {
        let within = |core: &Range<usize>, whole: &Range<usize>| {
            core.start - whole.start..core.end - whole.start
        };
        Area {
            rows: within(&self.core.rows, &self.whole.rows),
            columns: within(&self.core.columns, &self.whole.columns),
        }
    }
}

/// A generator that translates one picture tile by tile.
pub struct TiledGenerator<'a> {
    generator: &'a Generator,
    norms: TiledNorms,
}

impl<'a> TiledGenerator<'a> {
    /// One that knows nothing of the picture yet.
    pub fn new(generator: &'a Generator) -> Self {
        TiledGenerator {
            generator,
            norms: TiledNorms::default(),
        }
    }

    /// Sends the pixels of a tile (1×3×H×W) through, as far as it may go: in each of the first
    /// [`Generator::norms`] passes over all tiles nothing comes out; in the one after them the translated core
    /// does (1×3×h×w).
    ///
    /// # Errors
    /// When the pixels are not of the tile's size, or the device fails.
    pub fn forward(&mut self, tile: &Tile, pixels: &Tensor) -> Result<Option<Tensor>> {
        let core = tile.core_within();
        let Some(out) = self.norms.forward(self.generator, pixels, core.clone())? else {
            return Ok(None);
        };
        let rows = out.narrow(2, core.rows.start, core.rows.len())?;
        let core = rows.narrow(3, core.columns.start, core.columns.len())?;
        Ok(Some(core))
    }

    /// Ends a pass over all tiles.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn end_pass(&mut self) -> Result<()> {
        self.norms.end_pass()
    }
}

/// A convolution's kernel, stride and padding of either kind.
#[derive(Clone, Copy)]
enum Layer {
    Conv(usize, usize, usize),
    Transposed(usize, usize, usize),
    /// Nearest neighbours at twice the size.
    Doubled,
}

use Layer::{Conv, Doubled, Transposed};

impl GeneratorKind {
    /// How many pixels beyond a core, whose borders are multiples of [`GeneratorKind::multiple_of`], can have a
    /// say in what it becomes, norms aside.
    pub fn reach(self, upsampling: Upsampling) -> usize {
        // From the result back: how far the needed stretch of each layer's input begins before the core, and
        // ends behind it.
        let (mut before, mut behind) = (0, 0);
        for layer in self.layers(upsampling).into_iter().rev() {
            (before, behind) = match layer {
                Conv(k, s, p) => (before * s + p, behind * s + k - s - p),
                // Input i goes to the outputs from i·s − p to i·s − p + k − 1.
                Transposed(k, s, p) => ((before + k - 1 - p) / s, (behind + p).div_ceil(s)),
                Doubled => (before.div_ceil(2), behind.div_ceil(2)),
            };
        }
        before.max(behind)
    }

    /// Everything in the generator that looks beyond a pixel, on the longest way through it.
    fn layers(self, upsampling: Upsampling) -> Vec<Layer> {
        let up = |transposed| match upsampling {
            Upsampling::Transposed => vec![transposed],
            Upsampling::Resize => vec![Doubled, Conv(3, 1, 1)],
        };
        let resnet = |blocks: usize| {
            [
                vec![Conv(7, 1, 3)],
                vec![Conv(3, 2, 1); 2],
                vec![Conv(3, 1, 1); 2 * blocks],
                up(Transposed(3, 2, 1)).repeat(2),
                vec![Conv(7, 1, 3)],
            ]
            .concat()
        };
        let unet = |downs| {
            [
                vec![Conv(4, 2, 1); downs],
                up(Transposed(4, 2, 1)).repeat(downs),
            ]
            .concat()
        };
        match self {
            GeneratorKind::Resnet6blocks => resnet(6),
            GeneratorKind::Resnet9blocks => resnet(9),
            GeneratorKind::Unet128 => unet(7),
            GeneratorKind::Unet256 => unet(8),
        }
    }

    /// Instance norms in a generator that has norms.
    pub(crate) fn norms(self, norm: Norm) -> usize {
        match (norm, self) {
            (Norm::None | Norm::Batch, _) => 0,
            (_, GeneratorKind::Resnet6blocks) => 5 + 2 * 6,
            (_, GeneratorKind::Resnet9blocks) => 5 + 2 * 9,
            // Down and up at each level, but for the outermost and the way into the innermost.
            (_, GeneratorKind::Unet128) => 2 * 7 - 3,
            (_, GeneratorKind::Unet256) => 2 * 8 - 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use nn::{Init, Module, Weights};
    use tensor::{Device, no_grad};

    use super::*;
    use crate::{Config, Preset, Stream, generator, rng};

    const KINDS: [GeneratorKind; 4] = [
        GeneratorKind::Resnet6blocks,
        GeneratorKind::Resnet9blocks,
        GeneratorKind::Unet128,
        GeneratorKind::Unet256,
    ];

    fn small(kind: GeneratorKind, norm: Norm) -> Generator {
        built(kind, norm, Upsampling::Transposed)
    }

    fn built(kind: GeneratorKind, norm: Norm, upsampling: Upsampling) -> Generator {
        let config = Config {
            generator: kind,
            ngf: 4,
            norm,
            upsampling,
            ..Config::preset(Preset::Demo)
        };
        let mut weights = Weights {
            init: Init::Kaiming,
            gain: 1.0,
            rng: &mut rng(1, Stream::Weights, 0),
            device: &Device::Cpu,
        };
        generator(&config, [3, 3], &mut weights).unwrap()
    }

    /// A picture with large and small things in it, brighter to the right.
    fn picture([height, width]: [usize; 2]) -> Tensor {
        let value = |i: usize| {
            let (y, x) = ((i / width % height) as f32, (i % width) as f32);
            let detail = (x * 1.7 + y * 2.3 + i as f32 * 0.1).sin() * (y / 17.0).cos();
            (0.5 * detail + x / width as f32 - 0.5).clamp(-1.0, 1.0)
        };
        let values: Vec<f32> = (0..3 * height * width).map(value).collect();
        Tensor::from_slice(&values, [1, 3, height, width], &Device::Cpu).unwrap()
    }

    fn cut(x: &Tensor, area: &Area) -> Tensor {
        let rows = x.narrow(2, area.rows.start, area.rows.len()).unwrap();
        rows.narrow(3, area.columns.start, area.columns.len())
            .unwrap()
    }

    /// The largest difference between the result in tiles and that of the whole.
    fn difference(generator: &Generator, size: [usize; 2], core: usize) -> f32 {
        let whole = picture(size);
        let expected = no_grad(|| generator.forward(&whole)).unwrap();
        let tiling = Tiling::new(generator, size, core);
        assert!(tiling.tiles().count() > 1, "nothing to test");
        let mut tiled = TiledGenerator::new(generator);
        for _ in 0..generator.norms() {
            for tile in tiling.tiles() {
                let out = tiled.forward(&tile, &cut(&whole, &tile.whole)).unwrap();
                assert!(out.is_none(), "a norm is still to be measured");
            }
            tiled.end_pass().unwrap();
        }
        let mut worst = 0.0f32;
        for tile in tiling.tiles() {
            let out = tiled.forward(&tile, &cut(&whole, &tile.whole)).unwrap();
            let out = out.expect("every norm was measured").to_vec().unwrap();
            let expected = cut(&expected, &tile.core).to_vec().unwrap();
            assert_eq!(out.len(), expected.len());
            let apart = out.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            worst = worst.max(apart.fold(0.0, f32::max));
        }
        worst
    }

    #[test]
    fn tiles_make_what_the_whole_picture_makes() {
        use GeneratorKind::{Resnet6blocks, Resnet9blocks, Unet128};
        for (kind, norm, size, core) in [
            (Resnet6blocks, Norm::Instance, [72, 212], 64),
            (Resnet6blocks, Norm::InstanceAffine, [180, 100], 41),
            (Resnet6blocks, Norm::None, [100, 180], 60),
            (Resnet9blocks, Norm::Instance, [148, 252], 84),
            (Unet128, Norm::Instance, [128, 896], 128),
            (Unet128, Norm::InstanceAffine, [768, 256], 256),
            (Resnet6blocks, Norm::Batch, [100, 180], 60),
        ] {
            let worst = difference(&small(kind, norm), size, core);
            println!("{kind:?} {norm:?}: {worst:.1e}");
            assert!(worst < 1e-4, "{kind:?} {norm:?}: {worst}");
        }
        let resized = built(Resnet6blocks, Norm::Instance, Upsampling::Resize);
        let worst = difference(&resized, [72, 212], 64);
        assert!(worst < 1e-4, "resized: {worst}");
    }

    #[test]
    fn what_is_out_of_reach_changes_nothing() {
        use Upsampling::{Resize, Transposed};
        let reaches = |upsampling| KINDS.map(|kind| kind.reach(upsampling));
        assert_eq!(reaches(Transposed), [59, 83, 255, 511]);
        let resized = KINDS[..2].iter().map(|kind| (*kind, Resize));
        for (kind, upsampling) in KINDS
            .map(|kind| (kind, Transposed))
            .into_iter()
            .chain(resized)
        {
            let generator = built(kind, Norm::None, upsampling);
            let (unit, reach) = (kind.multiple_of(), kind.reach(upsampling));
            let width = (2 * reach + 2 * unit).next_multiple_of(unit);
            let core = width / 2 / unit * unit;
            let size = [kind.at_least(), width];
            let base = picture(size);
            let moved_by = |column: usize| {
                let mut values = base.to_vec().unwrap();
                values
                    .iter_mut()
                    .skip(column)
                    .step_by(width)
                    .for_each(|value| *value += 1.0);
                let moved = Tensor::from_slice(&values, base.shape(), &Device::Cpu).unwrap();
                let core = Area {
                    rows: 0..size[0],
                    columns: core..core + unit,
                };
                let [a, b] = [&base, &moved].map(|picture| {
                    let out = no_grad(|| generator.forward(picture)).unwrap();
                    cut(&out, &core).to_vec().unwrap()
                });
                a.iter()
                    .zip(&b)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max)
            };
            // Winograd's sums cancel what is outside only up to rounding.
            for column in [core - reach - 1, core + unit + reach] {
                let change = moved_by(column);
                assert!(change < 1e-4, "{kind:?}, column {column}: {change}");
            }
            for column in [core - reach / 2, core + unit + reach / 2] {
                let change = moved_by(column);
                assert!(change > 1e-3, "{kind:?}, column {column}: {change}");
            }
        }
    }
}
