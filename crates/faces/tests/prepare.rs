//! From folders of good and bad files to a set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use faces::{
    Align, AnimeCrop, Cause, Domain, Error, Faces, Framing, LeftOut, Manifest, Options, Progress,
    Styles, Summary, prepare,
};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder, Rgb, RgbImage};
use tempfile::TempDir;

/// Four persons with three photographs each, and eight drawings.
struct Inputs {
    folder: TempDir,
}

impl Inputs {
    fn new() -> Self {
        let inputs = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(inputs.photos()).unwrap();
        fs::create_dir(inputs.anime()).unwrap();
        for person in 1..=4 {
            for i in 1..=3 {
                let name = format!("s{person:02}_{i:02}.png");
                fs::copy(shipped("orl").join(&name), inputs.photos().join(&name)).unwrap();
            }
        }
        for i in 0..8 {
            let name = format!("{i:04}.png");
            fs::copy(
                shipped("lorelei_ink").join(&name),
                inputs.anime().join(&name),
            )
            .unwrap();
        }
        inputs
    }

    fn photos(&self) -> PathBuf {
        self.folder.path().join("photos of people")
    }

    fn anime(&self) -> PathBuf {
        self.folder.path().join("アニメ")
    }

    fn options(&self) -> Options {
        let out = self.folder.path().join("set");
        Options {
            size: 32,
            val: 3,
            seed: 7,
            ..Options::new(self.photos(), self.anime(), out)
        }
    }

    fn prepare(&self) -> faces::Result<Summary> {
        prepare(&self.options(), &())
    }

    /// The error, which must leave nothing behind.
    #[track_caller]
    fn refused(&self, change: impl FnOnce(&mut Options)) -> Error {
        let mut options = self.options();
        change(&mut options);
        let before = snapshot(self.folder.path());
        let error = prepare(&options, &()).expect_err("this must be refused");
        assert_eq!(snapshot(self.folder.path()), before, "{error}");
        error
    }
}

fn shipped(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../datasets")
        .join(folder)
}

fn photo(name: &str) -> RgbImage {
    images::decode(&shipped("orl").join(name)).unwrap()
}

/// Every file and folder below one, hidden ones too, with what is in it.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            found.insert(path, None);
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, Some(content));
        }
    }
    found
}

#[test]
fn makes_a_whole_set_and_leaves_the_input_alone() {
    let inputs = Inputs::new();
    let before = (snapshot(&inputs.photos()), snapshot(&inputs.anime()));
    let summary = inputs.prepare().unwrap();
    assert_eq!(
        (snapshot(&inputs.photos()), snapshot(&inputs.anime())),
        before
    );

    let (a, b) = (&summary.photographs, &summary.drawings);
    assert_eq!(
        (a.found, a.train, a.test, a.groups, a.left_out_in_all()),
        (12, 9, 3, 4, 0)
    );
    assert_eq!(
        (b.found, b.train, b.test, b.left_out_in_all()),
        (8, 5, 3, 0)
    );

    let out = inputs.options().out;
    for (folder, count) in [("trainA", 9), ("testA", 3), ("trainB", 5), ("testB", 3)] {
        let pictures = images::list(&out.join(folder)).unwrap();
        assert_eq!(pictures.len(), count);
        assert!(
            pictures
                .iter()
                .all(|path| images::decode(path).unwrap().dimensions() == (32, 32))
        );
    }
    let manifest = Manifest::read(&out).unwrap();
    assert!(manifest.is_complete(&out));
    assert_eq!(manifest.pictures.len(), 20);
    assert!(
        manifest.pictures[..12]
            .iter()
            .all(|picture| picture.score.is_some())
    );
    assert!(a.sheet.is_file() && b.sheet.is_file());
    assert!(out.join("index.html").is_file());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 8);
    assert_eq!(
        fs::read_dir(&inputs.folder).unwrap().count(),
        3,
        "something was left behind"
    );
}

