use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use images::{Rgb, Sheet};

use crate::examine::{Examined, Found, Journal, Outcome, Refusal, content_of, examine, read};
use crate::install::{Staging, check_out};
use crate::manifest::{licence_of, portable};
use crate::measure::{Look, near_duplicates};
use crate::plan::{Plan, median};
use crate::split::{choose_test, group, group_singly};
use crate::{
    Align, Cause, Detector, Domain, DomainSummary, Entry, Error, Faces, Filters, Framing, LeftOut,
    Manifest, Options, Result, Source, Styles, Summary, error, parallel, report, style, text,
};

/// A picture whose shorter side has fewer pixels is left out: there is nothing to learn from it.
pub const MIN_SIDE: u32 = 48;

/// A contact sheet shows so many pictures at most, evenly chosen, so large.
const SHEET_PICTURES: usize = 400;
const SHEET_COLUMNS: usize = 20;
const SHEET_TILE: u32 = 64;

/// Hears how preparation goes on, and may end it. `()` hears nothing.
pub trait Progress: Sync {
    /// So many pictures are to be worked on now, in a word: "photographs".
    fn begin(&self, _work: &str, _pictures: usize) {}
    /// One more is done; called from many threads.
    fn advance(&self) {}
    /// A file was left out; called in the order of paths when its domain is looked through.
    fn left_out(&self, _file: &LeftOut) {}
    /// Whether to stop; what was done is kept for the next time.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// Makes a training set: `trainA`, `trainB`, `testA` and `testB` of square PNGs, `manifest.json`,
/// `contact-A.png`, `contact-B.png` and the report `index.html`.
///
/// Every picture is looked through first; then it is settled where faces come to lie, and every one that
/// stays is cut. The result depends on the pictures, their paths and the options only. It appears whole or
/// not at all, and the input is never touched. What was done when a run ends early is kept beside `out`, and
/// the next run with the same options goes on from it.
///
/// # Errors
/// When a folder or an option cannot be used, too few pictures remain, the set cannot be written, another
/// run is at it, or `progress` cancels.
pub fn prepare(options: &Options, progress: &dyn Progress) -> Result<Summary> {
    let lists = check(options)?;
    let staging = Staging::begin(&options.out, &settings(options), false)?;
    build_and_install(options, lists, staging, progress)
}

/// As [`prepare()`], but waits for another run that is at it, and then looks whether anything is left to do.
pub(crate) fn prepare_unless(
    options: &Options,
    progress: &dyn Progress,
    is_done: impl Fn() -> bool,
) -> Result<()> {
    let lists = check(options)?;
    let staging = Staging::begin(&options.out, &settings(options), true)?;
    if is_done() {
        return staging.discard();
    }
    build_and_install(options, lists, staging, progress).map(|_| ())
}

type Lists = [Vec<PathBuf>; 2];

fn check(options: &Options) -> Result<Lists> {
    options.check()?;
    let lists = [
        images::list(&options.photos)?,
        images::list(&options.anime)?,
    ];
    check_out(&options.out, [&options.photos, &options.anime])?;
    Ok(lists)
}

/// What a run that was interrupted must have been begun with.
fn settings(options: &Options) -> String {
    serde_json::to_string(&(Manifest::VERSION, options)).expect("plain data can be written as JSON")
}

fn build_and_install(
    options: &Options,
    lists: Lists,
    staging: Staging,
    progress: &dyn Progress,
) -> Result<Summary> {
    match build(options, lists, &staging, progress) {
        Ok(summary) => staging.install().map(|()| summary),
        // What was done so far can be gone on with.
        Err(
            error @ (Error::Interrupted
            | Error::Write { .. }
            | Error::Changed { .. }
            | Error::Images(images::Error::Write { .. })),
        ) => Err(error),
        Err(error) => {
            // The first error is the one to tell.
            let _ = staging.discard();
            Err(error)
        }
    }
}

fn build(
    options: &Options,
    [photographs, drawings]: Lists,
    staging: &Staging,
    progress: &dyn Progress,
) -> Result<Summary> {
    let journal = Journal::open(staging.work().join("examined.jsonl"))?;
    let job = |domain, files| Job {
        options,
        domain,
        files,
        progress,
    };
    let jobs = [job(Domain::A, photographs), job(Domain::B, drawings)];
    let [photographs, drawings] = &jobs;
    let sifted = [photographs.examine(&journal)?, drawings.examine(&journal)?];

    let [seen_a, seen_b] = [sifted[0].faces(), sifted[1].faces()];
    let plan = Plan::new(options, &seen_a, &seen_b);
    let mut pictures = photographs.entries(&sifted[0], &plan)?;
    pictures.extend(drawings.entries(&sifted[1], &plan)?);
    let originals: Vec<Original> = jobs
        .iter()
        .zip(&sifted)
        .flat_map(|(job, sifted)| sifted.kept.iter().map(|kept| job.original(kept)))
        .collect();
    write_pictures(options, staging, &pictures, &originals, progress)?;
    let division = match options.styles {
        Styles::Whole => None,
        styles => Some(style::divide(
            &staging.set(),
            &mut pictures,
            styles,
            options.seed,
            progress,
        )?),
    };
    for domain in [Domain::A, Domain::B] {
        write_sheet(&staging.set(), domain, &pictures)?;
    }

    let [kept_a, kept_b] = sifted;
    let summaries = [
        photographs.summary(&kept_a, &pictures),
        drawings.summary(&kept_b, &pictures),
    ];
    let source = |job: &Job, sifted: &Sifted| Source {
        domain: job.domain,
        grouping: sifted.grouping,
        licence: licence_of(options.source(job.domain)),
    };
    let manifest = Manifest {
        format: Manifest::FORMAT.into(),
        version: Manifest::VERSION,
        options: options.clone(),
        placement: plan.placement,
        sources: [source(photographs, &kept_a), source(drawings, &kept_b)],
        pictures,
        left_out: [kept_a.left_out, kept_b.left_out].concat(),
        division,
    };
    report::write(&staging.set(), &manifest)?;
    manifest.write(&staging.set())?;
    let [photographs, drawings] = summaries;
    Ok(Summary {
        out: options.out.clone(),
        photographs,
        drawings,
        styles: manifest.division.map(|division| division.sizes),
    })
}

/// The preparation of one domain.
struct Job<'a> {
    options: &'a Options,
    domain: Domain,
    files: Vec<PathBuf>,
    progress: &'a dyn Progress,
}

