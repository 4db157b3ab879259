//! PEM files to certificates and keys, with errors that name the file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

fn unreadable(file: &Path, error: &io::Error) -> TlsError {
    TlsError::Unreadable { file: file.to_owned(), problem: error.to_string() }
}

/// Every certificate of the file, in its order (leaf first for a chain).
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NoCertificate { file: file.to_owned() }),
    }
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let problem = if encrypted { "it is encrypted".to_owned() } else { error.to_string() };
        TlsError::NoKey { file: file.to_owned(), problem }
    })
}

/// The certificate authorities of the file.
pub(super) fn roots(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Refused { file: file.to_owned(), problem: error.to_string() })?;
    }
    Ok(Arc::new(roots))
}

/// Turns rustls's complaint about a certificate and key pair into one about files.
pub(super) fn pair_error(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned() },
        other => TlsError::Refused { file: cert.to_owned(), problem: other.to_string() },
    }
}
