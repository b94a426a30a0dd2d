//! The command line as a user meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.starts_with("error: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn usage_errors_exit_with_2() {
    assert_refused(
        &xtask(&["prepare-faces", "--photos", "x"]),
        2,
        &["--anime", "--out"],
    );
    assert_refused(&xtask(&["prepare-faces", "--size", "64"]), 2, &["--out"]);
    assert_refused(
        &xtask(&[
            "prepare-faces",
            "--photos",
            "x",
            "--anime",
            "y",
            "--out",
            "z",
            "--size",
            "-3",
        ]),
        2,
        &[],
    );
    assert_refused(&xtask(&["prepare-face"]), 2, &["prepare-faces"]);
}

#[test]
fn runtime_errors_exit_with_1_and_name_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    fs::create_dir(path("empty")).unwrap();
    let output = xtask(&[
        "prepare-faces",
        "--photos",
        &path("empty"),
        "--anime",
        &path("none"),
        "--out",
        &path("out"),
    ]);
    assert_refused(&output, 1, &[&path("empty"), "no images"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);

    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("prepare-faces")
        .env("HENSHIN_DATASETS", path("empty"))
        .output()
        .unwrap();
    assert_refused(&output, 1, &["HENSHIN_DATASETS", &path("empty")]);
}

#[test]
fn prepares_two_folders_and_tells_about_it() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    for (from, to, names) in [
        ("orl", "photos", ["s01_01.png", "s02_01.png", "s03_01.png"]),
        ("lorelei_ink", "anime", ["0000.png", "0001.png", "0002.png"]),
    ] {
        fs::create_dir(path(to)).unwrap();
        for name in names {
            fs::copy(
                shipped.join(from).join(name),
                Path::new(&path(to)).join(name),
            )
            .unwrap();
        }
    }
    fs::write(folder.path().join("photos/notes.jpg"), "no picture").unwrap();
    let output = xtask(&[
        "prepare-faces",
        "--photos",
        &path("photos"),
        "--anime",
        &path("anime"),
        "--out",
        &path("out"),
        "--size",
        "32",
        "--val",
        "1",
        "--seed",
        "3",
    ]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for words in [
        "notes.jpg: not an image",
        "4 photographs: 2 to train on, 1 to test with, 1 left out",
        "index.html",
    ] {
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
}
