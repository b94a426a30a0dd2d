use image::{Rgb, RgbImage};

use crate::{crop, resize};

/// An affine map of the plane: (x, y) ↦ (a·x + b·y + c, d·x + e·y + f), with `[[a, b, c], [d, e, f]]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 3]; 2]);

impl Affine {
    /// A similarity: scaled, turned by `angle` (radians, x towards y), then moved.
    pub fn similarity(scale: f64, angle: f64, [dx, dy]: [f64; 2]) -> Self {
        let (sin, cos) = (scale * angle.sin(), scale * angle.cos());
        Affine([[cos, -sin, dx], [sin, cos, dy]])
    }

    /// Where a point comes to lie.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.0.map(|[a, b, c]| a * x + b * y + c)
    }

    /// This map, then another.
    pub fn then(&self, next: &Affine) -> Self {
        let [[a, b, c], [d, e, f]] = self.0;
        Affine(
            next.0
                .map(|[p, q, r]| [p * a + q * d, p * b + q * e, p * c + q * f + r]),
        )
    }

    /// The way back; `None` when the map is flat or not finite.
    pub fn inverse(&self) -> Option<Self> {
        let [[a, b, c], [d, e, f]] = self.0;
        let det = a * e - b * d;
        let inverse = [
            [e / det, -b / det, (b * f - c * e) / det],
            [-d / det, a / det, (c * d - a * f) / det],
        ];
        let is_finite = inverse.iter().flatten().all(|value| value.is_finite());
        is_finite.then_some(Affine(inverse))
    }

    /// By how much lengths grow, on the average over directions.
    pub fn scale(&self) -> f64 {
        let [[a, b, _], [d, e, _]] = self.0;
        (a * e - b * d).abs().sqrt()
    }
}

/// A picture of `width`×`height` pixels, each taken from where `to_picture` leads its centre (the centre
/// of the first pixel is (0.5, 0.5)). Bicubic, with antialiasing where that shrinks; beyond its borders
/// the picture goes on mirrored.
///
/// # Panics
/// When the picture or the result has no pixels, or the map is not finite.
pub fn warp(picture: &RgbImage, to_picture: &Affine, [width, height]: [u32; 2]) -> RgbImage {
    let corners = [[0, 0], [width, 0], [0, height], [width, height]]
        .map(|corner| to_picture.apply(corner.map(f64::from)));
    let shrink = to_picture.scale().max(1.0);
    let reach = REACH * shrink;
    let (x, w) = part_seen(corners.map(|[x, _]| x), reach, picture.width());
    let (y, h) = part_seen(corners.map(|[_, y]| y), reach, picture.height());

    // Shrunk first, with a filter as wide as that takes; the rest is near one to one.
    let shrunk = |side: u32| (f64::from(side) / shrink).round().max(1.0) as u32;
    let (part_w, part_h) = (shrunk(w), shrunk(h));
    let mut part = crop(picture, x, y, w, h);
    if (part_w, part_h) != (w, h) {
        part = resize(&part, part_w, part_h);
    }
    let (across, down) = (
        f64::from(part_w) / f64::from(w),
        f64::from(part_h) / f64::from(h),
    );
    let to_part = to_picture.then(&Affine([
        [across, 0.0, -f64::from(x) * across],
        [0.0, down, -f64::from(y) * down],
    ]));
    RgbImage::from_fn(width, height, |x, y| {
        let at = to_part.apply([x, y].map(|i| f64::from(i) + 0.5));
        Rgb(sample(&part, at))
    })
}

/// How far interpolation reads, and a pixel for the edge of what was shrunk.
const REACH: f64 = 3.0;

/// Start and length of what is read of a side; all of it where mirroring comes into play.
fn part_seen(corners: [f64; 4], reach: f64, side: u32) -> (u32, u32) {
    let low = corners.into_iter().fold(f64::INFINITY, f64::min) - reach;
    let high = corners.into_iter().fold(f64::NEG_INFINITY, f64::max) + reach;
    assert!(low.is_finite() && high.is_finite(), "the map is not finite");
    if low < 0.0 || high > f64::from(side) {
        return (0, side);
    }
    let start = low.floor() as u32;
    (start, high.ceil() as u32 - start)
}

/// The picture at a point, by Catmull-Rom's cubic over four by four pixels.
fn sample(picture: &RgbImage, [x, y]: [f64; 2]) -> [u8; 3] {
    let (columns, across) = taps(x, picture.width());
    let (rows, down) = taps(y, picture.height());
    let mut sum = [0.0; 3];
    for (row, weight_y) in rows.into_iter().zip(down) {
        for (column, weight_x) in columns.into_iter().zip(across) {
            let pixel = picture.get_pixel(column, row).0;
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += weight_x * weight_y * f32::from(value);
            }
        }
    }
    sum.map(|value| value.round() as u8)
}

