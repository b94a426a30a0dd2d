//! Tests that need adapters: each runs on every adapter of the machine, and where there is none
//! it is ignored, saying loudly what to install, or fails with `HENSHIN_REQUIRE_GPU=1`.
//!
//! libtest cannot ignore a test at run time, so such tests are a target with `harness = false`
//! and a `main` of this kind:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     gpu::testing::run([gpu::testing::trials("fill", fill), …].concat())
//! }
//! ```

#![allow(unsafe_code, reason = "a function of C's library ends the process")]

use crate::{Choice, Context, Error, Result, adapters};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::ffi::c_int;
use std::io::Write;
use std::sync::LazyLock;

/// A context for each adapter of the machine, the same ones at every call. `HENSHIN_DEVICE`
/// narrows them by name, as `--device` does; `best`, `gpu` and `cpu` mean all here.
///
/// # Errors
/// [`Error::NoAdapter`], or what keeps one from opening.
pub fn adapters_for_tests() -> Result<Vec<Context>> {
    static CONTEXTS: LazyLock<Result<Vec<Context>>> = LazyLock::new(|| {
        let device = std::env::var("HENSHIN_DEVICE").unwrap_or_default();
        if !matches!(device.as_str(), "" | "best" | "gpu" | "cpu") {
            return Ok(vec![Context::open(&Choice::Named(device))?]);
        }
        match adapters().as_slice() {
            [] => Err(Error::NoAdapter),
            adapters => adapters
                .iter()
                .map(|info| Context::open(&info.choice()))
                .collect(),
        }
    });
    CONTEXTS.clone()
}

/// A test on each adapter, or one that is ignored or fails for the lack of any. Panics and
/// errors both fail it.
pub fn trials(
    name: &str,
    test: impl Fn(&Context) -> Result<(), Failed> + Clone + Send + 'static,
) -> Vec<Trial> {
    match adapters_for_tests() {
        Ok(contexts) => contexts
            .into_iter()
            .map(|context| {
                let test = test.clone();
                let name = format!("{name} on {}", context.info());
                Trial::test(name, move || test(&context))
            })
            .collect(),
        Err(Error::NoAdapter) if !gpu_is_required() => {
            let ignored = || Ok(Completion::ignored_with("no GPU adapter"));
            vec![Trial::ignorable_test(name, ignored)]
        }
        Err(error) => vec![Trial::test(name, move || Err(error.into()))],
    }
}

fn gpu_is_required() -> bool {
    std::env::var("HENSHIN_REQUIRE_GPU").is_ok_and(|value| value == "1")
}

/// Runs trials as `cargo test` expects it of a test target, and ends the process.
pub fn run(trials: Vec<Trial>) -> ! {
    if let Err(error) = adapters_for_tests() {
        eprintln!("\n*** GPU TESTS CANNOT RUN: {error} ***");
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    leave(if conclusion.has_failed() { 101 } else { 0 })
}

/// Ends the process without exit handlers: Mesa's were seen to free something twice when the tests were
/// over, with threads and contexts of its software drivers still there.
fn leave(code: c_int) -> ! {
    unsafe extern "C" {
        safe fn _exit(code: c_int) -> !;
    }
    let _ = std::io::stdout().flush();
    _exit(code)
}

/// Destroys a context's device, as a driver's reset would.
pub fn destroy(context: &Context) {
    context.destroy();
}
