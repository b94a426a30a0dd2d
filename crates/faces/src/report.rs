//! The report of a prepared set: one page that says what became of the pictures and shows it.
//!
//! Everything is inside the page, pictures too, so that it can be sent to somebody or opened years
//! later. What it shows is a sample, evenly chosen, so that a set of any size has a page that opens
//! at once; all there is to know is in the manifest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::codecs::jpeg::JpegEncoder;
use images::{Rgb, RgbImage, Sheet, decode, decode_onto, resize};
use rayon::prelude::*;

use crate::{Cause, Division, Domain, Entry, Frame, Framing, LeftOut, Manifest, Result, error};

/// The report's name in the folder of its set.
const FILE: &str = "index.html";

const DOMAINS: [Domain; 2] = [Domain::A, Domain::B];
const FRAMINGS: [Framing; 4] = [
    Framing::Landmarks,
    Framing::Box,
    Framing::Centre,
    Framing::Whole,
];

/// Of the JPEGs in the page.
const QUALITY: u8 = 85;

/// So many left-out files are shown of each cause, so large.
const THUMBNAILS: usize = 48;
const THUMBNAIL: u32 = 64;

/// The mean face is that of so many pictures, so large.
const MEAN_PICTURES: usize = 400;
const MEAN_SIDE: u32 = 128;

/// A sheet shows so many pictures of a domain, or of one style, so large. Two sheets of ten columns
/// fit side by side on a desktop, and one across a phone.
const SHEET_PICTURES: usize = 200;
const STYLE_PICTURES: usize = 100;
const SHEET_COLUMNS: usize = 10;
const SHEET_TILE: u32 = 48;

/// Between the pictures of a sheet: neither bright by night nor dark by day.
const SHEET_GROUND: [u8; 3] = [128; 3];

/// A histogram's bars: each is one fiftieth of the picture's side.
const BINS: usize = 50;

/// Writes the report of the set in a folder, from the pictures there and their originals. An
/// original that cannot be read any more is left out of what is shown.
///
/// # Errors
/// When a picture of the set cannot be read, or the page cannot be written.
pub(crate) fn write(set: &Path, manifest: &Manifest) -> Result<()> {
    let page = Report { set, manifest }.page()?;
    let path = set.join(FILE);
    fs::write(&path, page).map_err(error::write(&path))
}

struct Report<'a> {
    set: &'a Path,
    manifest: &'a Manifest,
}

