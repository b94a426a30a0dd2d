//! Weights from and to other programs.

mod scratch;

use std::fs;
use std::path::{Path, PathBuf};

use scratch::{Scratch, files, stderr};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/exchange")
        .join(name)
}

/// A folder with options of small runs in `small.toml`.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    let options =
        "data = \"data\"\nsize = 32\nload_size = 36\nndf = 4\nsteps = 1\ndevice = \"cpu\"\n";
    fs::write(scratch.path("small.toml"), options).unwrap();
    scratch
}

fn import(file: &str, rest: &str) -> String {
    format!(
        "import {} --config small.toml {rest}",
        fixture(file).display()
    )
}

fn values(path: &Path) -> Vec<exchange::Array> {
    let mut arrays = exchange::read(path).unwrap().arrays;
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    arrays
}

#[test]
fn what_is_imported_translates_is_trained_on_and_exported_unchanged() {
    let scratch = scratch();
    let said = scratch.succeeds(&import("plain.pth", "--output run"));
    let said = stderr(&said);
    for part in [
        "resnet_6blocks, ngf 2, norm instance",
        "fresh       G_B, D_A, D_B",
    ] {
        assert!(said.contains(part), "{said}");
    }
    scratch.succeeds("translate run --input data/testA --output out --device cpu");
    assert_eq!(files(&scratch.path("out")).len(), 3);
    for file in ["x.pth", "x.safetensors", "x.onnx"] {
        scratch.succeeds(&format!("export run --output {file}"));
    }
    let imported = values(&fixture("plain.pth"));
    assert_eq!(values(&scratch.path("x.pth")), imported);
    assert_eq!(values(&scratch.path("x.safetensors")), imported);
    assert!(fs::metadata(scratch.path("x.onnx")).unwrap().len() > 40_000);
    scratch.succeeds("export run --format pth --direction BtoA --output back.weights");
    assert_ne!(values(&scratch.path("back.weights")), imported);

    // A network without norms has the same tensors as one with: the file tells.
    scratch.succeeds(&import("plain.pth", "--norm none --output none"));
    scratch.succeeds("export none --output none.safetensors");
    let again = scratch.succeeds("import none.safetensors --config small.toml --output again");
    assert!(stderr(&again).contains("norm none"), "{}", stderr(&again));

    let resumed = scratch.succeeds("--resume run --steps 2");
    assert!(
        !stderr(&resumed).contains("have changed"),
        "{}",
        stderr(&resumed)
    );
    scratch.succeeds("export run --output trained.pth");
    assert_ne!(values(&scratch.path("trained.pth")), imported);
    assert_eq!(
        fs::read_to_string(scratch.path("run/metrics.jsonl"))
            .unwrap()
            .lines()
            .count(),
        2
    );
}

#[test]
fn a_folder_of_the_references_is_imported_as_a_whole() {
    let scratch = scratch();
    fs::create_dir(scratch.path("nets")).unwrap();
    for (from, to) in [
        ("plain", "G_A"),
        ("legacy", "G_B"),
        ("discriminator", "D_A"),
    ] {
        let to = scratch.path("nets").join(format!("latest_net_{to}.pth"));
        fs::copy(fixture(&format!("{from}.pth")), to).unwrap();
    }
    let said = stderr(&scratch.succeeds("import nets --config small.toml --output run"));
    assert!(said.contains("fresh       D_B,"), "{said}");
    for direction in ["AtoB", "BtoA"] {
        scratch.succeeds(&format!(
            "export run --direction {direction} --output x.pth"
        ));
        assert_eq!(
            values(&scratch.path("x.pth")),
            values(&fixture("plain.pth"))
        );
    }
    // By its name alone it is known to go the other way.
    let named = "import nets/latest_net_G_B.pth --config small.toml --output other";
    let said = stderr(&scratch.succeeds(named));
    assert!(said.contains("translate other --direction BtoA"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let scratch = scratch();
    fs::create_dir(scratch.path("empty")).unwrap();
    let nine = "--generator resnet_9blocks --output run";
    let affine = fixture("affine.pth").display().to_string();
    for (args, names) in [
        (
            import("malicious.pth", "--output run"),
            ["malicious.pth", "os.system"],
        ),
        (
            import("plain.pth", nine),
            ["plain.pth", "model.16.conv_block.1.weight is missing"],
        ),
        (
            import("discriminator.pth", "--output run"),
            ["discriminator.pth", "does not fit"],
        ),
        (
            import("plain.pth", &format!("--output run --back {affine}")),
            ["affine.pth", "resnet_6blocks with ngf 2 and norm instance"],
        ),
        (
            import("unet.pth", "--output run"),
            ["size = 32", "multiples of 128"],
        ),
        (
            "import empty --output run".into(),
            ["empty", "latest_net_G_A.pth"],
        ),
        (
            "import nowhere.pth --output run".into(),
            ["nowhere.pth", "could not be read"],
        ),
    ] {
        scratch.fails(&args, &names);
        assert!(!scratch.path("run").exists(), "{args}");
    }
    scratch.succeeds(&import("plain.pth", "--output run"));
    scratch.fails(&import("plain.pth", "--output run"), &["run", "already"]);
    scratch.fails("export run --output x.weights", &["x.weights", "--format"]);
    scratch.fails(
        "export data --output x.pth",
        &["data", "not the folder of a run"],
    );
    scratch.fails(
        "export run --output small.toml/x.onnx",
        &["x.onnx", "could not be written"],
    );
}
