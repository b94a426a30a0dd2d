use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use images::{RgbImage, Sheet};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::install::{Staging, check_out};
use crate::manifest::{licence_of, portable};
use crate::split::{choose_test, group, group_singly};
use crate::{
    Crop, Detector, Domain, DomainSummary, Entry, Error, Face, LeftOut, Manifest, Result, Source,
    Summary, error,
};

/// A picture or a head whose shorter side has fewer pixels is left out: there is nothing to learn
/// from it.
pub const MIN_SIDE: u32 = 48;

const SIZES: std::ops::RangeInclusive<u32> = 16..=2048;

/// A contact sheet shows so many pictures at most, evenly chosen, so large.
const SHEET_PICTURES: usize = 400;
const SHEET_COLUMNS: usize = 20;
const SHEET_TILE: u32 = 64;

/// What to make a set from, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The folder of photographs; its sub-folders count.
    pub photos: PathBuf,
    /// The folder of drawn portraits, each cropped to the head; its sub-folders count.
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
}

impl Options {
    fn check(&self) -> Result<()> {
        let refuse = |name, given, expected: String| {
            Err(Error::Option {
                name,
                given,
                expected,
            })
        };
        if !SIZES.contains(&self.size) {
            let expected = format!("{} to {} pixels", SIZES.start(), SIZES.end());
            return refuse("--size", self.size.to_string(), expected);
        }
        if self.val == 0 {
            return refuse(
                "--val",
                "0".into(),
                "at least 1 picture to the test set".into(),
            );
        }
        Ok(())
    }

    fn source(&self, domain: Domain) -> &Path {
        match domain {
            Domain::A => &self.photos,
            Domain::B => &self.anime,
        }
    }
}

/// Hears how preparation goes on, and may end it. `()` hears nothing.
pub trait Progress: Sync {
    /// The pictures of a domain are begun with.
    fn begin(&self, _domain: Domain, _pictures: usize) {}
    /// One more is done; called from many threads.
    fn advance(&self) {}
    /// A file was left out; called in the order of paths when its domain is done.
    fn left_out(&self, _file: &LeftOut) {}
    /// Whether to stop and leave nothing behind.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// Makes a training set: `trainA`, `trainB`, `testA` and `testB` of square PNGs, `manifest.json`,
/// `contact-A.png` and
/// `contact-B.png`.
///
/// Photographs are cropped to the largest face's head, drawings to the square in their middle.
/// Files that cannot be read, photographs without a face, pictures smaller than [`MIN_SIDE`] and
/// exact copies of an earlier picture are left out. The result depends on the pictures, their paths
/// and the options only. It appears whole or not at all, and the input is never touched.
///
/// # Errors When a folder or an option cannot be used, too few pictures remain, the set cannot be
/// written, or `progress` cancels.
pub fn prepare(options: &Options, progress: &dyn Progress) -> Result<Summary> {
    let (staging, summary) = build(options, progress)?;
    staging.install()?;
    Ok(summary)
}

/// Makes the set in a temporary folder beside where it belongs.
pub(crate) fn build(options: &Options, progress: &dyn Progress) -> Result<(Staging, Summary)> {
    options.check()?;
    let photographs = images::list(&options.photos)?;
    let drawings = images::list(&options.anime)?;
    check_out(&options.out, [&options.photos, &options.anime])?;

    let staging = Staging::begin(&options.out)?;
    let mut pictures = Vec::new();
    let mut left_out = Vec::new();
    let mut summarise = |domain, files| -> Result<(Source, DomainSummary)> {
        let job = Job {
            options,
            domain,
            staging: &staging,
            progress,
        };
        let made = job.run(files)?;
        let summary = made.summary(&options.out);
        pictures.extend(made.pictures);
        left_out.extend(made.left_out);
        Ok((made.source, summary))
    };
    let (source_a, photographs) = summarise(Domain::A, photographs)?;
    let (source_b, drawings) = summarise(Domain::B, drawings)?;

    let manifest = Manifest {
        format: Manifest::FORMAT.into(),
        version: Manifest::VERSION,
        options: options.clone(),
        sources: [source_a, source_b],
        pictures,
        left_out,
    };
    manifest.write(&staging.set())?;
    Ok((
        staging,
        Summary {
            out: options.out.clone(),
            photographs,
            drawings,
        },
    ))
}

/// The preparation of one domain.
struct Job<'a> {
    options: &'a Options,
    domain: Domain,
    staging: &'a Staging,
    progress: &'a dyn Progress,
}