/// What is left of a domain's files, and what is not.
struct Sifted {
    /// A face each, or a picture that needs none.
    kept: Vec<Kept>,
    left_out: Vec<LeftOut>,
    grouping: crate::Grouping,
    /// For each that was kept, whom it shows.
    groups: Vec<String>,
}

struct Kept {
    /// The path inside the folder.
    source: PathBuf,
    examined: Examined,
    face: Option<Found>,
}

/// The file of a picture that is kept. Not told by the manifest's paths, which are text whatever the names
/// are.
struct Original {
    path: PathBuf,
    /// What tells whether it still shows the same.
    content: u64,
}

impl Sifted {
    fn faces(&self) -> Vec<(&Examined, Option<&Found>)> {
        let faces = self
            .kept
            .iter()
            .map(|kept| (&kept.examined, kept.face.as_ref()));
        faces.collect()
    }
}

impl Job<'_> {
    fn folder(&self) -> &Path {
        self.options.source(self.domain)
    }

    fn original(&self, kept: &Kept) -> Original {
        Original {
            path: self.folder().join(&kept.source),
            content: kept.examined.content,
        }
    }

    /// Looks through all files; what can't be used is told.
    fn examine(&self, journal: &Journal) -> Result<Sifted> {
        self.progress.begin(self.domain.noun(), self.files.len());
        let detector = match self.domain {
            Domain::A => Detector::photographs(),
            Domain::B => Detector::drawings(),
        };
        let background = self.options.background;
        let outcomes = parallel::map(self.files.len(), |i| {
            if self.progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let (file, source) = (&self.files[i], self.inside(i));
            let outcome = journal.outcome(self.domain, &portable(source), file, || {
                examine(file, background, &detector)
            });
            self.progress.advance();
            outcome
        })?;
        let sifted = self.sift(outcomes);
        for file in &sifted.left_out {
            self.progress.left_out(file);
        }
        Ok(sifted)
    }

    /// The path of a file inside the folder.
    fn inside(&self, i: usize) -> &Path {
        let file = &self.files[i];
        file.strip_prefix(self.folder()).unwrap_or(file)
    }

    fn sift(&self, outcomes: Vec<Outcome>) -> Sifted {
        let mut kept: Vec<Kept> = Vec::new();
        let mut left_out = Vec::new();
        let mut leave_out = |source: &Path, refusal: Refusal| {
            left_out.push(LeftOut {
                domain: self.domain,
                source: portable(source),
                cause: refusal.cause,
                reason: refusal.reason,
            });
        };
        let mut seen: HashMap<u64, String> = HashMap::new();
        for (i, outcome) in outcomes.into_iter().enumerate() {
            let source = self.inside(i);
            let chosen = outcome.and_then(|examined| {
                if let Some(earlier) = seen.get(&examined.content) {
                    return Err(Refusal {
                        cause: Cause::Duplicate,
                        reason: format!("the same picture as {earlier}"),
                    });
                }
                seen.insert(examined.content, portable(source));
                let chosen = self.choose(&examined)?;
                // They are not needed any more, and each face would keep them all.
                let faces = Vec::new();
                Ok((chosen, Examined { faces, ..examined }))
            });
            match chosen {
                Ok((faces, examined)) => kept.extend(faces.into_iter().map(|face| Kept {
                    source: source.to_owned(),
                    examined: examined.clone(),
                    face,
                })),
                Err(refusal) => leave_out(source, refusal),
            }
        }

        let looks: Vec<Look> = kept.iter().map(|kept| kept.examined.look).collect();
        let earlier = near_duplicates(&looks, self.options.filters.near_duplicates);
        let mut is_twin = Vec::with_capacity(kept.len());
        for (i, earlier) in earlier.into_iter().enumerate() {
            // Several faces of one picture look alike, naturally.
            let twin = earlier.filter(|&twin| kept[twin].source != kept[i].source);
            let is_new = i == 0 || kept[i - 1].source != kept[i].source;
            if let (Some(twin), true) = (twin, is_new) {
                let refusal = Refusal {
                    cause: Cause::Duplicate,
                    reason: format!("looks like {}", portable(&kept[twin].source)),
                };
                leave_out(&kept[i].source, refusal);
            }
            is_twin.push(twin.is_some());
        }
        let mut is_twin = is_twin.into_iter();
        kept.retain(|_| !is_twin.next().unwrap_or(false));
        left_out.sort_by(|a, b| a.source.cmp(&b.source));

        let paths: Vec<&Path> = kept.iter().map(|kept| kept.source.as_path()).collect();
        let (grouping, groups) = match self.domain {
            Domain::A => group_files(&paths),
            Domain::B => group_singly(&paths),
        };
        Sifted {
            kept,
            left_out,
            grouping,
            groups,
        }
    }

    /// The faces of a picture to cut out, or nothing where it is cut without one.
    fn choose(&self, examined: &Examined) -> std::result::Result<Vec<Option<Found>>, Refusal> {
        if self.domain == Domain::B {
            return Ok(vec![examined.faces.first().copied()]);
        }
        let needs_face = self.options.align != Align::None;
        let mut good = Vec::new();
        let mut refusal = None;
        for face in &examined.faces {
            match refuse(face, &self.options.filters) {
                None => good.push(Some(*face)),
                // Of the largest, which comes first.
                Some(found) => refusal = refusal.or(Some(found)),
            }
            if self.options.faces == Faces::Largest {
                break;
            }
        }
        match (good.is_empty(), refusal) {
            (false, _) => Ok(good),
            (true, Some(refusal)) => Err(refusal),
            (true, None) if needs_face => Err(Refusal {
                cause: Cause::NoFace,
                reason: "no face found".into(),
            }),
            (true, None) => Ok(vec![None]),
        }
    }

    /// What becomes of the pictures that are kept.
    fn entries(&self, sifted: &Sifted, plan: &Plan) -> Result<Vec<Entry>> {
        let kept = &sifted.kept;
        let val = self.options.val;
        let is_test = choose_test(&sifted.groups, val, self.options.seed);
        let test = is_test.iter().filter(|&&chosen| chosen).count();
        if kept.len() <= val || kept.len() == test {
            return Err(Error::TooFew {
                noun: self.domain.noun(),
                folder: self.folder().into(),
                found: self.files.len(),
                usable: kept.len(),
                val,
            });
        }
        let mut names = Names::default();
        let entry = |(kept, &is_test): (&Kept, &bool)| {
            let (frame, framing) = match self.domain {
                Domain::A => plan.photograph(&kept.examined, kept.face.as_ref()),
                Domain::B => plan.drawing(&kept.examined, kept.face.as_ref()),
            };
            let part = if is_test { "test" } else { "train" };
            let name = names.unique(&kept.source);
            Entry {
                domain: self.domain,
                file: format!("{part}{:?}/{name}.png", self.domain),
                source: portable(&kept.source),
                extent: kept.examined.extent,
                frame,
                framing,
                face: kept.face.map(|face| face.landmarks),
                score: kept.face.map(|face| face.score),
                style: None,
            }
        };
        Ok(kept.iter().zip(&is_test).map(entry).collect())
    }

    fn summary(&self, sifted: &Sifted, pictures: &[Entry]) -> DomainSummary {
        let own: Vec<&Entry> = pictures
            .iter()
            .filter(|entry| entry.domain == self.domain)
            .collect();
        let test = own.iter().filter(|entry| entry.file.starts_with("test"));
        let test = test.count();
        let mut causes: Vec<(Cause, usize)> = Vec::new();
        let mut sorted: Vec<Cause> = sifted.left_out.iter().map(|file| file.cause).collect();
        sorted.sort();
        for cause in sorted {
            match causes.last_mut() {
                Some((last, count)) if *last == cause => *count += 1,
                _ => causes.push((cause, 1)),
            }
        }
        let heights = |i: usize| {
            let heights = own
                .iter()
                .filter_map(|entry| Some(entry.face_heights()?[i]));
            median(heights.collect())
        };
        let detected = own.iter().filter(|entry| entry.face.is_some());
        DomainSummary {
            domain: self.domain,
            found: self.files.len(),
            train: own.len() - test,
            test,
            detected: detected.count(),
            left_out: causes,
            face_heights: heights(0).zip(heights(1)),
            grouping: sifted.grouping,
            groups: sifted.groups.iter().collect::<HashSet<_>>().len(),
            sheet: self.options.out.join(sheet_name(self.domain)),
        }
    }
}

