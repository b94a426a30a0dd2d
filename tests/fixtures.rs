//! PyTorch's answers (`tests/fixtures`) on the processor and on every adapter of the machine. Cases,
//! shapes and settings come from the files.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use cyclegan::{Config, Perceptual, Preset, discriminator, generator};
use libtest_mimic::{Failed, Trial};
use nn::{
    GanLoss, Module, StateDict, Weights, gradient_penalty, load_file, load_state, r1_penalty,
    state_dict, training,
};
use tensor::ops::{Activation, Interpolation, Loss};
use tensor::{Device, Tensor, grad};

type TestResult<T = ()> = Result<T, Failed>;
/// A test of one case of a fixture.
type Test = fn(&Fixture, &str) -> TestResult;

/// Largest difference over the largest value, for operations, networks and losses.
const RELATIVE: f32 = 1e-4;
/// Largest difference of weights after whole training steps.
const WEIGHTS_AFTER: f32 = 5e-5;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "safetensors")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are no fixtures");
    gpu::testing::run(files.into_iter().flat_map(|file| trials(&file)).collect())
}

/// The trials of one file, on the processor and on each adapter.
fn trials(path: &Path) -> Vec<Trial> {
    let fixture = Fixture::read(path, &Device::Cpu).expect("a fixture can be read");
    let cases: Vec<(String, Test)> = if fixture.metadata.contains_key("steps") {
        vec![("training steps".into(), training_steps)]
    } else if fixture.metadata.contains_key("generator") {
        vec![("generator".into(), network)]
    } else if fixture.metadata.contains_key("perceptual") {
        vec![
            ("perceptual".into(), perceptual as Test),
            ("style".into(), perceptual),
        ]
    } else if fixture.metadata.contains_key("penalty") {
        vec![("penalty".into(), penalty)]
    } else if fixture.metadata.contains_key("discriminator") {
        vec![("discriminator".into(), network)]
    } else {
        let name = |key: &String| Some(key.rsplit_once('/')?.0.to_owned());
        let names: BTreeSet<String> = fixture.tensors.keys().filter_map(name).collect();
        names
            .into_iter()
            .map(|name| (name, operation as _))
            .collect()
    };
    let file = path
        .file_stem()
        .expect("a file has a name")
        .to_string_lossy()
        .into_owned();
    let mut trials = Vec::new();
    for (name, test) in cases {
        let label = format!("{file}: {name}");
        // The resize belongs to the loader, which works on the processor.
        let cpu_only = name.starts_with("resize");
        let (on_cpu, on_gpu) = ((path.to_owned(), name.clone()), (path.to_owned(), name));
        trials.push(Trial::test(
            format!("{label} on the processor"),
            move || test(&Fixture::read(&on_cpu.0, &Device::Cpu)?, &on_cpu.1),
        ));
        if !cpu_only {
            trials.extend(gpu::testing::trials(&label, move |context| {
                test(
                    &Fixture::read(&on_gpu.0, &Device::Gpu(context.clone()))?,
                    &on_gpu.1,
                )
            }));
        }
    }
    trials
}

struct Fixture {
    path: PathBuf,
    tensors: StateDict,
    metadata: HashMap<String, String>,
    device: Device,
}

impl Fixture {
    fn read(path: &Path, device: &Device) -> TestResult<Self> {
        let (tensors, metadata) = load_file(path, device)?;
        Ok(Fixture {
            path: path.to_owned(),
            tensors,
            metadata,
            device: device.clone(),
        })
    }

    fn get(&self, name: &str) -> TestResult<&Tensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| format!("the fixture has no {name}").into())
    }

    /// All tensors whose names start with `prefix`, without it.
    fn below(&self, prefix: &str) -> StateDict {
        let strip = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        };
        self.tensors.iter().filter_map(strip).collect()
    }
}

/// Largest absolute difference, and the largest absolute value expected.
fn difference(found: &Tensor, expected: &Tensor) -> TestResult<(f32, f32)> {
    if found.shape() != expected.shape() {
        return Err(format!("{} instead of {}", found.shape(), expected.shape()).into());
    }
    let (found, expected) = (found.to_vec()?, expected.to_vec()?);
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        // Not `f32::max`, which would swallow NaN.
        values.fold(0.0f32, |a, b| if b.abs() <= a { a } else { b.abs() })
    };
    let apart = largest(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    Ok((apart, largest(&mut expected.iter().copied())))
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor, relative: f32) -> TestResult {
    let (apart, scale) =
        difference(found, expected).map_err(|error| format!("{what}: {error:?}"))?;
    if apart <= relative * scale {
        return Ok(());
    }
    Err(format!("{what}: {apart:e} apart at a scale of {scale:e}, over {relative:e}").into())
}