#[test]
fn no_person_is_on_both_sides() {
    let inputs = Inputs::new();
    inputs.prepare().unwrap();
    let persons = |part: &str| -> Vec<String> {
        let pictures = images::list(&inputs.options().out.join(part)).unwrap();
        pictures
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap()[..3].to_string())
            .collect()
    };
    let (train, test) = (persons("trainA"), persons("testA"));
    assert!(
        !test.is_empty() && test.iter().all(|person| !train.contains(person)),
        "{train:?} {test:?}"
    );
}

#[test]
fn gives_the_same_set_again_and_on_one_thread() {
    let inputs = Inputs::new();
    inputs.prepare().unwrap();
    let first = snapshot(&inputs.options().out);
    inputs.prepare().unwrap();
    assert!(
        snapshot(&inputs.options().out) == first,
        "a second run gave another set"
    );
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    one_thread.install(|| inputs.prepare()).unwrap();
    assert!(
        snapshot(&inputs.options().out) == first,
        "one thread gave another set"
    );
}

#[test]
fn takes_odd_files_and_leaves_out_bad_ones_with_a_reason() {
    let inputs = Inputs::new();
    let put = |name: &str, bytes: &[u8]| fs::write(inputs.photos().join(name), bytes).unwrap();
    let save =
        |name: &str, picture: DynamicImage| picture.save(inputs.photos().join(name)).unwrap();
    let png = fs::read(shipped("orl").join("s20_01.png")).unwrap();
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg)
        .encode_image(&photo("s21_01.png"))
        .unwrap();

    put("text.jpg", b"no picture at all");
    put("cut.png", &png[..png.len() / 2]);
    put("cut.jpg", &jpeg[..jpeg.len() / 2]);
    put("empty.webp", b"");
    save("dot.png", RgbImage::new(1, 1).into());
    save("strip.png", RgbImage::new(20_000, 10).into());
    save(
        "wall.png",
        RgbImage::from_pixel(200, 200, Rgb([120; 3])).into(),
    );
    save("zz copy of s01_01.bmp", photo("s01_01.png").into());

    let grey = DynamicImage::from(photo("s22_01.png"));
    save("mélanie 16 bit.png", grey.to_luma16().into());
    save("still.gif", photo("s23_01.png").into());
    fs::create_dir(inputs.photos().join("more")).unwrap();
    save("more/s02_01.PNG", photo("s24_01.png").into());
    let mut sideways = Vec::new();
    let mut encoder = JpegEncoder::new(&mut sideways);
    let turn_right = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    encoder.set_exif_metadata(turn_right.to_vec()).unwrap();
    encoder
        .encode_image(&image::imageops::rotate270(&photo("s25_01.png")))
        .unwrap();
    put("sideways.jpeg", &sideways);

    let heard = Heard::default();
    let summary = prepare(&inputs.options(), &heard).unwrap();
    let reasons: BTreeMap<_, _> = heard
        .0
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|file| (file.source, file.reason))
        .collect();
    for (name, reason) in [
        ("text.jpg", "not an image"),
        ("cut.png", "cut short"),
        ("cut.jpg", "cut short"),
        ("empty.webp", "empty"),
        ("dot.png", "1×1, less than 48"),
        ("strip.png", "20000×10, less than 48"),
        ("wall.png", "no face found"),
        ("zz copy of s01_01.bmp", "the same picture as s01_01.png"),
    ] {
        assert!(reasons[name].contains(reason), "{name}: {}", reasons[name]);
    }
    assert_eq!(reasons.len(), 8, "{reasons:?}");
    assert_eq!(
        (
            summary.photographs.found,
            summary.photographs.left_out_in_all()
        ),
        (24, 8)
    );

    let manifest = Manifest::read(&summary.out).unwrap();
    let made = |source: &str| {
        manifest
            .pictures
            .iter()
            .find(|picture| picture.source == source)
            .unwrap()
    };
    assert!(
        made("mélanie 16 bit.png")
            .file
            .ends_with("/mélanie 16 bit.png")
    );
    assert!(made("more/s02_01.PNG").file.ends_with("/s02_01.png"));
    assert!(made("s02_01.png").file.ends_with("/s02_01-2.png"));
    let [width, height] = made("sideways.jpeg").extent;
    assert!(width < height, "a face that stands upright");
    assert_eq!(manifest.left_out.len(), 8);
}

