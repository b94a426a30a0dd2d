//! A folder with a small data set, and the program run in it.
#![allow(dead_code, reason = "not every test takes everything")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use images::RgbImage;
use tempfile::TempDir;

/// Flags of a run that takes a second.
pub const SMALL: &str = "--size 32 --load-size 36 --ngf 4 --ndf 4 --steps 4 --sample-every 2 \
                         --checkpoint-every 2 --device cpu --quiet";

/// A folder that goes away after the test.
pub struct Scratch(pub TempDir);

impl Scratch {
    /// A folder with a small data set in `data`.
    pub fn new() -> Self {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        for (i, name) in ["trainA", "trainB", "testA", "testB"]
            .into_iter()
            .enumerate()
        {
            let folder = scratch.path("data").join(name);
            fs::create_dir_all(&folder).unwrap();
            for j in 0..3 {
                picture(40 + 3 * j, 40, i as u32)
                    .save(folder.join(format!("{j}.png")))
                    .unwrap();
            }
        }
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn trainer(&self, args: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .current_dir(self.0.path())
            .args(args.split_whitespace());
        for variable in ["HENSHIN_DEVICE", "HENSHIN_FEATURES", "HENSHIN_IDENTITY"] {
            command.env_remove(variable);
        }
        command.output().unwrap()
    }

    pub fn succeeds(&self, args: &str) -> Output {
        let output = self.trainer(args);
        assert!(output.status.success(), "{args}: {}", stderr(&output));
        output
    }

    /// The message of a call that must fail as user errors do.
    pub fn fails(&self, args: &str, names: &[&str]) -> String {
        let output = self.trainer(args);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args}: {message}");
        assert!(!message.contains("panicked"), "{message}");
        let lines: Vec<&str> = message
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(lines.len(), 1, "one paragraph: {message}");
        for name in names {
            assert!(
                lines[0].contains(name),
                "{args} does not name {name}: {message}"
            );
        }
        message
    }

    pub fn train(&self, run: &str) {
        self.succeeds(&format!("--data data --out {run} {SMALL}"));
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn picture(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        images::Rgb([
            (x * 5 + seed * 40) as u8,
            (y * 6) as u8,
            ((x ^ y) * 4) as u8,
        ])
    })
}

pub fn files(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| name(entry.unwrap()))
        .collect();
    names.sort();
    names
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What follows a checkpoint's header, which names the run's folder.
pub fn tensors(checkpoint: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(checkpoint[..8].try_into().unwrap());
    &checkpoint[8 + header as usize..]
}
