//! The command line: parses arguments, dispatches to one file per subcommand, returns the exit code.

pub(crate) mod check;

use std::process::ExitCode;

/// Runs the program named by the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
