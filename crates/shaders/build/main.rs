//! Turns `shaders/**/*.wgsl` into `kernels.rs`, or fails the build naming file and line.

mod generate;
mod kernel;
mod limits;
mod source;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    // A folder counts as changed when anything in it has, new files included.
    println!("cargo::rerun-if-changed=../../shaders");
    println!("cargo::rerun-if-changed=build");

    match compile(&manifest.join("../../shaders")) {
        Ok(rust) => fs::write(out.join("kernels.rs"), rust).expect("OUT_DIR is writable"),
        Err(errors) => {
            for error in errors {
                for line in error.to_string().lines() {
                    println!("cargo::error={line}");
                }
            }
        }
    }
}

/// The generated code for all kernels under `root`, or everything wrong with them.
fn compile(root: &Path) -> Result<String, Vec<source::Error>> {
    let mut kernels = Vec::new();
    let mut errors = Vec::new();
    for name in source::kernels(root).map_err(|error| vec![error])? {
        match source::Source::load(root, &name).and_then(|source| kernel::reflect(&source)) {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(generate::rust(&kernels))
    } else {
        Err(errors)
    }
}
