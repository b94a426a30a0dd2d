use images::{Affine, Rgb, RgbImage, resize, warp};

use crate::landmarks::{Landmarks, Point};
use crate::network::{Candidate, LANDMARKS_SIDE, Networks};

/// Longer sides, in pixels, that a picture is looked at in. The network finds faces of some 40 to 120 pixels
/// best: those that fill the picture at first, in the end those of a twentieth of it.
const SEEN: [u32; 5] = [96, 128, 224, 416, 928];

/// A picture is enlarged so far at most: more shows nothing more.
const ENLARGED: f64 = 2.5;

/// Around the picture, so that faces may reach its borders.
const MARGIN: u32 = 24;

/// The network's mean, which it takes for nothing.
const NOTHING: Rgb<u8> = Rgb([117, 115, 97]);

/// Boxes that share so much of what they cover are of one face.
const SAME: f32 = 0.3;

/// A face this sure upright ends the search; otherwise the picture is turned as well.
const SURE: f32 = 0.5;

/// By how much, in degrees.
const TURNS: [f64; 5] = [40.0, -40.0, 90.0, -90.0, 180.0];

/// What is found in a turned picture must be this sure.
const SURE_TURNED: f32 = 0.7;

/// The side of what the landmarks network sees, by [`Landmarks::core`]. Of 0.9, 1.0, 1.2 and 1.4, on the ORL
/// photographs, the one that scatters least when it sees its own alignment again.
const SEEN_PER_CORE: f64 = 1.0;

/// A face in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// The middle of the box from the brows to the chin, in pixels of the picture.
    pub centre: Point,
    /// Width and height of the box, along the face.
    pub size: [f64; 2],
    /// How sure the detector is, from 0 to 1.
    pub score: f64,
    /// Its points, whose [`Landmarks::roll`] says how it is turned.
    pub landmarks: Landmarks,
}

/// Finds faces: those of photographs, and of drawings those that are drawn like faces. A box is believed if
/// the landmarks in it make a face.
#[derive(Clone, Copy, Debug)]
pub struct Detector {
    min_score: f32,
    turns: bool,
}

impl Detector {
    /// For photographs, in which faces may be turned.
    pub fn photographs() -> Self {
        Detector {
            min_score: 0.3,
            turns: true,
        }
    }

    /// For drawings: less sure, but upright.
    pub fn drawings() -> Self {
        Detector {
            min_score: 0.15,
            turns: false,
        }
    }

    /// The faces of a picture, the largest first.
    pub fn faces(&self, picture: &RgbImage) -> Vec<Face> {
        let mut found = self.search(picture, 0.0, self.min_score);
        if self.turns && !found.iter().any(|(candidate, _)| candidate.score >= SURE) {
            let turned = |angle: f64| self.search(picture, angle.to_radians(), SURE_TURNED);
            found.extend(TURNS.into_iter().flat_map(turned));
        }
        let mut faces: Vec<Face> = distinct(found)
            .into_iter()
            .map(|(candidate, angle)| face(picture, &candidate, angle))
            .filter(|face| face.landmarks.are_plausible())
            .collect();
        faces.sort_by(|a, b| b.landmarks.height().total_cmp(&a.landmarks.height()));
        faces
    }

    /// Boxes in the picture turned back by an angle, in pixels of the picture, with that angle.
    fn search(&self, picture: &RgbImage, angle: f64, min_score: f32) -> Vec<(Candidate, f64)> {
        let (width, height) = picture.dimensions();
        let mut found = Vec::new();
        for side in SEEN {
            let scale = f64::from(side) / f64::from(width.max(height));
            if scale > ENLARGED && side > SEEN[0] {
                break;
            }
            let seen = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
            let small = resize(picture, seen(width), seen(height));
            let (canvas, to_small) = canvas(&small, angle);
            let to_picture = to_small.then(&Affine::similarity(1.0 / scale, 0.0, [0.0; 2]));
            let candidates = Networks::shipped().detector.candidates(&canvas, min_score);
            found.extend(candidates.into_iter().map(|candidate| {
                let centre = to_picture.apply(candidate.centre.map(f64::from));
                let back = |length: f32| (f64::from(length) / scale) as f32;
                let candidate = Candidate {
                    centre: centre.map(|at| at as f32),
                    size: candidate.size.map(back),
                    ..candidate
                };
                (candidate, angle)
            }));
        }
        found
    }
}

/// A picture turned back by an angle with [`NOTHING`] around it, and the map from there to the picture.
fn canvas(picture: &RgbImage, angle: f64) -> (RgbImage, Affine) {
    let extent = [picture.width(), picture.height()];
    let [w, h] = extent.map(f64::from);
    let (sin, cos) = (angle.sin().abs(), angle.cos().abs());
    let turned = [w * cos + h * sin, w * sin + h * cos];
    let size = turned.map(|side| side.round().max(1.0) as u32 + 2 * MARGIN);
    let to_picture = Affine::similarity(1.0, 0.0, size.map(|side| -f64::from(side) / 2.0))
        .then(&Affine::similarity(1.0, angle, [w / 2.0, h / 2.0]));
    if angle == 0.0 {
        let mut canvas = RgbImage::from_pixel(size[0], size[1], NOTHING);
        image::imageops::replace(&mut canvas, picture, MARGIN.into(), MARGIN.into());
        return (canvas, to_picture);
    }
    let mut canvas = warp(picture, &to_picture, size);
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        let [x, y] = to_picture.apply([x, y].map(|i| f64::from(i) + 0.5));
        if !((0.0..w).contains(&x) && (0.0..h).contains(&y)) {
            *pixel = NOTHING;
        }
    }
    (canvas, to_picture)
}

