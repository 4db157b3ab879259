//! `redan man` and `redan completions`: manual pages and shells' completions, made of the same words as `--help`.
//!
//! Used by whoever makes packages, and by users whose package has none.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// EX_CANTCREAT of sysexits.h.
const CANNOT_CREATE: u8 = 73;

/// Writes `redan.1` and a page for each subcommand.
pub(super) fn manual(folder: &Path) -> ExitCode {
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    if let Err(error) = written {
        eprintln!(
            "the manual pages cannot be written to {}: {error}; name a folder that you may write to",
            folder.display()
        );
        return ExitCode::from(CANNOT_CREATE);
    }
    ExitCode::SUCCESS
}

pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "redan", &mut script);
    // Whoever closed the pipe does not want the rest.
    drop(io::stdout().write_all(&script));
    ExitCode::SUCCESS
}
