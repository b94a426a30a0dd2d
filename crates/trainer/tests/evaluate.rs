//! `trainer evaluate`

mod scratch;

use std::path::Path;

use scratch::{Scratch, stderr, stdout};
use serde_json::Value;

const TRAIN: &str = "train --data data --size 32 --load-size 36 --ngf 4 --ndf 4 --steps 2 \
                     --checkpoint-every 1 --device cpu --quiet --out run";

fn features(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/metrics")
        .join(name)
        .display()
        .to_string()
}

#[test]
fn figures_name_their_network_and_follow_from_the_checkpoint() {
    let scratch = Scratch::new();
    scratch.succeeds(TRAIN);
    let evaluate = |rest: &str| {
        let said = scratch.succeeds(&format!(
            "evaluate run --device cpu --quiet --size 40 {rest}"
        ));
        (stdout(&said), stderr(&said))
    };

    let (table, told) = evaluate("");
    assert!(
        table.contains("L1 cycle") && !table.contains("KID"),
        "{table}"
    );
    assert!(told.contains("pip download"), "{told}");

    let tolerant = format!("--features {}", features("shift-tolerant.pth"));
    let (table, told) = evaluate(&tolerant);
    for part in [
        "step 2, 32 px: testA (3 pictures) to testB",
        "stlpips-vgg16/relu5_3:unit at 40",
        "KID, not translated",
        "FID (few pictures)",
        "LPIPS cycle",
        "LPIPS diversity",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(told.is_empty(), "{told}");

    let json = |rest: &str| -> Value { serde_json::from_str(&evaluate(rest).0).unwrap() };
    let newest = json(&format!("--json {tolerant}"));
    assert_eq!(newest, json(&format!("--json {tolerant} --step 2")));
    let before = json(&format!("--json {tolerant} --step 1"));
    assert_eq!(before["step"], 1);
    assert_ne!(before["figures"], newest["figures"]);
    let back = json(&format!("--json {tolerant} --direction BtoA"));
    assert_eq!(back["inputs"]["folder"], "testB");

    let narrow =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../faces/tests/fixtures/recognition.bin");
    let people = json(&format!("--json --identity {}", narrow.display()));
    let figures = people["figures"].as_array().unwrap();
    let value = |name: &str| {
        let found = figures.iter().find(|figure| figure["name"] == name);
        let figure = found.unwrap_or_else(|| panic!("no {name}: {people}"));
        assert_eq!(figure["by"], "face-api-recognition");
        figure["value"].as_f64().unwrap()
    };
    assert!(value("identity") > 0.0 && value("identity, cycle") > 0.0);
    assert!(value("identity, other pictures") > 0.0);
    scratch.fails(
        "evaluate run --device cpu --quiet --features nowhere.pth",
        &["the network to evaluate with can't be used: nowhere.pth could not be read: "],
    );

    let plain = evaluate(&format!("--features {}", features("torchvision.pth"))).0;
    assert!(plain.contains("torchvision-vgg16/relu5_3:unit"), "{plain}");
    assert!(!plain.contains("LPIPS"), "it has no heads: {plain}");
}

#[test]
fn without_test_pictures_those_trained_on_are_taken_and_said_to_be() {
    let scratch = Scratch::new();
    scratch.succeeds(TRAIN);
    for folder in ["testA", "testB"] {
        std::fs::remove_dir_all(scratch.path("data").join(folder)).unwrap();
    }
    let said = scratch.succeeds("evaluate run --device cpu --quiet");
    let table = stdout(&said);
    assert!(
        table.contains("trainA (") && table.contains("trained on"),
        "{table}"
    );

    scratch.fails(
        "evaluate run --device cpu --quiet --step 7",
        &["no checkpoint after step 7; it has those after 1, 2"],
    );
}
