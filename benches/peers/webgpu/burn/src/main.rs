//! Times CycleGAN's work in burn, through wgpu with kernels in WGSL.
//!
//!     cargo build --release
//!     target/release/burn-peer step '{"size": 64, "ngf": 32, "ndf": 32, "blocks": 6, "batch": 1, "steps": 3}'
//!     target/release/burn-peer translation '{"size": 64, "ngf": 32, "blocks": 6, "batch": 1}'
//!     target/release/burn-peer convolution '{"shape": [256, 256, 64, 3, 1, 1], "pass": "input gradient"}'
//!
//! A shape is channels in and out, side of the image, kernel, stride and padding. Prints a line of JSON:
//! the median in seconds, how many runs it is of, the seconds of the first run (with burn's compilation and
//! autotuning), numbers of the last run's results (a step's are its losses) and the adapter.
//! `CUBECL_WGPU_DEFAULT_DEVICE=Cpu` takes a software adapter where there are others.

use std::env;
use std::time::Instant;

use burn::backend::{Dispatch, ops::ModuleOps};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{InstanceNormConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::activation::{leaky_relu, relu, tanh};
use burn::tensor::module::{conv2d, conv2d_weight_backward};
use burn::tensor::ops::{ConvOptions, PadMode};
use serde_json::{Value, json};

/// A run of what is timed: some of the numbers that it computed, read back so that it is over.
type Work = Box<dyn FnMut() -> Vec<f32>>;

const LEARNING_RATE: f64 = 2e-4;

fn conv([from, to]: [usize; 2], k: usize, stride: usize, pad: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([from, to], [k, k])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .init(device)
}

fn up(channels: [usize; 2], device: &Device) -> ConvTranspose2d {
    ConvTranspose2dConfig::new(channels, [3, 3])
        .with_stride([2, 2])
        .with_padding([1, 1])
        .with_padding_out([1, 1])
        .init(device)
}

fn norm(x: Tensor<4>) -> Tensor<4> {
    let config = InstanceNormConfig::new(x.dims()[1]).with_affine(false);
    config.init(&x.device()).forward(x)
}

fn reflect(x: Tensor<4>, pad: usize) -> Tensor<4> {
    x.pad([(pad, pad), (pad, pad)], PadMode::Reflect)
}

#[derive(Module, Debug)]
struct Generator {
    stem: Conv2d,
    down: Vec<Conv2d>,
    blocks: Vec<[Conv2d; 2]>,
    up: Vec<ConvTranspose2d>,
    head: Conv2d,
}

impl Generator {
    fn new(c: usize, blocks: usize, device: &Device) -> Self {
        let inner = || conv([4 * c, 4 * c], 3, 1, 0, device);
        Self {
            stem: conv([3, c], 7, 1, 0, device),
            down: vec![
                conv([c, 2 * c], 3, 2, 1, device),
                conv([2 * c, 4 * c], 3, 2, 1, device),
            ],
            blocks: (0..blocks).map(|_| [inner(), inner()]).collect(),
            up: vec![up([4 * c, 2 * c], device), up([2 * c, c], device)],
            head: conv([c, 3], 7, 1, 0, device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = relu(norm(self.stem.forward(reflect(x, 3))));
        for layer in &self.down {
            x = relu(norm(layer.forward(x)));
        }
        for [first, second] in &self.blocks {
            let y = relu(norm(first.forward(reflect(x.clone(), 1))));
            x = x + norm(second.forward(reflect(y, 1)));
        }
        for layer in &self.up {
            x = relu(norm(layer.forward(x)));
        }
        tanh(self.head.forward(reflect(x, 3)))
    }
}

#[derive(Module, Debug)]
struct Discriminator {
    first: Conv2d,
    middle: Vec<Conv2d>,
    last: Conv2d,
}

impl Discriminator {
    fn new(c: usize, device: &Device) -> Self {
        let layer = |from, to, stride| conv([from, to], 4, stride, 1, device);
        Self {
            first: layer(3, c, 2),
            middle: vec![
                layer(c, 2 * c, 2),
                layer(2 * c, 4 * c, 2),
                layer(4 * c, 8 * c, 1),
            ],
            last: layer(8 * c, 1, 1),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = leaky_relu(self.first.forward(x), 0.2);
        for layer in &self.middle {
            x = leaky_relu(norm(layer.forward(x)), 0.2);
        }
        self.last.forward(x)
    }
}

fn number(setting: &Value, key: &str) -> usize {
    setting[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key:?} has to be a number")) as usize
}

fn pictures(setting: &Value, device: &Device) -> Tensor<4> {
    let size = number(setting, "size");
    Tensor::random(
        [number(setting, "batch"), 3, size, size],
        Distribution::Uniform(-1.0, 1.0),
        device,
    )
}

fn adam() -> ModuleOptimizer {
    AdamConfig::new()
        .with_beta_1(0.5)
        .with_beta_2(0.999)
        .with_epsilon(1e-8)
        .init()
}

fn gan(answer: Tensor<4>, real: f32) -> Tensor<1> {
    answer.sub_scalar(real).square().mean()
}

fn l1(a: Tensor<4>, b: &Tensor<4>, weight: f32) -> Tensor<1> {
    (a - b.clone()).abs().mean().mul_scalar(weight)
}

/// An optimizer's step takes a module by value, hence the `Option`s.
fn step(setting: &Value, device: &Device) -> Work {
    let device = device.clone().autodiff();
    let generator = || Generator::new(number(setting, "ngf"), number(setting, "blocks"), &device);
    let (real_a, real_b) = (pictures(setting, &device), pictures(setting, &device));
    let discriminator = || {
        let net = Discriminator::new(number(setting, "ndf"), &device);
        // Before their first use a network and its clone share parameters: `no_grad` would be for both.
        net.forward(real_a.clone());
        net
    };
    let mut generators = Some((generator(), generator()));
    let mut discriminators = Some((discriminator(), discriminator()));
    let (mut adam_g, mut adam_d) = (adam(), adam());
    Box::new(move || {
        let (nets_g, nets_d) = (generators.take().unwrap(), discriminators.take().unwrap());
        let (g_a, g_b) = &nets_g;

        let (fake_b, fake_a) = (g_a.forward(real_a.clone()), g_b.forward(real_b.clone()));
        let (d_a, d_b) = nets_d.clone().no_grad();
        let loss_g = gan(d_a.forward(fake_b.clone()), 1.0)
            + gan(d_b.forward(fake_a.clone()), 1.0)
            + l1(g_b.forward(fake_b.clone()), &real_a, 10.0)
            + l1(g_a.forward(fake_a.clone()), &real_b, 10.0)
            + l1(g_a.forward(real_b.clone()), &real_b, 5.0)
            + l1(g_b.forward(real_a.clone()), &real_a, 5.0);
        let gradients = GradientsParams::from_grads(loss_g.backward(), &nets_g);
        generators = Some(adam_g.step(LEARNING_RATE, nets_g, gradients));
        // What else holds the parameters would have the step copy them.
        drop((d_a, d_b));

        let (d_a, d_b) = &nets_d;
        let loss_d = gan(d_a.forward(real_b.clone()), 1.0)
            + gan(d_a.forward(fake_b.detach()), 0.0)
            + gan(d_b.forward(real_a.clone()), 1.0)
            + gan(d_b.forward(fake_a.detach()), 0.0);
        let loss_d = loss_d.mul_scalar(0.5);
        let gradients = GradientsParams::from_grads(loss_d.backward(), &nets_d);
        discriminators = Some(adam_d.step(LEARNING_RATE, nets_d, gradients));

        // The losses are there before the parameters are.
        device.sync().unwrap();
        vec![loss_g.into_scalar::<f32>(), loss_d.into_scalar::<f32>()]
    })
}

/// A result is not read back, which can take longer than a small convolution: one number of it is.
fn first(result: Tensor<4>) -> Vec<f32> {
    vec![result.slice([0..1, 0..1, 0..1, 0..1]).into_scalar::<f32>()]
}

fn translation(setting: &Value, device: &Device) -> Work {
    let net = Generator::new(number(setting, "ngf"), number(setting, "blocks"), device);
    let real = pictures(setting, device);
    Box::new(move || first(net.forward(real.clone())))
}

fn convolution(setting: &Value, device: &Device) -> Work {
    let [c, m, side, k, stride, pad]: [usize; 6] =
        serde_json::from_value(setting["shape"].clone()).unwrap();
    let normal =
        |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let out = (side + 2 * pad - k) / stride + 1;
    let (x, weight, grad) = (
        normal([1, c, side, side]),
        normal([m, c, k, k]),
        normal([1, m, out, out]),
    );
    let bias = Tensor::<1>::random([m], Distribution::Normal(0.0, 1.0), device);
    let options = ConvOptions::new([stride; 2], [pad; 2], [1; 2], 1);
    let pass = setting["pass"].as_str().unwrap_or_default().to_owned();
    Box::new(move || {
        let (x, weight, grad, options) = (x.clone(), weight.clone(), grad.clone(), options.clone());
        first(match pass.as_str() {
            "forward" => conv2d(x, weight, Some(bias.clone()), options),
            // The one pass that burn's tensors do not have: the backend's own.
            "input gradient" => Tensor::from_dispatch(Dispatch::conv2d_x_backward(
                x.into_dispatch(),
                weight.into_dispatch(),
                grad.into_dispatch(),
                options,
            )),
            "weight gradient" => conv2d_weight_backward(x, weight, grad, options),
            other => panic!("there is no pass {other:?}"),
        })
    })
}

/// The median of `runs` after warming up; unless given, of as many as fit in two seconds, two at least.
fn median(mut work: Work, runs: Option<usize>) -> Value {
    let (mut wrong, mut values) = (None, Vec::new());
    let mut once = || {
        let start = Instant::now();
        values = work();
        let seconds = start.elapsed().as_secs_f64();
        if values.iter().any(|value| !value.is_finite()) {
            wrong.get_or_insert(format!("computes {values:?}"));
        }
        seconds
    };
    let first = once();
    // The first run compiles the shaders; the second one tells how long a run takes.
    let runs = runs.unwrap_or_else(|| ((2.0 / once()).round() as usize).clamp(2, 50));
    let mut times: Vec<f64> = (0..runs).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    let seconds = (times[(runs - 1) / 2] + times[runs / 2]) / 2.0;
    let mut report = json!({ "seconds": seconds, "runs": runs, "first": first, "values": values });
    if let Some(wrong) = wrong {
        report["caveat"] = wrong.into();
    }
    report
}

fn main() {
    if env::var_os("CUBECL_AUTOTUNE_LEVEL").is_none() {
        // More levels of tuning crash Mesa 22.3's lavapipe.
        // SAFETY: there is no other thread yet.
        unsafe { env::set_var("CUBECL_AUTOTUNE_LEVEL", "minimal") };
    }
    let [work, json] = env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .expect("WORK JSON");
    let setting: Value = serde_json::from_str(&json).unwrap();
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let work = match work.as_str() {
        "step" => step(&setting, &device),
        "translation" => translation(&setting, &device),
        "convolution" => convolution(&setting, &device),
        other => panic!("there is no work {other:?}"),
    };
    let mut report = median(work, setting["steps"].as_u64().map(|steps| steps as usize));
    report["adapter"] = device.identity().map(|identity| identity.name).into();
    println!("{report}");
}
