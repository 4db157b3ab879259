//! `redan cert`: a small certificate authority in a few files, for those who want no other.
//!
//! It keeps a list of what it has issued beside its certificate, because a revocation list names serial numbers. Nothing of
//! it runs while Redan serves. It must never write over a certificate or a key.

mod authority;
mod files;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use self::authority::{Authority, Purpose};
use crate::tls::pins;

/// EX_DATAERR, as for `passwd`: what was given cannot be used.
const UNUSABLE: u8 = 65;

#[derive(Debug, Subcommand)]
pub(super) enum Cert {
    /// Make a certificate authority: ca.pem, ca.key, an empty ca.crl, and ca.index with what it issues
    Ca {
        /// The folder for its files
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// What it calls itself
        #[arg(long, default_value = "Redan CA")]
        name: String,
        /// How long it is good for
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
    },
    /// Issue a certificate with a new key: for a server (--name), or for a client (--client)
    Issue(Issue),
    /// Put a certificate on the revocation list
    Revoke {
        #[command(flatten)]
        ca: Ca,
        /// The certificate, PEM
        file: PathBuf,
    },
    /// Write the revocation list again, good for another year
    Crl {
        #[command(flatten)]
        ca: Ca,
    },
    /// Print the pin of a certificate's key, as `pins` of a group's `tls` takes it
    Pin {
        /// The certificate, PEM
        file: PathBuf,
    },
}

/// Whose key signs.
#[derive(Debug, Args)]
pub(super) struct Ca {
    /// The authority's certificate
    #[arg(long = "ca", value_name = "FILE")]
    cert: PathBuf,
    /// Its key; without it: beside the certificate, with the ending .key
    #[arg(long = "ca-key", value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    #[command(flatten)]
    ca: Ca,
    /// A host name, `*.` allowed, or an IP address by which the server is dialled; may be repeated
    #[arg(long = "name", value_name = "NAME", required_unless_present = "client", conflicts_with = "client")]
    names: Vec<String>,
    /// The common name of a client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Path of the files without their endings .pem and .key; without it: the first name, beside the authority
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// How long it is good for
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

pub(super) fn run(command: Cert) -> ExitCode {
    match carry_out(command) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn carry_out(command: Cert) -> Result<String, String> {
    match command {
        Cert::Ca { out, name, days } => {
            Authority::found(&out, &name, days)?;
            let folder = out.display();
            Ok(format!("made {folder}/ca.pem, {folder}/ca.key (keep it secret), {folder}/ca.crl and {folder}/ca.index"))
        }
        Cert::Issue(issue) => {
            let Issue { ca, names, client, out, days } = issue;
            let authority = Authority::open(&ca.cert, ca.key.as_deref())?;
            let (purpose, first) = match client {
                Some(client) => (Purpose::Client(client.clone()), client),
                None => (Purpose::Server(names.clone()), names.first().cloned().unwrap_or_default()),
            };
            let out = match out {
                Some(out) => out,
                None => beside(&ca.cert, &first)?,
            };
            let [cert, key] = authority.issue(&purpose, &out, days)?;
            Ok(format!("made {} and {}", cert.display(), key.display()))
        }
        Cert::Revoke { ca, file } => {
            let authority = Authority::open(&ca.cert, ca.key.as_deref())?;
            let list = authority.revoke(&certificate(&file)?, &file)?;
            Ok(format!("{} is revoked by {}", file.display(), list.display()))
        }
        Cert::Crl { ca } => {
            let list = Authority::open(&ca.cert, ca.key.as_deref())?.write_list()?;
            Ok(format!("wrote {}", list.display()))
        }
        Cert::Pin { file } => {
            let pin = pins::of(&certificate(&file)?);
            pin.map(|pin| pins::show(&pin)).map_err(|error| format!("{}: {error}; name a certificate", file.display()))
        }
    }
}

/// The first certificate of the file.
fn certificate(file: &Path) -> Result<CertificateDer<'static>, String> {
    let text = files::read(file)?;
    CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| format!("{}: holds no certificate; it must be PEM with BEGIN CERTIFICATE", file.display()))
}

fn beside(ca: &Path, name: &str) -> Result<PathBuf, String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!("\"{name}\" makes no name of a file; say --out"));
    }
    Ok(ca.with_file_name(name))
}

#[cfg(test)]
mod tests;