/// The four pixels around a coordinate, and their weights.
fn taps(at: f64, side: u32) -> ([u32; 4], [f32; 4]) {
    let first = (at - 0.5).floor();
    let t = (at - 0.5 - first) as f32;
    let first = first as i64 - 1;
    let pixels = [0, 1, 2, 3].map(|i| mirrored(first + i, side));
    let cubic = [
        t * (-0.5 + t * (1.0 - 0.5 * t)),
        1.0 + t * t * (-2.5 + 1.5 * t),
        t * (0.5 + t * (2.0 - 1.5 * t)),
        t * t * (-0.5 + 0.5 * t),
    ];
    (pixels, cubic)
}

/// A pixel's index when the picture goes on mirrored on both sides, its last pixels repeated.
fn mirrored(i: i64, side: u32) -> u32 {
    let side = i64::from(side);
    let i = i.rem_euclid(2 * side);
    i.min(2 * side - 1 - i) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> RgbImage {
        RgbImage::from_fn(40, 30, |x, y| {
            Rgb([5 * x as u8, 8 * y as u8, (x + y) as u8])
        })
    }

    fn distance(one: [f64; 2], other: [f64; 2]) -> f64 {
        (one[0] - other[0]).hypot(one[1] - other[1])
    }

    #[test]
    fn maps_compose_and_invert() {
        let map = Affine([[2.0, -1.0, 3.0], [0.5, 1.5, -4.0]]);
        let other = Affine::similarity(0.7, 1.1, [2.0, 9.0]);
        let point = [1.25, -6.0];
        let there = map.then(&other).apply(point);
        let expected = other.apply(map.apply(point));
        assert!(distance(there, expected) < 1e-12);
        let back = map.inverse().unwrap().apply(map.apply(point));
        assert!(distance(back, point) < 1e-12);
        assert!((other.scale() - 0.7).abs() < 1e-12);
        assert_eq!(Affine([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]).inverse(), None);
    }

    #[test]
    fn nothing_changes_where_nothing_is_asked_and_whole_pixels_move_whole() {
        let picture = gradient();
        let same = warp(
            &picture,
            &Affine::similarity(1.0, 0.0, [0.0, 0.0]),
            [40, 30],
        );
        assert_eq!(same, picture);
        let moved = warp(
            &picture,
            &Affine::similarity(1.0, 0.0, [7.0, 9.0]),
            [20, 10],
        );
        assert_eq!(moved, crop(&picture, 7, 9, 20, 10));
        // A quarter turn about the picture's corner.
        let turn = Affine::similarity(1.0, std::f64::consts::FRAC_PI_2, [40.0, 0.0]);
        let turned = warp(&picture, &turn, [30, 40]);
        assert_eq!(turned, image::imageops::rotate270(&picture));
    }

    #[test]
    fn goes_on_mirrored() {
        let picture = gradient();
        let map = Affine::similarity(1.0, 0.0, [-40.0, -30.0]);
        let wide = warp(&picture, &map, [120, 90]);
        assert_eq!(crop(&wide, 0, 30, 40, 30), crate::mirror(&picture));
        assert_eq!(crop(&wide, 80, 30, 40, 30), crate::mirror(&picture));
        assert_eq!(crop(&wide, 40, 30, 40, 30), picture);
        // However far.
        let far = warp(
            &picture,
            &Affine::similarity(1.0, 0.0, [-4000.0, 0.0]),
            [40, 30],
        );
        assert_eq!(far, picture);
    }

    #[test]
    fn shrinking_averages_and_keeps_places() {
        let stripes =
            RgbImage::from_fn(400, 400, |x, _| Rgb([if x % 2 == 0 { 0 } else { 255 }; 3]));
        let small = warp(
            &stripes,
            &Affine::similarity(10.0, 0.3, [100.0, 30.0]),
            [20, 20],
        );
        assert!(small.pixels().all(|pixel| (110..146).contains(&pixel.0[0])));

        let mut dot = RgbImage::new(300, 300);
        for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| (149 + x, 209 + y)) {
            dot.put_pixel(x, y, Rgb([255; 3]));
        }
        // The point (150, 210), in thirds: on the corner of four pixels.
        let small = warp(&dot, &Affine::similarity(3.0, 0.0, [0.0, 0.0]), [100, 100]);
        let around =
            [(49, 69), (50, 69), (49, 70), (50, 70)].map(|(x, y)| small.get_pixel(x, y).0[0]);
        assert!(
            around.iter().all(|&value| value == around[0] && value > 20),
            "{around:?}"
        );
    }

    #[test]
    fn takes_a_single_pixel() {
        let pixel = RgbImage::from_pixel(1, 1, Rgb([9, 8, 7]));
        for scale in [0.01, 1.0, 50.0] {
            let wide = warp(&pixel, &Affine::similarity(scale, 0.4, [-3.0, 2.0]), [5, 4]);
            assert!(wide.pixels().all(|pixel| pixel.0 == [9, 8, 7]));
        }
    }
}
