use std::fmt;
use std::path::PathBuf;

use crate::{Domain, Grouping};

/// What a preparation came to; shown as a few lines of text.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The folder of the set.
    pub out: PathBuf,
    /// The photographs.
    pub photographs: DomainSummary,
    /// The drawings.
    pub drawings: DomainSummary,
}

/// What became of the pictures of one domain.
#[derive(Clone, Debug)]
pub struct DomainSummary {
    /// The domain.
    pub domain: Domain,
    /// Image files found.
    pub found: usize,
    /// Pictures to train on.
    pub train: usize,
    /// Pictures held back to test with.
    pub test: usize,
    /// Files left out.
    pub left_out: usize,
    /// How pictures were held together when the test set was chosen.
    pub grouping: Grouping,
    /// How many groups that gave.
    pub groups: usize,
    /// The contact sheet.
    pub sheet: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{}", self.photographs)?;
        writeln!(f, "{}", self.drawings)?;
        write!(f, "the set is in {}", self.out.display())
    }
}

impl fmt::Display for DomainSummary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            found,
            train,
            test,
            left_out,
            groups,
            ..
        } = self;
        let noun = self.domain.noun();
        write!(
            f,
            "{found} {noun}: {train} to train on, {test} to test with, {left_out} left out"
        )?;
        match self.grouping {
            Grouping::Folder => write!(f, "; {groups} persons, told by folder")?,
            Grouping::Name => write!(f, "; {groups} persons, told by file name")?,
            Grouping::Picture => {}
        }
        write!(f, "; look at {}", self.sheet.display())
    }
}