/// Why a photographed face is left out.
fn refuse(face: &Found, filters: &Filters) -> Option<Refusal> {
    let measures = &face.measures;
    let (height, turn) = (face.landmarks.height(), face.landmarks.turn());
    let refusal = |cause, reason| Some(Refusal { cause, reason });
    if height < filters.min_face {
        let reason = format!(
            "the face is {height:.0} pixels high, less than {}",
            filters.min_face
        );
        return refusal(Cause::Small, reason);
    }
    if measures.flatness > filters.max_flatness {
        let reason = format!(
            "{:.0} % of the face are of one colour with the next pixel, as in a drawing",
            100.0 * measures.flatness
        );
        return refusal(Cause::Drawn, reason);
    }
    if measures.sharpness < filters.min_sharpness {
        let reason = format!(
            "sharpness {:.1}, less than {}",
            measures.sharpness, filters.min_sharpness
        );
        return refusal(Cause::Blurred, reason);
    }
    if measures.brightness < filters.min_brightness {
        let reason = format!(
            "brightness {:.0}, less than {}",
            measures.brightness, filters.min_brightness
        );
        return refusal(Cause::Dark, reason);
    }
    if turn > filters.max_turn {
        let reason = format!("turned by {turn:.2}, more than {}", filters.max_turn);
        return refusal(Cause::Turned, reason);
    }
    None
}