/// An operation and its gradients.
fn operation(fixture: &Fixture, name: &str) -> TestResult {
    if name.starts_with("resize") {
        return resize(fixture, name);
    }
    let inputs: Vec<Tensor> = (0..)
        .map_while(|i| fixture.tensors.get(&format!("{name}/in.{i}")))
        .map(Tensor::with_grad)
        .collect();
    let expected = fixture.get(&format!("{name}/out"))?;
    let settings = match fixture.metadata.get(name) {
        Some(json) => serde_json::from_str(json).map_err(|error| error.to_string())?,
        None => serde_json::Value::Null,
    };
    let out = apply(name, &inputs, &settings, expected)?;
    assert_close("output", &out, expected, RELATIVE)?;

    let upstream = fixture.get(&format!("{name}/gout"))?;
    let loss = out.mul(upstream)?.sum()?;
    let gradients = grad(&loss, &inputs.iter().collect::<Vec<_>>())?;
    let mut checked = 0;
    for (i, gradient) in gradients.iter().enumerate() {
        if let Some(expected) = fixture.tensors.get(&format!("{name}/gin.{i}")) {
            assert_close(&format!("gradient {i}"), gradient, expected, RELATIVE)?;
            checked += 1;
        }
    }
    if checked == 0 {
        Err("the fixture has no gradients".into())
    } else {
        Ok(())
    }
}

fn apply(
    name: &str,
    inputs: &[Tensor],
    settings: &serde_json::Value,
    expected: &Tensor,
) -> TestResult<Tensor> {
    let x = &inputs[0];
    let setting = |key: &str| -> TestResult<usize> {
        let value = settings.get(key).and_then(serde_json::Value::as_u64);
        value
            .map(|value| value as usize)
            .ok_or_else(|| format!("no setting {key}").into())
    };
    let real = |key: &str| -> TestResult<f32> {
        let value = settings.get(key).and_then(serde_json::Value::as_f64);
        value
            .map(|value| value as f32)
            .ok_or_else(|| format!("no setting {key}").into())
    };
    // The factor by which an operation changes the height.
    let ratio = |from: &Tensor, to: &Tensor| to.shape().nchw()[2] / from.shape().nchw()[2];
    Ok(match name.split('.').next().unwrap_or_default() {
        "conv2d" => x.conv2d(
            &inputs[1],
            inputs.get(2),
            setting("stride")?,
            setting("padding")?,
        )?,
        "conv_transpose2d" => x.conv_transpose2d(
            &inputs[1],
            inputs.get(2),
            setting("stride")?,
            setting("padding")?,
            setting("output_padding")?,
        )?,
        "depthwise_conv2d" => {
            x.depthwise_conv2d(&inputs[1], setting("stride")?, setting("padding")?)?
        }
        "max_pool2d" => x.max_pool2d(
            setting("kernel")?,
            setting("stride")?,
            [setting("before")?, setting("after")?],
        )?,
        "linear" => x.linear(&inputs[1], inputs.get(2))?,
        "instance_norm" => x.instance_norm(real("eps")?)?,
        "instance_norm_affine" => x.instance_norm_affine(&inputs[1], &inputs[2], real("eps")?)?,
        "reflection_pad2d" => x.reflection_pad2d(setting("pad")?)?,
        "relu" => x.activation(Activation::Relu)?,
        "leaky_relu" => x.activation(Activation::LeakyRelu(real("slope")?))?,
        "tanh" => x.activation(Activation::Tanh)?,
        "sigmoid" => x.activation(Activation::Sigmoid)?,
        "l1_loss" => x.loss(Loss::L1, &inputs[1])?,
        "mse_loss" => x.loss(Loss::Mse, &inputs[1])?,
        "bce_with_logits" => x.loss(Loss::BceWithLogits, &inputs[1])?,
        "upsample_nearest" => x.upsample(Interpolation::Nearest, ratio(x, expected))?,
        "upsample_bilinear" => x.upsample(Interpolation::Bilinear, ratio(x, expected))?,
        "avg_pool2d" => x.avg_pool2d(ratio(expected, x))?,
        "gan_loss" => {
            let text = |key: &str| settings[key].as_str().unwrap_or_default();
            let loss = GanLoss(serde_json::from_value(settings["mode"].clone())?);
            match text("part") {
                "generator" => loss.of_generator(x)?,
                "real" => loss.on_real(x)?,
                _ => loss.on_fake(x)?,
            }
        }
        "gram" => {
            let [n, c, h, w] = x.shape().nchw();
            let flat = x.reshape([n, c, h * w])?;
            flat.matmul_transposed(&flat)?
                .scale(1.0 / (c * h * w) as f32)?
        }
        other => return Err(format!("no operation is known as {other}").into()),
    })
}

