use images::Affine;
use serde::{Deserialize, Serialize};

/// A point of a picture: x and y in pixels, the first pixel's centre at (0.5, 0.5).
pub type Point = [f64; 2];

/// What of a face framing goes by, made of its 68 landmarks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Landmarks {
    /// The middles of the eye on the picture's left and of that on its right.
    pub eyes: [Point; 2],
    /// The tip of the nose.
    pub nose: Point,
    /// The middle between the corners of the mouth.
    pub mouth: Point,
    /// The middle of both brows.
    pub brows: Point,
    /// The lowest point of the jaw.
    pub chin: Point,
}

impl Landmarks {
    /// From the 68 points as iBUG 300-W numbers them: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, mouth
    /// 48–67.
    pub(crate) fn from_68(points: &[Point]) -> Self {
        assert_eq!(points.len(), 68, "the network has so many");
        Landmarks {
            eyes: [mean(&points[36..42]), mean(&points[42..48])],
            nose: points[30],
            mouth: middle(points[48], points[54]),
            brows: mean(&points[17..27]),
            chin: points[8],
        }
    }

    /// From the brows to the chin, in pixels.
    pub fn height(&self) -> f64 {
        distance(self.brows, self.chin)
    }

    /// By how much the line through the eyes is turned from the horizontal, in radians, x towards y.
    pub fn roll(&self) -> f64 {
        let [left, right] = self.eyes;
        (right[1] - left[1]).atan2(right[0] - left[0])
    }

    /// How far the face is turned away from the viewer: 0 from the front, 1 when the tip of the nose is as
    /// far aside as an eye, or as far up or down as the eyes or the mouth.
    pub fn turn(&self) -> f64 {
        let Landmarks {
            eyes: [left, right],
            nose,
            mouth,
            ..
        } = self.upright();
        let aside = (nose[0] - (left[0] + right[0]) / 2.0) / ((right[0] - left[0]) / 2.0);
        // From the front it is half way from the eyes to the mouth.
        let down = (nose[1] - left[1]) / (mouth[1] - left[1]);
        aside.abs().max((2.0 * down - 1.0).abs())
    }

    /// Whether the points can be those of a face: the eyes side by side, under them nose, mouth and chin.
    pub fn are_plausible(&self) -> bool {
        let Landmarks {
            eyes: [left, right],
            nose,
            mouth,
            chin,
            ..
        } = self.upright();
        let apart = right[0] - left[0];
        let [nose, mouth, chin] = [nose, mouth, chin].map(|point| (point[1] - left[1]) / apart);
        0.1 < nose && nose < mouth && (0.5..2.2).contains(&mouth) && mouth < chin && chin < 3.5
    }

    /// The same points as a map leads them.
    pub fn mapped(&self, map: &Affine) -> Self {
        Landmarks {
            eyes: self.eyes.map(|eye| map.apply(eye)),
            nose: map.apply(self.nose),
            mouth: map.apply(self.mouth),
            brows: map.apply(self.brows),
            chin: map.apply(self.chin),
        }
    }

    /// Turned so that the eyes are level.
    fn upright(&self) -> Self {
        self.mapped(&Affine::similarity(1.0, -self.roll(), [0.0; 2]))
    }

    /// The middle of eyes and mouth, and the sum of how far they are apart across and down.
    pub(crate) fn core(&self) -> (Point, f64) {
        let [left, right] = self.eyes;
        let between = middle(left, right);
        let extent = distance(left, right) + distance(between, self.mouth);
        (middle(between, self.mouth), extent)
    }
}

fn mean(points: &[Point]) -> Point {
    [0, 1].map(|i| points.iter().map(|point| point[i]).sum::<f64>() / points.len() as f64)
}

fn middle(one: Point, other: Point) -> Point {
    mean(&[one, other])
}

fn distance(one: Point, other: Point) -> f64 {
    (one[0] - other[0]).hypot(one[1] - other[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face() -> Landmarks {
        Landmarks {
            eyes: [[40.0, 50.0], [60.0, 50.0]],
            nose: [50.0, 61.0],
            mouth: [50.0, 72.0],
            brows: [50.0, 44.0],
            chin: [50.0, 84.0],
        }
    }

    #[test]
    fn measures_do_not_depend_on_place_scale_and_roll() {
        for angle in [0.0, 0.7, -2.0, 3.0] {
            let turned = face().mapped(&Affine::similarity(2.0, angle, [5.0, -90.0]));
            assert!((turned.roll() - angle).abs() < 1e-9);
            assert!((turned.height() - 80.0).abs() < 1e-9);
            assert!(turned.turn() < 1e-9 && turned.are_plausible());
        }
    }

    #[test]
    fn turned_faces_and_impossible_ones_are_told() {
        let aside = Landmarks {
            nose: [58.0, 61.0],
            ..face()
        };
        assert!((aside.turn() - 0.8).abs() < 1e-9);
        let up = Landmarks {
            nose: [50.0, 55.0],
            ..face()
        };
        assert!(up.turn() > 0.45);
        for impossible in [
            Landmarks {
                mouth: [50.0, 52.0],
                ..face()
            },
            Landmarks {
                chin: [50.0, 60.0],
                ..face()
            },
            Landmarks {
                eyes: [[50.0, 50.0]; 2],
                ..face()
            },
        ] {
            assert!(!impossible.are_plausible(), "{impossible:?}");
        }
    }
}