/// Linux names files by bytes.
#[cfg(target_os = "linux")]
#[test]
fn takes_names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let inputs = Inputs::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9_1.png");
    photo("s26_01.png")
        .save(inputs.photos().join("plain.png"))
        .unwrap();
    fs::rename(
        inputs.photos().join("plain.png"),
        inputs.photos().join(name),
    )
    .unwrap();
    assert_eq!(inputs.prepare().unwrap().photographs.left_out_in_all(), 0);
}

#[derive(Default)]
struct Heard(Mutex<Vec<LeftOut>>);

impl Progress for Heard {
    fn left_out(&self, file: &LeftOut) {
        self.0.lock().unwrap().push(file.clone());
    }
}

#[test]
fn refuses_folders_that_give_no_set() {
    let inputs = Inputs::new();
    let folder = inputs.folder.path().to_path_buf();
    let empty = folder.join("empty");
    fs::create_dir(&empty).unwrap();
    let file = folder.join("file.png");
    fs::write(&file, "").unwrap();

    for (path, advice) in [
        (&empty, "no images"),
        (&file, "not a folder"),
        (&folder.join("missing"), "no folder"),
    ] {
        for domain in [Domain::A, Domain::B] {
            let error = inputs.refused(|options| match domain {
                Domain::A => options.photos = path.clone(),
                Domain::B => options.anime = path.clone(),
            });
            let message = error.to_string();
            assert!(
                message.contains(advice) && message.contains(&path.display().to_string()),
                "{message}"
            );
        }
    }
    let error = inputs.refused(|options| options.val = 8);
    assert!(error.to_string().contains("lower --val"), "{error}");
    assert!(matches!(
        inputs.refused(|options| options.photos = shipped_walls(&folder)),
        Error::TooFew { usable: 0, .. }
    ));
}

/// Photographs without a single face.
fn shipped_walls(folder: &Path) -> PathBuf {
    let walls = folder.join("empty");
    for shade in 0..3 {
        RgbImage::from_pixel(64, 64, Rgb([shade; 3]))
            .save(walls.join(format!("{shade}.png")))
            .unwrap();
    }
    walls
}

#[test]
fn refuses_options_out_of_range() {
    let inputs = Inputs::new();
    for size in [0, 15, 2049, u32::MAX] {
        assert!(
            inputs
                .refused(|options| options.size = size)
                .to_string()
                .contains("--size")
        );
    }
    assert!(
        inputs
            .refused(|options| options.val = 0)
            .to_string()
            .contains("--val")
    );
}

#[test]
fn refuses_to_mix_output_and_input_or_to_overwrite() {
    let inputs = Inputs::new();
    let folder = inputs.folder.path().to_path_buf();
    for out in [
        inputs.photos(),
        inputs.photos().join("set"),
        folder.clone(),
        inputs.anime().join("a/b/../c"),
    ] {
        let error = inputs.refused(|options| options.out = out.clone());
        assert!(matches!(error, Error::Nested { .. }), "{error}");
    }
    assert!(matches!(
        inputs.refused(|options| options.anime = options.photos.clone()),
        Error::Nested { .. }
    ));

    let file = folder.join("file.txt");
    fs::write(&file, "mine").unwrap();
    let full = folder.join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), "mine").unwrap();
    for out in [&file, &full] {
        let error = inputs.refused(|options| options.out = out.clone());
        assert!(matches!(error, Error::Occupied { .. }), "{error}");
    }
    let error = inputs.refused(|options| options.out = file.join("below/set"));
    assert!(matches!(error, Error::Write { .. }), "{error}");
}

