//! The networks of this crate, on `tensor`: face-api.js's tiny face detector, its 68 landmarks (MIT,
//! `model/LICENSE.face-api`), and that which tells people apart, whose weights the user has.

mod detector;
mod landmarks;
mod recognition;
mod weights;

use std::sync::OnceLock;

use images::RgbImage;
use tensor::ops::PadMode;
use tensor::{Device, Result, Tensor, no_grad};

pub use detector::{Candidate, DetectorNetwork};
pub use landmarks::{LANDMARKS_SIDE, LandmarkNetwork};
pub use recognition::Recognition;
use weights::Weights;

/// Both networks.
pub struct Networks {
    pub detector: DetectorNetwork,
    pub landmarks: LandmarkNetwork,
}

impl Networks {
    /// Those inside this crate, read once.
    pub fn shipped() -> &'static Self {
        static SHIPPED: OnceLock<Networks> = OnceLock::new();
        SHIPPED.get_or_init(|| Self::read().expect("this crate's models are whole"))
    }

    fn read() -> std::result::Result<Self, String> {
        let detector = Weights::read(
            include_str!("../../model/tiny_face_detector_model.json"),
            include_bytes!("../../model/tiny_face_detector_model.bin"),
        )?;
        let landmarks = Weights::read(
            include_str!("../../model/face_landmark_68_model.json"),
            include_bytes!("../../model/face_landmark_68_model.bin"),
        )?;
        Ok(Networks {
            detector: DetectorNetwork::new(&detector)?,
            landmarks: LandmarkNetwork::new(&landmarks)?,
        })
    }
}

/// Makes all networks of weights that may belong to none, for the fuzz targets.
///
/// # Errors
/// Why the bytes are no weights, or not the networks'.
pub fn read_weights(manifest: &str, bytes: &[u8]) -> std::result::Result<(), String> {
    let weights = Weights::read(manifest, bytes)?;
    DetectorNetwork::new(&weights)
        .map(drop)
        .or_else(|_| Recognition::new(&weights).map(drop))
        .or_else(|_| LandmarkNetwork::new(&weights).map(drop))
}

/// A convolution with its bias.
struct Convolution {
    filters: Tensor,
    bias: Tensor,
}

impl Convolution {
    fn new(weights: &Weights, name: &str) -> std::result::Result<Self, String> {
        Ok(Convolution {
            filters: weights.filters(&format!("{name}/filters"))?,
            bias: weights.vector(&format!("{name}/bias"))?,
        })
    }

    fn forward(&self, x: &Tensor, stride: usize) -> Result<Tensor> {
        x.conv2d(&self.filters, Some(&self.bias), stride, 0)
    }
}

/// A 3×3 convolution of each channel, then a 1×1 convolution of all, with a bias.
struct Separable {
    depthwise: Tensor,
    pointwise: Tensor,
    bias: Tensor,
}

impl Separable {
    fn new(weights: &Weights, name: &str) -> std::result::Result<Self, String> {
        Ok(Separable {
            depthwise: weights.depthwise(&format!("{name}/depthwise_filter"))?,
            pointwise: weights.filters(&format!("{name}/pointwise_filter"))?,
            bias: weights.vector(&format!("{name}/bias"))?,
        })
    }

    fn forward(&self, x: &Tensor, stride: usize) -> Result<Tensor> {
        let each = same(x, stride)?.depthwise_conv2d(&self.depthwise, stride, 0)?;
        each.conv2d(&self.pointwise, Some(&self.bias), 1, 0)
    }
}

/// Zeros around an image as TensorFlow's `same` padding has them for a 3×3 window: so that the result has
/// ⌈extent / stride⌉ pixels, the odd one at the right and at the bottom.
fn same(x: &Tensor, stride: usize) -> Result<Tensor> {
    let [_, _, h, w] = x.shape().nchw();
    let sides = |extent: usize| {
        let total = ((extent.div_ceil(stride) - 1) * stride + 3).saturating_sub(extent);
        [total / 2, total - total / 2]
    };
    let ([left, right], [top, bottom]) = (sides(w), sides(h));
    x.pad(PadMode::Zero, [left, right, top, bottom])
}

