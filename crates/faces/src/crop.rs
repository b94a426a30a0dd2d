use image::Rgb;
use images::RgbImage;
use serde::{Deserialize, Serialize};

use crate::Face;

/// A head with its hair, as long as so many face squares. This and [`FACE_CENTRE`] were measured on
/// Lorelei's drawings, where the detector sees a face as 0.70 of the canvas and its middle at 0.60
/// of the height.
const HEAD_PER_FACE: f32 = 1.4;

/// Where in the crop the middle of the face square comes to lie: across, down.
const FACE_CENTRE: (f32, f32) = (0.5, 0.6);

/// Beyond the picture's edge its pixels fade to its background over this share of the crop.
const FADE: f32 = 0.08;

/// A square cut out of a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crop {
    /// Left edge; negative when the square sticks out of the picture.
    pub x: i64,
    /// Upper edge.
    pub y: i64,
    /// Length of a side.
    pub side: u32,
}

impl Crop {
    /// The largest square in the middle of a picture.
    pub fn centre((width, height): (u32, u32)) -> Self {
        let side = width.min(height);
        Self {
            x: i64::from((width - side) / 2),
            y: i64::from((height - side) / 2),
            side,
        }
    }

    /// The square around a head, moved to lie inside the picture as far as it can. It is never
    /// longer than the picture's longer side, and so sticks out across the shorter one at most.
    pub fn head(face: &Face, (width, height): (u32, u32)) -> Self {
        let side = ((face.side * HEAD_PER_FACE).round() as u32).clamp(1, width.max(height).max(1));
        let place = |start: f32, share: f32, length: u32| {
            let wanted = start + face.side / 2.0 - share * side as f32;
            let slack = i64::from(length) - i64::from(side);
            (wanted.round() as i64).clamp(slack.min(0), slack.max(0))
        };
        Self {
            x: place(face.x, FACE_CENTRE.0, width),
            y: place(face.y, FACE_CENTRE.1, height),
            side,
        }
    }

    /// Cuts the square out. What lies outside the picture continues its edge and soon fades to its
    /// background: mirrored or repeated pixels would show a second ear or stripes.
    ///
    /// # Panics
    /// When the picture has no pixels.
    pub fn cut(&self, picture: &RgbImage) -> RgbImage {
        let (right, bottom) = (
            i64::from(picture.width()) - 1,
            i64::from(picture.height()) - 1,
        );
        let background = background(picture);
        let fade = (FADE * self.side as f32).max(1.0);
        RgbImage::from_fn(self.side, self.side, |x, y| {
            let (x, y) = (self.x + i64::from(x), self.y + i64::from(y));
            let (inner_x, inner_y) = (x.clamp(0, right), y.clamp(0, bottom));
            let edge = picture.get_pixel(inner_x as u32, inner_y as u32);
            let outside = (x - inner_x).abs().max((y - inner_y).abs());
            if outside == 0 {
                *edge
            } else {
                blend(edge, &background, outside as f32 / fade)
            }
        })
    }
}

/// The median colour along the left, upper and right edge; the lower one mostly shows shoulders.
fn background(picture: &RgbImage) -> Rgb<u8> {
    let (right, height) = (picture.width() - 1, picture.height());
    let sides = (0..height).flat_map(|y| [(0, y), (right, y)]);
    let edge: Vec<_> = sides
        .chain((0..=right).map(|x| (x, 0)))
        .map(|(x, y)| picture.get_pixel(x, y).0)
        .collect();
    Rgb([0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = edge.iter().map(|pixel| pixel[channel]).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable(middle).1
    }))
}

fn blend(from: &Rgb<u8>, to: &Rgb<u8>, share: f32) -> Rgb<u8> {
    let share = share.min(1.0);
    let mix = |i: usize| f32::from(from.0[i]) * (1.0 - share) + f32::from(to.0[i]) * share;
    Rgb([0, 1, 2].map(|channel| mix(channel).round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32, side: f32) -> Face {
        Face {
            x,
            y,
            side,
            score: 9.0,
        }
    }

    #[test]
    fn frames_the_head_inside_a_large_picture() {
        let crop = Crop::head(&face(400.0, 300.0, 100.0), (1000, 800));
        assert_eq!(
            crop,
            Crop {
                x: 380,
                y: 266,
                side: 140
            }
        );
    }

    #[test]
    fn moves_into_the_picture_before_it_sticks_out() {
        assert_eq!(
            Crop::head(&face(-10.0, 0.0, 100.0), (1000, 800)),
            Crop {
                x: 0,
                y: 0,
                side: 140
            }
        );
        let narrow = Crop::head(&face(5.0, 20.0, 84.0), (92, 112));
        assert_eq!((narrow.y, narrow.side), (0, 112));
        assert!((-20..=0).contains(&narrow.x));
        assert_eq!(
            Crop::head(&face(0.0, 0.0, 64.0), (64, 64)),
            Crop {
                x: 0,
                y: 0,
                side: 64
            }
        );
    }

    #[test]
    fn cuts_exactly_inside_and_fades_outside() {
        let picture = RgbImage::from_fn(10, 20, |x, y| {
            Rgb([if x == 0 || x == 9 { 50 } else { 200 }, y as u8, 7])
        });
        let inside = Crop {
            x: 2,
            y: 3,
            side: 5,
        }
        .cut(&picture);
        assert_eq!(inside.get_pixel(4, 4), picture.get_pixel(6, 7));

        let wide = Crop {
            x: -5,
            y: 0,
            side: 20,
        }
        .cut(&picture);
        assert_eq!(wide.get_pixel(5, 19), picture.get_pixel(0, 19));
        assert_eq!(wide.get_pixel(0, 19), &background(&picture));
        assert_eq!(
            Crop::centre((10, 20)),
            Crop {
                x: 0,
                y: 5,
                side: 10
            }
        );
    }
}
