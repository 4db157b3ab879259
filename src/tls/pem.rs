//! PEM files to certificates, keys, revocation lists and pins, with errors that name the file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertRevocationListError, RootCertStore};

use super::contents::Contents;
use super::{TlsError, provider};
use crate::config::link::Peer;
use crate::config::{Identity, Pin, peer, pin};

/// Every certificate of the file, in its order (leaf first for a chain).
pub(super) fn certificates(contents: &Contents, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(contents.of(file)?).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NoCertificate { file: file.to_owned() }),
    }
}

pub(super) fn private_key(contents: &Contents, file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = contents.of(file)?;
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let problem = if encrypted { "it is encrypted".to_owned() } else { error.to_string() };
        TlsError::NoKey { file: file.to_owned(), problem }
    })
}

/// A certificate with its key, which belong together.
pub(super) fn identity(contents: &Contents, identity: &Identity) -> Result<CertifiedKey, TlsError> {
    let Identity { cert, key } = identity;
    let (chain, private) = (certificates(contents, cert)?, private_key(contents, key)?);
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert: cert.clone(), key: key.clone() },
        other => TlsError::Refused { file: cert.clone(), problem: other.to_string() },
    })
}

/// The certificate authorities of the file.
pub(super) fn roots(contents: &Contents, file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(contents, file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Refused { file: file.to_owned(), problem: error.to_string() })?;
    }
    Ok(Arc::new(roots))
}

/// The revocation lists of all files.
pub(super) fn revocations(
    contents: &Contents,
    files: &[impl AsRef<Path>],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let mut lists = Vec::new();
    for file in files.iter().map(AsRef::as_ref) {
        let wrong = |problem: String| TlsError::NoRevocationList { file: file.to_owned(), problem };
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(contents.of(file)?) {
            lists.push(list.map_err(|error| wrong(error.to_string()))?);
        }
        if lists.len() == before {
            return Err(wrong("it must be PEM with BEGIN X509 CRL".to_owned()));
        }
    }
    Ok(lists)
}

/// What a verifier says of the lists it was given.
pub(super) fn unusable_list(files: &[impl AsRef<Path>], error: &CertRevocationListError) -> TlsError {
    let file = files.first().map(|file| file.as_ref().to_owned()).unwrap_or_default();
    TlsError::NoRevocationList { file, problem: format!("{error:?}") }
}

/// Lines of a file that people write, with their numbers; what stands behind `#` is for them.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// One pin a line.
pub(super) fn pins(contents: &Contents, file: &Path) -> Result<Vec<Pin>, TlsError> {
    let wrong = |problem: String| TlsError::NoPins { file: file.to_owned(), problem };
    let text = std::str::from_utf8(contents.of(file)?).map_err(|_| wrong("it is not text".to_owned()))?;
    match lines(text).map(|(_, line)| pin(line)).collect::<Result<Vec<Pin>, String>>() {
        Ok(pins) if pins.is_empty() => Err(wrong("it is empty".to_owned())),
        pins => pins.map_err(wrong),
    }
}

/// One peer a line, with its keys. Comments alone are a list of nobody, by which the last one is shut out; where nothing stands
/// at all, somebody is writing.
pub(super) fn peers(contents: &Contents, file: &Path) -> Result<Vec<Peer>, TlsError> {
    let wrong = |problem: String| TlsError::NoPeers { file: file.to_owned(), problem };
    let text = std::str::from_utf8(contents.of(file)?).map_err(|_| wrong("it is not text".to_owned()))?;
    if text.trim().is_empty() {
        return Err(wrong("it is empty; to let nobody in, leave a comment in it".to_owned()));
    }
    lines(text).map(|(at, line)| peer(line).map_err(|why| wrong(format!("line {at}: {why}")))).collect()
}
