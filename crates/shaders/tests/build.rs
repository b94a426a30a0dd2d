//! The build script's modules under test: a broken shader is reported where a person wrote it.

#[path = "../build/kernel.rs"]
mod kernel;
#[path = "../build/limits.rs"]
mod limits;
#[path = "../build/source.rs"]
mod source;

use kernel::{Binding, Kernel};
use source::{Error, Source};
use std::fs;

/// Reflects `kernel.wgsl` out of the given files.
fn reflect(files: &[(&str, &str)]) -> Result<Kernel, Error> {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("has a folder")).expect("is writable");
        fs::write(path, text).expect("is writable");
    }
    let names = source::kernels(root.path())?;
    assert_eq!(names, ["kernel"], "snippets are no kernels");
    Source::load(root.path(), "kernel").and_then(|source| kernel::reflect(&source))
}

/// The error of a kernel that is one file.
fn error(text: &str) -> String {
    reflect(&[("kernel.wgsl", text)])
        .expect_err("the kernel is broken")
        .to_string()
}

const GOOD: &str = "\
// Doubles.
// In place.

override TILE: u32 = 8u;
override HALF: u32 = TILE / 2u;
override FAST: bool = true;
struct Params { len: u32, factor: f32, size: vec2u }
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(0) var<uniform> params: Params;
var<workgroup> tile: array<f32, TILE * HALF>;
@compute @workgroup_size(TILE, HALF)
fn main(@builtin(global_invocation_id) id: vec3u) {
    tile[0] = params.factor;
    if FAST { out[id.x] = tile[0] * input[id.x]; }
}
";

#[test]
fn reflects_a_kernel() {
    let kernel = reflect(&[("kernel.wgsl", GOOD)]).unwrap();
    assert_eq!(
        (kernel.name.as_str(), kernel.source.as_str()),
        ("kernel", GOOD)
    );
    assert_eq!(kernel.docs, ["Doubles.", "In place."]);
    assert_eq!(kernel.params_size, 16);
    assert_eq!(
        kernel.bindings,
        [Binding::Uniform, Binding::Read, Binding::ReadWrite]
    );
    let overrides: Vec<_> = kernel
        .overrides
        .iter()
        .map(|(n, d)| (n.as_str(), *d))
        .collect();
    assert_eq!(
        overrides,
        [("TILE", Some(8.0)), ("HALF", None), ("FAST", Some(1.0))]
    );
    assert_eq!(kernel.workgroup_size, [8, 4, 1]);
    assert_eq!(kernel.workgroup_memory, 8 * 4 * 4);
}

#[test]
fn subgroup_operations_are_noted() {
    let plain = reflect(&[("kernel.wgsl", GOOD)]).unwrap();
    let text = GOOD.replace("tile[0] * input", "subgroupAdd(tile[0]) * input");
    let passing_round = reflect(&[("kernel.wgsl", &text)]).unwrap();
    assert_eq!((plain.subgroups, passing_round.subgroups), (false, true));
}

#[test]
fn storage_of_either_precision_is_noted() {
    let text = GOOD
        .replace("input: array<f32>", "input: array<real_input>")
        .replace("input[id.x]", "f32(input[id.x])");
    let kernel = reflect(&[("kernel.wgsl", &text)]).unwrap();
    assert_eq!(kernel.reals, [Some("real_input".into()), None]);

    // Forgotten conversions are found, as they are right only in single precision.
    let text = text.replace("f32(input[id.x])", "input[id.x]");
    let error = error(&text);
    assert!(error.starts_with("shaders/kernel.wgsl:15:"), "{error}");
    assert!(error.contains("with real_input = f16"), "{error}");

    let text = GOOD.replace("tile[0] * input", "f32(real_x(tile[0])) * input");
    let error = self::error(&text);
    assert!(error.contains("`real_x` is no storage's"), "{error}");
}

#[test]
fn a_parse_error_names_file_line_and_column() {
    let text = GOOD.replace("tile[0] = params.factor;", "tile[0] = params.factr;");
    let error = error(&text);
    assert!(
        error.starts_with("shaders/kernel.wgsl:14:22: error: "),
        "{error}"
    );
    assert!(error.contains("factr"), "{error}");
    assert!(
        error.contains("   14 |     tile[0] = params.factr;"),
        "{error}"
    );
}

#[test]
fn a_validation_error_names_the_line() {
    let text = GOOD.replace("tile[0] * input[id.x]", "vec2f(tile[0])");
    let error = error(&text);
    assert!(error.starts_with("shaders/kernel.wgsl:15:"), "{error}");
}

