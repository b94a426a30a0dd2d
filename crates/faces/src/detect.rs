use std::sync::OnceLock;

use image::imageops;
use images::RgbImage;
use rustface::{ImageData, Model};

/// SeetaFace's frontal detector as rustface ships it, with its licence beside it.
static MODEL: &[u8] = include_bytes!("../model/seeta_fd_frontal_v1.0.bin");

/// The longer side of what the detector sees, at least and at most. It finds faces from 40 pixels
/// on: a small picture is enlarged until a face that fills it is well above that, a large one
/// shrunk so that its time stays bounded.
const SEEN_SIDE: (u32, u32) = (224, 640);

/// The detector's window; nothing smaller can be searched.
const WINDOW: u32 = 40;

/// Faces of the ORL photographs score 1.75 to 35.
const MIN_SCORE: f64 = 1.0;

/// Next to a sure face, one that is this much less sure is taken for a pattern that happens to look
/// like one.
const MIN_SHARE_OF_BEST: f64 = 0.25;

/// A face in a picture: a square from above the brows to the chin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// Left edge in pixels of the picture; may lie outside it.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Length of a side.
    pub side: f32,
    /// How sure the detector is: 1 is little, 10 is much.
    pub score: f64,
}

/// Finds frontal faces, on one thread, in any number of pictures.
pub struct Detector(Box<dyn rustface::Detector>);

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// A detector with the model that comes inside this crate.
    pub fn new() -> Self {
        static PARSED: OnceLock<Model> = OnceLock::new();
        let model = PARSED
            .get_or_init(|| rustface::read_model(MODEL).expect("this crate's model is whole"));
        let mut detector = rustface::create_detector_with_model(model.clone());
        detector.set_score_thresh(MIN_SCORE);
        Self(detector)
    }

    /// The largest face of a picture, if there is one.
    pub fn largest(&mut self, picture: &RgbImage) -> Option<Face> {
        let seen = imageops::grayscale(&rescale(picture)?);
        let scale = picture.width() as f32 / seen.width() as f32;
        let found = self
            .0
            .detect(&ImageData::new(&seen, seen.width(), seen.height()));

        let best = found.iter().map(|face| face.score()).fold(0.0, f64::max);
        let face = found
            .iter()
            .filter(|face| face.score() >= MIN_SHARE_OF_BEST * best)
            .max_by_key(|face| face.bbox().width())?;
        Some(Face {
            x: face.bbox().x() as f32 * scale,
            y: face.bbox().y() as f32 * scale,
            side: face.bbox().width() as f32 * scale,
            score: face.score(),
        })
    }
}

/// The picture at a size for detection, or nothing when no face can be in it.
fn rescale(picture: &RgbImage) -> Option<RgbImage> {
    let (width, height) = picture.dimensions();
    let longer = width.max(height).max(1);
    let target = longer.clamp(SEEN_SIDE.0, SEEN_SIDE.1);
    let seen = |side: u32| (u64::from(side) * u64::from(target) / u64::from(longer)) as u32;
    let (width, height) = (seen(width), seen(height));
    (width.min(height) >= WINDOW).then(|| images::resize(picture, width, height))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn photo(name: &str) -> RgbImage {
        let orl = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/orl");
        images::decode(&orl.join(name)).unwrap()
    }

    #[test]
    fn finds_the_face_at_any_scale() {
        let mut detector = Detector::new();
        let picture = photo("s01_01.png");
        let small = detector.largest(&picture).unwrap();
        let large = detector
            .largest(&images::resize(&picture, 1840, 2240))
            .unwrap();
        assert!(
            (large.side / 20.0 / small.side - 1.0).abs() < 0.2,
            "{small:?} {large:?}"
        );
        assert!(
            (large.y / 20.0 - small.y).abs() < 10.0,
            "{small:?} {large:?}"
        );
    }

    #[test]
    fn takes_the_largest_of_two() {
        let mut scene = RgbImage::from_pixel(400, 300, image::Rgb([90; 3]));
        imageops::replace(&mut scene, &photo("s02_01.png"), 10, 20);
        imageops::replace(
            &mut scene,
            &images::resize(&photo("s05_01.png"), 184, 224),
            200,
            40,
        );
        let face = Detector::new().largest(&scene).unwrap();
        assert!(face.x > 180.0 && face.side > 100.0, "{face:?}");
    }

    #[test]
    fn finds_none_where_none_is() {
        let mut detector = Detector::new();
        for (width, height) in [(1, 1), (20_000, 10), (300, 200), (0, 0)] {
            let plain =
                RgbImage::from_fn(width, height, |x, y| image::Rgb([(x / 9 + y / 7) as u8; 3]));
            assert_eq!(detector.largest(&plain), None);
        }
    }
}
