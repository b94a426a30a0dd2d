use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Domain, Error, Result};

const SIZES: std::ops::RangeInclusive<u32> = 16..=2048;

/// What to make a set from, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The folder of photographs; its sub-folders count.
    pub photos: PathBuf,
    /// The folder of drawn portraits; its sub-folders count.
    pub anime: PathBuf,
    /// The folder to make. Nothing may be there but an empty folder or an earlier set, which is
    /// replaced.
    #[serde(skip)] // a set can be moved
    pub out: PathBuf,
    /// The side of the square pictures to write, in pixels.
    pub size: u32,
    /// How many pictures of each domain go to the test set; some more where
    /// [persons](crate::Grouping) aren't parted.
    pub val: usize,
    /// Chooses which.
    pub seed: u64,
    /// How photographs are framed.
    pub align: Align,
    /// Which faces of a photograph count.
    pub faces: Faces,
    /// How drawings are framed.
    pub anime_crop: AnimeCrop,
    /// What is behind transparent pictures: red, green, blue.
    pub background: [u8; 3],
    /// From brows to chin as a share of the picture's side; nothing: as drawings have it.
    pub face_height: Option<f64>,
    /// What is left out.
    pub filters: Filters,
    /// Whether drawings are divided by style.
    pub styles: Styles,
}

/// How photographs are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// Turned, scaled and moved so that eyes, nose and mouth lie at one place.
    Landmarks,
    /// Scaled and moved by the face's height and place.
    Box,
    /// The square in the middle, faces or not.
    None,
}

/// Which faces of a photograph count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Faces {
    /// The largest.
    Largest,
    /// All of them, a picture each.
    All,
}

/// How drawings are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnimeCrop {
    /// By the face, where one is found and drawings are not framed alike already; else the middle.
    Detect,
    /// The square in the middle.
    Centre,
    /// All of it, the square filled up with the background.
    None,
}

/// Whether drawings are divided by style.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Styles {
    /// They are not.
    Whole,
    /// Into as many as tell them apart best.
    Auto,
    /// Into so many.
    Count(usize),
}

/// What is left out. The defaults keep every photograph of AT&T's "Database of Faces".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// Faces are at least so high, from brows to chin, in pixels.
    pub min_face: f64,
    /// The variance of the Laplacian of a face's luma (0…255), the face seen at 112 pixels a side, is at
    /// least so much.
    pub min_sharpness: f64,
    /// A face's mean luma, 0…255, is at least so much.
    pub min_brightness: f64,
    /// Faces are turned away so far at most, as [`Landmarks::turn`](crate::Landmarks::turn) has it.
    pub max_turn: f64,
    /// So large a share of a photographed face may be of one colour with the next pixel.
    pub max_flatness: f64,
    /// Pictures are duplicates that differ in so many of 256 bits of their look at most.
    pub near_duplicates: u32,
}

impl Default for Filters {
    fn default() -> Self {
        Filters {
            min_face: 24.0,
            min_sharpness: 5.0,
            min_brightness: 25.0,
            max_turn: 0.95,
            max_flatness: 0.5,
            near_duplicates: 2,
        }
    }
}

impl Options {
    /// How a set is made of two folders where nothing else is asked for.
    pub fn new(photos: PathBuf, anime: PathBuf, out: PathBuf) -> Self {
        Options {
            photos,
            anime,
            out,
            size: 256,
            val: 40,
            seed: 1,
            align: Align::Landmarks,
            faces: Faces::Largest,
            anime_crop: AnimeCrop::Detect,
            background: [255; 3],
            face_height: None,
            filters: Filters::default(),
            styles: Styles::Whole,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        for (name, path) in [("--photos", &self.photos), ("--anime", &self.anime)] {
            if path.to_str().is_none() {
                return Err(Error::Option {
                    name,
                    given: path.display().to_string(),
                    expected: "a folder whose path is Unicode; rename it, or link to it".into(),
                });
            }
        }
        let refuse = |name, given: String, expected: &str| {
            Err(Error::Option {
                name,
                given,
                expected: expected.into(),
            })
        };
        if !SIZES.contains(&self.size) {
            let expected = format!("{} to {} pixels", SIZES.start(), SIZES.end());
            return refuse("--size", self.size.to_string(), &expected);
        }
        if self.val == 0 {
            return refuse("--val", "0".into(), "at least 1 picture to the test set");
        }
        if let Some(height) = self.face_height
            && !(0.1..=0.8).contains(&height)
        {
            return refuse(
                "--face-height",
                height.to_string(),
                "0.1 to 0.8 of the picture's side",
            );
        }
        if let Styles::Count(count) = self.styles
            && !(2..=64).contains(&count)
        {
            return refuse("--styles", count.to_string(), "auto, or 2 to 64 styles");
        }
        if self.filters.near_duplicates > 10 {
            let given = self.filters.near_duplicates.to_string();
            return refuse("--near-duplicates", given, "0 to 10 of 256 bits");
        }
        let Filters {
            min_face,
            min_sharpness,
            min_brightness,
            max_turn,
            max_flatness,
            ..
        } = self.filters;
        for (name, value) in [
            ("--min-face", min_face),
            ("--min-sharpness", min_sharpness),
            ("--min-brightness", min_brightness),
            ("--max-turn", max_turn),
            ("--max-flatness", max_flatness),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(name, value.to_string(), "a number from 0 on");
            }
        }
        Ok(())
    }

    pub(crate) fn source(&self, domain: Domain) -> &Path {
        match domain {
            Domain::A => &self.photos,
            Domain::B => &self.anime,
        }
    }
}