/// A candidate with its landmarks: found in its box, then once more, level and at one scale.
fn face(picture: &RgbImage, candidate: &Candidate, angle: f64) -> Face {
    let (centre, size) = (
        candidate.centre.map(f64::from),
        candidate.size.map(f64::from),
    );
    let first = landmarks(picture, centre, size[0].max(size[1]), angle);
    let (core, extent) = first.core();
    let landmarks = match first.are_plausible() {
        true => landmarks(picture, core, SEEN_PER_CORE * extent, first.roll()),
        false => first,
    };
    Face {
        centre,
        size,
        score: candidate.score.into(),
        landmarks,
    }
}

/// The landmarks of what is in a square of a picture.
fn landmarks(picture: &RgbImage, centre: Point, side: f64, angle: f64) -> Landmarks {
    let seen = f64::from(LANDMARKS_SIDE);
    let to_picture = Affine::similarity(1.0, 0.0, [-seen / 2.0; 2]).then(&Affine::similarity(
        side / seen,
        angle,
        centre,
    ));
    let crop = warp(picture, &to_picture, [LANDMARKS_SIDE; 2]);
    let shares = Networks::shipped().landmarks.landmarks(&crop);
    let place = |share: &[f32; 2]| to_picture.apply(share.map(|share| f64::from(share) * seen));
    Landmarks::from_68(&shares.iter().map(place).collect::<Vec<_>>())
}

/// Without those that overlap a surer one.
fn distinct(mut found: Vec<(Candidate, f64)>) -> Vec<(Candidate, f64)> {
    found.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
    let mut kept: Vec<(Candidate, f64)> = Vec::new();
    for (candidate, angle) in found {
        if kept
            .iter()
            .all(|(other, _)| overlap(other, &candidate) < SAME)
        {
            kept.push((candidate, angle));
        }
    }
    kept
}

/// What two boxes share, of all that they cover.
fn overlap(a: &Candidate, b: &Candidate) -> f32 {
    let shared = |i: usize| {
        let low = (a.centre[i] - a.size[i] / 2.0).max(b.centre[i] - b.size[i] / 2.0);
        let high = (a.centre[i] + a.size[i] / 2.0).min(b.centre[i] + b.size[i] / 2.0);
        (high - low).max(0.0)
    };
    let area = |candidate: &Candidate| candidate.size[0] * candidate.size[1];
    let both = shared(0) * shared(1);
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::imageops;

    use super::*;

    fn photo(name: &str) -> RgbImage {
        let orl = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/orl");
        images::decode(&orl.join(name)).unwrap()
    }

    fn only(picture: &RgbImage) -> Face {
        let faces = Detector::photographs().faces(picture);
        assert_eq!(faces.len(), 1, "{faces:?}");
        faces[0]
    }

    #[test]
    fn finds_the_face_at_any_scale() {
        let picture = photo("s01_01.png");
        let small = only(&picture);
        let large = only(&resize(&picture, 1840, 2240));
        let ratio = large.landmarks.height() / 20.0 / small.landmarks.height();
        assert!((ratio - 1.0).abs() < 0.05, "{small:?} {large:?}");
        let [x, y] = large.landmarks.mouth.map(|at| at / 20.0);
        let [to_x, to_y] = small.landmarks.mouth;
        assert!((x - to_x).hypot(y - to_y) < 2.0, "{small:?} {large:?}");
    }

    #[test]
    fn finds_small_faces_and_many_the_largest_first() {
        let mut scene = RgbImage::from_pixel(1000, 640, Rgb([90; 3]));
        for i in 0..40 {
            let person = photo(&format!("s{:02}_01.png", i + 1));
            let (x, y) = (i % 8 * 124 + 8, i / 8 * 126 + 6);
            imageops::replace(&mut scene, &person, x, y);
        }
        let large = resize(&photo("s05_01.png"), 184, 224);
        imageops::replace(&mut scene, &large, 400, 200);
        let faces = Detector::photographs().faces(&scene);
        // The large one hides two whole and cuts some more.
        assert!((32..=40).contains(&faces.len()), "{}", faces.len());
        let [x, y] = faces[0].centre;
        assert!(
            (x - 492.0).abs() < 30.0 && (y - 340.0).abs() < 40.0,
            "{:?}",
            faces[0]
        );
    }

    #[test]
    fn finds_turned_faces_and_says_how_they_are_turned() {
        let picture = photo("s02_01.png");
        let roll = only(&picture).landmarks.roll();
        for (turned, degrees) in [
            (imageops::rotate90(&picture), 90.0),
            (imageops::rotate180(&picture), 180.0),
            (imageops::rotate270(&picture), -90.0),
        ] {
            let apart = only(&turned).landmarks.roll() - roll - f64::to_radians(degrees);
            assert!(
                apart.sin().abs() < 0.1 && apart.cos() > 0.0,
                "{degrees}: {apart}"
            );
        }
    }

    #[test]
    fn finds_drawn_faces() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/lorelei_ink");
        let files = images::list(&folder).unwrap();
        let found = files.iter().take(30).filter(|file| {
            !Detector::drawings()
                .faces(&images::decode(file).unwrap())
                .is_empty()
        });
        let found = found.count();
        assert!(found >= 24, "{found} of 30");
    }

    #[test]
    fn finds_none_where_none_is() {
        for (width, height) in [(1, 1), (20_000, 10), (300, 200)] {
            let plain = RgbImage::from_fn(width, height, |x, y| Rgb([(x / 9 + y / 7) as u8; 3]));
            assert_eq!(Detector::photographs().faces(&plain), []);
        }
    }
}