#[test]
fn lines_are_counted_through_imports() {
    let main = "#import lib/a.wgsl\n#import lib/b.wgsl\n\n@compute @workgroup_size(1)\nfn main() {\n    let x = b() + BAD;\n}\n";
    let a = "#import lib/b.wgsl\nfn a() -> f32 { return b(); }\n";
    let b = "// a comment\n\nfn b() -> f32 { return 1.0; }\n";
    let in_main = reflect(&[("kernel.wgsl", main), ("lib/a.wgsl", a), ("lib/b.wgsl", b)]);
    let error = in_main.unwrap_err().to_string();
    assert!(
        error.starts_with("shaders/kernel.wgsl:6:19: error: "),
        "{error}"
    );

    let main = main.replace(" + BAD", "");
    reflect(&[("kernel.wgsl", &main), ("lib/a.wgsl", a), ("lib/b.wgsl", b)]).unwrap();

    let b = b.replace("1.0", "1.0 + BAD");
    let in_snippet = reflect(&[
        ("kernel.wgsl", &main),
        ("lib/a.wgsl", a),
        ("lib/b.wgsl", &b),
    ]);
    let error = in_snippet.unwrap_err().to_string();
    assert!(
        error.starts_with("shaders/lib/b.wgsl:3:30: error: "),
        "{error}"
    );
}

#[test]
fn bad_imports_are_reported_where_they_stand() {
    let cycle = reflect(&[
        ("kernel.wgsl", "\n#import lib/a.wgsl\n"),
        ("lib/a.wgsl", "#import lib/b.wgsl\n"),
        ("lib/b.wgsl", "\n\n#import lib/a.wgsl\n"),
    ]);
    let cycle = cycle.unwrap_err().to_string();
    assert!(
        cycle.starts_with("shaders/lib/b.wgsl:3:1: error: import cycle: "),
        "{cycle}"
    );
    assert!(
        cycle.contains("kernel.wgsl → lib/a.wgsl → lib/b.wgsl → lib/a.wgsl"),
        "{cycle}"
    );

    let missing = error("\n#import lib/nowhere.wgsl\n");
    assert!(
        missing.starts_with("shaders/kernel.wgsl:2:1: error: cannot read"),
        "{missing}"
    );
    let outside = error("#import ../secret.wgsl\n");
    assert!(outside.contains("expected `lib/….wgsl`"), "{outside}");
    let unknown = error("#define X\n");
    assert!(unknown.contains("only `#import"), "{unknown}");
}

#[test]
fn conventions_are_kept() {
    let cases = [
        (
            GOOD.replace("fn main(", "fn run("),
            "expected a single entry point",
        ),
        (
            GOOD.replace("@group(0) @binding(1)", "@group(1) @binding(1)"),
            "expected group 0",
        ),
        (
            GOOD.replace("@binding(2)", "@binding(3)"),
            "expected 2, the next one",
        ),
        (
            GOOD.replace("TILE: u32 = 8u", "TILE: u32"),
            "`TILE` needs a default",
        ),
        (
            GOOD.replace("TILE: u32 = 8u", "TILE: u32 = 64u"),
            "2048 invocations",
        ),
        (
            GOOD.replace("TILE * HALF>", "TILE * HALF * 129u>"),
            "16512 bytes of workgroup memory",
        ),
        (
            GOOD.replace("size: vec2u", "size: array<vec4u, 16>"),
            "parameters may have 256",
        ),
        (GOOD.replace("factor: f32", "factor: f64"), "f64"),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(error.starts_with("shaders/kernel.wgsl"), "{error}");
        assert!(
            error.contains(expected),
            "expected {expected:?} in: {error}"
        );
    }
}

#[test]
fn the_generated_constants_are_complete() {
    let fill = shaders::pointwise::FILL;
    assert_eq!(fill.name, "pointwise/fill");
    assert_eq!(fill.params_size, 8);
    assert_eq!(
        fill.storage().collect::<Vec<_>>(),
        [shaders::Binding::ReadWrite]
    );
    assert!(
        fill.source.contains("fn flat_index"),
        "imports are pasted in"
    );
    assert!(shaders::ALL.contains(&&fill));
    let names: Vec<&str> = shaders::ALL.iter().map(|kernel| kernel.name).collect();
    assert!(names.is_sorted(), "{names:?}");
}