/// The loader's resize, which has no gradient.
fn resize(fixture: &Fixture, name: &str) -> TestResult {
    let input = fixture.get(&format!("{name}/in.0"))?;
    let expected = fixture.get(&format!("{name}/out"))?;
    let [_, channels, h, w] = input.shape().nchw();
    let [_, _, height, width] = expected.shape().nchw();
    let resized = images::resize_f32(&input.to_vec()?, channels, (h, w), (height, width))?;
    let found = Tensor::from_slice(&resized, expected.shape(), &fixture.device)?;
    assert_close("output", &found, expected, RELATIVE)
}

/// The configuration that a file's metadata describe.
fn configuration(fixture: &Fixture) -> TestResult<Config> {
    let mut table = toml::Table::try_from(Config::preset(Preset::Paper))?;
    for (key, value) in &fixture.metadata {
        let key = match key.as_str() {
            "lr" => "learning_rate".to_owned(),
            "steps" | "mode" | "penalty" => continue,
            other => other.to_lowercase(),
        };
        let Some(known) = table.get_mut(&key) else {
            return Err(format!("the metadata have an unknown {key}").into());
        };
        *known = match known {
            toml::Value::Integer(_) => toml::Value::Integer(value.parse()?),
            toml::Value::Float(_) => toml::Value::Float(value.parse()?),
            toml::Value::Boolean(_) => toml::Value::Boolean(value.parse()?),
            _ => toml::Value::String(value.clone()),
        };
    }
    Ok(table.try_into()?)
}

/// The network that a file is about, with its weights.
fn loaded(fixture: &Fixture, kind: &str) -> TestResult<Box<dyn Module>> {
    let config = configuration(fixture)?;
    let mut rng = cyclegan::rng(0, cyclegan::Stream::Weights, 0);
    let weights = &mut Weights {
        init: config.init,
        gain: config.init_gain,
        rng: &mut rng,
        device: &fixture.device,
    };
    let network: Box<dyn Module> = match kind {
        "generator" => Box::new(generator(&config, config.channels(), weights)?),
        _ => Box::new(discriminator(&config, config.output_nc, weights)?),
    };
    let weights = fixture.below("w/");
    load_state(&*network, "", &weights)?;
    if state_dict(&*network, "").len() != weights.len() {
        return Err("the network and the file differ in their parameters".into());
    }
    Ok(network)
}

/// A network's parameters that are trained.
fn trained(network: &dyn Module) -> Vec<(String, Tensor)> {
    let mut parameters = Vec::new();
    network.visit("", &mut |name, param| {
        if param.is_trained() {
            parameters.push((name.to_owned(), param.get()));
        }
    });
    parameters
}

/// A network's output, and its gradients where the file has them.
fn network(fixture: &Fixture, kind: &str) -> TestResult {
    let network = loaded(fixture, kind)?;
    let parameters = trained(&*network);
    let x = fixture.get("x")?.with_grad();
    let y = match fixture.metadata.contains_key("mode") {
        true => training(0, || network.forward(&x))?,
        false => network.forward(&x)?,
    };
    assert_close("output", &y, fixture.get("y")?, RELATIVE)?;
    if let Some(in_use) = fixture.tensors.get("y_in_use") {
        let state = state_dict(&*network, "");
        for (name, expected) in fixture.below("after/") {
            assert_close(&name, &state[&name], &expected, RELATIVE)?;
        }
        let y = network.forward(&x)?;
        assert_close("output in use", &y, in_use, RELATIVE)?;
    }
    let Some(upstream) = fixture.tensors.get("gy") else {
        return Ok(());
    };

    let loss = y.mul(upstream)?.sum()?;
    let wrt: Vec<&Tensor> = parameters
        .iter()
        .map(|(_, value)| value)
        .chain([&x])
        .collect();
    let gradients = grad(&loss, &wrt)?;
    let exempt = exempt(fixture, &parameters);
    for ((name, _), gradient) in parameters.iter().zip(&gradients) {
        if !exempt.contains(name) {
            let expected = fixture.get(&format!("gw/{name}"))?;
            assert_close(name, gradient, expected, RELATIVE)?;
        }
    }
    assert_close(
        "gradient of x",
        &gradients[wrt.len() - 1],
        fixture.get("gx")?,
        RELATIVE,
    )
}

