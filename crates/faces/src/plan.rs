//! Where faces are to come to lie, so that both domains show them at one scale: a network would learn the
//! difference as zoom.

use std::ops::Range;

use crate::examine::{Examined, Found};
use crate::{Align, AnimeCrop, Frame, Framing, Options, Placement};

/// Where faces lie when drawings don't say: as they do in a portrait with its hair.
pub(crate) const USUAL: Placement = Placement {
    face_height: 0.45,
    eyes: 0.47,
};

/// Drawings are portraits already when their faces are so high in the median, and most of them nearly so:
/// then all are framed alike, since a face off the others' is more likely measured wrong.
const PORTRAITS: Range<f64> = 0.3..0.75;
const ALIKE: Range<f64> = 0.65..1.5;
const MOST: f64 = 0.8;

/// Faces must be found in so large a share of all drawings to say so.
const SEEN: f64 = 0.2;

/// Of other drawings, a face this sure is cut out by its box.
const SURE_DRAWN: f64 = 0.4;

/// And so high, in pixels.
const SMALLEST_DRAWN: f64 = 20.0;

/// A photograph's frame is so much longer than its shorter side at most, in the median: more would be mostly
/// what is not there.
const BEYOND: f64 = 1.35;

/// The highest face there may be.
const HIGHEST: f64 = 0.7;

/// The chin lies so high above the lower edge at least, and so far below the eyes, in heights of the face.
const UNDER_CHIN: f64 = 0.05;
const EYES_TO_CHIN: f64 = 0.8;

/// How the pictures of a set are framed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub placement: Placement,
    align: Align,
    anime_crop: AnimeCrop,
    /// Of drawings in their middle square, where they are portraits.
    portraits: Option<Placement>,
    /// What the frames of each domain are scaled by, so that the medians meet.
    scales: [f64; 2],
}

impl Plan {
    /// From what was found in the photographs (a face each) and in the drawings (perhaps none).
    pub fn new(
        options: &Options,
        photographs: &[(&Examined, Option<&Found>)],
        drawings: &[(&Examined, Option<&Found>)],
    ) -> Self {
        let natural = placement_in(drawings, |extent| match options.anime_crop {
            AnimeCrop::None => Frame::whole(extent),
            AnimeCrop::Detect | AnimeCrop::Centre => Frame::centre(extent),
        });
        let portraits = natural.filter(|natural| are_portraits(drawings, natural.face_height));
        let cropped = options.anime_crop == AnimeCrop::Detect;
        let wanted = match options.align {
            Align::None => placement_in(photographs, Frame::centre),
            Align::Landmarks | Align::Box if !cropped => natural,
            Align::Landmarks | Align::Box => portraits,
        };
        let wanted = wanted.unwrap_or(USUAL);
        let shares = photographs.iter().filter_map(|(examined, face)| {
            let shorter = f64::from(examined.extent[0].min(examined.extent[1]));
            Some(face.as_ref()?.landmarks.height() / (BEYOND * shorter))
        });
        let least = match options.align {
            Align::None => 0.0,
            _ => median(shares.collect()).unwrap_or(0.0),
        };
        // Where drawings stay as they are, photographs have to follow.
        let least = if cropped { least } else { 0.0 };
        let face_height = match options.face_height {
            Some(height) => height,
            None => wanted.face_height.max(least).min(HIGHEST),
        };
        let lowest = 1.0 - UNDER_CHIN - EYES_TO_CHIN * face_height;
        let mut plan = Plan {
            placement: Placement {
                face_height,
                eyes: wanted.eyes.min(lowest).max(0.2),
            },
            align: options.align,
            anime_crop: options.anime_crop,
            portraits,
            scales: [1.0; 2],
        };
        let heights = |frame: &dyn Fn(&Examined, Option<&Found>) -> Frame,
                       pictures: &[(&Examined, Option<&Found>)]| {
            let height = |(examined, face): &(&Examined, Option<&Found>)| {
                Some((*face)?.landmarks.height() / frame(examined, *face).side)
            };
            median(pictures.iter().filter_map(height).collect())
        };
        let photographed = heights(
            &|examined, face| plan.photograph(examined, face).0,
            photographs,
        );
        let drawn = heights(&|examined, face| plan.drawing(examined, face).0, drawings);
        let scale = |median: Option<f64>, adjusts: bool| match median {
            Some(median) if adjusts => median / face_height,
            _ => 1.0,
        };
        plan.scales = [
            scale(photographed, plan.align != Align::None),
            // Those that are cut out by their faces are as they should be.
            scale(drawn, plan.portraits.is_some() && cropped),
        ];
        plan
    }

