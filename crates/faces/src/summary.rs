use std::fmt;
use std::path::PathBuf;

use crate::{Cause, Domain, Grouping};

/// What a preparation came to; shown as a few lines of text.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The folder of the set.
    pub out: PathBuf,
    /// The photographs.
    pub photographs: DomainSummary,
    /// The drawings.
    pub drawings: DomainSummary,
    /// Drawings of each style, where they were divided.
    pub styles: Option<Vec<usize>>,
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
    /// Of them, those in which a face was found.
    pub detected: usize,
    /// Files left out, by the reason.
    pub left_out: Vec<(Cause, usize)>,
    /// The median face from brows to chin: as a share of the originals' shorter sides, and of the pictures'.
    pub face_heights: Option<(f64, f64)>,
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
        if let Some(sizes) = &self.styles {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            writeln!(f, "{} styles of {} drawings", sizes.len(), sizes.join(", "))?;
        }
        let out = self.out.display();
        write!(
            f,
            "the set is in {out}; look at {}",
            self.out.join("index.html").display()
        )
    }
}

impl DomainSummary {
    /// Files left out.
    pub fn left_out_in_all(&self) -> usize {
        self.left_out.iter().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for DomainSummary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            found,
            train,
            test,
            detected,
            groups,
            ..
        } = self;
        let noun = self.domain.noun();
        write!(
            f,
            "{found} {noun}: {train} to train on, {test} to test with"
        )?;
        write!(f, ", {} left out", self.left_out_in_all())?;
        if !self.left_out.is_empty() {
            let counts = self.left_out.iter();
            let counts: Vec<String> = counts
                .map(|(cause, count)| format!("{count} {}", cause.text()))
                .collect();
            write!(f, " ({})", counts.join(", "))?;
        }
        match self.grouping {
            Grouping::Folder => write!(f, "; {groups} persons, told by folder")?,
            Grouping::Name => write!(f, "; {groups} persons, told by file name")?,
            Grouping::Picture => {}
        }
        write!(f, "; faces found in {detected}")?;
        if let Some((before, after)) = self.face_heights {
            let percent = |share: f64| 100.0 * share;
            write!(
                f,
                ", in the median {:.0} % of the picture high, {:.0} % before",
                percent(after),
                percent(before)
            )?;
        }
        Ok(())
    }
}
