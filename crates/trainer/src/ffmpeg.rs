//! Videos, read and written by an installed `ffmpeg` through pipes.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use images::RgbImage;
use serde::Deserialize;

use crate::clip::FrameRate;
use crate::interrupt;

/// Options before an input: it is a file, and one of pictures itself, no list of others.
const FILES_ONLY: [&str; 4] = [
    "-protocol_whitelist",
    "file",
    "-format_whitelist",
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg",
];
/// Lines of what a program said that are kept.
const LINES: usize = 4;
/// Characters of a line that are kept.
const LINE: usize = 300;

/// What `ffprobe` says of a video.
#[derive(Debug)]
pub struct Video {
    path: PathBuf,
    /// Frames a second; of a video without a constant rate, the mean.
    pub rate: FrameRate,
    /// In seconds, where the file says.
    pub duration: Option<f64>,
}

impl Video {
    /// Asks about a file.
    ///
    /// # Errors
    /// When there is no `ffprobe`, or it finds no video in the file.
    pub fn probe(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Found {
            streams: Vec<Stream>,
            #[serde(default)]
            format: Format,
        }
        #[derive(Deserialize)]
        struct Stream {
            r_frame_rate: String,
            avg_frame_rate: String,
        }
        #[derive(Default, Deserialize)]
        struct Format {
            duration: Option<String>,
        }
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error"]).args(FILES_ONLY);
        command.args(["-select_streams", "V:0", "-of", "json"]);
        command.args(["-show_entries", "stream=r_frame_rate,avg_frame_rate"]);
        command.args(["-show_entries", "format=duration"]);
        command.arg(file(path)).stdout(Stdio::piped());
        let mut process = Process::spawn(command)?;
        let mut json = Vec::new();
        if let Some(stdout) = process.child.stdout.take() {
            stdout.take(1 << 20).read_to_end(&mut json)?;
        }
        let unreadable = || format!("{} can't be read as a video", path.display());
        process.finish().with_context(unreadable)?;
        let found: Found = serde_json::from_slice(&json).with_context(unreadable)?;
        let Some(stream) = found.streams.first() else {
            bail!("there is no video in {}", path.display());
        };
        Ok(Video {
            path: path.to_owned(),
            rate: rate(&stream.r_frame_rate, &stream.avg_frame_rate),
            duration: found.format.duration.and_then(|text| text.parse().ok()),
        })
    }

