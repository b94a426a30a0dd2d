//! Every line of docs/reference-options.md works.

mod scratch;

use std::fs;
use std::path::Path;

use scratch::{Scratch, stderr};

/// A run that most options go with; what a row says comes after it and counts.
const BASE: &str = "--ngf 2 --ndf 2 --steps 4 --sample-every 4 --device cpu --quiet";

/// The second cells of the table's rows, without their quotes.
fn rows() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference-options.md");
    let text = fs::read_to_string(path).unwrap();
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
    let rows = rows();
    assert!(rows.len() > 50, "{}", rows.len());
    for (i, row) in rows.iter().enumerate() {
        let out = format!("out-{i}");
        let said = row
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
