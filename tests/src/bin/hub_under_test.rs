//! The program `hub`, built together with the tests, so that they always run the sources they were built from.

use std::process::ExitCode;

fn main() -> ExitCode {
    hub::run()
}
