//! Animations, numbered frames and videos, translated frame by frame.

mod scratch;

use std::fs;
use std::io::{Write, stderr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use images::{Animation, AnimationFormat, Frame, RgbImage, Smoothing, save_animation};
use scratch::{Scratch, files, picture};
use tensor::Device;
use trainer::{Direction, Translator};

/// Milliseconds of an animation's frames.
const TIMES: [u64; 4] = [80, 120, 30, 200];

/// A run, and an animation.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.train("run");
    save(&scratch.path("in.gif"), AnimationFormat::Gif);
    scratch
}

fn save(path: &Path, format: AnimationFormat) {
    save_animation(path, format, NonZeroU32::new(3), |frames| {
        (0..)
            .zip(TIMES)
            .try_for_each(|(i, time)| frames.push(&grey(40 + i, 30), Duration::from_millis(time)))
    })
    .unwrap();
}

/// A picture with few enough colours for a GIF.
fn grey(seed: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(40, height, |x, y| {
        images::Rgb([(x * 3 + y * 2 + seed * 11) as u8; 3])
    })
}

fn frames(path: &Path) -> Vec<Frame> {
    let animation = Animation::open(path).unwrap().unwrap();
    animation.iter().map(Result::unwrap).collect()
}

fn pictures(folder: &Path) -> Vec<RgbImage> {
    let read = |name: &String| images::decode(&folder.join(name)).unwrap();
    files(folder).iter().map(read).collect()
}

fn translate(rest: &str) -> String {
    format!("translate run --device cpu --quiet {rest}")
}

/// The mean distance of two pictures' values.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let apart = a
        .iter()
        .zip(b.iter())
        .map(|(a, b)| f64::from(a.abs_diff(*b)));
    apart.sum::<f64>() / a.len() as f64
}

fn mean_colour(picture: &RgbImage) -> [f64; 3] {
    [0, 1, 2].map(|channel| {
        let values = picture.pixels().map(|pixel| f64::from(pixel.0[channel]));
        values.sum::<f64>() / picture.pixels().len() as f64
    })
}

#[test]
fn every_frame_of_an_animation_is_translated_and_shown_as_long_as_before() {
    let scratch = scratch();
    let stills = scratch.path("stills");
    fs::create_dir(&stills).unwrap();
    for (i, frame) in frames(&scratch.path("in.gif")).into_iter().enumerate() {
        images::save_png(&stills.join(format!("{i}.png")), &frame.picture).unwrap();
    }
    scratch.succeeds(&translate("--input stills --output singly"));
    let singly = pictures(&scratch.path("singly"));
    assert_eq!(singly.len(), TIMES.len());

    scratch.succeeds(&translate("--input in.gif --output frames"));
    let names = files(&scratch.path("frames"));
    assert_eq!(
        names,
        ["000001.png", "000002.png", "000003.png", "000004.png"]
    );
    assert_eq!(pictures(&scratch.path("frames")), singly);

    let times = TIMES.map(Duration::from_millis);
    for out in ["out.gif", "out.apng"] {
        scratch.succeeds(&translate(&format!("--input in.gif --output {out}")));
        let animation = Animation::open(&scratch.path(out)).unwrap().unwrap();
        assert_eq!(animation.plays(), NonZeroU32::new(3), "{out}");
        for ((frame, time), expected) in frames(&scratch.path(out)).iter().zip(times).zip(&singly) {
            assert_eq!(frame.shown, time, "{out}");
            let apart = distance(&frame.picture, expected);
            match out {
                // Its frames have 256 colours.
                "out.gif" => {
                    let nearest = singly.iter().map(|other| distance(&frame.picture, other));
                    assert_eq!(apart, nearest.fold(f64::MAX, f64::min));
                    assert!(apart < 12.0, "{apart}");
                }
                _ => assert_eq!(apart, 0.0),
            }
        }
    }
    scratch.succeeds(&translate("--input out.apng --fps 20 --output faster.gif"));
    let faster = frames(&scratch.path("faster.gif"));
    assert!(
        faster
            .iter()
            .all(|frame| frame.shown == Duration::from_millis(50))
    );

    // One picture shows the first frame, under the name that is given.
    scratch.succeeds(&translate("--input in.gif --output first.png"));
    assert_eq!(
        images::decode(&scratch.path("first.png")).unwrap(),
        singly[0]
    );
    let webp = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/tests/data/animated.webp");
    scratch.succeeds(&translate(&format!(
        "--input {} --output w.gif",
        webp.display()
    )));
    assert_eq!(frames(&scratch.path("w.gif")).len(), frames(&webp).len());

    scratch.fails(
        &translate("--input in.gif --output out.webp"),
        &["out.webp", ".gif", ".apng"],
    );
    let whole = fs::read(scratch.path("in.gif")).unwrap();
    fs::write(scratch.path("cut.gif"), &whole[..whole.len() * 7 / 8]).unwrap();
    scratch.fails(
        &translate("--input cut.gif --output cut-out.gif"),
        &["cut.gif", "damaged"],
    );
    assert!(!scratch.path("cut-out.gif").exists());
    let hidden = |name: &String| name.starts_with('.');
    assert!(
        !files(&scratch.path("")).iter().any(hidden),
        "nothing half-written"
    );
}