/// What came of it.
struct Made {
    found: usize,
    groups: usize,
    test: usize,
    source: Source,
    pictures: Vec<Entry>,
    left_out: Vec<LeftOut>,
}

/// A picture that was cut, resized and written under a name for the time being.
struct Framed {
    written: PathBuf,
    /// Hash of the whole original's pixels.
    content: u64,
    crop: Crop,
    score: Option<f64>,
}

impl Job<'_> {
    fn run(&self, files: Vec<PathBuf>) -> Result<Made> {
        let folder = self.options.source(self.domain);
        let found = files.len();
        let outcomes = self.frame_all(&files)?;
        let inside = |file: &PathBuf| file.strip_prefix(folder).unwrap_or(file).to_path_buf();
        let (kept, left_out) = self.sift(files.iter().map(inside).zip(outcomes));
        for file in &left_out {
            self.progress.left_out(file);
        }

        let paths: Vec<&Path> = kept.iter().map(|(path, _)| path.as_path()).collect();
        let (grouping, keys) = match self.domain {
            Domain::A => group(&paths),
            Domain::B => group_singly(&paths),
        };
        let is_test = choose_test(&keys, self.options.val, self.options.seed);
        let test = is_test.iter().filter(|&&chosen| chosen).count();
        if kept.len() <= self.options.val || kept.len() == test {
            return Err(Error::TooFew {
                noun: self.domain.noun(),
                folder: folder.into(),
                found,
                usable: kept.len(),
                val: self.options.val,
            });
        }

        let pictures = self.place(&kept, &is_test)?;
        self.write_sheet(&pictures)?;
        let source = Source {
            domain: self.domain,
            grouping,
            licence: licence_of(folder),
        };
        let groups = keys.iter().collect::<HashSet<_>>().len();
        Ok(Made {
            found,
            groups,
            test,
            source,
            pictures,
            left_out,
        })
    }

    /// Cuts every picture in parallel; for each, in order, what was cut or why it is left out.
    fn frame_all(&self, files: &[PathBuf]) -> Result<Vec<std::result::Result<Framed, String>>> {
        let work = self.work();
        fs::create_dir(&work).map_err(error::write(&work))?;
        self.progress.begin(self.domain, files.len());
        let detector = || (self.domain == Domain::A).then(Detector::new);
        files
            .par_iter()
            .enumerate()
            .map_init(detector, |detector, (i, file)| {
                if self.progress.is_cancelled() {
                    return Err(Error::Interrupted);
                }
                let framed = match self.frame(detector.as_mut(), file) {
                    Ok((picture, content, crop, face)) => {
                        let written = work.join(format!("{i}.png"));
                        images::save_png(&written, &picture)?;
                        Ok(Framed {
                            written,
                            content,
                            crop,
                            score: face.map(|face| face.score),
                        })
                    }
                    Err(reason) => Err(reason),
                };
                self.progress.advance();
                Ok(framed)
            })
            .collect()
    }

    fn frame(
        &self,
        detector: Option<&mut Detector>,
        file: &Path,
    ) -> std::result::Result<(RgbImage, u64, Crop, Option<Face>), String> {
        let picture = images::decode(file).map_err(|error| error.reason())?;
        let (width, height) = picture.dimensions();
        if width.min(height) < MIN_SIDE {
            return Err(format!(
                "too small: {width}×{height}, less than {MIN_SIDE} pixels a side"
            ));
        }
        let (crop, face) = match detector {
            Some(detector) => {
                let face = detector.largest(&picture).ok_or("no face found")?;
                (Crop::head(&face, (width, height)), Some(face))
            }
            None => (Crop::centre((width, height)), None),
        };
        if crop.side < MIN_SIDE {
            return Err(format!(
                "too small: the head is {0}×{0}, less than {MIN_SIDE} pixels a side",
                crop.side
            ));
        }
        let cut = images::resize(&crop.cut(&picture), self.options.size, self.options.size);
        Ok((cut, content_of(&picture), crop, face))
    }

    /// Parts what was cut from what is left out, copies of earlier pictures among it.
    fn sift(
        &self,
        outcomes: impl Iterator<Item = (PathBuf, std::result::Result<Framed, String>)>,
    ) -> (Vec<(PathBuf, Framed)>, Vec<LeftOut>) {
        let mut kept: Vec<(PathBuf, Framed)> = Vec::new();
        let mut left_out = Vec::new();
        let mut seen = HashMap::new();
        for (path, outcome) in outcomes {
            let framed = outcome.and_then(|framed| match seen.get(&framed.content) {
                Some(earlier) => Err(format!("the same picture as {earlier}")),
                None => Ok(framed),
            });
            match framed {
                Ok(framed) => {
                    seen.insert(framed.content, portable(&path));
                    kept.push((path, framed));
                }
                Err(reason) => left_out.push(LeftOut {
                    domain: self.domain,
                    source: portable(&path),
                    reason,
                }),
            }
        }
        (kept, left_out)
    }

    /// Moves the pictures to their folders, each under its own name.
    fn place(&self, kept: &[(PathBuf, Framed)], is_test: &[bool]) -> Result<Vec<Entry>> {
        let set = self.staging.set();
        let folders = ["train", "test"].map(|part| format!("{part}{:?}", self.domain));
        for folder in &folders {
            let folder = set.join(folder);
            fs::create_dir(&folder).map_err(error::write(&folder))?;
        }
        let mut taken = HashSet::new();
        let mut pictures = Vec::with_capacity(kept.len());
        for ((path, framed), &is_test) in kept.iter().zip(is_test) {
            let file = format!(
                "{}/{}.png",
                folders[usize::from(is_test)],
                unique_name(path, &mut taken)
            );
            let target = set.join(&file);
            fs::rename(&framed.written, &target).map_err(error::write(&target))?;
            pictures.push(Entry {
                file,
                source: portable(path),
                crop: framed.crop,
                score: framed.score,
            });
        }
        Ok(pictures)
    }

    fn write_sheet(&self, pictures: &[Entry]) -> Result<()> {
        let set = self.staging.set();
        let shown = pictures.len().min(SHEET_PICTURES);
        let mut sheet = Sheet::new(SHEET_COLUMNS.min(shown)).gap(2);
        for i in 0..shown {
            let picture = images::decode(&set.join(&pictures[i * pictures.len() / shown].file))?;
            sheet.push(images::resize(&picture, SHEET_TILE, SHEET_TILE));
        }
        Ok(images::save_png(
            &set.join(sheet_name(self.domain)),
            &sheet.render(),
        )?)
    }

    fn work(&self) -> PathBuf {
        self.staging.work().join(format!("{:?}", self.domain))
    }
}

impl Made {
    fn summary(&self, out: &Path) -> DomainSummary {
        DomainSummary {
            domain: self.source.domain,
            found: self.found,
            train: self.pictures.len() - self.test,
            test: self.test,
            left_out: self.left_out.len(),
            grouping: self.source.grouping,
            groups: self.groups,
            sheet: out.join(sheet_name(self.source.domain)),
        }
    }
}

fn sheet_name(domain: Domain) -> String {
    format!("contact-{domain:?}.png")
}

fn content_of(picture: &RgbImage) -> u64 {
    let mut hasher = DefaultHasher::new();
    (picture.dimensions(), picture.as_raw()).hash(&mut hasher);
    hasher.finish()
}

/// The file name without its extension, and a number where that was taken (on some systems capitals
/// don't tell names apart).
fn unique_name(path: &Path, taken: &mut HashSet<String>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let numbered = (2..).map(|n| format!("{stem}-{n}"));
    std::iter::once(stem.to_string())
        .chain(numbered)
        .find(|name| taken.insert(name.to_lowercase()))
        .expect("numbers do not run out")
}
