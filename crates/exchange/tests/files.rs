//! Files as PyTorch wrote them (`tests/fixtures/make_exchange_fixtures.py`), and what we write.

use std::fs;
use std::path::{Path, PathBuf};

use cyclegan::{Config, DiscriminatorKind, Generator, GeneratorKind, Preset, Stream};
use exchange::{Array, Asked, Fitted, Weights};
use nn::{Module, Norm, StateDict};
use tensor::Device;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/exchange")
        .join(name)
}

fn read(name: &str) -> Weights {
    exchange::read(&fixture(name)).unwrap()
}

fn answers() -> StateDict {
    let path = fixture("answers.safetensors");
    nn::load_file(&path, &Device::Cpu).unwrap().0
}

fn paper() -> Config {
    Config::preset(Preset::Paper)
}

fn fitted(weights: &Weights) -> Result<Fitted, String> {
    let fitted = exchange::generator(weights, &paper(), Asked::default());
    fitted.map_err(|error| error.to_string())
}

fn build(fitted: &Fitted) -> Generator {
    let mut weights = nn::Weights {
        init: nn::Init::Normal,
        gain: 0.02,
        rng: &mut cyclegan::rng(1, Stream::Weights, 0),
        device: &Device::Cpu,
    };
    let generator = cyclegan::generator(&fitted.config, [3, 3], &mut weights).unwrap();
    nn::load_state(&generator, "", &fitted.state).unwrap();
    generator
}