#[test]
fn an_animation_comes_through_standard_input() {
    let scratch = scratch();
    let piped = |output: &str| {
        Command::new(env!("CARGO_BIN_EXE_trainer"))
            .args(translate(&format!("--input - --output {output}")).split(' '))
            .current_dir(scratch.path(""))
            .stdin(fs::File::open(scratch.path("in.gif")).unwrap())
            .output()
            .unwrap()
    };
    assert!(piped("out.gif").status.success());
    scratch.succeeds(&translate("--input in.gif --output plain.gif"));
    let [piped_gif, plain] = ["out.gif", "plain.gif"].map(|name| fs::read(scratch.path(name)));
    assert_eq!(piped_gif.unwrap(), plain.unwrap());
    assert!(!piped("-").stdout.is_empty(), "the first frame");
}

#[test]
fn frames_go_in_the_order_of_their_numbers() {
    let scratch = scratch();
    let folder = scratch.path("in");
    fs::create_dir(&folder).unwrap();
    // A scene that changes little, with noise.
    let numbers = [2, 9, 10, 11, 100];
    for number in numbers {
        let noisy = RgbImage::from_fn(40, 36, |x, y| {
            images::Rgb([(90 + x + (x * 7 + y * 13 + number * 5) % 9) as u8; 3])
        });
        images::save_png(&folder.join(format!("f{number}.png")), &noisy).unwrap();
    }
    scratch.succeeds(&translate("--input in --output plain"));
    scratch.succeeds(&translate("--input in --output smooth --smooth 0.7"));
    let read = |folder: &str, number: u32| {
        images::decode(&scratch.path(folder).join(format!("f{number}.png"))).unwrap()
    };
    let mut smoothing = Smoothing::new(0.7);
    let [mut before, mut flicker]: [Vec<RgbImage>; 2] = Default::default();
    for number in numbers {
        let shown = smoothing.next(&read("in", number), read("plain", number));
        assert_eq!(read("smooth", number), shown, "{number}");
        before.push(read("plain", number));
        flicker.push(shown);
    }
    let mean = |frames: &[RgbImage]| -> f64 {
        frames
            .windows(2)
            .map(|pair| distance(&pair[0], &pair[1]))
            .sum()
    };
    assert!(
        mean(&flicker) < 0.7 * mean(&before),
        "{} {}",
        mean(&flicker),
        mean(&before)
    );

    scratch.succeeds(&translate(
        "--input in --output out.apng --fps 8 --smooth 0.7",
    ));
    let animation = frames(&scratch.path("out.apng"));
    for (frame, number) in animation.iter().zip(numbers) {
        assert_eq!(frame.picture, read("smooth", number));
        assert_eq!(frame.shown, Duration::from_millis(125));
    }
    picture(50, 36, 1).save(folder.join("f1000.png")).unwrap();
    scratch.fails(
        &translate("--input in --output x.gif"),
        &["f1000.png", "50×36", "40×36"],
    );
    assert!(!scratch.path("x.gif").exists());
    scratch.fails(
        &translate("--input in --output one.png"),
        &["one.png", "folder"],
    );
    scratch.fails(&translate("--input in --output more --fps 5"), &["--fps"]);
    let wrong = scratch.trainer(&translate("--input in --output more --smooth 1"));
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_program_translates_as_the_command_does() {
    let scratch = scratch();
    let large = picture(150, 90, 1);
    large.save(scratch.path("large.png")).unwrap();
    scratch.succeeds(&translate("--input large.png --output out.png"));
    scratch.succeeds(&translate("--input large.png --output tiles.png --tile 32"));
    let [out, tiles] = ["out.png", "tiles.png"].map(|name| images::decode(&scratch.path(name)));
    let load = || Translator::load(scratch.path("run"), Direction::AtoB, &Device::Cpu).unwrap();
    assert_eq!(load().translate(&large).unwrap(), out.unwrap());
    let tiled = load().with_tile(32);
    assert_eq!(tiled.translate(&large).unwrap(), tiles.unwrap());
    let error = load().with_memory(1).translate(&large).unwrap_err();
    assert!(error.to_string().contains("--memory"), "{error}");
    let nowhere = Translator::load(scratch.path("x"), Direction::AtoB, &Device::Cpu);
    assert!(nowhere.is_err());
}

/// Whether there is an ffmpeg to test with. Without one, tests of videos test nothing: that must be seen.
fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let missing = "there is no ffmpeg: videos were NOT tested; apt-get install ffmpeg (or the like) and try again";
    assert!(
        std::env::var_os("HENSHIN_REQUIRE_FFMPEG").is_none(),
        "{missing}"
    );
    // Not by a macro, whose output is shown of tests that fail.
    let said = format!("\n!!! {missing}\n\n");
    stderr().write_all(said.as_bytes()).unwrap();
    false
}

