//! What there is to say about a run beside its numbers over time.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use cyclegan::Method;
use images::Sheet;
use serde::Serialize;
use serde_json::Value;
use toml::Table;

use crate::checkpoint;
use crate::run_dir::RunDir;
use crate::runs;

/// The most bytes of a configuration that are shown.
const LONGEST_CONFIG: u64 = 64 << 10;
/// The last so many events are shown.
const EVENTS: usize = 100;

/// A run as the page shows it.
#[derive(Debug, Serialize)]
pub struct Overview {
    name: String,
    state: &'static str,
    step: u64,
    /// Steps that it is to take.
    of: Option<u64>,
    device: Option<String>,
    version: Option<String>,
    /// The side of the pictures that it trains on.
    size: Option<u64>,
    /// The last line of its times.
    pace: Option<Value>,
    settings: Vec<[String; 2]>,
    events: Vec<Value>,
    checkpoints: Vec<u64>,
    pub samples: Vec<SampleSheet>,
    layout: Layout,
}

/// A sample sheet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SampleSheet {
    pub step: u64,
    /// Changes when the file does.
    version: u64,
}

/// How sample sheets are laid out, in pixels.
#[derive(Debug, Serialize)]
struct Layout {
    captions: &'static [&'static str],
    /// Columns that are worth to be held against each other.
    pairs: &'static [[usize; 2]],
    gap: u32,
    caption: u32,
}

impl Overview {
    /// Looks at a run, on which somebody may be at work.
    pub fn of(run: &RunDir) -> Self {
        Self::with(run, |last| runs::state(run, last))
    }

    /// Looks at a run that has just ended, though its lock may be held yet.
    pub fn at_the_end(run: &RunDir) -> Self {
        Self::with(run, runs::ended_as)
    }

    fn with(run: &RunDir, state: impl FnOnce(Option<&Value>) -> &'static str) -> Self {
        let mut events = run.events();
        let state = state(events.last());
        let began = events.iter().rev().find(|event| event["event"] == "began");
        let text = |key: &str| Some(began?[key].as_str()?.to_owned());
        let step = run.last_metrics().and_then(|line| line["step"].as_u64());
        let (of, device, version) = (
            began.and_then(|event| event["of"].as_u64()),
            text("device"),
            text("henshin"),
        );
        events.drain(..events.len().saturating_sub(EVENTS));
        let config = config(run);
        let method = method(&config);
        let checkpoints = checkpoint::list(run).unwrap_or_default();
        Overview {
            name: name(run),
            state,
            step: step.unwrap_or(0),
            of,
            device,
            version,
            size: config
                .get("size")
                .and_then(|size| u64::try_from(size.as_integer()?).ok()),
            pace: run.last_pace(),
            settings: config
                .iter()
                .map(|(key, value)| [key.clone(), shown(value)])
                .collect(),
            events,
            checkpoints: checkpoints
                .iter()
                .filter_map(|path| checkpoint::steps_of(path))
                .collect(),
            samples: samples(run),
            layout: Layout {
                captions: method.columns(),
                pairs: method.pairs(),
                gap: Sheet::GAP,
                caption: Sheet::CAPTION,
            },
        }
    }
}

/// The name of the run's folder.
fn name(run: &RunDir) -> String {
    let path = fs::canonicalize(run.path()).unwrap_or_else(|_| run.path().to_owned());
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn config(run: &RunDir) -> Table {
    let mut text = String::new();
    let read =
        File::open(run.config()).and_then(|f| f.take(LONGEST_CONFIG).read_to_string(&mut text));
    // A page without them is better than none.
    read.map_or_else(|_| Table::new(), |_| text.parse().unwrap_or_default())
}

/// That of a run's settings; CycleGAN's where they can't be read.
fn method(config: &Table) -> Method {
    let named = config.get("method").cloned();
    let method = named.and_then(|name| name.try_into().ok());
    method.unwrap_or(Method::CycleGan)
}

/// A value as people read it.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The sheet after so many steps.
pub fn sample_file(run: &RunDir, step: u64) -> PathBuf {
    run.samples().join(format!("{step:06}.png"))
}

/// The sample sheets, oldest first.
fn samples(run: &RunDir) -> Vec<SampleSheet> {
    let entries = fs::read_dir(run.samples()).into_iter().flatten().flatten();
    let mut found: Vec<SampleSheet> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let step = path.file_stem()?.to_str()?.parse().ok()?;
            // By its number it will be asked for.
            if path != sample_file(run, step) {
                return None;
            }
            let modified = entry.metadata().ok()?.modified().ok()?;
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(SampleSheet {
                step,
                version: since.as_millis() as u64,
            })
        })
        .collect();
    found.sort_by_key(|sheet| sheet.step);
    found
}

#[cfg(test)]
mod tests {
    use images::RgbImage;

    use super::*;

    #[test]
    fn sheets_are_laid_out_as_the_page_takes_them_apart() {
        let (side, rows) = (37, 3);
        let captions = Method::CycleGan.columns();
        let mut sheet = Sheet::new(captions.len()).captions(captions.iter().copied());
        for _ in 0..rows * captions.len() {
            sheet.push(RgbImage::from_pixel(side, side, images::Rgb([9, 8, 7])));
        }
        let sheet = sheet.render();
        let cell = |i: u32| Sheet::GAP + i * (side + Sheet::GAP);
        assert_eq!(
            sheet.dimensions(),
            (cell(6), Sheet::CAPTION + cell(rows as u32))
        );
        for (column, row) in [(0, 0), (5, 2)] {
            let [x, y] = [cell(column), Sheet::CAPTION + cell(row)];
            assert_eq!(sheet.get_pixel(x, y).0, [9, 8, 7]);
            assert_eq!(sheet.get_pixel(x + side - 1, y + side - 1).0, [9, 8, 7]);
            assert_eq!(sheet.get_pixel(x - 1, y).0, [255; 3]);
        }
    }

    #[test]
    fn a_folder_with_hardly_anything_in_it_is_shown_too() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::at(folder.path());
        fs::create_dir(run.samples()).unwrap();
        for name in ["000000.png", "1.png", "000300.png", "x.png", ".000400.png"] {
            fs::write(run.samples().join(name), "").unwrap();
        }
        fs::write(run.config(), "size = 64\ndata = \"x\"").unwrap();
        let overview = Overview::of(&run);
        let steps: Vec<u64> = overview.samples.iter().map(|sheet| sheet.step).collect();
        assert_eq!(steps, [0, 300]);
        assert_eq!((overview.state, overview.size), ("unknown", Some(64)));
        fs::write(run.config(), "size = -64 = 3").unwrap();
        assert!(Overview::of(&run).settings.is_empty());
    }
}
