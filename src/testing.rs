//! Runs Redan inside a test's own process, which can then count what Redan allocates.
//!
//! Used by that test alone; it must never become a way to embed Redan.

use std::path::Path;
use std::process::ExitCode;

/// `redan run` on the calling thread.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    crate::cli::serve(file)
}