impl Report<'_> {
    fn page(&self) -> Result<String> {
        let sections = [
            ("left-out", "What was left out, and why", self.left_out()),
            ("heights", "How tall the faces are", self.heights()),
            ("means", "The mean face", self.means()?),
            ("pictures", "The pictures", self.sheets()?),
            ("styles", "The styles of drawing", self.styles()?),
        ];
        let (mut links, mut bodies) = (String::new(), String::new());
        for (id, title, body) in sections.iter().filter(|(_, _, body)| !body.is_empty()) {
            let _ = writeln!(links, "<a href=\"#{id}\">{title}</a>");
            bodies += &section(id, title, body);
        }
        Ok(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>A training set of faces</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n{}<nav>\n{links}</nav>\n{bodies}</main>\n</body>\n</html>\n",
            self.summary()
        ))
    }

    /// The title, the folders and the counts. The set's own folder is not named: it can be moved.
    fn summary(&self) -> String {
        let size = self.manifest.options.size;
        let [photographs, drawings] = DOMAINS.map(|domain| {
            escape(&self.manifest.options.source(domain).to_string_lossy()).into_owned()
        });
        let counts = [
            self.row("found", |domain| {
                // Several pictures may be of one file.
                let mut files: Vec<&str> = self
                    .pictures(domain)
                    .map(|entry| entry.source.as_str())
                    .collect();
                files.dedup();
                files.len() + self.left_out_of(domain).count()
            }),
            self.row("to train on", |domain| self.part(domain, "train")),
            self.row("to test with", |domain| self.part(domain, "test")),
            self.row("left out", |domain| self.left_out_of(domain).count()),
        ];
        let framings = FRAMINGS.map(|framing| {
            self.row(framing.text(), |domain| {
                let is_framed_so = |entry: &&Entry| entry.framing == framing;
                self.pictures(domain).filter(is_framed_so).count()
            })
        });
        format!(
            "<h1>A training set of faces</h1>\n\
             <p>Photographs (A) from <code>{photographs}</code><br>\n\
             Drawings (B) from <code>{drawings}</code><br>\n\
             Each cut to {size} × {size} pixels. <code>manifest.json</code> beside this page lists \
             every picture and every file that was left out.</p>\n\
             <div class=\"tables\">\n{}{}</div>\n",
            table(&["files", "photographs", "drawings"], &counts),
            table(&["how framed", "photographs", "drawings"], &framings)
        )
    }

    /// A row of the tables of counts.
    fn row(&self, name: &str, count: impl Fn(Domain) -> usize) -> Row {
        let [photographs, drawings] = DOMAINS.map(|domain| count(domain).to_string());
        Row {
            cells: vec![escape(name).into_owned(), photographs, drawings],
            marked: false,
        }
    }

    /// For each cause, how many files were left out because of it, and some of them.
    fn left_out(&self) -> String {
        let mut by_cause: BTreeMap<Cause, Vec<&LeftOut>> = BTreeMap::new();
        for file in &self.manifest.left_out {
            by_cause.entry(file.cause).or_default().push(file);
        }
        if by_cause.is_empty() {
            return paragraph("Nothing was left out.");
        }
        by_cause
            .iter()
            .map(|(cause, files)| self.cause(*cause, files))
            .collect()
    }

    fn cause(&self, cause: Cause, files: &[&LeftOut]) -> String {
        let per_domain = DOMAINS
            .map(|domain| (files.iter().filter(|f| f.domain == domain).count(), domain))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, domain)| format!("{}: {count}", domain.noun()))
            .collect::<Vec<_>>()
            .join(", ");
        let thumbnails: Vec<_> = sample(files, THUMBNAILS)
            .into_par_iter()
            .map(|file| self.thumbnail(file))
            .collect();
        format!(
            "<details open>\n<summary><h3>{}: {}</h3> <span>{per_domain}</span></summary>\n{}\
             <ul class=\"thumbnails\">\n{}</ul>\n</details>\n",
            escape(cause.text()),
            files.len(),
            shown(thumbnails.len(), files.len()),
            thumbnails.concat()
        )
    }

    /// A left-out file: its picture if it has one, its name and the reason.
    fn thumbnail(&self, file: &LeftOut) -> String {
        let picture = self.original(file.domain, &file.source);
        let picture = picture.map(|picture| img(&fit(&picture, THUMBNAIL), ""));
        format!(
            "<li><div>{}</div><bdi>{}</bdi><small>{}</small></li>\n",
            picture.unwrap_or_default(),
            escape(&file.source),
            escape(&file.reason)
        )
    }

    /// Histograms of the faces' heights in the originals and in the set, and what came of the
    /// framing.
    fn heights(&self) -> String {
        let mut charts = String::new();
        let mut after = [None; 2];
        for (domain, median_after) in DOMAINS.into_iter().zip(&mut after) {
            let measured: Vec<_> = self.pictures(domain).filter_map(heights).collect();
            if measured.is_empty() {
                charts += &paragraph(&format!("No face is known in the {}.", domain.noun()));
                continue;
            }
            let [shares_before, shares_after] = [0, 1].map(|i| {
                let shares = measured.iter().map(|pair| pair[i]);
                shares.collect::<Vec<_>>()
            });
            *median_after = median(&shares_after);
            charts += &histogram_figure(domain, "before", &shares_before);
            charts += &histogram_figure(domain, "after", &shares_after);
        }
        format!(
            "{}<div class=\"pairs\">\n{charts}</div>\n{}",
            paragraph(
                "From the brows to the chin, as a share of the picture's side: of the original's \
                 shorter one before, of the square that was cut out of it after."
            ),
            paragraph(&compare(after))
        )
    }

    /// The mean pictures of both domains, before and after.
    fn means(&self) -> Result<String> {
        let mut figures = String::new();
        for domain in DOMAINS {
            let entries: Vec<_> = self.pictures(domain).collect();
            let chosen = sample(&entries, MEAN_PICTURES);
            let originals: Vec<_> = chosen
                .par_iter()
                .filter_map(|entry| self.middle_of_original(entry))
                .collect();
            let pictures = self.read(&chosen, MEAN_SIDE)?;
            figures += &mean_figure(domain, "before", &originals);
            figures += &mean_figure(domain, "after", &pictures);
        }
        Ok(format!(
            "{}<div class=\"means\">\n{figures}</div>\n",
            paragraph(
                "Every pixel is the mean over many pictures: before, of the largest square in the \
                 middle of the original; after, of the picture in the set. The better faces lie \
                 over each other, the sharper is their mean; and what differs between the two \
                 means after is what a network has to learn."
            )
        ))
    }

    /// A sheet per domain.
    fn sheets(&self) -> Result<String> {
        let mut figures = String::new();
        for domain in DOMAINS {
            let entries: Vec<_> = self.pictures(domain).collect();
            let title = capitalised(domain.noun());
            figures += &self.sheet(&title, &entries, SHEET_PICTURES)?;
        }
        Ok(format!("<div class=\"pairs\">\n{figures}</div>\n"))
    }

    /// A sheet per style, and how far apart other numbers of clusters would be; nothing where there are none.
    fn styles(&self) -> Result<String> {
        let mut by_style: BTreeMap<usize, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.manifest.pictures {
            if let Some(style) = entry.style {
                by_style.entry(style).or_default().push(entry);
            }
        }
        let mut body = String::new();
        if let Some(division) = &self.manifest.division {
            body += &silhouettes(division);
        }
        if !by_style.is_empty() {
            body += "<div class=\"pairs\">\n";
            for (style, entries) in &by_style {
                body += &self.sheet(&format!("Style {style}"), entries, STYLE_PICTURES)?;
            }
            body += "</div>\n";
        }
        Ok(body)
    }

    fn sheet(&self, title: &str, entries: &[&Entry], most: usize) -> Result<String> {
        let chosen = sample(entries, most);
        let caption = format!("<b>{}: {}</b>", escape(title), entries.len());
        if chosen.is_empty() {
            return Ok(figure("", &caption));
        }
        let mut sheet = Sheet::new(SHEET_COLUMNS).gap(2).background(SHEET_GROUND);
        for picture in self.read(&chosen, SHEET_TILE)? {
            sheet.push(picture);
        }
        let alt = format!("{title}: {} of {} pictures", chosen.len(), entries.len());
        let caption = caption + &shown(chosen.len(), entries.len());
        Ok(figure(&img(&sheet.render(), &alt), &caption))
    }

    /// Pictures of the set, resized.
    fn read(&self, entries: &[&Entry], side: u32) -> Result<Vec<RgbImage>> {
        entries
            .par_iter()
            .map(|entry| {
                let picture = decode(&self.set.join(&entry.file))?;
                Ok(resize(&picture, side, side))
            })
            .collect()
    }

    /// The largest square in the middle of a picture's original.
    fn middle_of_original(&self, entry: &Entry) -> Option<RgbImage> {
        let original = self.original(entry.domain, &entry.source)?;
        let extent = [original.width(), original.height()];
        Some(Frame::centre(extent).cut(&original, MEAN_SIDE))
    }

    /// An original as it was read when the set was made; nothing if it cannot be read any more.
    fn original(&self, domain: Domain, source: &str) -> Option<RgbImage> {
        let background = Rgb(self.manifest.options.background);
        decode_onto(
            &self.manifest.options.source(domain).join(source),
            background,
        )
        .ok()
    }

    fn pictures(&self, domain: Domain) -> impl Iterator<Item = &Entry> {
        let pictures = self.manifest.pictures.iter();
        pictures.filter(move |entry| entry.domain == domain)
    }

    /// How many pictures are in the folder for training or that for testing.
    fn part(&self, domain: Domain, part: &str) -> usize {
        let pictures = self.pictures(domain);
        pictures.filter(|e| e.file.starts_with(part)).count()
    }

    fn left_out_of(&self, domain: Domain) -> impl Iterator<Item = &LeftOut> {
        let left_out = self.manifest.left_out.iter();
        left_out.filter(move |file| file.domain == domain)
    }
}

