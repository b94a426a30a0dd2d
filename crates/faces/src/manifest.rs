use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Crop, Domain, Grouping, Options, Result, error};

/// What a prepared set holds and where it came from: its `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`Manifest::FORMAT`].
    pub format: String,
    /// [`Manifest::VERSION`] of the program that wrote it.
    pub version: u32,
    /// What was asked for.
    pub options: Options,
    /// Where the photographs and the drawings came from.
    pub sources: [Source; 2],
    /// Every picture of the set, photographs first, in the order of their sources.
    pub pictures: Vec<Entry>,
    /// Every file that was left out.
    pub left_out: Vec<LeftOut>,
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
    /// Its path inside the set: `trainA/s01_01.png`.
    pub file: String,
    /// The path of the original inside its folder.
    pub source: String,
    /// What was cut out of the original, in its pixels after its EXIF orientation was applied.
    pub crop: Crop,
    /// How sure the face detector was; drawings have no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// A file that did not become part of the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The folder it was found in.
    pub domain: Domain,
    /// Its path inside that folder.
    pub source: String,
    /// Why, in a few words.
    pub reason: String,
}

impl Manifest {
    /// Tells our manifests from other programs'.
    pub const FORMAT: &str = "henshin dataset";

    /// To be raised when the same pictures come to be prepared differently.
    pub const VERSION: u32 = 1;

    const FILE: &str = "manifest.json";

    /// Reads the manifest of a set; nothing when there is none that this program could have
    /// written.
    pub fn read(set: &Path) -> Option<Self> {
        let text = fs::read_to_string(set.join(Self::FILE)).ok()?;
        serde_json::from_str(&text)
            .ok()
            .filter(|manifest: &Self| manifest.format == Self::FORMAT)
    }

    pub(crate) fn write(&self, set: &Path) -> Result<()> {
        let path = set.join(Self::FILE);
        let mut text =
            serde_json::to_string_pretty(self).expect("plain data can be written as JSON");
        text.push('\n');
        fs::write(&path, text).map_err(error::write(&path))
    }

    /// Whether every picture that it names is there.
    pub fn is_complete(&self, set: &Path) -> bool {
        self.pictures
            .iter()
            .all(|picture| set.join(&picture.file).is_file())
    }
}

/// The licence that lies in a folder of pictures.
pub(crate) fn licence_of(folder: &Path) -> Option<String> {
    ["LICENSE", "LICENSE.md", "LICENSE.txt"]
        .iter()
        .find_map(|name| fs::read_to_string(folder.join(name)).ok())
        .map(|text| text.trim().to_owned())
}

/// A path inside a folder as manifests write it, with `/` on every system.
pub(crate) fn portable(path: &Path) -> String {
    path.iter()
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Whether something that stands in the way of a new set may be replaced: an earlier set, or an
/// empty folder.
pub(crate) fn is_replaceable(path: &Path) -> bool {
    Manifest::read(path).is_some()
        || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}
