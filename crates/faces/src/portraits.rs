use crate::plan::{USUAL, median};
use crate::{Domain, Frame, Framing, Landmarks, Manifest, Placement};

/// How the photographs of a set were cut, to cut others likewise: a network knows faces as it has seen them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Portraits {
    placement: Placement,
    framing: Framing,
    /// The frames' sides, by what landmarks and placement alone would make of them.
    scale: f64,
}

impl Portraits {
    /// As portraits with their hair usually are, where no set tells.
    pub fn usual() -> Self {
        Portraits {
            placement: USUAL,
            framing: Framing::Landmarks,
            scale: 1.0,
        }
    }

    /// As the photographs of a set; none where they were not cut by their faces.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let photographs = manifest
            .pictures
            .iter()
            .filter(|entry| entry.domain == Domain::A && entry.face.is_some());
        let [by_landmarks, by_box] = [Framing::Landmarks, Framing::Box].map(|framing| {
            photographs
                .clone()
                .filter(move |entry| entry.framing == framing)
        });
        let framing = match by_landmarks.clone().count() >= by_box.clone().count() {
            true => Framing::Landmarks,
            false => Framing::Box,
        };
        let plain = Portraits {
            placement: manifest.placement,
            framing,
            scale: 1.0,
        };
        let scales = by_landmarks.chain(by_box).filter_map(|entry| {
            let like = entry.framing == framing;
            Some(entry.frame.side / plain.frame(&entry.face?).side).filter(|_| like)
        });
        let scale = median(scales.filter(|scale| scale.is_finite()).collect())?;
        Some(Portraits { scale, ..plain })
    }

    /// What to cut out around a face.
    pub fn frame(&self, face: &Landmarks) -> Frame {
        let frame = match self.framing {
            Framing::Box => Frame::around(face, &self.placement),
            _ => Frame::aligned(face, &self.placement),
        };
        Frame {
            side: frame.side * self.scale,
            ..frame
        }
    }
}
