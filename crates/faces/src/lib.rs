//! From folders of pictures to a training set.
//!
//! [`prepare`] makes a set from any two folders: it finds the face in each photograph
//! ([`Detector`]), frames the head as drawn portraits are framed ([`Crop`]), leaves out what cannot
//! be used, splits by person ([`Grouping`]) and writes the pictures, a [`Manifest`] and contact
//! sheets. [`demo`] does it with the pictures that come with the repository.

mod crop;
pub mod demo;
mod detect;
mod error;
mod install;
mod manifest;
mod prepare;
mod split;
mod summary;

pub use crop::Crop;
pub use detect::{Detector, Face};
pub use error::Error;
pub use manifest::{Entry, LeftOut, Manifest, Source};
pub use prepare::{MIN_SIDE, Options, Progress, prepare};
pub use split::Grouping;
pub use summary::{DomainSummary, Summary};

use serde::{Deserialize, Serialize};

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// One of the two kinds of picture, called as CycleGAN's data folders call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
