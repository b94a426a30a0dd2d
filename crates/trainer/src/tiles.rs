//! Whether a picture is translated as a whole, and how large its tiles are if not.

use anyhow::{Result, bail};
use cyclegan::{Config, Generator, GeneratorKind, Tiling};
use tensor::Device;

use crate::amount::Memory;

/// The side of the tiles' cores for a picture of `[height, width]` that the user asked for; none where a tile
/// is all of it.
///
/// # Errors
/// When the generator can't take tiles.
pub fn given(generator: &Generator, size: [usize; 2], side: usize) -> Result<Option<usize>> {
    let is_cut = Tiling::new(generator, size, side).tiles().nth(1).is_some();
    if is_cut && !generator.can_be_tiled() {
        bail!("{WHOLE_ONLY}; leave --tile out");
    }
    Ok(is_cut.then_some(side))
}

const WHOLE_ONLY: &str = "a generator with --decoder-norm adalin looks at a picture as a whole, and can't take it in tiles";

/// The side of the largest cores that fit into memory; none where the picture does as a whole.
///
/// # Errors
/// When the smallest tiles don't.
pub fn fitting(
    generator: &Generator,
    config: &Config,
    size: [usize; 2],
    device: &Device,
    memory: Memory,
) -> Result<Option<usize>> {
    if fits(config, size, device, memory, whole_bytes) {
        return Ok(None);
    }
    if !generator.can_be_tiled() {
        bail!(
            "{memory} of memory are too little for {}×{} pixels, and {WHOLE_ONLY}; give a smaller picture or more \
             --memory",
            size[1],
            size[0]
        );
    }
    // The picture, and the row of tiles that is gathered until it can be written, are always with the processor.
    let beside = |core: usize| match device {
        Device::Cpu => 3 * size[1] as u64 * (size[0] + core) as u64,
        Device::Gpu(_) => 0,
    };
    let tile = |core: usize| Tiling::new(generator, size, core).tile_size();
    let unit = generator.multiple_of();
    let cores: Vec<usize> = (unit..=size[0].max(size[1])).step_by(unit).collect();
    let fit = cores.partition_point(|&core| {
        let left = memory.0.checked_sub(beside(core));
        left.is_some_and(|left| fits(config, tile(core), device, Memory(left), tile_bytes))
    });
    if fit == 0 {
        let least = Memory(beside(unit) + tile_bytes(config, tile(unit)));
        bail!(
            "{memory} of memory are too little for {}×{} pixels even in tiles; give at least --memory {least}",
            size[1],
            size[0]
        );
    }
    Ok(Some(cores[fit - 1]))
}

/// Whether a forward pass of a picture or a tile of `[height, width]` fits into `memory`, by `bytes`, and on a
/// GPU its largest tensor into a binding.
fn fits(
    config: &Config,
    [height, width]: [usize; 2],
    device: &Device,
    memory: Memory,
    bytes: impl Fn(&Config, [usize; 2]) -> u64,
) -> bool {
    let largest = 4 * (config.ngf * (height + 6) * (width + 6)) as u64;
    let in_a_binding = match device {
        Device::Cpu => true,
        Device::Gpu(gpu) => largest <= gpu.limits().binding_bytes,
    };
    in_a_binding && bytes(config, [height, width]) <= memory.0
}

/// An estimate of what the program takes for a whole picture: resnets were seen to take up to 7.5·ngf values a
/// pixel. A U-Net's widest layers are at half the size.
fn whole_bytes(config: &Config, size: [usize; 2]) -> u64 {
    PROGRAM + 4 * (widths(config, 8) + 16) * (size[0] * size[1]) as u64
}

/// The same for a tile, up to 12·ngf: the statistics need copies of its core, and buffers of all these sizes
/// stay for the next tile.
fn tile_bytes(config: &Config, size: [usize; 2]) -> u64 {
    PROGRAM + 4 * (widths(config, 13) + 16) * (size[0] * size[1]) as u64
}

/// Bytes of the program itself, with a small network.
const PROGRAM: u64 = 60_000_000;

fn widths(config: &Config, factor: u64) -> u64 {
    let widths = factor * config.ngf as u64;
    match config.generator {
        GeneratorKind::Resnet6blocks | GeneratorKind::Resnet9blocks => widths,
        GeneratorKind::Unet128 | GeneratorKind::Unet256 => widths / 2,
    }
}