/// Runs ffmpeg, and says whether it did well.
fn ffmpeg(scratch: &Scratch, args: &str) -> bool {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y"]);
    command.args(args.split(' ')).current_dir(scratch.path(""));
    command.output().unwrap().status.success()
}

/// A second of moving pictures at twelve frames a second, with a sound.
fn film(scratch: &Scratch, name: &str, options: &str) {
    let sources = "-f lavfi -i testsrc=duration=1:size=66x50:rate=12 -f lavfi -i sine=duration=1";
    assert!(ffmpeg(scratch, &format!("{sources} {options} {name}")));
}

/// What ffprobe says of a file's streams, one value a line.
fn probe(scratch: &Scratch, name: &str, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "default=noprint_wrappers=1:nokey=1"])
        .args(["-count_frames", "-show_entries", entries, name])
        .current_dir(scratch.path(""))
        .output()
        .unwrap();
    let text = scratch::stdout(&output);
    text.lines().map(str::to_owned).collect()
}

/// The frames of a video, as ffmpeg makes pictures of them.
fn decoded(scratch: &Scratch, name: &str) -> Vec<RgbImage> {
    let folder = scratch.path(&format!("{name}.frames"));
    fs::create_dir(&folder).unwrap();
    let out = folder.join("%03d.png");
    assert!(ffmpeg(scratch, &format!("-i {name} {}", out.display())));
    pictures(&folder)
}

#[test]
fn a_video_is_translated_with_its_sound_size_and_rate() {
    if !has_ffmpeg() {
        return;
    }
    let scratch = scratch();
    film(&scratch, "in.mp4", "-pix_fmt yuv420p -c:a aac");
    scratch.succeeds(&translate("--input in.mp4 --output out.mp4"));
    let streams = "stream=codec_type,width,height,pix_fmt,r_frame_rate,nb_read_frames";
    let found = probe(&scratch, "out.mp4", streams);
    assert_eq!(found[..6], ["video", "66", "50", "yuv420p", "12/1", "12"]);
    assert_eq!(found[6], "audio");
    let sound = |name: &str| {
        let path = format!("{name}.pcm");
        assert!(ffmpeg(&scratch, &format!("-i {name} -f s16le {path}")));
        fs::read(scratch.path(&path)).unwrap()
    };
    assert_eq!(sound("out.mp4"), sound("in.mp4"), "the sound is copied");

    // Frame by frame what pictures become.
    scratch.succeeds(&translate("--input in.mp4 --output frames"));
    let translated = pictures(&scratch.path("frames"));
    assert_eq!(translated.len(), 12);
    decoded(&scratch, "in.mp4");
    scratch.succeeds(&translate("--input in.mp4.frames --output stills"));
    let stills = pictures(&scratch.path("stills"));
    for (i, (frame, still)) in translated.iter().zip(&stills).enumerate() {
        assert!(
            distance(frame, still) < 4.0,
            "{i}: {}",
            distance(frame, still)
        );
    }
    for (frame, made) in decoded(&scratch, "out.mp4").iter().zip(&translated) {
        // A network that was hardly trained makes noise of all colours, of which codecs keep little.
        assert!(distance(frame, made) < 20.0, "{}", distance(frame, made));
        let [found, expected] = [frame, made].map(mean_colour);
        for (found, expected) in found.into_iter().zip(expected) {
            assert!(
                (found - expected).abs() < 3.0,
                "{found} became of {expected}"
            );
        }
    }

    scratch.succeeds(&translate("--input in.mp4 --output smooth --smooth 0.6"));
    scratch.succeeds(&translate("--input in.mp4 --output out.gif --fps 6"));
    let gif = frames(&scratch.path("out.gif"));
    assert_eq!(gif.len(), 6);
    let shown: Duration = gif.iter().map(|frame| frame.shown).sum();
    assert_eq!(shown, Duration::from_secs(1));
    // What stands still in the test picture is smoothed, and the first frame has nothing before it.
    let smooth = pictures(&scratch.path("smooth"));
    assert_eq!(smooth[0], translated[0]);
    assert_ne!(smooth[5], translated[5]);

    scratch.succeeds(&translate("--input in.gif --output gif.webm"));
    let found = probe(&scratch, "gif.webm", "format=duration");
    let seconds: f64 = found[0].parse().unwrap();
    assert!((0.36..0.5).contains(&seconds), "{seconds}");
    scratch.fails(
        &translate("--input in.mp4 --output one.png"),
        &["in.mp4", "video"],
    );
    scratch.fails(
        &translate("--input in.mp4 --output x.apng"),
        &["x.apng", ".gif"],
    );
}

