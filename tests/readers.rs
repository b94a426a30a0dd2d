//! Every reader over the corpus of the fuzz targets: files as they should be are read, others are refused
//! with a message that says what is wrong, and neither panics or takes memory that it has no reason to.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/readers.rs"]
mod readers;

use readers::Verdict;

type Reader = fn(&[u8]) -> Verdict;

const READERS: [(&str, Reader); 12] = [
    ("checkpoint", readers::checkpoint),
    ("choices", readers::choices),
    ("image", readers::image),
    ("journal", readers::journal),
    ("manifest", readers::manifest),
    ("metrics", readers::metrics),
    ("pickle", readers::pickle),
    ("pth", readers::pth),
    ("settings", readers::settings),
    ("state", readers::state),
    ("strings", readers::strings),
    ("weights", readers::weights),
];

/// Each malformed kind, and what its message says.
const REFUSED: &[(&str, &str)] = &[
    (
        "checkpoint/bad-config.safetensors",
        "it is not TOML: line 1",
    ),
    (
        "checkpoint/bad-cut.safetensors",
        "no whole safetensors file",
    ),
    (
        "checkpoint/bad-checksum.safetensors",
        "its checksum is none",
    ),
    (
        "checkpoint/bad-format.safetensors",
        "of a newer version of Henshin",
    ),
    (
        "checkpoint/bad-larger.safetensors",
        "asks for larger networks than it holds",
    ),
    (
        "checkpoint/bad-long-config.safetensors",
        "longer than 65536 bytes",
    ),
    ("checkpoint/bad-no-checksum.safetensors", "it lacks sha256"),
    ("checkpoint/bad-no-config.safetensors", "it lacks config"),
    ("checkpoint/bad-no-format.safetensors", "it lacks format"),
    (
        "checkpoint/bad-old.safetensors",
        "of an older version of Henshin",
    ),
    (
        "checkpoint/bad-passed-over.safetensors",
        "\"x\" is no number",
    ),
    ("checkpoint/bad-steps.safetensors", "\"-1\" is no number"),
    (
        "choices/bad-not-text.tsv",
        "stream did not contain valid UTF-8",
    ),
    (
        "choices/bad-nul.tsv",
        "no choices for this device: they are measured",
    ),
    (
        "choices/bad-other.tsv",
        "no choices for this device: they are measured",
    ),
    (
        "choices/bad-parts.tsv",
        "no choices for this device: they are measured",
    ),
    ("image/bmp/bad-colors.bmp", "damaged or cut short"),
    ("image/bmp/bad-cut.bmp", "damaged or cut short"),
    (
        "image/bmp/bad-header.bmp",
        "of an image format that cannot be read here",
    ),
    ("image/bmp/bad-least.bmp", "damaged or cut short"),
    ("image/bmp/bad-runs.bmp", "too large"),
    ("image/bmp/bad-sides.bmp", "too large"),
    ("image/dds/bad-cut.dds", "damaged or cut short"),
    (
        "image/dds/bad-format.dds",
        "of an image format that cannot be read here",
    ),
    ("image/dds/bad-sides.dds", "too large"),
    ("image/exr/bad-cut.exr", "damaged or cut short"),
    ("image/exr/bad-data-window.exr", "damaged or cut short"),
    ("image/exr/bad-header.exr", "damaged or cut short"),
    ("image/exr/bad-inside-out.exr", "damaged or cut short"),
    ("image/exr/bad-sides.exr", "too large"),
    ("image/exr/bad-window.exr", "damaged or cut short"),
    ("image/ff/bad-cut.ff", "damaged or cut short"),
    (
        "image/ff/bad-sides.ff",
        "of an image format that cannot be read here",
    ),
    ("image/gif/bad-cut.gif", "damaged or cut short"),
    ("image/gif/bad-frame.gif", "too large"),
    ("image/gif/bad-no-frame.gif", "damaged or cut short"),
    ("image/gif/bad-sides.gif", "too large"),
    ("image/hdr/bad-cut.hdr", "damaged or cut short"),
    ("image/hdr/bad-header.hdr", "damaged or cut short"),
    ("image/hdr/bad-numbers.hdr", "damaged or cut short"),
    ("image/hdr/bad-sides.hdr", "too large"),
    ("image/ico/bad-bmp-bomb.ico", "damaged or cut short"),
    ("image/ico/bad-bomb.ico", "too large"),
    ("image/ico/bad-count.ico", "damaged or cut short"),
    ("image/ico/bad-entry.ico", "damaged or cut short"),
    ("image/jpeg/bad-cut.jpg", "damaged or cut short"),
    ("image/jpeg/bad-no-tables.jpg", "damaged or cut short"),
    ("image/jpeg/bad-segment.jpg", "damaged or cut short"),
    ("image/jpeg/bad-sides.jpg", "too large"),
    ("image/none/bad-archive.zip", "damaged or cut short"),
    ("image/none/bad-empty", "damaged or cut short"),
    (
        "image/none/bad-movie.avif",
        "of an image format that cannot be read here",
    ),
    (
        "image/none/bad-page.html",
        "of an image format that cannot be read here",
    ),
    ("image/png/bad-bomb-of-bits.png", "too large"),
    ("image/png/bad-bomb.png", "too large"),
    ("image/png/bad-checksum.png", "damaged or cut short"),
    ("image/png/bad-chunk-length.png", "damaged or cut short"),
    ("image/png/bad-cut.png", "damaged or cut short"),
    ("image/png/bad-no-pixels.png", "damaged or cut short"),
    ("image/png/bad-nothing.png", "damaged or cut short"),
    ("image/png/bad-sides.png", "too large"),
    ("image/pnm/bad-cut.ppm", "damaged or cut short"),
    ("image/pnm/bad-depth.pam", "damaged or cut short"),
    ("image/pnm/bad-numbers.ppm", "damaged or cut short"),
    ("image/pnm/bad-sides.ppm", "too large"),
    ("image/pnm/bad-text.pgm", "damaged or cut short"),
    ("image/qoi/bad-cut.qoi", "damaged or cut short"),
    ("image/qoi/bad-sides.qoi", "damaged or cut short"),
    ("image/tga/bad-cut.tga", "damaged or cut short"),
    ("image/tga/bad-index.tga", "damaged or cut short"),
    ("image/tga/bad-map.tga", "damaged or cut short"),
    ("image/tga/bad-runs.tga", "too large"),
    ("image/tga/bad-sides.tga", "too large"),
    ("image/tiff/bad-bomb.tiff", "too large"),
    ("image/tiff/bad-count.tiff", "too large"),
    ("image/tiff/bad-cut.tiff", "damaged or cut short"),
    ("image/tiff/bad-loop.tiff", "damaged or cut short"),
    ("image/tiff/bad-no-directory.tiff", "damaged or cut short"),
    ("image/tiff/bad-offset.tiff", "damaged or cut short"),
    ("image/tiff/bad-strip.tiff", "too large"),
    ("image/webp/bad-bomb.webp", "damaged or cut short"),
    ("image/webp/bad-canvas.webp", "damaged or cut short"),
    ("image/webp/bad-chunk.webp", "damaged or cut short"),
    ("image/webp/bad-cut.webp", "damaged or cut short"),
    (
        "journal/bad-cut.jsonl",
        "378 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-extent.jsonl",
        "413 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-face.jsonl",
        "404 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-far.jsonl",
        "415 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-nested.jsonl",
        "5001 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-no-end.jsonl",
        "407 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-not-text.jsonl",
        "411 bytes are cut off, the rest is gone on with",
    ),
    (
        "journal/bad-nul.jsonl",
        "120 bytes are cut off, the rest is gone on with",
    ),
    (
        "manifest/bad-absolute.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-cut.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-empty.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-format.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-missing.json",
        "pictures are missing, so the set is made anew",
    ),
    (
        "manifest/bad-more.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-nameless.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-nested.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-not-text.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-number.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "manifest/bad-parent.json",
        "no manifest of ours, so no set of ours",
    ),
    (
        "metrics/bad-cut.jsonl",
        "40 bytes are cut off, the rest is gone on with",
    ),
    (
        "metrics/bad-later.jsonl",
        "117 bytes are cut off, the rest is gone on with",
    ),
    (
        "metrics/bad-long.jsonl",
        "66051 bytes are cut off, the rest is gone on with",
    ),
    (
        "metrics/bad-nested.jsonl",
        "5050 bytes are cut off, the rest is gone on with",
    ),
    (
        "metrics/bad-not-text.jsonl",
        "52 bytes are cut off, the rest is gone on with",
    ),
    (
        "metrics/bad-step.jsonl",
        "201 bytes are cut off, the rest is gone on with",
    ),
    ("pickle/bad-build.pkl", "attributes of what has none"),
    (
        "pickle/bad-class.pkl",
        "\"torch.ComplexFloatStorage\", which is no part of a tensor",
    ),
    ("pickle/bad-cut.pkl", "its pickle ends too early"),
    ("pickle/bad-empty.pkl", "its pickle ends too early"),
    (
        "pickle/bad-eval.pkl",
        "\"builtins.eval\", which is no part of a tensor",
    ),
    ("pickle/bad-extent.pkl", "an extent of -1"),
    ("pickle/bad-length.pkl", "its pickle ends too early"),
    ("pickle/bad-line.pkl", "its pickle ends too early"),
    (
        "pickle/bad-many.pkl",
        "a pickle of more than 1000000 values",
    ),
    (
        "pickle/bad-mark.pkl",
        "it takes values from its stack that are not there",
    ),
    (
        "pickle/bad-memo.pkl",
        "it refers to a value that it never made",
    ),
    (
        "pickle/bad-object.pkl",
        "an instruction that no state dict has (0x81)",
    ),
    ("pickle/bad-rank.pkl", "a tensor of 9 dimensions"),
    (
        "pickle/bad-strides.pkl",
        "a tensor with more extents than strides, or fewer",
    ),
    (
        "pickle/bad-system.pkl",
        "\"os.system\", which is no part of a tensor",
    ),
    (
        "pickle/bad-text.pkl",
        "its pickle has text that is not UTF-8",
    ),
    ("pickle/bad-version.pkl", "a pickle of version 9"),
    (
        "pth/bad-big-endian.pth",
        "it was written on a big-endian machine",
    ),
    ("pth/bad-checksum.pth", "Invalid checksum"),
    (
        "pth/bad-compressed.pth",
        "its entry \"archive/data.pkl\" is compressed, which PyTorch's are not",
    ),
    (
        "pth/bad-count-of-many.pth",
        "more entries than it has room for",
    ),
    ("pth/bad-count.pth", "invalid Zip archive"),
    ("pth/bad-cut.pth", "invalid Zip archive"),
    (
        "pth/bad-dtype.safetensors",
        "a is stored as F8_E4M3, which can't be read",
    ),
    (
        "pth/bad-empty.pth",
        "it is neither a file of PyTorch's (.pth) nor of safetensors",
    ),
    (
        "pth/bad-expanded.pth",
        "t0 shares its storage with too many others",
    ),
    (
        "pth/bad-legacy-big-endian.pth",
        "it was written on a big-endian machine",
    ),
    ("pth/bad-legacy-cut.pth", "its storage \"0\" ends too early"),
    (
        "pth/bad-legacy-key.pth",
        "its storage \"1\" belongs to no tensor",
    ),
    (
        "pth/bad-legacy-length.pth",
        "its storage \"0\" ends too early",
    ),
    (
        "pth/bad-magic.pth",
        "it is a pickle, but not one that torch.save wrote",
    ),
    (
        "pth/bad-no-pickle.pth",
        "it is a ZIP archive, but none of PyTorch's: there is no data.pkl",
    ),
    (
        "pth/bad-no-storage.pth",
        "t0 has no values: there is no storage \"0\"",
    ),
    ("pth/bad-nothing.pth", "there are no tensors in it"),
    (
        "pth/bad-overflow.pth",
        "t0 reaches past the end of its storage",
    ),
    (
        "pth/bad-page.html",
        "it is neither a file of PyTorch's (.pth) nor of safetensors",
    ),
    (
        "pth/bad-past-end.pth",
        "t0 reaches past the end of its storage",
    ),
    (
        "pth/bad-several.pth",
        "it holds several networks, \"a\", \"b\"",
    ),
    (
        "pth/bad-short-storage.pth",
        "t0 has a storage that ends too early",
    ),
    (
        "pth/bad-stride.pth",
        "t0 reaches past the end of its storage",
    ),
    (
        "pth/bad-system.pth",
        "\"os.system\", which is no part of a tensor",
    ),
    ("pth/bad-two-roots.pth", "it has more than one data.pkl"),
    ("settings/bad-every.toml", "must be at least 1"),
    ("settings/bad-kind.toml", "expected usize in `ngf`"),
    (
        "settings/bad-long-name.toml",
        "an option's name is longer than any",
    ),
    ("settings/bad-long.toml", "longer than 65536 bytes"),
    ("settings/bad-name.toml", "did you mean lambda_a?"),
    ("settings/bad-nan.toml", "lambda_a = NaN does not work"),
    (
        "settings/bad-negative.toml",
        "integer `-1`, expected usize in `ngf`",
    ),
    ("settings/bad-nested.toml", "max recursion depth met"),
    ("settings/bad-not-text.toml", "valid UTF-8"),
    ("settings/bad-not-toml.toml", "it is not TOML: line 2"),
    ("settings/bad-number.toml", "it is not TOML: line 1"),
    ("settings/bad-preset.toml", "expected `demo` or `paper`"),
    ("settings/bad-size.toml", "try 4096 or 4100"),
    ("settings/bad-stages.toml", "which is not SIZE:STEPS"),
    ("settings/bad-tables.toml", "recursion limit"),
    ("settings/bad-twice.toml", "duplicate key"),
    (
        "state/bad-backwards.safetensors",
        "no whole safetensors file",
    ),
    ("state/bad-cut.safetensors", "no whole safetensors file"),
    ("state/bad-empty.safetensors", "no whole safetensors file"),
    (
        "state/bad-five-dimensions.safetensors",
        "at most four dimensions",
    ),
    ("state/bad-halves.safetensors", "no whole safetensors file"),
    (
        "state/bad-header-length.safetensors",
        "no whole safetensors file",
    ),
    (
        "state/bad-header-past-end.safetensors",
        "no whole safetensors file",
    ),
    (
        "state/bad-hidden-overflow.safetensors",
        "more values than can be counted",
    ),
    ("state/bad-json.safetensors", "no whole safetensors file"),
    ("state/bad-kind.safetensors", "no whole safetensors file"),
    ("state/bad-longer.safetensors", "no whole safetensors file"),
    ("state/bad-nested.safetensors", "no whole safetensors file"),
    ("state/bad-offsets.safetensors", "no whole safetensors file"),
    (
        "state/bad-overflow.safetensors",
        "no whole safetensors file",
    ),
    ("state/bad-overlap.safetensors", "no whole safetensors file"),
    ("state/bad-pickle.pt", "no whole safetensors file"),
    ("state/bad-shape.safetensors", "no whole safetensors file"),
    ("state/bad-torch-archive.pt", "no whole safetensors file"),
    ("strings/bad-batch", "batch = 0"),
    ("strings/bad-beyond", "which is not SIZE:STEPS"),
    ("strings/bad-kind", "which is not SIZE:STEPS"),
    ("strings/bad-last-size", "multiples of 4"),
    ("strings/bad-long", "which is not SIZE:STEPS"),
    ("strings/bad-negative", "which is not SIZE:STEPS"),
    ("strings/bad-not-text", "invalid utf-8"),
    ("strings/bad-parts", "which is not SIZE:STEPS"),
    ("strings/bad-stage", "which is not SIZE:STEPS"),
    ("strings/bad-steps", "from 1 to 1000000000 steps"),
    (
        "weights/bad-dtype",
        "conv1/depthwise_filter is stored as float32, not uint8",
    ),
    ("weights/bad-json", "EOF while parsing a value"),
    ("weights/bad-missing", "there is no dense0/conv0/filters"),
    ("weights/bad-more", "1 bytes belong to no tensor"),
    (
        "weights/bad-nested",
        "invalid type: sequence, expected a string",
    ),
    ("weights/bad-nothing", "fc/weights has no values"),
    (
        "weights/bad-overflow",
        "conv0/bias reaches past the end of the bytes",
    ),
    ("weights/bad-rank", "there is no dense0/conv0/filters"),
    (
        "weights/bad-short",
        "conv1/depthwise_filter reaches past the end of the bytes",
    ),
];

