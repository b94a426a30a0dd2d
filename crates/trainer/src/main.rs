//! See the library: readers of files are tested and fuzzed there.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainer::main()
}