    /// What to cut out of a photograph.
    pub fn photograph(&self, examined: &Examined, face: Option<&Found>) -> (Frame, Framing) {
        let scaled = |frame: Frame| Frame {
            side: frame.side * self.scales[0],
            ..frame
        };
        match (self.align, face) {
            (Align::None, _) | (_, None) => (Frame::centre(examined.extent), Framing::Centre),
            (Align::Landmarks, Some(face)) => {
                let frame = Frame::aligned(&face.landmarks, &self.placement);
                (scaled(frame), Framing::Landmarks)
            }
            (Align::Box, Some(face)) => {
                let frame = Frame::around(&face.landmarks, &self.placement);
                (scaled(frame), Framing::Box)
            }
        }
    }

    /// What to cut out of a drawing.
    pub fn drawing(&self, examined: &Examined, face: Option<&Found>) -> (Frame, Framing) {
        let middle = Frame::centre(examined.extent);
        match self.anime_crop {
            AnimeCrop::None => (Frame::whole(examined.extent), Framing::Whole),
            AnimeCrop::Centre => (middle, Framing::Centre),
            AnimeCrop::Detect => match face {
                Some(face) if self.portraits.is_none() && is_worth_cutting(face) => {
                    let frame = Frame::around(&face.landmarks, &self.placement);
                    (frame, Framing::Box)
                }
                _ => (self.portrait(middle), Framing::Centre),
            },
        }
    }

    /// The middle square of portraits, scaled and moved until their faces are as high as they should be.
    fn portrait(&self, middle: Frame) -> Frame {
        let Some(portraits) = self.portraits else {
            return middle;
        };
        let ratio = portraits.face_height / self.placement.face_height * self.scales[1];
        let side = middle.side * ratio;
        let [x, y] = middle.centre;
        let eyes = y + (portraits.eyes - 0.5) * middle.side;
        Frame {
            centre: [x, eyes + (0.5 - self.placement.eyes) * side],
            side,
            ..middle
        }
    }
}

/// Whether a drawn face is surely one, and not too small.
fn is_worth_cutting(face: &Found) -> bool {
    face.score >= SURE_DRAWN && face.landmarks.height() >= SMALLEST_DRAWN
}

/// Whether drawings are framed alike, their faces in the median of a height.
fn are_portraits(drawings: &[(&Examined, Option<&Found>)], height: f64) -> bool {
    let faces = drawings.iter().filter_map(|(examined, face)| {
        Some((*face)?.landmarks.height() / Frame::centre(examined.extent).side)
    });
    let alike = |of: &f64| ALIKE.contains(&(of / height));
    let (alike, others): (Vec<f64>, Vec<f64>) = faces.partition(alike);
    let all = (alike.len() + others.len()) as f64;
    let enough = all >= SEEN * drawings.len() as f64;
    enough && PORTRAITS.contains(&height) && alike.len() as f64 >= MOST * all
}

/// The medians of where faces lie in frames of pictures.
fn placement_in(
    pictures: &[(&Examined, Option<&Found>)],
    frame: impl Fn([u32; 2]) -> Frame,
) -> Option<Placement> {
    let found: Vec<(Frame, &Found)> = pictures
        .iter()
        .filter_map(|(examined, face)| Some((frame(examined.extent), (*face)?)))
        .collect();
    let height = |(frame, face): &(Frame, &Found)| face.landmarks.height() / frame.side;
    let eyes = |(frame, face): &(Frame, &Found)| {
        let [left, right] = face.landmarks.eyes;
        ((left[1] + right[1]) / 2.0 - frame.centre[1]) / frame.side + 0.5
    };
    Some(Placement {
        face_height: median(found.iter().map(height).collect())?,
        eyes: median(found.iter().map(eyes).collect())?.clamp(0.3, 0.65),
    })
}

/// The middle value, the upper one of two.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
