//! Every operation of the registry at CycleGAN's shapes: GFLOP/s where arithmetic rules, GB/s
//! (everything read and written once) where memory does. On the processor, on a real GPU where
//! there is one, and on the adapter that `HENSHIN_DEVICE` names:
//!
//!     cargo bench --bench ops -- conv2d

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tensor::ops::{Case, registry};
use tensor::{Cost, Device, Shape, Tensor};

/// Operations that do more than this per byte are judged by their arithmetic.
const FLOPS_PER_BYTE: f64 = 8.0;

fn devices() -> Vec<Device> {
    let named = std::env::var("HENSHIN_DEVICE").unwrap_or_default();
    let second = match named.as_str() {
        "" => Device::best(),
        name => Device::by_name(name).expect("HENSHIN_DEVICE names a device"),
    };
    match second {
        Device::Cpu => vec![Device::Cpu],
        gpu => vec![Device::Cpu, gpu],
    }
}

fn ops(criterion: &mut Criterion<Time>) {
    tensor::cpu::work_on_this_thread();
    for device in devices() {
        for family in registry() {
            let name = match &device {
                Device::Cpu => format!("cpu/{}", family.name),
                Device::Gpu(context) => format!("{}/{}", context.info().backend, family.name),
            };
            let mut group = criterion.benchmark_group(name);
            for case in (family.benches)() {
                let inputs = case.tensors(1, &device).expect("the inputs fit the device");
                let inputs: Vec<&Tensor> = inputs.iter().collect();
                let out = case.apply(&inputs).expect("the case is valid");
                group.throughput(throughput(&case, out.shape()));
                group.bench_function(case.label(), |bencher| {
                    bencher.iter(|| {
                        let out = case.apply(&inputs).expect("the case is valid");
                        device.synchronize().expect("the device works");
                        out
                    });
                });
            }
        }
    }
}

fn throughput(case: &Case, out: Shape) -> Throughput {
    let shapes: Vec<Shape> = case.inputs.iter().map(|input| input.shape).collect();
    let Cost { flops, bytes } = case.op.cost(&shapes, out);
    match flops / bytes > FLOPS_PER_BYTE {
        true => Throughput::Elements(flops as u64),
        false => Throughput::BytesDecimal(bytes as u64),
    }
}

/// Wall time, with elements shown as the floating-point operations they stand for.
struct Time(WallTime);

impl Measurement for Time {
    type Intermediate = <WallTime as Measurement>::Intermediate;
    type Value = Duration;

    fn start(&self) -> Self::Intermediate {
        self.0.start()
    }
    fn end(&self, begun: Self::Intermediate) -> Duration {
        self.0.end(begun)
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        self.0.add(a, b)
    }
    fn zero(&self) -> Duration {
        self.0.zero()
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        &Flops
    }
}

struct Flops;

impl ValueFormatter for Flops {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(
        &self,
        typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        match throughput {
            Throughput::Elements(flops) => {
                // Times are in nanoseconds: operations a nanosecond are GFLOP/s.
                values
                    .iter_mut()
                    .for_each(|value| *value = *flops as f64 / *value);
                "GFLOP/s"
            }
            other => WallTime
                .formatter()
                .scale_throughputs(typical, other, values),
        }
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(Time(WallTime))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = ops
}
criterion_main!(benches);
