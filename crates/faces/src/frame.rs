use image::{Rgb, imageops};
use images::{Affine, RgbImage, warp};
use serde::{Deserialize, Serialize};

use crate::{Landmarks, Point};

/// Over so much of a frame, what lies outside the picture goes over from its mirror image to a blurred one.
const SOFT: f64 = 0.08;

/// Over so much of a frame, from its border in, what is pasted goes over from the picture.
const SEAM: f64 = 0.15;

/// The blur, as a share of the frame.
const BLUR: f64 = 0.04;

/// A square in a picture, perhaps turned, perhaps reaching beyond its borders.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Its middle, in pixels of the picture.
    pub centre: Point,
    /// The length of a side.
    pub side: f64,
    /// By how much it is turned, in radians, x towards y.
    pub angle: f64,
}

/// Where in a frame faces come to lie, all in shares of its side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// From the brows to the chin: the median over all faces.
    pub face_height: f64,
    /// The line through the eyes, from the upper edge.
    pub eyes: f64,
}

/// Left eye, right eye, tip of the nose and mouth of the mean face of the ORL photographs, its eyes at ∓½ on
/// a level.
const MEAN_FACE: [Point; 4] = [[-0.5, 0.0], [0.5, 0.0], [0.0, 0.58], [0.0, 1.08]];

/// From its brows to its chin.
const MEAN_HEIGHT: f64 = 1.94;

/// What they count when a face is laid over the mean face. The tip of the nose says most of all where the
/// head is turned; the mouth is one, the eyes are two.
const WEIGHTS: [f64; 4] = [1.0, 1.0, 0.1, 2.0];

impl Frame {
    /// The largest square in the middle of a picture.
    pub fn centre([width, height]: [u32; 2]) -> Self {
        Frame {
            centre: [width, height].map(|side| f64::from(side) / 2.0),
            side: f64::from(width.min(height)),
            angle: 0.0,
        }
    }

    /// The smallest square around all of a picture.
    pub fn whole(extent: [u32; 2]) -> Self {
        let [width, height] = extent;
        Frame {
            side: f64::from(width.max(height)),
            ..Self::centre(extent)
        }
    }

    /// The frame in which the mean face lies best over a face: eyes, nose and mouth come to lie at one place,
    /// level and at one scale.
    pub fn aligned(face: &Landmarks, placement: &Placement) -> Self {
        let [left, right] = face.eyes;
        let (scale, angle, origin) = similarity(MEAN_FACE, [left, right, face.nose, face.mouth]);
        let side = scale * MEAN_HEIGHT / placement.face_height;
        let down = Affine::similarity(side, angle, origin);
        Frame {
            centre: down.apply([0.0, 0.5 - placement.eyes]),
            side,
            angle,
        }
    }

    /// The upright frame in which a face is as tall, and its eyes are as high, as they should be.
    pub fn around(face: &Landmarks, placement: &Placement) -> Self {
        let [[left_x, left_y], [right_x, right_y]] = face.eyes;
        let side = face.height() / placement.face_height;
        let down = (0.5 - placement.eyes) * side;
        Frame {
            centre: [(left_x + right_x) / 2.0, (left_y + right_y) / 2.0 + down],
            side,
            angle: 0.0,
        }
    }

    /// From pixels of the cut, which has `size` a side, to those of the picture.
    pub fn to_picture(&self, size: u32) -> Affine {
        let size = f64::from(size);
        Affine::similarity(1.0, 0.0, [-size / 2.0; 2]).then(&Affine::similarity(
            self.side / size,
            self.angle,
            self.centre,
        ))
    }

    /// Cuts it out, `size` pixels a side. Outside of the picture lies its mirror image, which is soon blurred:
    /// two heads would teach a network to draw two.
    ///
    /// # Panics
    /// When the picture has no pixels, or the frame's numbers are not finite.
    pub fn cut(&self, picture: &RgbImage, size: u32) -> RgbImage {
        let map = self.to_picture(size);
        let mut cut = warp(picture, &map, [size; 2]);
        let extent = [picture.width(), picture.height()];
        let soft = SOFT * self.side;
        let outside = |x: u32, y: u32| {
            let at = map.apply([x, y].map(|i| f64::from(i) + 0.5));
            distance_outside(at, extent) / soft
        };
        if [(0, 0), (size - 1, 0), (0, size - 1), (size - 1, size - 1)]
            .iter()
            .all(|&(x, y)| outside(x, y) == 0.0)
        {
            return cut;
        }
        let blurred = imageops::blur(&cut, (BLUR * f64::from(size)) as f32);
        for (x, y, pixel) in cut.enumerate_pixels_mut() {
            let share = smooth(outside(x, y));
            *pixel = blend(pixel, blurred.get_pixel(x, y), share);
        }
        cut
    }

