//! What a test says when this machine has not what it needs: loudly, past the test runner, which keeps what passing tests print.
//!
//! With `REDAN_TEST_EVERYTHING` set it fails instead, for machines that should have everything.

use std::io::Write;
use std::path::PathBuf;

pub(crate) fn left_out(what: &str, why: &str) {
    let words = format!("NOT TESTED: {what}: {}", why.trim());
    assert!(std::env::var_os("REDAN_TEST_EVERYTHING").is_none(), "{words}");
    // Not `eprintln!`, which the test runner catches.
    let _ = writeln!(std::io::stderr(), "\n*** {words}\n");
}

/// The folder that cargo builds into, where the Makefile puts tools and other files for tests.
pub(crate) fn target() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_redan"));
    program.ancestors().nth(2).expect("target/debug/redan").to_owned()
}
