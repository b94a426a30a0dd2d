//! Against NumPy, SciPy and PyTorch (`tests/fixtures/make_metrics_fixtures.py`).

use std::fs;
use std::path::{Path, PathBuf};

use metrics::{Features, Network, diversity, features, fid, kid, over};
use serde_json::Value;
use tensor::Device;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/metrics")
        .join(name)
}

fn statistics() -> Value {
    let text = fs::read_to_string(fixture("statistics.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn rows(of: &Value) -> Features {
    let rows: Vec<Vec<f32>> = serde_json::from_value(of.clone()).unwrap();
    features(&rows)
}

fn agree(given: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    let off = (given - expected).abs() / expected.abs().max(1.0);
    assert!(off <= 1e-6, "{given} where Python has {expected}");
}

#[test]
fn statistics_are_those_of_numpy_and_scipy() {
    let python = statistics();
    let [x, y] = ["x", "y"].map(|set| rows(&python[set]));
    let kid = kid(&x, &y, 1).unwrap();
    agree(kid.whole, &python["kid"]);
    agree(kid.error, &python["error"]);
    let subsets: Vec<[Vec<usize>; 2]> = serde_json::from_value(python["subsets"].clone()).unwrap();
    let (mean, deviation) = over(&x, &y, &subsets);
    agree(mean, &python["mean"]);
    agree(deviation, &python["deviation"]);
    let fid_of_all = fid(&x, &y).unwrap();
    agree(fid_of_all.value, &python["fid"]);
    assert!(!fid_of_all.rank_deficient);
    agree(diversity(&x).unwrap(), &python["diversity"]);

    let few = fid(&x.rows(0, 10).into_owned(), &y.rows(0, 12).into_owned()).unwrap();
    agree(few.value, &python["few"]);
    assert!(few.rank_deficient);
}

#[test]
fn subsets_follow_from_the_seed_and_are_no_larger_than_the_smaller_set() {
    let python = statistics();
    let x = rows(&python["x"]);
    let y = rows(&python["y"]).rows(0, 50).into_owned();
    let [first, again, other] = [1, 1, 2].map(|seed| kid(&x, &y, seed).unwrap());
    assert_eq!(first, again);
    assert_ne!(first.mean, other.mean);
    assert_eq!((first.subset, first.whole), (50, other.whole));
    // Estimates of one quantity, by fewer pairs.
    assert!((first.mean - first.whole).abs() < first.deviation);
}

#[test]
fn a_set_is_no_distance_from_itself_and_too_few_have_none() {
    let x = rows(&statistics()["x"]);
    assert!(fid(&x, &x).unwrap().value.abs() < 1e-9);
    let [even, odd] = [0, 1].map(|first| {
        let every_other: Vec<usize> = (first..x.nrows()).step_by(2).collect();
        x.select_rows(&every_other)
    });
    let halves = kid(&even, &odd, 1).unwrap();
    assert!(halves.whole.abs() < 3.0 * halves.error, "{halves:?}");
    let one = x.rows(0, 1).into_owned();
    let mut broken = x.clone();
    broken[(3, 2)] = f64::NAN;
    assert!(fid(&x, &broken).is_none());
    assert!(fid(&one, &x).is_none() && kid(&one, &x, 1).is_none() && diversity(&one).is_none());
}

/// The processor, and every adapter there is.
fn devices() -> Vec<Device> {
    let adapters = gpu::testing::adapters_for_tests().unwrap_or_default();
    let adapters = adapters.into_iter().map(Device::Gpu);
    [Device::Cpu].into_iter().chain(adapters).collect()
}

#[test]
fn networks_see_what_they_see_in_pytorch() {
    let answers = exchange::read(&fixture("looks.safetensors")).unwrap();
    let answer = |name: &str| {
        let array = answers.arrays.iter().find(|array| array.name == name);
        array.unwrap().values.clone()
    };
    for device in devices() {
        for (file, name) in [
            ("shift-tolerant", "stlpips-vgg16/relu5_3:unit"),
            ("torchvision", "torchvision-vgg16/relu5_3:unit"),
        ] {
            let network = Network::load(&fixture(&format!("{file}.pth")), &device).unwrap();
            assert_eq!(network.layer(), name);
            let [a, b] = ["a", "b"].map(|x| network.look(&answer(x), [40, 34]).unwrap());
            let seen = a.features().unwrap();
            let expected = answer(file);
            assert_eq!(seen.len(), expected.len());
            let pairs = seen.iter().zip(&expected);
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-4, "{name} on {device}: {off}");
            let lpips = network.distance(&a, &b).unwrap();
            assert_eq!(lpips.is_some(), network.has_heads());
            if let Some(lpips) = lpips {
                let off = (lpips - f64::from(answer("lpips")[0])).abs();
                assert!(off <= 1e-4, "LPIPS on {device}: {off}");
                assert_eq!(network.distance(&a, &a).unwrap(), Some(0.0));
            }
        }
    }
}

#[test]
fn pooled_features_are_those_of_pytorch() {
    let answers = exchange::read(&fixture("looks.safetensors")).unwrap();
    let answer = |name: &str| {
        let array = answers.arrays.iter().find(|array| array.name == name);
        array.unwrap().values.clone()
    };
    for device in devices() {
        for (file, name, size) in [
            ("efficientnet-lite0", "efficientnet-lite0/pool", 224),
            ("inception-fid", "fid-inception-v3/pool", 299),
            (
                "inception-torchvision",
                "torchvision-inception-v3/pool",
                299,
            ),
        ] {
            let network = Network::load(&fixture(&format!("{file}.pth")), &device).unwrap();
            assert_eq!((network.layer().as_str(), network.size()), (name, size));
            let look = network.look(&answer("large"), [97, 90]).unwrap();
            let (seen, expected) = (look.features().unwrap(), answer(file));
            assert_eq!(seen.len(), expected.len());
            let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let pairs = seen.iter().zip(&expected);
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(
                off <= 1e-5 * largest,
                "{name} on {device}: {off} of {largest}"
            );
            assert!(!network.has_heads());
            assert_eq!(network.distance(&look, &look).unwrap(), None);
        }
    }
}

#[test]
fn pictures_are_resized_as_clean_fid_does() {
    let answers = exchange::read(&fixture("looks.safetensors")).unwrap();
    let answer = |name: &str| {
        let array = answers.arrays.iter().find(|array| array.name == name);
        array.unwrap().values.clone()
    };
    let photo = answer("photo").into_iter().map(|value| value as u8);
    let photo = images::RgbImage::from_raw(53, 44, photo.collect()).unwrap();
    let network = Network::load(&fixture("torchvision.pth"), &Device::Cpu).unwrap();
    let seen = network.look_at(&photo, 36).unwrap().features().unwrap();
    let expected = answer("photo-features");
    let pairs = seen.iter().zip(&expected);
    let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= 1e-5, "{off}");
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut weights = exchange::read(&fixture("torchvision.pth")).unwrap();
    weights.arrays[0].values[0] = f32::NAN;
    let tensors = weights.arrays.iter().map(|array| {
        let shape = tensor::Shape::try_from(&array.shape[..]).unwrap();
        let tensor = tensor::Tensor::from_slice(&array.values, shape, &Device::Cpu);
        (array.name.clone(), tensor.unwrap())
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.safetensors");
    nn::save_file(&file, &tensors.collect(), Default::default()).unwrap();
    let refused = Network::load(&file, &Device::Cpu)
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains(&weights.arrays[0].name), "{refused}");
}

#[test]
fn other_files_are_refused_with_what_they_lack() {
    let refusal = |file: &Path| match Network::load(file, &Device::Cpu) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{} was taken", file.display()),
    };
    let other = refusal(&fixture("looks.safetensors"));
    assert!(other.contains("features.0.weight"), "{other}");
    let generator = fixture("../exchange/plain.pth");
    assert!(refusal(&generator).contains("holds no network"));
    assert!(refusal(Path::new("nowhere.pth")).contains("nowhere.pth"));
}