/// A penalty on a discriminator's slopes, and its gradient.
fn penalty(fixture: &Fixture, kind: &str) -> TestResult {
    let network = loaded(fixture, kind)?;
    let parameters = trained(&*network);
    let [real, fake] = [fixture.get("real")?, fixture.get("fake")?];
    let value = training(0, || match fixture.metadata["penalty"].as_str() {
        "gradient" => {
            let shares = fixture.get("share").map(Tensor::to_vec);
            let shares = shares.expect("the fixture has shares")?;
            gradient_penalty(&*network, real, fake, &shares)
        }
        _ => r1_penalty(&*network, real),
    })?;
    let expected = fixture.get("value")?;
    assert_close("value", &value.reshape([1])?, expected, RELATIVE)?;
    let wrt: Vec<&Tensor> = parameters.iter().map(|(_, value)| value).collect();
    let mut checked = 0;
    let exempt = exempt(fixture, &parameters);
    for ((name, _), gradient) in parameters.iter().zip(grad(&value, &wrt)?) {
        // What the slopes don't depend on has none.
        let expected = fixture.tensors.get(&format!("gw/{name}"));
        if let Some(expected) = expected.filter(|_| !exempt.contains(name)) {
            assert_close(name, &gradient, expected, RELATIVE)?;
            checked += 1;
        }
    }
    match checked {
        0..3 => Err("the fixture has no gradients".into()),
        _ => Ok(()),
    }
}

/// Parameters of a network whose gradients can't be compared.
fn exempt(fixture: &Fixture, parameters: &[(String, Tensor)]) -> BTreeSet<String> {
    match fixture.metadata.get("norm").map(String::as_str) {
        // Nothing but the norms has biases there.
        Some("batch") => BTreeSet::new(),
        _ => before_norm(parameters.iter().map(|(name, _)| name.as_str())),
    }
}

/// The biases straight before an instance norm. Their true gradient is zero: what is computed is
/// rounding noise, which Adam turns into steps of ±lr, so they can't be compared. They are those
/// of a network's inner convolutions: in a generator all but the last, in a discriminator (where
/// the first has no norm either) all but the first and last.
fn before_norm<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let biases: Vec<&str> = names.filter(|name| name.ends_with("bias")).collect();
    let is_discriminator = biases.contains(&"model.0.bias");
    let inner = usize::from(is_discriminator)..biases.len().saturating_sub(1);
    biases[inner].iter().map(|&name| name.to_owned()).collect()
}

/// A loss of what a network sees, and its gradient.
fn perceptual(fixture: &Fixture, name: &str) -> TestResult {
    let mut config = Config::preset(Preset::Paper);
    match name {
        "style" => config.lambda_style = 1.0,
        _ => config.lambda_perceptual = 1.0,
    }
    let weights = metrics::Perception::load(&fixture.path)?;
    assert_eq!(weights.name(), fixture.metadata["perceptual"]);
    let mut losses = Perceptual::new(&config);
    losses.train_by(Arc::new(weights.on(&fixture.device)?));
    let fake = fixture.get("fake")?.with_grad();
    let found = losses.losses(&fake, fixture.get("from")?, fixture.get("to")?)?;
    let [loss] = &found.into_iter().flatten().collect::<Vec<_>>()[..] else {
        return Err("one loss was asked for".into());
    };
    assert_close(name, &loss.reshape([1])?, fixture.get(name)?, RELATIVE)?;
    let gradient = grad(loss, &[&fake])?;
    let expected = fixture.get(&format!("g{name}"))?;
    assert_close("gradient", &gradient[0], expected, RELATIVE)
}

/// Whole training steps: the losses of each, and all weights afterwards.
fn training_steps(fixture: &Fixture, _: &str) -> TestResult {
    let config = configuration(fixture)?;
    let mut model = cyclegan::model(&config, &fixture.device)?;
    model.load_networks(&fixture.tensors)?;
    let steps: usize = fixture.metadata["steps"].parse()?;
    for step in 0..steps {
        let batch = fixture.below(&format!("batch.{step}/"));
        let losses = model
            .step(&batch["A"], &batch["B"], config.learning_rate)?
            .losses;
        for (name, loss) in losses.named() {
            let expected = fixture.get(&format!("loss.{step}/{name}"))?;
            assert_close(
                &format!("step {step}: {name}"),
                &loss.reshape([1])?,
                expected,
                RELATIVE,
            )?;
        }
    }
    let after = model.state()?;
    for (network, _) in model.parameter_counts() {
        let expected = fixture.below(&format!("after/{network}/"));
        let exempt = match network.starts_with('F') {
            true => BTreeSet::new(),
            false => before_norm(in_order(expected.keys()).into_iter()),
        };
        for (name, expected) in &expected {
            let found = &after[&format!("{network}/{name}")];
            let (apart, _) = difference(found, expected)?;
            if !exempt.contains(name) && (apart.is_nan() || apart > WEIGHTS_AFTER) {
                return Err(
                    format!("{network}/{name} is {apart:e} off after {steps} steps").into(),
                );
            }
        }
    }
    Ok(())
}

/// Names in the order of layers: `model.4` before `model.10`.
fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    let key = |name: &&str| -> Vec<usize> {
        name.split('.')
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    names.sort_by_key(key);
    names
}