    /// Begins to decode its frames, at a constant rate: frames are repeated or left out where it has none.
    /// They come as they are shown: turned as the file says, with square pixels.
    ///
    /// # Errors
    /// When there is no `ffmpeg`.
    pub fn decode(&self, rate: FrameRate) -> Result<Decoder> {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error"]).args(FILES_ONLY);
        command.arg("-i").arg(file(&self.path));
        // From the beginning, where sound begins, too.
        let filter = format!("fps=fps={rate}:start_time=0,scale=iw*sar:ih,setsar=1");
        command.args(["-map", "0:V:0", "-vf", &filter]);
        command.args(["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]);
        command.stdout(Stdio::piped());
        let mut process = Process::spawn(command)?;
        let stdout = process
            .child
            .stdout
            .take()
            .context("ffmpeg has no output")?;
        Ok(Decoder {
            path: self.path.clone(),
            process,
            frames: Some(BufReader::with_capacity(1 << 16, stdout)),
            any: false,
        })
    }
}

/// The rate of a stream by its `r_frame_rate`, with which all its times can be told, and the mean. They are about
/// the same where the rate is constant; where it isn't, the former may be any multiple.
fn rate(exact: &str, mean: &str) -> FrameRate {
    let [exact, mean] = [exact, mean].map(|text| text.parse::<FrameRate>().ok());
    match (exact, mean) {
        (Some(exact), Some(mean)) if (exact.hertz() / mean.hertz() - 1.0).abs() > 0.01 => mean,
        (Some(rate), _) | (None, Some(rate)) => rate,
        (None, None) => FrameRate::default(),
    }
}

/// The frames of a video.
pub struct Decoder {
    path: PathBuf,
    process: Process,
    /// Until they have ended.
    frames: Option<BufReader<ChildStdout>>,
    any: bool,
}

impl Decoder {
    /// The next frame; none at the end.
    fn read(&mut self) -> Result<Option<RgbImage>> {
        let Some(frames) = &mut self.frames else {
            return Ok(None);
        };
        let frame = match images::read_ppm(&self.path, frames) {
            Ok(Some(frame)) => {
                self.any = true;
                return Ok(Some(frame));
            }
            frame => frame,
        };
        // Whoever writes more than is read would not end.
        self.frames = None;
        if let Err(error @ images::Error::TooLarge { .. }) = frame {
            return Err(error.into());
        }
        // What ffmpeg says of a stream that ends within a frame says more than that it does.
        let said = self.process.finish();
        let said =
            said.with_context(|| format!("{} can't be read to its end", self.path.display()))?;
        frame?;
        if !self.any {
            bail!("there is no frame in {}", self.path.display());
        }
        if !said.is_empty() {
            eprintln!("ffmpeg says of {}: {said}", self.path.display());
        }
        Ok(None)
    }
}

impl Iterator for Decoder {
    type Item = Result<RgbImage>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A video that is being written: into a file beside it first, of which nothing is left if it is not finished.
pub struct Encoder {
    path: PathBuf,
    partial: PathBuf,
    process: Process,
    stdin: Option<ChildStdin>,
    size: (u32, u32),
}

impl Encoder {
    /// Begins a video, whose frames are as large as `first`, with the sound of another file, if that has any.
    ///
    /// # Errors
    /// When there is no `ffmpeg`.
    pub fn begin(
        path: &Path,
        first: &RgbImage,
        rate: FrameRate,
        sound: Option<&Path>,
    ) -> Result<Self> {
        let (width, height) = even(first).dimensions();
        let partial = partial(path);
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-s"]);
        command.arg(format!("{width}x{height}"));
        command.args(["-r", &rate.to_string(), "-i", "-"]);
        if let Some(sound) = sound {
            command.args(FILES_ONLY).arg("-i").arg(file(sound));
            command.args(["-map", "0:v:0", "-map", "1:a?"]);
            // Not every kind of file takes every kind of sound.
            if takes_sound_of(path, sound) {
                command.args(["-c:a", "copy"]);
            }
        }
        // What players take for granted of large pictures, they are told of small ones.
        command.args(["-vf", "scale=out_color_matrix=bt709:out_range=tv"]);
        command.args(["-pix_fmt", "yuv420p", "-color_range", "tv"]);
        for what in ["-colorspace", "-color_primaries", "-color_trc"] {
            command.args([what, "bt709"]);
        }
        command.arg(file(&partial));
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = Process::spawn(command)?;
        Ok(Encoder {
            path: path.to_owned(),
            partial,
            stdin: process.child.stdin.take(),
            process,
            size: (width, height),
        })
    }

    /// Writes the next frame.
    ///
    /// # Errors
    /// When ffmpeg ends before, with what it said.
    pub fn push(&mut self, frame: &RgbImage) -> Result<()> {
        let frame = even(frame);
        if frame.dimensions() != self.size {
            bail!("the frames of a video must be of one size");
        }
        let Some(stdin) = &mut self.stdin else {
            bail!("the video has ended");
        };
        match stdin.write_all(frame.as_raw()) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.stdin = None;
                let ended = self.process.finish();
                ended.with_context(|| self.refusal())?;
                Err(error).with_context(|| self.refusal())
            }
        }
    }

    /// Ends the video, and gives it its name.
    ///
    /// # Errors
    /// When ffmpeg fails, or the file can't be renamed.
    pub fn finish(mut self) -> Result<()> {
        self.stdin = None;
        self.process.finish().with_context(|| self.refusal())?;
        fs::rename(&self.partial, &self.path).with_context(|| self.refusal())
    }

    fn refusal(&self) -> String {
        format!("{} can't be written", self.path.display())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.process.end();
        // It is not there any more when all went well.
        let _ = fs::remove_file(&self.partial);
    }
}

/// The name of a video until it is whole; ffmpeg tells the kind of file by the ending.
fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_stem().unwrap_or_default());
    name.push(format!(".{}.partial.", std::process::id()));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