    /// Pastes a square, such as [`Frame::cut`] gives, back where the frame is. Towards the frame's border it
    /// goes over into the picture.
    pub fn paste(&self, picture: &mut RgbImage, square: &RgbImage) {
        let size = f64::from(square.width());
        let to_picture = self.to_picture(square.width());
        let Some(to_square) = to_picture.inverse() else {
            return;
        };
        let corners = [[0.0, 0.0], [size, 0.0], [0.0, size], [size, size]];
        let corners = corners.map(|corner| to_picture.apply(corner));
        let within = |axis: usize, extent: u32| {
            let along = corners.map(|corner| corner[axis].clamp(0.0, f64::from(extent)));
            let low = along.into_iter().fold(f64::INFINITY, f64::min).floor();
            let high = along.into_iter().fold(0.0, f64::max).ceil();
            (low as u32, (high - low) as u32)
        };
        let (left, width) = within(0, picture.width());
        let (top, height) = within(1, picture.height());
        if width == 0 || height == 0 {
            return;
        }
        let from_part = Affine::similarity(1.0, 0.0, [left, top].map(f64::from)).then(&to_square);
        let part = warp(square, &from_part, [width, height]);
        for (x, y, pixel) in part.enumerate_pixels() {
            let at = from_part.apply([x, y].map(|i| f64::from(i) + 0.5));
            let share = smooth(distance_inside(at.map(|along| along / size)).max(0.0) / SEAM);
            if share > 0.0 {
                let under = picture.get_pixel_mut(left + x, top + y);
                *under = blend(under, pixel, share);
            }
        }
    }

    /// Cuts it out with one colour outside of the picture.
    ///
    /// # Panics
    /// As [`Frame::cut`].
    pub fn cut_onto(&self, picture: &RgbImage, size: u32, background: Rgb<u8>) -> RgbImage {
        let map = self.to_picture(size);
        let mut cut = warp(picture, &map, [size; 2]);
        let extent = [picture.width(), picture.height()];
        for (x, y, pixel) in cut.enumerate_pixels_mut() {
            let at = map.apply([x, y].map(|i| f64::from(i) + 0.5));
            if distance_outside(at, extent) > 0.0 {
                *pixel = background;
            }
        }
        cut
    }
}

/// How far a point lies inside of a square of side 1.
fn distance_inside(at: Point) -> f64 {
    let [x, y] = at.map(|along| along.min(1.0 - along));
    x.min(y)
}

/// How far a point lies outside of a picture.
fn distance_outside(at: Point, extent: [u32; 2]) -> f64 {
    let [x, y] = [0, 1].map(|i| (-at[i]).max(at[i] - f64::from(extent[i])).max(0.0));
    x.max(y)
}

/// From 0 at 0 to 1 at 1, without corners.
fn smooth(t: f64) -> f64 {
    let t = t.min(1.0);
    t * t * (3.0 - 2.0 * t)
}

fn blend(from: &Rgb<u8>, to: &Rgb<u8>, share: f64) -> Rgb<u8> {
    let mix = |i: usize| f64::from(from.0[i]) * (1.0 - share) + f64::from(to.0[i]) * share;
    Rgb([0, 1, 2].map(|channel| mix(channel).round() as u8))
}

/// Scale, angle and origin of the similarity that leads `from` nearest to `to`, in the sense of weighted
/// squares: Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
/// 1991, in complex numbers.
fn similarity(from: [Point; 4], to: [Point; 4]) -> (f64, f64, Point) {
    let total: f64 = WEIGHTS.iter().sum();
    let mean = |points: &[Point; 4]| {
        [0, 1].map(|i| {
            points
                .iter()
                .zip(WEIGHTS)
                .map(|(point, weight)| weight * point[i])
                .sum::<f64>()
                / total
        })
    };
    let (from_mean, to_mean) = (mean(&from), mean(&to));
    let (mut real, mut imaginary, mut norm) = (0.0, 0.0, 0.0);
    for ((a, b), weight) in from.iter().zip(&to).zip(WEIGHTS) {
        let [ax, ay] = [a[0] - from_mean[0], a[1] - from_mean[1]];
        let [bx, by] = [b[0] - to_mean[0], b[1] - to_mean[1]];
        real += weight * (ax * bx + ay * by);
        imaginary += weight * (ax * by - ay * bx);
        norm += weight * (ax * ax + ay * ay);
    }
    let (scale, angle) = (real.hypot(imaginary) / norm, imaginary.atan2(real));
    let moved = Affine::similarity(scale, angle, [0.0; 2]).apply(from_mean);
    (scale, angle, [to_mean[0] - moved[0], to_mean[1] - moved[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pasted_lies_where_it_was_cut_out_and_changes_nothing_else() {
        let picture = RgbImage::from_fn(120, 90, |x, y| {
            Rgb([(2 * x) as u8, (2 * y) as u8, (x + y) as u8])
        });
        for (centre, angle) in [
            ([60.0, 45.0], 0.0),
            ([70.0, 40.0], 0.5),
            ([5.0, 85.0], -1.0),
        ] {
            let frame = Frame {
                centre,
                side: 50.0,
                angle,
            };
            let mut same = picture.clone();
            frame.paste(&mut same, &frame.cut(&picture, 64));
            let apart = picture.pixels().zip(same.pixels());
            let apart = apart.flat_map(|(a, b)| [0, 1, 2].map(|c| a.0[c].abs_diff(b.0[c])));
            assert!(
                apart.max() <= Some(6),
                "a plane survives two interpolations"
            );

            let mut red = picture.clone();
            frame.paste(&mut red, &RgbImage::from_pixel(64, 64, Rgb([255, 0, 0])));
            let to_frame = frame.to_picture(1).inverse().unwrap();
            for (x, y, pixel) in red.enumerate_pixels() {
                let inside = distance_inside(to_frame.apply([x, y].map(|i| f64::from(i) + 0.5)));
                if inside <= 0.0 {
                    assert_eq!(pixel, picture.get_pixel(x, y));
                }
                if inside > SEAM + 0.02 {
                    assert_eq!(pixel.0, [255, 0, 0]);
                }
            }
        }
    }
}
