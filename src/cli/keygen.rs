//! `redan keygen`: makes the private key of a link, and prints what the other end needs to know of it.
//!
//! Standard output gets the one line, or the certificate; what a person wants to read goes to standard error. The private
//! key itself is written to its file and nowhere else.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::tls::identity;

/// EX_CANTCREAT, and EX_DATAERR for a file that cannot be used.
const NOT_MADE: u8 = 73;
const UNUSABLE: u8 = 65;

const FILE: &str = "redan.key";

pub(super) fn run(file: Option<PathBuf>, public: Option<PathBuf>, certificate: Option<PathBuf>) -> ExitCode {
    let (made, code) = match (public, certificate) {
        (Some(file), _) => (identity::public_of(&file).map(|identity| format!("{identity}\n")), UNUSABLE),
        (None, Some(file)) => (identity::certificate_pem(&file), UNUSABLE),
        (None, None) => {
            let file = file.unwrap_or_else(|| FILE.into());
            let made = identity::generate(&file).map(|identity| {
                if io::stderr().is_terminal() {
                    let file = file.display();
                    eprintln!("{file} is the private key: `identity` of a [[link]]. The line goes into `peers` of the other end.");
                }
                format!("{identity}\n")
            });
            (made, NOT_MADE)
        }
    };
    let text = match made {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(code);
        }
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standard output cannot be written: {error}");
            ExitCode::from(NOT_MADE)
        }
    }
}