/// A picture with an even width and height, as videos' colours need: its last column and row are repeated.
fn even(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    images::extend(
        picture,
        width.next_multiple_of(2),
        height.next_multiple_of(2),
    )
}

/// Whether a kind of file takes the sound of another as it is.
fn takes_sound_of(path: &Path, sound: &Path) -> bool {
    let [to, from] = [path, sound].map(|path| {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            "m4v" | "mov" => "mp4".to_owned(),
            other => other.to_owned(),
        }
    });
    to == from || to == "mkv"
}

/// A path that ffmpeg takes for nothing but a file.
fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

/// A program at work. It does not outlive this.
struct Process {
    name: String,
    child: Child,
    said: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts a program, apart from the terminal's Ctrl-C, which is for whoever started it to see to.
    fn spawn(mut command: Command) -> Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow::anyhow!(
                "videos need {name}, which is not installed (Debian, Ubuntu: apt-get install ffmpeg; macOS: \
                 brew install ffmpeg; Windows: winget install ffmpeg); without it, give a GIF or a folder of \
                 frames"
            ),
            _ => anyhow::Error::new(error).context(format!("{name} can't be started")),
        })?;
        let said = child
            .stderr
            .take()
            .map(|stderr| thread::spawn(|| last_lines(stderr)));
        Ok(Process { name, child, said })
    }

    /// Waits until it has ended, and gives what it said last.
    ///
    /// # Errors
    /// When it did not end well, with that.
    fn finish(&mut self) -> Result<String> {
        let status = self.child.wait()?;
        let said = self.said.take().and_then(|said| said.join().ok());
        let said = said.unwrap_or_default();
        interrupt::check()?;
        match (status.success(), said.is_empty()) {
            (true, _) => Ok(said),
            (false, true) => bail!("{} ended with {status}", self.name),
            (false, false) => bail!("{} says: {said}", self.name),
        }
    }

    /// Ends it, if it has not.
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The last lines that a program says, until it says no more.
fn last_lines(stderr: impl Read) -> String {
    let mut lines: VecDeque<String> = VecDeque::new();
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    // A line may be of any length.
    while let Ok(1..) = (&mut stderr).take(1 << 16).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        let text: String = text.trim().chars().take(LINE).collect();
        if !text.is_empty() {
            lines.push_back(text);
        }
        if lines.len() > LINES {
            lines.pop_front();
        }
        line.clear();
    }
    Vec::from(lines).join("; ")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_rate_is_the_exact_one_unless_that_is_only_a_common_multiple() {
        let rate = |exact, mean| rate(exact, mean).to_string();
        assert_eq!(rate("30000/1001", "30000/1001"), "30000/1001");
        assert_eq!(rate("25/1", "19150/767"), "25/1");
        assert_eq!(rate("90000/1", "27013/1000"), "27013/1000");
        assert_eq!(rate("24/1", "0/0"), "24/1");
        assert_eq!(rate("0/0", "0/0"), "25/1");
    }

    #[test]
    fn the_last_lines_are_kept_whatever_comes() {
        let mut said = "first\n".repeat(9);
        said += &"x".repeat(1 << 18);
        said += "\n\n  second \nlast";
        let kept = last_lines(said.as_bytes());
        assert!(kept.ends_with("; second; last"), "{kept}");
        assert!(kept.len() < LINES * (LINE + 2), "{}", kept.len());
    }

    #[test]
    fn sound_is_copied_where_it_fits() {
        for (to, from, takes) in [
            ("a.mp4", "b.MP4", true),
            ("a.mp4", "b.mov", true),
            ("a.mkv", "b.webm", true),
            ("a.webm", "b.mp4", false),
            ("a.mp4", "b.avi", false),
        ] {
            assert_eq!(
                takes_sound_of(Path::new(to), Path::new(from)),
                takes,
                "{to}"
            );
        }
        assert_eq!(
            partial(Path::new("d/a.b.mp4")).extension(),
            Some(OsStr::new("mp4"))
        );
    }
}