/// The height of a picture's face before and after, if it is known and can be drawn.
fn heights(entry: &Entry) -> Option<[f64; 2]> {
    let shares = entry.face_heights()?;
    shares
        .iter()
        .all(|share| share.is_finite() && *share > 0.0)
        .then_some(shares)
}

/// Says by how much the faces of the two domains differ in the set.
fn compare(medians: [Option<f64>; 2]) -> String {
    let [Some(photographs), Some(drawings)] = medians else {
        return "Without faces known in both domains there is nothing to compare.".into();
    };
    let more = 100.0 * (photographs / drawings - 1.0);
    let verdict = match format!("{:.1}", more.abs()).as_str() {
        "0.0" => "they are equally tall".into(),
        difference if more > 0.0 => {
            format!("those of the photographs are {difference}&nbsp;% taller")
        }
        difference => format!("those of the photographs are {difference}&nbsp;% shorter"),
    };
    format!(
        "In the set, the median face takes up <b>{}</b> of the side in the photographs and \
         <b>{}</b> in the drawings: <b>{verdict}</b>.",
        per_cent(photographs),
        per_cent(drawings)
    )
}

/// The middle value; of an even number of them, the mean of the middle two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// How many shares fall into each bar; those over the whole count in the last.
fn histogram(shares: &[f64]) -> [usize; BINS] {
    let mut bars = [0; BINS];
    for share in shares {
        let bin = (share * BINS as f64) as usize; // `as` saturates
        bars[bin.min(BINS - 1)] += 1;
    }
    bars
}