/// Cuts all pictures out and writes them, but those that an earlier run wrote already.
fn write_pictures(
    options: &Options,
    staging: &Staging,
    pictures: &[Entry],
    originals: &[Original],
    progress: &dyn Progress,
) -> Result<()> {
    // Other files than that run's may have changed where faces lie.
    let contents: Vec<u64> = originals.iter().map(|original| original.content).collect();
    let plan =
        serde_json::to_string(&(pictures, contents)).expect("plain data can be written as JSON");
    let path = staging.work().join("pictures.json");
    if !text::holds(&path, &plan) {
        staging.clear_set()?;
        fs::write(&path, plan).map_err(error::write(&path))?;
    }
    let set = staging.set();
    for part in ["trainA", "testA", "trainB", "testB"] {
        let folder = set.join(part);
        fs::create_dir_all(&folder).map_err(error::write(&folder))?;
        remove_unfinished(&folder)?;
    }
    progress.begin("cutting", pictures.len());
    parallel::map(pictures.len(), |i| {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let target = set.join(&pictures[i].file);
        if !target.exists() {
            let cut = cut(options, &pictures[i], &originals[i])?;
            images::save_png(&target, &cut)?;
        }
        progress.advance();
        Ok(())
    })?;
    Ok(())
}

/// Removes what a run left that was killed while it wrote: hidden files, and empty ones after a power cut.
fn remove_unfinished(folder: &Path) -> Result<()> {
    let context = || error::write(folder);
    for entry in fs::read_dir(folder).map_err(context())? {
        let entry = entry.map_err(context())?;
        let metadata = entry.metadata().map_err(context())?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if metadata.is_file() && (hidden || metadata.len() == 0) {
            fs::remove_file(entry.path()).map_err(context())?;
        }
    }
    Ok(())
}