/// A picture as a batch of one, as these networks take it: (value − mean) / 255.
fn input(picture: &RgbImage, mean: [f32; 3]) -> Result<Tensor> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut planes = vec![0.0; 3 * width * height];
    for (plane, (channel, mean)) in planes
        .chunks_exact_mut(width * height)
        .zip(mean.iter().enumerate())
    {
        for (value, pixel) in plane.iter_mut().zip(picture.pixels()) {
            *value = (f32::from(pixel.0[channel]) - mean) / 255.0;
        }
    }
    Tensor::from_slice(&planes, [1, 3, height, width], &Device::Cpu)
}

/// The values of a network's answer to a picture.
fn answer(output: impl FnOnce() -> Result<Tensor>) -> Vec<f32> {
    no_grad(|| output()?.to_vec()).expect("the networks take pictures of these sizes")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        folder.join(name)
    }

    /// What face-api.js makes of the same weights, see `tests/fixtures/make_networks.mjs`.
    fn compare(
        file: &str,
        name: &str,
        mean: [f32; 3],
        forward: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> f32 {
        let (fixture, _) = nn::load_file(&fixture(file), &Device::Cpu).unwrap();
        let input = &fixture[&format!("{name}.input")];
        let area = input.shape().len() / 6;
        let planes = input.to_vec().unwrap();
        let planes = planes.chunks_exact(area).zip(mean.iter().cycle());
        let values: Vec<f32> = planes
            .flat_map(|(plane, mean)| plane.iter().map(move |value| (value - mean) / 255.0))
            .collect();
        let x = Tensor::from_slice(&values, input.shape(), &Device::Cpu).unwrap();
        let found = forward(&x).unwrap();
        let expected = &fixture[&format!("{name}.output")];
        assert_eq!(found.shape(), expected.shape());
        let apart = |(a, b): (f32, f32)| (a - b).abs();
        let (found, expected) = (found.to_vec().unwrap(), expected.to_vec().unwrap());
        let apart = found.into_iter().zip(expected).map(apart);
        apart.fold(0.0, |a, b| if b <= a || a.is_nan() { a } else { b })
    }

    #[test]
    fn answers_are_those_of_the_original() {
        let networks = Networks::shipped();
        let compare = |name, mean, forward: &dyn Fn(&Tensor) -> Result<Tensor>| {
            compare("networks.safetensors", name, mean, forward)
        };
        let detector = compare("detector", detector::MEAN, &|x| {
            networks.detector.forward(x)
        });
        assert!(detector <= 1e-3, "{detector}");
        let landmarks = compare("landmarks", landmarks::MEAN, &|x| {
            networks.landmarks.forward(x)
        });
        assert!(landmarks <= 1e-5, "{landmarks}");
        println!("largest differences: {detector:e}, {landmarks:e}");
    }

    #[test]
    fn descriptors_are_those_of_the_original() {
        let weights = fixture("recognition.bin");
        let network = Recognition::load(&weights).unwrap();
        // Of several units, by narrow layers of random weights.
        let apart = compare(
            "recognition.safetensors",
            "recognition",
            recognition::MEAN,
            |x| network.forward(x),
        );
        assert!(apart <= 1e-4, "{apart}");
        println!("largest difference: {apart:e}");
        Recognition::load(&fixture("recognition-weights_manifest.json")).unwrap();
    }

    #[test]
    fn other_weights_are_refused_with_the_reason() {
        let refusal = |path: &Path| Recognition::load(path).err().unwrap().to_string();
        let nowhere = refusal(Path::new("nowhere.bin"));
        assert!(
            nowhere.contains("nowhere-weights_manifest.json"),
            "{nowhere}"
        );
        assert!(refusal(Path::new("weights.pth")).contains("neither in .bin"));
        let folder = tempfile::tempdir().unwrap();
        let copy = |name: &str, change: &dyn Fn(String) -> String| {
            let [bin, manifest] = ["recognition.bin", "recognition-weights_manifest.json"];
            std::fs::copy(fixture(bin), folder.path().join(format!("{name}.bin"))).unwrap();
            let text = std::fs::read_to_string(fixture(manifest)).unwrap();
            let manifest = folder.path().join(format!("{name}-weights_manifest.json"));
            std::fs::write(&manifest, change(text)).unwrap();
            refusal(&manifest)
        };
        let renamed = copy("renamed", &|text| text.replace("conv64_2/", "conv64_9/"));
        assert!(renamed.contains("no conv64_2"), "{renamed}");
        // As many values, in another shape.
        let turned = copy("turned", &|text| text.replace("[7,7,3,2]", "[7,7,2,3]"));
        assert!(
            turned.contains("conv32_down does not fit together"),
            "{turned}"
        );
    }
}