/// A target's files with their paths inside the corpus, sorted.
fn corpus(target: &str) -> Vec<(String, PathBuf)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut folders = vec![corpus.join(target)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(&corpus).unwrap();
                files.push((inside.to_str().unwrap().replace('\\', "/"), path));
            }
        }
    }
    files.sort();
    files
}

/// Whether a file's name begins with a word: `seed-` is read, `bad-` is refused, `found-` may be either.
fn is(name: &str, kind: &str) -> bool {
    name.rsplit('/').next().unwrap().starts_with(kind)
}

/// A message with the names of files alone, whose folders are others each time.
fn without_folders(message: &str) -> String {
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let is_path = |word: &&str| word.contains("/.tmp");
    let words = message.split_whitespace();
    let words = words.map(|word| Some(word).filter(is_path).map_or(word.to_owned(), name));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_whole_is_read_and_what_is_malformed_is_refused_with_a_message() {
    let mut table = String::from("| file | what is said |\n| --- | --- |\n");
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    for (target, read) in READERS {
        for (name, path) in corpus(target) {
            let verdict = read(&fs::read(path).unwrap());
            let expected = REFUSED.iter().find(|(file, _)| *file == name);
            match (&verdict, expected) {
                (Ok(()), None) if !is(&name, "bad-") => {}
                (Err(_), None) if is(&name, "found-") => {}
                (Err(message), Some((file, part))) if message.contains(part) => {
                    met.insert(*file);
                }
                _ => wrong.push(format!("{name}: {verdict:?}, expected {expected:?}")),
            }
            if let Err(message) = &verdict {
                let message = without_folders(message).replace('|', "\\|");
                writeln!(table, "| {name} | {message} |").unwrap();
                if message.len() > 500 {
                    wrong.push(format!("{name}: {} bytes of message", message.len()));
                }
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(met.len(), REFUSED.len(), "files of the table are missing");
}
