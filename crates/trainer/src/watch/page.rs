//! The page: as it is served, and as a file that needs nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use images::RgbImage;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::disk;
use crate::run_dir::RunDir;
use crate::watch::follower::read_all;
use crate::watch::overview::{Overview, SampleSheet, sample_file};

const HTML: &str = include_str!("page.html");
pub const STYLE: &str = include_str!("page.css");
pub const SCRIPT: &str = concat!(
    include_str!("chart.js"),
    include_str!("compare.js"),
    include_str!("page.js")
);

/// Where the page's parts go.
const HEAD: &str = "<!-- head -->";

/// Points of a series in a file.
const POINTS: usize = 1000;

/// Of a file: so many sheets at the most, so large at the most, all together in so many bytes.
const SHEETS: usize = 24;
const SHEET_SIDE: u32 = 1000;
const SHEET_BYTES: usize = 6 << 20;
const QUALITY: u8 = 85;

/// The page as the server gives it, which asks the server for all else.
pub fn served() -> String {
    let head =
        "<link rel=\"stylesheet\" href=\"page.css\">\n<script src=\"page.js\" defer></script>";
    HTML.replacen(HEAD, head, 1)
}

/// A sheet inside of the page.
#[derive(Serialize)]
struct Inlined {
    url: String,
    /// Of the original, in pixels.
    width: u32,
    height: u32,
}

/// Writes a run's page with all that it shows inside. Up to [`SHEETS`] sheets, evenly spread, are taken in as
/// JPEGs of up to [`SHEET_SIDE`] pixels a side, fewer if they come to more than [`SHEET_BYTES`]; numbers with
/// up to [`POINTS`] points each.
///
/// # Errors
/// When it can't be written.
pub fn write(run: &RunDir, mut overview: Overview, output: &Path) -> Result<()> {
    let sheets = sheets(run, &overview.samples);
    overview
        .samples
        .retain(|sheet| sheets.contains_key(&sheet.step));
    let metrics = read_all(run);
    let data = json!({
        "overview": overview,
        "series": metrics.shown(0..=u64::MAX, POINTS),
        "sheets": sheets,
    });
    // So that nothing in it ends the element that it is in.
    let data = data.to_string().replace('<', "\\u003c");
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    let [style, script] = [STYLE, SCRIPT].map(hash);
    let policy = format!(
        "default-src 'none'; img-src data: blob:; style-src 'sha256-{style}'; \
         script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    );
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<style>{STYLE}</style>"
    );
    let foot = format!(
        "<script type=\"application/json\" id=\"inlined\">{data}</script>\n<script>{SCRIPT}</script>\n</body>"
    );
    let page = HTML.replacen(HEAD, &head, 1).replacen("</body>", &foot, 1);
    disk::replace(output, &page).with_context(|| {
        format!(
            "{} can't be written; give another file with --output",
            output.display()
        )
    })
}

/// Sheets by step. One that can't be read is left out.
fn sheets(run: &RunDir, all: &[SampleSheet]) -> BTreeMap<u64, Inlined> {
    let mut chosen: Vec<u64> = spread(all.len(), SHEETS).map(|i| all[i].step).collect();
    let mut found = BTreeMap::new();
    for &step in &chosen {
        let Ok(sheet) = images::decode(&sample_file(run, step)) else {
            continue;
        };
        let bytes = images::encode_jpeg(&shrunk(&sheet), QUALITY);
        let inlined = Inlined {
            url: format!("data:image/jpeg;base64,{}", BASE64.encode(bytes)),
            width: sheet.width(),
            height: sheet.height(),
        };
        found.insert(step, inlined);
    }
    let size = |sheets: &BTreeMap<u64, Inlined>| -> usize {
        sheets.values().map(|sheet| sheet.url.len()).sum()
    };
    while size(&found) > SHEET_BYTES && chosen.len() > 1 {
        let half = spread(chosen.len(), chosen.len() / 2);
        chosen = half.map(|i| chosen[i]).collect();
        found.retain(|step, _| chosen.contains(step));
    }
    found
}

/// Up to `count` of `len` indices, evenly spread, with the first and the last.
fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(len);
    (0..count).map(move |i| match count {
        1 => len - 1,
        _ => i * (len - 1) / (count - 1),
    })
}

fn shrunk(sheet: &RgbImage) -> RgbImage {
    let (width, height) = sheet.dimensions();
    let longest = width.max(height);
    if longest <= SHEET_SIDE {
        return sheet.clone();
    }
    let side = |side: u32| (side * SHEET_SIDE / longest).max(1);
    images::resize(sheet, side(width), side(height))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn some_of_many_are_spread_from_the_first_to_the_last() {
        let spread = |len, count| spread(len, count).collect::<Vec<_>>();
        assert_eq!(spread(0, 24), [0; 0]);
        assert_eq!(spread(1, 24), [0]);
        assert_eq!(spread(3, 24), [0, 1, 2]);
        assert_eq!(spread(11, 3), [0, 5, 10]);
        assert_eq!(spread(11, 1), [10]);
    }

    #[test]
    fn the_page_has_the_places_that_are_filled_and_asks_for_nothing_from_elsewhere() {
        assert_eq!(HTML.matches(HEAD).count(), 1);
        assert_eq!(HTML.matches("</body>").count(), 1);
        for text in [HTML, STYLE, SCRIPT] {
            for outside in ["http:", "https:", "//cdn", "@import", "url("] {
                assert!(!text.contains(outside), "{outside}");
            }
        }
        assert!(!SCRIPT.contains("</script"));
        // What the policy forbids.
        for inline in [" style=", " onclick=", "eval(", "javascript:"] {
            assert!(
                !HTML.contains(inline) && !SCRIPT.contains(inline),
                "{inline}"
            );
        }
    }

    #[test]
    fn large_sheets_leave_a_file_of_some_megabytes() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::at(folder.path());
        fs::create_dir(run.samples()).unwrap();
        // Noise, which is as long as pictures get.
        let mut state = 1u32;
        let noise = RgbImage::from_fn(1200, 1000, |_, _| {
            images::Rgb([0; 3].map(|_: u8| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        });
        images::save_png(&sample_file(&run, 0), &noise).unwrap();
        for step in 1..30 {
            fs::copy(sample_file(&run, 0), sample_file(&run, step)).unwrap();
        }
        let output = folder.path().join("out.html");
        write(&run, Overview::of(&run), &output).unwrap();
        let page = fs::read_to_string(&output).unwrap();
        assert!(page.len() < SHEET_BYTES + (1 << 20), "{}", page.len());
        let sheets = page.matches("data:image/jpeg;base64,").count();
        assert!((2..SHEETS).contains(&sheets), "{sheets}");
        assert!(page.contains("\"29\":{"), "the last is there");
    }
}
