//! Every line of docs/reference-options.md and docs/quality.md works.

mod scratch;

use std::fs;
use std::path::Path;

use scratch::{Scratch, stderr};

/// A run that most options go with; what a row says comes after it and counts.
const BASE: &str = "--ngf 2 --ndf 2 --steps 4 --sample-every 4 --device cpu --quiet";

/// Weights of a narrow VGG19.
const PERCEPTUAL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/perceptual.safetensors"
);

/// The second cells of a table's rows, without their quotes.
fn rows(document: &str) -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = fs::read_to_string(docs.join(document)).unwrap();
    let cell = |line: &str| {
        let cell = line.strip_prefix("| ")?.split(" | ").nth(1)?.trim();
        Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned())
    };
    text.lines().filter_map(cell).collect()
}

#[test]
fn every_row_of_the_table_was_tried() {
    let scratch = Scratch::new();
    scratch.train("run");
    let mut rows = rows("reference-options.md");
    assert!(rows.len() > 60, "{}", rows.len());
    let more = self::rows("quality.md");
    assert!(more.len() > 12, "{}", more.len());
    rows.extend(more);
    for (i, row) in rows.iter().enumerate() {
        let out = format!("out-{i}");
        let said = row
            .replace("--perceptual FILE", &format!("--perceptual {PERCEPTUAL}"))
            .replace("DIR", "data")
            .replace("data --output", "data/testA --output")
            .replace("FILE", "data/testA/0.png")
            .replace("OUT", &out)
            .replace("--out RUN", "");
        let args = if row.starts_with("translate") || row.contains("--resume") {
            format!("{} --device cpu --quiet", said.replace("RUN", "run"))
        } else {
            let data = if said.contains("--data") {
                ""
            } else {
                "--data data"
            };
            let size = if said.contains("--size") {
                ""
            } else {
                "--size 32"
            };
            let load_size = if said.contains("--load-size") {
                ""
            } else {
                "--load-size 36"
            };
            let given = |option: &str| said.split_whitespace().any(|word| word == option);
            let base: Vec<&str> = BASE.split(" --").collect();
            let base: Vec<String> = base
                .iter()
                .map(|option| format!("--{}", option.trim_start_matches("--")))
                .filter(|option| !given(option.split(' ').next().unwrap_or_default()))
                .filter(|option| !(option.starts_with("--steps") && given("--epochs")))
                .collect();
            format!(
                "{data} {size} {load_size} {} {said} --out {out}",
                base.join(" ")
            )
        };
        let output = scratch.trainer(&args);
        assert!(
            output.status.success(),
            "{row}: {args}: {}",
            stderr(&output)
        );
    }
}
