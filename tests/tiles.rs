//! A generator on every adapter of this machine: in tiles it makes what it makes of the whole picture.

use std::process::ExitCode;

use cyclegan::{Config, Preset, Stream, TiledGenerator, Tiling, generator, rng};
use gpu::Context;
use gpu::testing::{run, trials};
use libtest_mimic::Failed;
use nn::{Area, Init, Module, Weights};
use tensor::{Device, Result, Tensor, no_grad};

fn main() -> ExitCode {
    run(trials("a generator in tiles", in_tiles))
}

fn in_tiles(gpu: &Context) -> Result<(), Failed> {
    let device = Device::Gpu(gpu.clone());
    let mut weights = Weights {
        init: Init::Kaiming,
        gain: 1.0,
        rng: &mut rng(1, Stream::Weights, 0),
        device: &device,
    };
    let config = Config {
        ngf: 4,
        ..Config::preset(Preset::Demo)
    };
    let generator = generator(&config, [3, 3], &mut weights)?;
    let size @ [height, width] = [16, 136];
    let values: Vec<f32> = (0..3 * height * width)
        .map(|i| ((i % width) as f32 * 0.3).sin() * (i as f32 * 0.7).cos())
        .collect();
    let picture = Tensor::from_slice(&values, [1, 3, height, width], &device)?;
    let whole = no_grad(|| generator.forward(&picture))?;

    let tiling = Tiling::new(&generator, size, 68);
    let mut tiled = TiledGenerator::new(&generator);
    let mut worst = 0.0f32;
    for _ in 0..=generator.norms() {
        for tile in tiling.tiles() {
            let Some(out) = tiled.forward(&tile, &cut(&picture, &tile.whole)?)? else {
                continue;
            };
            let expected = cut(&whole, &tile.core)?.to_vec()?;
            let apart = out.to_vec()?.into_iter().zip(expected);
            worst = apart.map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
        tiled.end_pass()?;
    }
    match worst {
        0.0 => Err("nothing was compared".into()),
        worst if worst > 1e-3 => Err(format!("{worst} apart").into()),
        _ => Ok(()),
    }
}

fn cut(x: &Tensor, area: &Area) -> Result<Tensor> {
    let rows = x.narrow(2, area.rows.start, area.rows.len())?;
    rows.narrow(3, area.columns.start, area.columns.len())
}