fn histogram_figure(domain: Domain, when: &str, shares: &[f64]) -> String {
    let Some(median) = median(shares) else {
        return String::new();
    };
    let title = format!("{}, {when}", capitalised(domain.noun()));
    let caption = format!(
        "<b>{title}</b>: median {}, {} faces",
        per_cent(median),
        shares.len()
    );
    figure(&chart(domain, &title, &histogram(shares), median), &caption)
}

/// Where a chart's parts lie, in units of its own; text is as large as 12 of them.
const CHART: [f64; 2] = [400.0, 190.0];
const PLOT_LEFT: f64 = 52.0;
const PLOT_RIGHT: f64 = 384.0;
const PLOT_TOP: f64 = 26.0;
const PLOT_BOTTOM: f64 = 144.0;

/// A histogram as SVG, its median marked.
fn chart(domain: Domain, title: &str, bars: &[usize; BINS], median: f64) -> String {
    let [width, height] = CHART;
    let middle = (PLOT_LEFT + PLOT_RIGHT) / 2.0;
    let beside = (PLOT_TOP + PLOT_BOTTOM) / 2.0;
    let tallest = bars.iter().copied().max().unwrap_or(0).max(1);
    let mut svg = format!(
        "<svg class=\"{domain:?}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{title}: histogram of face heights, median {}\">\n",
        per_cent(median)
    );
    for (count, y) in [(0, PLOT_BOTTOM), (tallest, PLOT_TOP)] {
        svg += &line("grid", [PLOT_LEFT, y], [PLOT_RIGHT, y]);
        svg += &text("end", [PLOT_LEFT - 6.0, y + 4.0], &count.to_string());
    }
    for (bin, &count) in bars.iter().enumerate().filter(|(_, count)| **count > 0) {
        svg += &bar(bin, count, tallest);
    }
    for tick in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let x = across(tick);
        svg += &line("tick", [x, PLOT_BOTTOM], [x, PLOT_BOTTOM + 4.0]);
        svg += &text(
            "middle",
            [x, PLOT_BOTTOM + 18.0],
            &format!("{:.0}", 100.0 * tick),
        );
    }
    svg += &text(
        "middle",
        [middle, height - 8.0],
        "face height, % of the side",
    );
    let _ = writeln!(
        svg,
        "<text class=\"middle\" transform=\"translate(14 {beside}) rotate(-90)\">faces</text>"
    );
    svg + &median_mark(median) + "</svg>"
}

fn bar(bin: usize, count: usize, tallest: usize) -> String {
    let [from, to] = [bin, bin + 1].map(|edge| edge as f64 / BINS as f64);
    let (left, right) = (across(from), across(to));
    let height = (PLOT_BOTTOM - PLOT_TOP) * count as f64 / tallest as f64;
    format!(
        "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\">\
         <title>{:.0} to {:.0} %: {count}</title></rect>\n",
        left + 0.5,
        PLOT_BOTTOM - height,
        right - left - 1.0,
        100.0 * from,
        100.0 * to
    )
}

/// The line at the median, its label on the side where there is room.
fn median_mark(median: f64) -> String {
    let x = across(median.clamp(0.0, 1.0));
    let (class, label_x) = match median < 0.5 {
        true => ("start strong", x + 5.0),
        false => ("end strong", x - 5.0),
    };
    let label = format!("median {}", per_cent(median));
    line("median", [x, 8.0], [x, PLOT_BOTTOM]) + &text(class, [label_x, 17.0], &label)
}