#[test]
fn replaces_an_earlier_set_and_fills_an_empty_folder() {
    let inputs = Inputs::new();
    let out = inputs.options().out;
    fs::create_dir(&out).unwrap();
    inputs.prepare().unwrap();
    fs::write(out.join("trainA/stray.png"), "").unwrap();
    inputs.prepare().unwrap();
    assert!(!out.join("trainA/stray.png").exists());
    assert_eq!(
        fs::read_dir(&inputs.folder).unwrap().count(),
        3,
        "something was left behind"
    );
}

/// Cancels after so many pictures.
struct Patience(AtomicUsize);

impl Progress for Patience {
    fn advance(&self) {
        let less = |left: usize| Some(left.saturating_sub(1));
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// More might begin all that is left before patience ends.
fn on_two_threads<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .unwrap();
    pool.install(work)
}

#[test]
fn goes_on_where_it_was_interrupted_and_gives_the_same_set() {
    let inputs = Inputs::new();
    inputs.prepare().unwrap();
    let whole = snapshot(&inputs.options().out);
    fs::remove_dir_all(inputs.options().out).unwrap();
    // In the photographs, in the drawings, while pictures are cut.
    for pictures in [5, 15, 27] {
        let patience = Patience(AtomicUsize::new(pictures));
        let interrupted = on_two_threads(|| prepare(&inputs.options(), &patience));
        assert!(matches!(interrupted, Err(Error::Interrupted)));
        assert!(!inputs.options().out.exists());
    }
    // Nothing is looked at again: only the pictures that were not cut yet are read.
    inputs.prepare().unwrap();
    assert!(snapshot(&inputs.options().out) == whole);
    assert_eq!(fs::read_dir(&inputs.folder).unwrap().count(), 3);
}

#[test]
fn begins_anew_when_something_else_is_asked_for_after_an_interruption() {
    let inputs = Inputs::new();
    let other = Options {
        size: 48,
        ..inputs.options()
    };
    let patience = Patience(AtomicUsize::new(27));
    assert!(on_two_threads(|| prepare(&other, &patience)).is_err());
    inputs.prepare().unwrap();
    let resumed = snapshot(&inputs.options().out);
    inputs.prepare().unwrap();
    assert!(snapshot(&inputs.options().out) == resumed);
}

#[test]
fn refuses_a_set_that_another_run_is_at() {
    struct Second<'a>(&'a Inputs, Mutex<Option<Error>>);
    impl Progress for Second<'_> {
        fn begin(&self, _: &str, _: usize) {
            *self.1.lock().unwrap() = self.0.prepare().err();
        }
    }
    let inputs = Inputs::new();
    let second = Second(&inputs, Mutex::new(None));
    prepare(&inputs.options(), &second).unwrap();
    let refused = second.1.into_inner().unwrap();
    assert!(matches!(refused, Some(Error::Busy { .. })), "{refused:?}");
}

/// A wall with photographs on it.
fn scene(photos: &[(&str, i64, i64)]) -> RgbImage {
    let mut scene = RgbImage::from_pixel(400, 260, Rgb([90; 3]));
    for (name, x, y) in photos {
        image::imageops::replace(&mut scene, &photo(name), *x, *y);
    }
    scene
}

