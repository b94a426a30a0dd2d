use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use faces::{Align, AnimeCrop, Faces, Filters, LeftOut, Options, Progress, Styles, demo};
use indicatif::{ProgressBar, ProgressStyle};

/// Make a training set of face photographs and drawn portraits.
///
/// Without arguments: the demo set, from the pictures in datasets/. With --photos, --anime and
/// --out: from any two folders, whose files are only read. Faces are found, aligned in photographs, and
/// brought to one scale in both; what cannot be used is left out, with the reason. Ctrl-C keeps what was
/// done: the same command goes on.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of photographs of people, one sub-folder or file-name prefix a person where possible
    #[arg(long, value_name = "DIR", requires_all = ["anime", "out"])]
    photos: Option<PathBuf>,

    /// Folder of drawn portraits
    #[arg(long, value_name = "DIR", requires_all = ["photos", "out"])]
    anime: Option<PathBuf>,

    /// Folder to make; an earlier set there is replaced, anything else is left alone
    #[arg(long, value_name = "DIR", requires_all = ["photos", "anime"])]
    out: Option<PathBuf>,

    #[command(flatten)]
    choices: Choices,
}

/// What can be chosen for a set of one's own.
#[derive(clap::Args)]
struct Choices {
    /// Side of the pictures in pixels
    #[arg(long, value_name = "N", default_value_t = 256, requires = "out")]
    size: u32,

    /// Pictures of each domain for the test set; persons are not parted
    #[arg(long, value_name = "N", default_value_t = 40, requires = "out")]
    val: usize,

    /// Chooses the test set
    #[arg(long, value_name = "S", default_value_t = 1, requires = "out")]
    seed: u64,

    /// Photographs: by eyes, nose and mouth; by the face's box; or the middle, faces or not
    #[arg(long, default_value = "landmarks", value_parser = ["landmarks", "box", "none"], requires = "out")]
    align: String,

    /// Of a photograph with several faces: the largest, or a picture of each
    #[arg(long, default_value = "largest", value_parser = ["largest", "all"], requires = "out")]
    faces: String,

    /// Drawings: by the face where one is found; the middle; or all of it
    #[arg(long, default_value = "detect", value_parser = ["detect", "centre", "none"], requires = "out")]
    anime_crop: String,

    /// Colour behind transparent pictures
    #[arg(long, value_name = "RRGGBB", default_value = "ffffff", value_parser = colour, requires = "out")]
    background: [u8; 3],

    /// Height of faces, brows to chin, as a share of the picture [default: as drawings have it]
    #[arg(long, value_name = "SHARE", requires = "out")]
    face_height: Option<f64>,

    /// Divide the drawings by style: auto, or so many styles
    #[arg(long, value_name = "K|auto", value_parser = styles, requires = "out")]
    styles: Option<Styles>,

    #[command(flatten)]
    filters: FilterArgs,
}

/// What is left out. The defaults are cautious: look at the report, then raise them.
#[derive(clap::Args)]
#[command(next_help_heading = "What is left out")]
struct FilterArgs {
    /// Photographs with a lower face, brows to chin, in pixels
    #[arg(long, value_name = "PX", default_value_t = Filters::default().min_face, requires = "out")]
    min_face: f64,

    /// Photographs with a more blurred face: variance of its Laplacian at 112 pixels
    #[arg(long, value_name = "X", default_value_t = Filters::default().min_sharpness, requires = "out")]
    min_sharpness: f64,

    /// Photographs with a darker face: its mean luma, 0 to 255
    #[arg(long, value_name = "X", default_value_t = Filters::default().min_brightness, requires = "out")]
    min_brightness: f64,

    /// Photographs with a face turned further away: 0 is from the front, 1 in profile
    #[arg(long, value_name = "X", default_value_t = Filters::default().max_turn, requires = "out")]
    max_turn: f64,

    /// Drawings among the photographs: faces with a larger share of one colour
    #[arg(long, value_name = "SHARE", default_value_t = Filters::default().max_flatness, requires = "out")]
    max_flatness: f64,

    /// Pictures that look like an earlier one: differ in so many of 256 bits at most
    #[arg(long, value_name = "BITS", default_value_t = Filters::default().near_duplicates, requires = "out")]
    near_duplicates: u32,
}

fn colour(text: &str) -> Result<[u8; 3], String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let number = u32::from_str_radix(digits, 16).ok();
    match number.filter(|_| digits.len() == 6) {
        Some(number) => {
            let [_, colour @ ..] = number.to_be_bytes();
            Ok(colour)
        }
        None => Err("give red, green and blue as six hexadecimal digits, such as ffffff".into()),
    }
}

fn styles(text: &str) -> Result<Styles, String> {
    match text {
        "auto" => Ok(Styles::Auto),
        count => count
            .parse()
            .map(Styles::Count)
            .map_err(|_| "give auto or a number of styles".into()),
    }
}

impl Args {
    fn options(self) -> Result<Options> {
        let (Some(photos), Some(anime), Some(out)) = (self.photos, self.anime, self.out) else {
            return Ok(demo::options(&demo::datasets()?));
        };
        let Choices {
            size,
            val,
            seed,
            align,
            faces,
            anime_crop,
            background,
            face_height,
            styles,
            filters,
        } = self.choices;
        let FilterArgs {
            min_face,
            min_sharpness,
            min_brightness,
            max_turn,
            max_flatness,
            near_duplicates,
        } = filters;
        Ok(Options {
            size,
            val,
            seed,
            align: match align.as_str() {
                "box" => Align::Box,
                "none" => Align::None,
                _ => Align::Landmarks,
            },
            faces: match faces.as_str() {
                "all" => Faces::All,
                _ => Faces::Largest,
            },
            anime_crop: match anime_crop.as_str() {
                "centre" => AnimeCrop::Centre,
                "none" => AnimeCrop::None,
                _ => AnimeCrop::Detect,
            },
            background,
            face_height,
            styles: styles.unwrap_or(Styles::Whole),
            filters: Filters {
                min_face,
                min_sharpness,
                min_brightness,
                max_turn,
                max_flatness,
                near_duplicates,
            },
            ..Options::new(photos, anime, out)
        })
    }
}

/// Prepares the set and shows how it goes.
pub fn run(args: Args) -> Result<()> {
    let progress = Bar::new()?;
    let outcome = faces::prepare(&args.options()?, &progress);
    progress.bar.finish_and_clear();
    println!("{}", outcome?);
    Ok(())
}

/// Whether the user ended it.
pub fn is_interrupt(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(faces::Error::Interrupted))
}

struct Bar {
    bar: ProgressBar,
    cancelled: Arc<AtomicBool>,
}

impl Bar {
    fn new() -> Result<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = cancelled.clone();
        let stop = move || {
            // A second time: at once. What was done is kept all the same.
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        ctrlc::set_handler(stop).context("cannot listen for Ctrl-C")?;

        let bar = ProgressBar::no_length();
        let style = "{msg:>12} {wide_bar} {pos}/{len}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        Ok(Self { bar, cancelled })
    }
}

impl Progress for Bar {
    fn begin(&self, work: &str, pictures: usize) {
        self.bar.reset();
        self.bar.set_length(pictures as u64);
        self.bar.set_message(work.to_owned());
    }

    fn advance(&self) {
        self.bar.inc(1);
    }

    fn left_out(&self, file: &LeftOut) {
        // Not through the bar, which swallows what it prints when there is no terminal.
        self.bar.suspend(|| {
            println!(
                "left out of the {}: {}: {}",
                file.domain.noun(),
                file.source,
                file.reason
            )
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