/// Where a share lies on a chart.
fn across(share: f64) -> f64 {
    PLOT_LEFT + share * (PLOT_RIGHT - PLOT_LEFT)
}

fn line(class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\"/>\n"
    )
}

fn text(class: &str, [x, y]: [f64; 2], content: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\">{content}</text>\n")
}

fn mean_figure(domain: Domain, when: &str, pictures: &[RgbImage]) -> String {
    let title = format!("{}, {when}", capitalised(domain.noun()));
    let Some(mean) = mean(pictures) else {
        return figure("", &format!("<b>{title}</b>: none can be read"));
    };
    let caption = format!("<b>{title}</b>: mean of {}", pictures.len());
    figure(&img(&mean, &title), &caption)
}

/// The mean of pictures that are all of one size; nothing when there are none.
fn mean(pictures: &[RgbImage]) -> Option<RgbImage> {
    let (width, height) = pictures.first()?.dimensions();
    let count = pictures.len() as u32;
    Some(RgbImage::from_fn(width, height, |x, y| {
        Rgb([0, 1, 2].map(|channel| {
            let values = pictures.iter().map(|p| p.get_pixel(x, y).0[channel]);
            let sum: u32 = values.map(u32::from).sum();
            ((sum + count / 2) / count) as u8
        }))
    }))
}

/// How well the drawings part into so many styles; the best is marked, and the one that was taken.
fn silhouettes(division: &Division) -> String {
    let taken = division.sizes.len();
    let finite = division.silhouettes.iter().filter(|(_, s)| s.is_finite());
    let best = finite
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(styles, _)| *styles);
    let rows: Vec<_> = division
        .silhouettes
        .iter()
        .map(|&(styles, silhouette)| {
            let notes = [(Some(styles) == best, "best"), (styles == taken, "taken")];
            let notes = notes.iter().filter(|(applies, _)| *applies);
            let notes: Vec<_> = notes.map(|(_, note)| *note).collect();
            Row {
                cells: vec![
                    styles.to_string(),
                    format!("{silhouette:.3}"),
                    notes.join(", "),
                ],
                marked: Some(styles) == best,
            }
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    paragraph(
        "The silhouette says how much nearer drawings are to their own cluster than to the next \
         one: 1 is parted well, 0 not at all. Without a given number, styles are what is parted well \
         in two, again and again, which may be more than the best of these.",
    ) + &table(&["styles", "mean silhouette", ""], &rows)
}

/// At most so many, evenly chosen, always the same.
fn sample<T: Copy>(items: &[T], most: usize) -> Vec<T> {
    let count = items.len().min(most);
    (0..count).map(|i| items[i * items.len() / count]).collect()
}

/// The picture no larger than a square; never enlarged.
fn fit(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= side {
        return picture.clone();
    }
    let scaled = |length: u32| {
        let scaled = f64::from(length) * f64::from(side) / f64::from(longer);
        (scaled.round() as u32).max(1)
    };
    resize(picture, scaled(width), scaled(height))
}

/// Says that not everything is shown.
fn shown(count: usize, all: usize) -> String {
    match count < all {
        true => format!("<p class=\"soft\">{count} of them are shown, evenly chosen.</p>\n"),
        false => String::new(),
    }
}

fn per_cent(share: f64) -> String {
    format!("{:.1}&nbsp;%", 100.0 * share)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase());
    first.into_iter().flatten().chain(letters).collect()
}

/// Text as it is to be written into a page, between tags or in a quoted attribute.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        match sign {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            other => escaped.push(other),
        }
    }
    escaped.into()
}

fn section(id: &str, title: &str, body: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{body}</section>\n")
}

fn paragraph(body: &str) -> String {
    format!("<p>{body}</p>\n")
}

fn figure(content: &str, caption: &str) -> String {
    format!("<figure>\n{content}\n<figcaption>{caption}</figcaption>\n</figure>\n")
}

/// A row of a table; the first cell names it.
struct Row {
    cells: Vec<String>,
    marked: bool,
}

fn table(head: &[&str], rows: &[Row]) -> String {
    let head: String = head.iter().map(|cell| format!("<th>{cell}</th>")).collect();
    let mut table = format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n");
    for row in rows {
        table += match row.marked {
            true => "<tr class=\"marked\">",
            false => "<tr>",
        };
        for (i, cell) in row.cells.iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            let _ = write!(table, "<{tag}>{cell}</{tag}>");
        }
        table += "</tr>\n";
    }
    table + "</tbody>\n</table>\n"
}