#[test]
fn odd_photographs_are_handled_by_rule_and_named() {
    let inputs = Inputs::new();
    let save = |name: &str, picture: RgbImage| picture.save(inputs.photos().join(name)).unwrap();
    save(
        "three.png",
        scene(&[
            ("s30_01.png", 20, 20),
            ("s31_01.png", 150, 90),
            ("s32_01.png", 290, 130),
        ]),
    );
    save("border.png", scene(&[("s33_01.png", -12, 30)]));
    save(
        "upside down.png",
        image::imageops::rotate180(&photo("s34_01.png")),
    );
    save(
        "blurred.png",
        image::imageops::blur(&photo("s35_01.png"), 2.0),
    );
    save(
        "dark.png",
        image::imageops::brighten(&photo("s36_01.png"), -230),
    );
    let drawing = images::decode(&shipped("lorelei_ink").join("0001.png")).unwrap();
    save("drawing.png", drawing);
    save("twin.png", images::resize(&photo("s01_01.png"), 184, 224));

    let options = Options {
        faces: Faces::All,
        ..inputs.options()
    };
    prepare(&options, &()).unwrap();
    let manifest = Manifest::read(&options.out).unwrap();
    let cause = |name: &str| {
        let file = manifest.left_out.iter().find(|file| file.source == name);
        file.map(|file| file.cause)
    };
    assert_eq!(cause("blurred.png"), Some(Cause::Blurred));
    assert!(matches!(
        cause("dark.png"),
        Some(Cause::Dark | Cause::NoFace | Cause::Blurred)
    ));
    assert!(matches!(
        cause("drawing.png"),
        Some(Cause::Drawn | Cause::NoFace)
    ));
    assert_eq!(cause("twin.png"), Some(Cause::Duplicate));
    assert_eq!(manifest.left_out.len(), 4, "{:?}", manifest.left_out);
    let made = |name: &str| {
        let of = manifest
            .pictures
            .iter()
            .filter(|entry| entry.source == name);
        of.cloned().collect::<Vec<_>>()
    };
    assert_eq!(made("three.png").len(), 3);
    assert_eq!(made("border.png").len(), 1);
    let turned = made("upside down.png")[0].frame.angle;
    assert!(turned.cos() < -0.9, "turned by {turned}");
}

#[test]
fn faces_are_equally_high_in_both_domains_and_lie_at_one_place() {
    let inputs = Inputs::new();
    let summary = inputs.prepare().unwrap();
    let [photographs, drawings] = [summary.photographs, summary.drawings];
    let (a, b) = (
        photographs.face_heights.unwrap().1,
        drawings.face_heights.unwrap().1,
    );
    assert!((a / b - 1.0).abs() < 0.01, "{a} {b}");

    let manifest = Manifest::read(&summary.out).unwrap();
    let scatter = |place: &dyn Fn(&faces::Entry, [f64; 2]) -> [f64; 2]| {
        let mouths = manifest.pictures[..12].iter();
        let mouths: Vec<[f64; 2]> = mouths
            .map(|entry| place(entry, entry.face.unwrap().mouth))
            .collect();
        let mean = [0, 1].map(|i| mouths.iter().map(|mouth| mouth[i]).sum::<f64>() / 12.0);
        let square = |mouth: &[f64; 2]| (mouth[0] - mean[0]).powi(2) + (mouth[1] - mean[1]).powi(2);
        (mouths.iter().map(square).sum::<f64>() / 12.0).sqrt()
    };
    let before = scatter(&|entry, [x, y]| {
        [
            x / f64::from(entry.extent[0]),
            y / f64::from(entry.extent[1]),
        ]
    });
    let after = scatter(&|entry, mouth| entry.frame.to_picture(1).inverse().unwrap().apply(mouth));
    assert!(5.0 * after < before, "{before} {after}");
}