#[test]
fn videos_of_odd_sizes_and_those_that_are_turned_come_out_as_they_are_shown() {
    if !has_ffmpeg() {
        return;
    }
    let scratch = scratch();
    film(
        &scratch,
        "odd.mkv",
        "-map 0:v -vf crop=65:49:0:0 -c:v ffv1 -pix_fmt bgr0",
    );
    scratch.succeeds(&translate("--input odd.mkv --output odd.mp4"));
    assert_eq!(
        probe(&scratch, "odd.mp4", "stream=width,height"),
        ["66", "50"]
    );
    scratch.succeeds(&translate("--input odd.mkv --output odd"));
    assert_eq!(pictures(&scratch.path("odd"))[0].dimensions(), (65, 49));

    film(&scratch, "lying.mp4", "-map 0:v -pix_fmt yuv420p");
    // The one is understood by older versions, the other by newer ones.
    let turned = ffmpeg(
        &scratch,
        "-display_rotation 90 -i lying.mp4 -c copy turned.mp4",
    ) || ffmpeg(
        &scratch,
        "-i lying.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4",
    );
    assert!(turned);
    scratch.succeeds(&translate("--input turned.mp4 --output upright.mp4"));
    assert_eq!(
        probe(&scratch, "upright.mp4", "stream=width,height"),
        ["50", "66"]
    );
    scratch.succeeds(&translate("--input turned.mp4 --output upright"));
    decoded(&scratch, "turned.mp4");
    scratch.succeeds(&translate("--input turned.mp4.frames --output stills"));
    let [upright, stills] = ["upright", "stills"].map(|folder| pictures(&scratch.path(folder)));
    assert!(distance(&upright[6], &stills[6]) < 4.0);
}

#[test]
fn videos_that_fail_leave_nothing_and_say_what_to_do() {
    let scratch = scratch();
    fs::write(scratch.path("words.mp4"), "just some words").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(translate("--input words.mp4 --output out.mp4").split(' '))
        .current_dir(scratch.path(""))
        .env("PATH", "")
        .output()
        .unwrap();
    let said = scratch::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("apt-get install ffmpeg"), "{said}");
    if !has_ffmpeg() {
        return;
    }
    film(&scratch, "in.mp4", "-pix_fmt yuv420p -c:a aac");
    let whole = fs::read(scratch.path("in.mp4")).unwrap();
    fs::write(scratch.path("cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    // A list may name files from anywhere.
    fs::write(
        scratch.path("list.mp4"),
        "ffconcat version 1.0\nfile in.mp4\n",
    )
    .unwrap();
    for name in ["words.mp4", "cut.mp4", "nowhere.mp4", "list.mp4"] {
        let args = translate(&format!("--input {name} --output out.mp4"));
        scratch.fails(&args, &[name, "ffprobe says"]);
    }
    assert!(ffmpeg(
        &scratch,
        "-f lavfi -i sine=duration=1 -c:a aac sound.mp4"
    ));
    scratch.fails(
        &translate("--input sound.mp4 --output out.mp4"),
        &["sound.mp4", "no video"],
    );
    scratch.fails(
        &translate("--input in.mp4 --output missing/out.mp4"),
        &["missing/out.mp4", "ffmpeg says"],
    );
    let left = files(&scratch.path(""));
    let partial = |name: &String| name.contains("out.") || name.starts_with('.');
    assert!(!left.iter().any(partial), "{left:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_leaves_no_part_of_a_video_and_nobody_at_work() {
    if !has_ffmpeg() {
        return;
    }
    let scratch = scratch();
    let long = "-f lavfi -i testsrc=duration=60:size=320x240:rate=25 long.mkv";
    assert!(ffmpeg(&scratch, long));
    let mut child = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(translate("--input long.mkv --output out.mp4").split(' '))
        .current_dir(scratch.path(""))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_begun = || {
        files(&scratch.path(""))
            .iter()
            .any(|name| name.contains("partial"))
    };
    while !is_begun() {
        assert!(child.try_wait().unwrap().is_none(), "it takes minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &pid]).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        scratch::stderr(&output)
    );
    let left = files(&scratch.path(""));
    assert!(!left.iter().any(|name| name.contains("out")), "{left:?}");
    assert_eq!(at_work_in(&scratch.path("")), Vec::<PathBuf>::new());
}

/// The processes whose folder this is.
#[cfg(target_os = "linux")]
fn at_work_in(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let here =
        |process: &PathBuf| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder);
    processes.map(|entry| entry.path()).filter(here).collect()
}
