use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Component, Path};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{
    Division, Domain, Frame, Grouping, Landmarks, Options, Placement, Result, error, text,
};

/// What a prepared set holds and where it came from: its `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`Manifest::FORMAT`].
    pub format: String,
    /// [`Manifest::VERSION`] of the program that wrote it.
    pub version: u32,
    /// What was asked for.
    pub options: Options,
    /// Where faces were to come to lie.
    pub placement: Placement,
    /// Where the photographs and the drawings came from.
    pub sources: [Source; 2],
    /// Every picture of the set, photographs first, in the order of their sources.
    pub pictures: Vec<Entry>,
    /// Every file that was left out.
    pub left_out: Vec<LeftOut>,
    /// How the drawings were divided by style, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division: Option<Division>,
}

/// Where the pictures of a domain came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The domain.
    pub domain: Domain,
    /// How its pictures were held together when the test set was chosen.
    pub grouping: Grouping,
    /// The licence or credit that lies in the folder (`LICENSE`, `LICENSE.md`, `LICENSE.txt`).
    pub licence: Option<String>,
}

/// A picture of a prepared set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its domain.
    pub domain: Domain,
    /// Its path inside the set: `trainA/s01_01.png`.
    pub file: String,
    /// The path of the original inside its folder.
    pub source: String,
    /// Width and height of the original after its EXIF orientation was applied.
    pub extent: [u32; 2],
    /// What was cut out of it.
    pub frame: Frame,
    /// How that was found.
    pub framing: Framing,
    /// The face, where one was found, in pixels of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub face: Option<Landmarks>,
    /// How sure the face detector was, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The style that it was put to, where drawings were divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<usize>,
}

impl Entry {
    /// From brows to chin as a share of the original's shorter side, and of the picture's.
    pub fn face_heights(&self) -> Option<[f64; 2]> {
        let height = self.face?.height();
        let shorter = f64::from(self.extent[0].min(self.extent[1]));
        Some([height / shorter, height / self.frame.side])
    }
}

/// How it was told what to cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Eyes, nose and mouth were laid over those of the mean face.
    Landmarks,
    /// By place and height of the face.
    Box,
    /// The middle, as faces are in its middle already.
    Centre,
    /// All of it.
    Whole,
}

impl Framing {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Framing::Landmarks => "aligned by landmarks",
            Framing::Box => "framed by the face's box",
            Framing::Centre => "cut from the middle",
            Framing::Whole => "taken whole",
        }
    }
}

/// A file that did not become part of the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The folder it was found in.
    pub domain: Domain,
    /// Its path inside that folder.
    pub source: String,
    /// What kind of reason there is.
    pub cause: Cause,
    /// The reason, in a few words.
    pub reason: String,
}

/// Why pictures are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It can't be read.
    Broken,
    /// The picture or the face has too few pixels.
    Small,
    /// No face was found.
    NoFace,
    /// It is a drawing among photographs.
    Drawn,
    /// The face is not sharp.
    Blurred,
    /// The face is too dark.
    Dark,
    /// The face is turned away.
    Turned,
    /// It looks like an earlier one.
    Duplicate,
}

impl Cause {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Cause::Broken => "can't be read",
            Cause::Small => "too small",
            Cause::NoFace => "no face found",
            Cause::Drawn => "looks drawn",
            Cause::Blurred => "blurred",
            Cause::Dark => "too dark",
            Cause::Turned => "turned away",
            Cause::Duplicate => "duplicates",
        }
    }
}

impl Manifest {
    /// Tells our manifests from other programs'.
    pub const FORMAT: &str = "henshin dataset";

    /// To be raised when the same pictures come to be prepared differently.
    pub const VERSION: u32 = 2;

    const FILE: &str = "manifest.json";

    /// Reads the manifest of a set; nothing when there is none that this program could have
    /// written: each of its pictures lies in the set.
    pub fn read(set: &Path) -> Option<Self> {
        read_json(&set.join(Self::FILE)).filter(|manifest: &Self| {
            manifest.format == Self::FORMAT
                && manifest.pictures.iter().all(|entry| is_inside(&entry.file))
        })
    }

    pub(crate) fn write(&self, set: &Path) -> Result<()> {
        let path = set.join(Self::FILE);
        let mut text =
            serde_json::to_string_pretty(self).expect("plain data can be written as JSON");
        text.push('\n');
        fs::write(&path, text).map_err(error::write(&path))
    }

    /// Whether every picture that it names is there, itself and not a link to another.
    pub fn is_complete(&self, set: &Path) -> bool {
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_file());
        self.pictures
            .iter()
            .all(|picture| is_file(&set.join(&picture.file)))
    }
}

/// The longest manifest that is read: a picture takes about two kilobytes.
const LONGEST: u64 = 1 << 30;

/// The longest licence that goes into a manifest.
const LONGEST_LICENCE: u64 = 1 << 20;

/// What a manifest's text stands for, read piece by piece: it is never in memory as a whole.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = BufReader::new(File::open(path).ok()?.take(LONGEST));
    serde_json::from_reader(text).ok()
}

/// Whether a path inside a folder does not lead out of it.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The licence that lies in a folder of pictures.
pub(crate) fn licence_of(folder: &Path) -> Option<String> {
    ["LICENSE", "LICENSE.md", "LICENSE.txt"]
        .iter()
        .find_map(|name| text::read(&folder.join(name), LONGEST_LICENCE).ok())
        .map(|text| text.trim().to_owned())
}

/// A path inside a folder as manifests write it, with `/` on every system.
pub(crate) fn portable(path: &Path) -> String {
    path.iter()
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Whether something that stands in the way of a new set may be replaced: an earlier set, of any version, or
/// an empty folder.
pub(crate) fn is_replaceable(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    let is_set = read_json::<Format>(&path.join(Manifest::FILE))
        .is_some_and(|manifest| manifest.format == Manifest::FORMAT);
    is_set || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_of_a_set_are_told() {
        for path in ["trainA/1.png", "trainB/style-0/ü 2.png"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../1.png", "trainA/../../1.png"] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