fn cut(options: &Options, entry: &Entry, original: &Original) -> Result<images::RgbImage> {
    let Original { path, content } = original;
    let changed = |reason: String| Error::Changed {
        path: path.clone(),
        reason,
    };
    let picture = read(path, options.background).map_err(|refusal| changed(refusal.reason))?;
    if content_of(&picture) != *content {
        return Err(changed("it shows something else now".into()));
    }
    Ok(match entry.framing {
        Framing::Whole => entry
            .frame
            .cut_onto(&picture, options.size, Rgb(options.background)),
        _ => entry.frame.cut(&picture, options.size),
    })
}

fn write_sheet(set: &Path, domain: Domain, pictures: &[Entry]) -> Result<()> {
    let own: Vec<&Entry> = pictures
        .iter()
        .filter(|entry| entry.domain == domain)
        .collect();
    let shown = own.len().min(SHEET_PICTURES);
    let mut sheet = Sheet::new(SHEET_COLUMNS.min(shown)).gap(2);
    for i in 0..shown {
        let picture = images::decode(&set.join(&own[i * own.len() / shown].file))?;
        sheet.push(images::resize(&picture, SHEET_TILE, SHEET_TILE));
    }
    Ok(images::save_png(
        &set.join(sheet_name(domain)),
        &sheet.render(),
    )?)
}

fn sheet_name(domain: Domain) -> String {
    format!("contact-{domain:?}.png")
}

/// Whom each picture shows. Several faces of one file don't make a person of it.
fn group_files(paths: &[&Path]) -> (crate::Grouping, Vec<String>) {
    let mut files = paths.to_vec();
    files.dedup();
    let (grouping, groups) = group(&files);
    let group_of: HashMap<&Path, String> = files.into_iter().zip(groups).collect();
    let groups = paths.iter().map(|path| group_of[path].clone());
    (grouping, groups.collect())
}

/// Names of the pictures of a domain.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// By which number a name is to be followed next.
    next: HashMap<String, usize>,
}

/// File systems take names of 255 bytes, of which a temporary name and a number need some.
const LONGEST_NAME: usize = 200;

impl Names {
    /// The file name without its extension, and a number where that was taken (on some systems capitals
    /// don't tell names apart).
    fn unique(&mut self, path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut end = stem.len().min(LONGEST_NAME);
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        let stem = &stem[..end];
        let next = self.next.entry(stem.to_lowercase()).or_insert(1);
        loop {
            let name = match *next {
                1 => stem.to_owned(),
                number => format!("{stem}-{number}"),
            };
            *next += 1;
            if self.taken.insert(name.to_lowercase()) {
                return name;
            }
        }
    }
}
