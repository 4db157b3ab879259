//! The `redan` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    redan::cli::run()
}
