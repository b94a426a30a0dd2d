//! From folders of pictures to a training set.
//!
//! [`prepare`] makes a set from any two folders: it finds the faces ([`Detector`]), aligns photographs by
//! their [`Landmarks`] and brings drawings to the same scale ([`Frame`]), leaves out what cannot be used
//! ([`Filters`]), splits by person ([`Grouping`]), divides drawings by style ([`Styles`]), and writes the
//! pictures, a [`Manifest`] and a report. [`demo`] does it with the pictures that come with the repository.
//!
//! [`Recognition`] tells people apart, for figures of how far a translation keeps who somebody is.

pub mod demo;
mod detect;
mod error;
mod examine;
mod frame;
mod install;
mod landmarks;
mod manifest;
mod measure;
mod network;
mod options;
mod parallel;
mod plan;
mod portraits;
mod prepare;
mod report;
mod split;
mod style;
mod summary;
mod text;

pub use detect::{Detector, Face};
pub use error::Error;
pub use frame::{Frame, Placement};
pub use landmarks::{Landmarks, Point};
pub use manifest::{Cause, Entry, Framing, LeftOut, Manifest, Source};
pub use network::Recognition;
pub use options::{Align, AnimeCrop, Faces, Filters, Options, Styles};
pub use portraits::Portraits;
pub use prepare::{MIN_SIDE, Progress, prepare};
pub use split::Grouping;
pub use style::Division;
pub use summary::{DomainSummary, Summary};

use serde::{Deserialize, Serialize};

/// What reads files, for the fuzz targets and nobody else.
#[doc(hidden)]
pub mod readers {
    pub use crate::examine::read_journal as journal;
    pub use crate::network::read_weights as weights;
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// One of the two kinds of picture, called as CycleGAN's data folders call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// Photographs of people.
    A,
    /// Drawn portraits.
    B,
}

impl Domain {
    /// "photographs" or "drawings".
    pub fn noun(self) -> &'static str {
        match self {
            Domain::A => "photographs",
            Domain::B => "drawings",
        }
    }
}