#[test]
fn the_other_ways_of_framing() {
    let inputs = Inputs::new();
    let mut tall = RgbImage::from_pixel(100, 200, Rgb([255; 3]));
    let drawing = images::decode(&shipped("lorelei_ink").join("0001.png")).unwrap();
    image::imageops::replace(&mut tall, &images::resize(&drawing, 100, 100), 0, 0);
    tall.save(inputs.anime().join("tall.png")).unwrap();
    let framings = |align, anime_crop| {
        let options = Options {
            align,
            anime_crop,
            background: [10, 200, 30],
            ..inputs.options()
        };
        prepare(&options, &()).unwrap();
        let manifest = Manifest::read(&options.out).unwrap();
        let tall = manifest
            .pictures
            .iter()
            .find(|entry| entry.source == "tall.png")
            .unwrap();
        let picture = images::decode(&options.out.join(&tall.file)).unwrap();
        (manifest.pictures[0].framing, tall.framing, picture)
    };
    let (photo, drawing, picture) = framings(Align::Box, AnimeCrop::None);
    assert_eq!((photo, drawing), (Framing::Box, Framing::Whole));
    assert_eq!(
        picture.get_pixel(0, 16).0,
        [10, 200, 30],
        "filled up at its sides"
    );
    let (photo, drawing, _) = framings(Align::None, AnimeCrop::Centre);
    assert_eq!((photo, drawing), (Framing::Centre, Framing::Centre));
}

#[test]
fn a_drawing_of_a_whole_figure_is_cut_to_its_face() {
    let inputs = Inputs::new();
    for file in images::list(&inputs.anime()).unwrap() {
        let mut figure = RgbImage::from_pixel(400, 600, Rgb([255; 3]));
        image::imageops::replace(&mut figure, &images::decode(&file).unwrap(), 130, 40);
        figure.save(&file).unwrap();
    }
    inputs.prepare().unwrap();
    let manifest = Manifest::read(&inputs.options().out).unwrap();
    let cut: Vec<_> = manifest
        .pictures
        .iter()
        .filter(|entry| entry.domain == Domain::B && entry.framing == Framing::Box)
        .collect();
    assert!(!cut.is_empty(), "none of 8");
    for entry in cut {
        let height = entry.face_heights().unwrap()[1];
        assert!(
            (height / manifest.placement.face_height - 1.0).abs() < 0.01,
            "{height}"
        );
    }
}

#[test]
fn a_killed_run_leaves_nothing_in_the_set() {
    let inputs = Inputs::new();
    inputs.prepare().unwrap();
    let whole = snapshot(&inputs.options().out);
    fs::remove_dir_all(inputs.options().out).unwrap();
    let patience = Patience(AtomicUsize::new(27));
    assert!(on_two_threads(|| prepare(&inputs.options(), &patience)).is_err());
    let train = inputs.folder.path().join(".set.partial/set/trainA");
    fs::write(train.join(".s01_01.png.1.partial"), "half a picture").unwrap();
    let written = fs::read_dir(&train)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let written = written.filter(|path| path.extension().is_some_and(|kind| kind == "png"));
    fs::write(written.min().unwrap(), "").unwrap();
    inputs.prepare().unwrap();
    assert!(snapshot(&inputs.options().out) == whole);
}

#[test]
fn divides_drawings_by_style() {
    let inputs = Inputs::new();
    // Photographs for a second style, of as many people.
    for person in 5..=30 {
        let name = format!("s{person:02}_05.png");
        let ink = format!("{person:04}.png");
        fs::copy(shipped("orl").join(&name), inputs.anime().join(&name)).unwrap();
        fs::copy(shipped("lorelei_ink").join(&ink), inputs.anime().join(&ink)).unwrap();
    }
    let options = Options {
        styles: Styles::Auto,
        ..inputs.options()
    };
    let summary = prepare(&options, &()).unwrap();
    let manifest = Manifest::read(&summary.out).unwrap();
    assert!(manifest.is_complete(&summary.out));
    assert_eq!(summary.styles, Some(vec![31, 26]));
    for entry in manifest
        .pictures
        .iter()
        .filter(|entry| entry.domain == Domain::B)
    {
        let style = usize::from(entry.source.starts_with('s'));
        assert_eq!(entry.style, Some(style), "{}", entry.source);
        assert!(
            entry.file.contains(&format!("B/style-{style}/")),
            "{}",
            entry.file
        );
    }
}