/// The largest difference between what a network makes of PyTorch's picture and PyTorch's answer.
fn difference(generator: &Generator, case: &str) -> f32 {
    let answers = answers();
    let y = generator.forward(&answers[&format!("{case}/x")]).unwrap();
    let expected = &answers[&format!("{case}/y")];
    assert_eq!(y.shape(), expected.shape());
    let (y, expected) = (y.to_vec().unwrap(), expected.to_vec().unwrap());
    let pairs = y.iter().zip(&expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn generators_are_recognised_and_do_what_they_did_in_pytorch() {
    use GeneratorKind::{Resnet6blocks, Unet128};
    let plain = (Resnet6blocks, 2, Norm::Instance);
    let affine = (Resnet6blocks, 2, Norm::InstanceAffine);
    for (file, case, expected, note) in [
        ("plain.pth", "plain", plain, ""),
        ("legacy.pth", "plain", plain, ""),
        ("parallel.pth", "plain", plain, ""),
        ("tracked.pth", "plain", plain, "running statistics"),
        ("affine.pth", "affine", affine, ""),
        (
            "renamed.pth",
            "affine",
            affine,
            "taken in their order, layers.0.kernel as model.1.weight",
        ),
        ("unet.pth", "unet", (Unet128, 1, Norm::Instance), ""),
        (
            "none.pth",
            "none",
            (Resnet6blocks, 2, Norm::None),
            "they are zero here",
        ),
    ] {
        let fitted = fitted(&read(file)).unwrap();
        let Config {
            generator,
            ngf,
            norm,
            ..
        } = fitted.config;
        assert_eq!((generator, ngf, norm), expected, "{file}");
        assert_eq!(
            fitted.notes.is_empty(),
            note.is_empty(),
            "{file}: {:?}",
            fitted.notes
        );
        assert!(
            fitted.notes.concat().contains(note),
            "{file}: {:?}",
            fitted.notes
        );
        let difference = difference(&build(&fitted), case);
        assert!(difference < 2e-5, "{file}: {difference}");
    }
}

#[test]
fn discriminators_are_recognised() {
    let fitted = exchange::discriminator(&read("discriminator.pth"), &paper()).unwrap();
    assert_eq!(
        (fitted.config.discriminator, fitted.config.ndf),
        (DiscriminatorKind::Basic, 2)
    );
    assert_eq!(fitted.state.len(), 10);
}

#[test]
fn halves_are_near_the_values_that_they_were_made_of() {
    let (half, whole) = (read("half.pth"), read("plain.pth"));
    for (half, whole) in half.arrays.iter().zip(&whole.arrays) {
        assert_eq!((&half.name, &half.shape), (&whole.name, &whole.shape));
        let mut pairs = half.values.iter().zip(&whole.values);
        assert!(pairs.all(|(half, whole)| (half - whole).abs() <= whole.abs() / 1000.0 + 1e-7));
    }
}

#[test]
fn views_and_all_kinds_of_numbers_are_read_as_pytorch_shows_them() {
    let answers = answers();
    for file in ["views.pth", "views-legacy.pth"] {
        let weights = read(file);
        assert_eq!(weights.arrays.len(), 16, "{file}");
        for Array {
            name,
            shape,
            values,
        } in &weights.arrays
        {
            let expected = &answers[&format!("views/{name}")];
            assert_eq!(shape, expected.shape().dims(), "{file}: {name}");
            assert_eq!(*values, expected.to_vec().unwrap(), "{file}: {name}");
        }
    }
}

#[test]
fn what_is_more_than_tensors_is_refused_by_name() {
    for (file, names) in [
        ("malicious.pth", ["os.system", "nothing of it was run"]),
        (
            "whole.pth",
            ["make_fixtures.Resnet", "torch.save(net.state_dict(), FILE)"],
        ),
    ] {
        let error = exchange::read(&fixture(file)).unwrap_err().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn files_cut_short_are_refused_and_no_change_of_a_byte_panics() {
    for file in ["views.pth", "views-legacy.pth"] {
        let whole = fs::read(fixture(file)).unwrap();
        for len in 0..whole.len() {
            assert!(
                exchange::read_bytes(&whole[..len]).is_err(),
                "{file}: {len}"
            );
        }
        let mut read = 0;
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x11;
            read += usize::from(exchange::read_bytes(&changed).is_ok());
        }
        assert!(read < whole.len(), "{file}");
    }
}

#[test]
fn the_first_tensor_that_does_not_fit_is_named() {
    let whole = read("plain.pth");
    let changed = |change: fn(&mut Vec<Array>)| {
        let mut weights = whole.clone();
        change(&mut weights.arrays);
        fitted(&weights).err().unwrap()
    };
    for (message, parts) in [
        (
            changed(|arrays| arrays[4].shape[0] = 7),
            [
                "model.7.weight is 7×4×3×3",
                "resnet_6blocks with ngf 2 and norm instance has 8×4×3×3",
            ],
        ),
        (
            changed(|arrays| _ = arrays.remove(9)),
            ["model.10.conv_block.5.bias is missing", "resnet"],
        ),
        (
            changed(|arrays| {
                arrays.push(Array {
                    name: "extra".into(),
                    shape: vec![1],
                    values: vec![0.0],
                })
            }),
            ["extra is one more than", "resnet_6blocks"],
        ),
        (
            changed(|arrays| arrays[0].values[0] = f32::NAN),
            ["model.1.weight has values that are no numbers", "NaN"],
        ),
        (
            changed(|arrays| arrays.clear()),
            ["does not fit", "ends after 0 tensors"],
        ),
        (
            changed(|arrays| {
                let twice = arrays.clone().into_iter();
                for array in arrays.iter_mut() {
                    array.name = format!("a.{}", array.name);
                }
                arrays.extend(twice.map(|array| Array {
                    name: format!("b.{}", array.name),
                    ..array
                }));
            }),
            ["at \"a.\"", "at \"b.\""],
        ),
    ] {
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let asked = Asked {
        generator: Some(GeneratorKind::Resnet9blocks),
        norm: None,
    };
    let error = exchange::generator(&whole, &paper(), asked).err().unwrap();
    let error = error.to_string();
    assert!(
        error.contains("model.16.conv_block.1.weight is missing"),
        "{error}"
    );
    assert!(error.contains("resnet_9blocks"), "{error}");
}

#[test]
fn safetensors_of_others_are_read_and_need_our_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let fitted_plain = fitted(&read("plain.pth")).unwrap();
    nn::save_file(&path, &fitted_plain.state, Default::default()).unwrap();
    let again = fitted(&exchange::read(&path).unwrap()).unwrap();
    assert!(difference(&build(&again), "plain") < 2e-5);

    let renamed = fitted_plain.state.iter();
    let renamed = renamed.map(|(name, tensor)| (name.replace("model", "net"), tensor.clone()));
    nn::save_file(&path, &renamed.collect(), Default::default()).unwrap();
    let error = fitted(&exchange::read(&path).unwrap()).err().unwrap();
    assert!(error.contains("keeps no order"), "{error}");
}

#[test]
fn what_we_write_for_pytorch_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    for file in ["affine.pth", "unet.pth"] {
        let weights = read(file);
        let generator = build(&fitted(&weights).unwrap());
        exchange::pth::write(&path, &generator).unwrap();
        assert_eq!(exchange::read(&path).unwrap(), weights);
    }
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        1,
        "no temporary file stays"
    );
    let nowhere = folder.path().join("no/x.pth");
    let generator = build(&fitted(&read("plain.pth")).unwrap());
    let error = exchange::pth::write(&nowhere, &generator).unwrap_err();
    assert!(
        error.to_string().contains("x.pth could not be written"),
        "{error}"
    );
}
