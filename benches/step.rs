//! A whole training step at the demo's shape and at 128×128, on the device that `HENSHIN_DEVICE`
//! names (the processor where it names none).

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use cyclegan::{Config, CycleGan, Model, Preset};
use tensor::Device;

fn step(criterion: &mut Criterion) {
    tensor::cpu::work_on_this_thread();
    let device = std::env::var("HENSHIN_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = Device::by_name(&device).expect("HENSHIN_DEVICE names a device");
    let demo = Config::preset(Preset::Demo);
    let baseline = Config {
        size: 64,
        ngf: 32,
        ndf: 32,
        batch: 1,
        ..demo.clone()
    };
    let larger = Config {
        size: 128,
        ngf: 64,
        ndf: 64,
        ..baseline.clone()
    };
    let batch_4 = Config {
        batch: 4,
        ..baseline.clone()
    };
    let mut group = criterion.benchmark_group("step");
    for (name, config) in [
        ("demo", demo),
        ("64, ngf 32", baseline),
        ("64, ngf 32, batch 4", batch_4),
        ("128, ngf 64", larger),
    ] {
        let mut model = CycleGan::new(&config, &device).expect("the device has room");
        let [a, b] = cyclegan::noise(&config, &device).expect("the device has room");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let losses = model.step(&a, &b, 1e-6).expect("a step works");
                losses.read().expect("the device works")
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    targets = step
}
criterion_main!(benches);