/// A picture inside the page.
fn img(picture: &RgbImage, alt: &str) -> String {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(picture)
        .expect("a picture of this report is small, and memory takes what is written to it");
    let (width, height) = picture.dimensions();
    format!(
        "<img src=\"data:image/jpeg;base64,{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\">",
        BASE64.encode(jpeg),
        escape(alt)
    )
}

const STYLE: &str = "\
:root { color-scheme: light dark; --ground: #fff; --panel: #f4f4f1; --ink: #1c1c1a;
  --soft: #66665f; --line: #d9d8d2; --A: #2a78d6; --B: #c2571a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #191917; --panel: #252522; --ink: #ecebe6; --soft: #a5a49b; --line: #43423d;
    --A: #5b9fec; --B: #e58649; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0; }
h2 { font-size: 1.25rem; margin: 3rem 0 0.75rem; padding-top: 0.75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0; display: inline-block; }
h3::first-letter { text-transform: uppercase; }
p { max-width: 46rem; margin: 0.75rem 0; }
code, bdi { overflow-wrap: anywhere; }
code { font-size: 0.9em; }
small, .soft, figcaption, summary span { color: var(--soft); font-size: 0.85rem; }
b { color: var(--ink); }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.75rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: normal; color: var(--soft); }
th:first-child { text-align: left; padding-left: 0; }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: start; }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 1rem 0; }
a { color: var(--A); }
.marked > * { font-weight: bold; color: var(--ink); }
details { margin: 1.25rem 0; }
summary { cursor: pointer; }
.thumbnails { list-style: none; margin: 0.75rem 0; padding: 0; display: grid; gap: 0.5rem;
  grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
.thumbnails li { background: var(--panel); border-radius: 6px; padding: 0.5rem;
  font-size: 0.75rem; line-height: 1.3; }
.thumbnails div:not(:empty) { height: 64px; margin-bottom: 0.4rem; }
.thumbnails img { display: block; }
.thumbnails bdi, .thumbnails small { display: block; font-size: inherit; }
.pairs { display: grid; gap: 1.5rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.means { display: grid; gap: 1rem; margin: 1rem 0; grid-template-columns: repeat(4, 1fr); }
@media (max-width: 40rem) { .means { grid-template-columns: repeat(2, 1fr); } }
.means img { width: 100%; }
.pairs > p { grid-column: 1 / -1; }
figure { margin: 0; min-width: 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
figure svg { display: block; width: 100%; height: auto; background: var(--panel);
  border-radius: 6px; }
figcaption { margin-top: 0.4rem; }
figcaption p { margin: 0; }
svg text { font-size: 12px; fill: var(--soft); }
svg .start { text-anchor: start; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .strong { fill: var(--ink); font-weight: bold; }
svg .grid, svg .tick { stroke: var(--line); }
svg .median { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg.A .bar { fill: var(--A); }
svg.B .bar { fill: var(--B); }
";

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{Grouping, Landmarks, Options, Placement, Source};

    const PHOTOGRAPHS: &str = "<b> & \"photographs\" ü";

    /// A folder with originals and a set of them; the manifest tells of six photographs, two of
    /// which were left out, and of three drawings in two styles.
    fn made_up_set() -> (TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let paint = |file: &str, shade: u8| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let picture = RgbImage::from_fn(90, 70, |x, y| Rgb([shade, x as u8, y as u8]));
            images::save_png(&path, &picture).unwrap();
        };
        let mut pictures = Vec::new();
        for i in 0..4 {
            let part = if i == 3 { "testA" } else { "trainA" };
            let file = format!("{part}/{i}.png");
            paint(&format!("{PHOTOGRAPHS}/{i}.png"), 40);
            paint(&format!("set/{file}"), 40);
            pictures.push(entry(Domain::A, file, format!("{i}.png")));
        }
        for i in 0..3 {
            let style = i % 2;
            let file = format!("trainB/style-{style}/{i}.png");
            paint(&format!("drawings/{i}.png"), 200);
            paint(&format!("set/{file}"), 200);
            let entry = entry(Domain::B, file, format!("{i}.png"));
            pictures.push(Entry {
                style: Some(style),
                ..entry
            });
        }
        paint(&format!("{PHOTOGRAPHS}/dark <i>.png"), 0);
        let left_out = [("dark <i>.png", Cause::Dark), ("gone.png", Cause::Broken)];
        let manifest = Manifest {
            format: Manifest::FORMAT.into(),
            version: Manifest::VERSION,
            options: Options {
                size: 64,
                ..Options::new(
                    folder.path().join(PHOTOGRAPHS),
                    folder.path().join("drawings"),
                    folder.path().join("set"),
                )
            },
            placement: Placement {
                face_height: 0.7,
                eyes: 0.4,
            },
            sources: DOMAINS.map(|domain| Source {
                domain,
                grouping: Grouping::Picture,
                licence: None,
            }),
            pictures,
            left_out: left_out
                .map(|(source, cause)| LeftOut {
                    domain: Domain::A,
                    source: source.into(),
                    cause,
                    reason: "brightness 3 < 20".into(),
                })
                .into(),
            division: Some(Division {
                sizes: vec![2, 1],
                silhouettes: vec![(2, 0.25), (3, 0.5), (4, f64::NAN)],
            }),
        };
        (folder, manifest)
    }

    /// A picture whose face is 35 pixels tall, in an original of 90 × 70, framed by 50.
    fn entry(domain: Domain, file: String, source: String) -> Entry {
        Entry {
            domain,
            file,
            source,
            extent: [90, 70],
            frame: Frame {
                centre: [45.0, 35.0],
                side: 50.0,
                angle: 0.0,
            },
            framing: Framing::Landmarks,
            face: Some(Landmarks {
                eyes: [[35.0, 25.0], [55.0, 25.0]],
                nose: [45.0, 35.0],
                mouth: [45.0, 45.0],
                brows: [45.0, 20.0],
                chin: [45.0, 55.0],
            }),
            score: None,
            style: None,
        }
    }

    fn report_of(folder: &TempDir, manifest: &Manifest) -> String {
        let set = folder.path().join("set");
        write(&set, manifest).unwrap();
        fs::read_to_string(set.join(FILE)).unwrap()
    }

    fn row_of(name: &str, [photographs, drawings]: [usize; 2]) -> String {
        format!("<tr><th>{name}</th><td>{photographs}</td><td>{drawings}</td></tr>")
    }

    #[test]
    fn says_what_became_of_the_pictures() {
        let (folder, manifest) = made_up_set();
        let page = report_of(&folder, &manifest);
        for expected in [
            row_of("found", [6, 3]).as_str(),
            &row_of("to train on", [3, 3]),
            &row_of("to test with", [1, 0]),
            &row_of("left out", [2, 0]),
            &format!("<th>{}</th><td>4</td><td>3</td>", Framing::Landmarks.text()),
            &format!("<th>{}</th><td>0</td><td>0</td>", Framing::Whole.text()),
            "&lt;b&gt; &amp; &quot;photographs&quot; ü</code>",
            "64 × 64",
            "dark &lt;i&gt;.png</bdi><small>brightness 3 &lt; 20</small>",
            "Photographs, before</b>: median 50.0&nbsp;%, 4 faces",
            "Photographs, after</b>: median 70.0&nbsp;%, 4 faces",
            "they are equally tall",
            "Photographs, before</b>: mean of 4",
            "Drawings, after</b>: mean of 3",
            "Style 0: 2</b>",
            "Style 1: 1</b>",
            "<tr><th>2</th><td>0.250</td><td>taken</td></tr>",
            "<tr class=\"marked\"><th>3</th><td>0.500</td><td>best</td></tr>",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        for cause in [Cause::Dark, Cause::Broken] {
            let heading = format!("<h3>{}: 1</h3>", escape(cause.text()));
            assert!(page.contains(&heading), "{heading}");
        }
        assert!(!page.contains("<i>") && !page.contains("photographs\" ü"));
    }

    #[test]
    fn holds_everything_itself_and_is_the_same_again() {
        let (folder, manifest) = made_up_set();
        let page = report_of(&folder, &manifest);
        assert_eq!(page, report_of(&folder, &manifest));
        for outside in ["http", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let links = page.matches("href=\"").count();
        assert_eq!(links, page.matches("href=\"#").count());
        let pictures = page.matches("src=\"").count();
        assert_eq!(pictures, page.matches("src=\"data:image/jpeg").count());
        assert_eq!(page.matches(" src").count(), pictures);
        // A thumbnail, four means, two sheets of domains and two of styles.
        assert_eq!(pictures, 1 + 4 + 2 + 2);
        for tag in ["section", "figure", "details", "div", "svg", "table", "li"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn shows_the_rest_when_originals_are_gone() {
        let (folder, manifest) = made_up_set();
        fs::remove_file(manifest.options.photos.join("1.png")).unwrap();
        let page = report_of(&folder, &manifest);
        assert!(page.contains("Photographs, before</b>: mean of 3"));
        assert!(page.contains("Photographs, after</b>: mean of 4"));

        fs::remove_dir_all(&manifest.options.photos).unwrap();
        let page = report_of(&folder, &manifest);
        assert!(page.contains("Photographs, before</b>: none can be read"));
        assert!(page.contains("<li><div></div><bdi>dark &lt;i&gt;.png</bdi>"));
    }

    #[test]
    fn tells_of_a_set_with_nothing_in_it() {
        let (folder, mut manifest) = made_up_set();
        manifest.pictures.clear();
        manifest.left_out.clear();
        manifest.division = None;
        let page = report_of(&folder, &manifest);
        assert!(page.contains("Nothing was left out."));
        assert!(page.contains("No face is known in the drawings."));
        assert!(!page.contains("styles of drawing") && !page.contains("NaN"));
    }

    #[test]
    fn takes_faces_of_no_size_for_unknown() {
        let mut entry = entry(Domain::A, String::new(), String::new());
        assert_eq!(heights(&entry), Some([0.5, 0.7]));
        entry.frame.side = 0.0;
        assert_eq!(heights(&entry), None);
        entry.face = None;
        assert_eq!(heights(&entry), None);
    }

    #[test]
    fn names_the_page_that_it_cannot_write_and_the_picture_that_is_missing() {
        let (folder, mut manifest) = made_up_set();
        fs::remove_file(folder.path().join("set/trainA/2.png")).unwrap();
        let set = folder.path().join("set");
        let message = write(&set, &manifest).unwrap_err().to_string();
        assert!(message.contains("2.png"), "{message}");

        manifest.pictures.clear();
        fs::create_dir(set.join(FILE)).unwrap();
        let message = write(&set, &manifest).unwrap_err().to_string();
        assert!(message.contains(FILE), "{message}");
    }

    #[test]
    fn nothing_in_a_name_ends_a_tag_or_an_attribute() {
        assert_eq!(
            escape("<a href=\"x\">&amp;'ü"),
            "&lt;a href=&quot;x&quot;&gt;&amp;amp;&#39;ü"
        );
        assert!(matches!(escape("s01/ü 1.png"), Cow::Borrowed(_)));
    }

    #[test]
    fn medians_and_bars_are_right() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));

        let bars = histogram(&[0.0, 0.019, 0.021, 0.5, 0.999, 1.0, 7.0]);
        assert_eq!(bars[..2], [2, 1]);
        assert_eq!((bars[25], bars[BINS - 1]), (1, 3));
        assert_eq!(bars.iter().sum::<usize>(), 7);
    }

    #[test]
    fn says_by_how_much_faces_differ() {
        let said = |one, other| compare([one, other]);
        assert!(said(Some(0.55), Some(0.5)).contains("10.0&nbsp;% taller"));
        assert!(said(Some(0.45), Some(0.5)).contains("10.0&nbsp;% shorter"));
        assert!(said(Some(0.5), Some(0.50001)).contains("equally tall"));
        assert!(said(None, Some(0.5)).contains("nothing to compare"));
    }

    #[test]
    fn samples_evenly_and_means_round() {
        let items: Vec<_> = (0..10).collect();
        assert_eq!(sample(&items, 4), [0, 2, 5, 7]);
        assert_eq!(sample(&items, 40), items);
        assert!(sample(&items[..0], 4).is_empty());

        let shades = [10, 11, 11].map(|shade| RgbImage::from_pixel(2, 3, Rgb([shade, 0, 255])));
        let mean = mean(&shades).unwrap();
        assert!(mean.pixels().all(|pixel| pixel.0 == [11, 0, 255]));
    }

    #[test]
    fn thumbnails_fit_and_are_never_enlarged() {
        let fitted = |width, height| fit(&RgbImage::new(width, height), 64).dimensions();
        assert_eq!(fitted(128, 64), (64, 32));
        assert_eq!(fitted(10, 20), (10, 20));
        assert_eq!(fitted(2, 1000), (1, 64));
    }
}
