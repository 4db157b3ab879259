//! The key file of a link: made by `redan keygen`, read by both ends, shown as one line of text.
//!
//! A link's certificate is made from the key whenever it is needed and says nothing but the key. With Ed25519 it comes out
//! the same each time, so it may be given to programs that want a file. Never prints key material.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;

use super::contents::Contents;
use super::{TlsError, pem};
use crate::identity::Identity;

/// Certificate and key of this end, as TLS wants them.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) identity: Identity,
}

/// The identity that belongs to a public key.
fn of_public_key(spki: &SubjectPublicKeyInfoDer<'_>) -> Identity {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, spki.as_ref()).as_ref());
    Identity(sum)
}

/// The identity of whoever shows this certificate; `None` for what is none.
pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Identity> {
    ParsedCertificate::try_from(certificate).ok().map(|parsed| of_public_key(&parsed.subject_public_key_info()))
}

/// Makes a key and writes it to a file that must not exist yet.
pub(crate) fn generate(file: &Path) -> Result<Identity, TlsError> {
    let failed = |problem: String| TlsError::NotWritten { file: file.to_owned(), problem };
    let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(|error| failed(error.to_string()))?;
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut open| {
        open.write_all(pair.serialize_pem().as_bytes())?;
        open.sync_all()
    });
    written.map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::AlreadyExists => "it exists already, and a key is never overwritten".to_owned(),
            _ => error.to_string(),
        })
    })?;
    load(file).map(|own| own.identity)
}

/// Reads a key file and makes its certificate.
pub(crate) fn load(file: &Path) -> Result<Own, TlsError> {
    of_contents(&Contents::read([file]), file)
}

pub(crate) fn of_contents(contents: &Contents, file: &Path) -> Result<Own, TlsError> {
    let key = pem::private_key(contents, file)?;
    let certificate = certify(file, &key)?.der().clone();
    let identity = of_certificate(&certificate)
        .ok_or_else(|| TlsError::NoKey { file: file.to_owned(), problem: "it makes no certificate".to_owned() })?;
    Ok(Own { certificate, key, identity })
}

fn certify(file: &Path, key: &PrivateKeyDer<'_>) -> Result<rcgen::Certificate, TlsError> {
    let refused = |error: rcgen::Error| TlsError::NoKey { file: file.to_owned(), problem: error.to_string() };
    let pair = KeyPair::try_from(key).map_err(refused)?;
    let mut params = CertificateParams::new(vec!["redan-link".to_owned()]).map_err(refused)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "redan-link");
    params.self_signed(&pair).map_err(refused)
}

/// The line of a key file, or of a certificate that another program shows.
pub(crate) fn public_of(file: &Path) -> Result<Identity, TlsError> {
    let of_key = load(file);
    match pem::certificates(&Contents::read([file]), file) {
        Ok(certificates) if of_key.is_err() => certificates
            .first()
            .and_then(of_certificate)
            .ok_or_else(|| TlsError::NoCertificate { file: file.to_owned() }),
        _ => of_key.map(|own| own.identity),
    }
}

/// The certificate as PEM, for programs such as stunnel.
pub(crate) fn certificate_pem(file: &Path) -> Result<String, TlsError> {
    certify(file, &pem::private_key(&Contents::read([file]), file)?).map(|certificate| certificate.pem())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_private_never_overwritten_and_always_the_same_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("dc1.key");
        let identity = generate(&file).expect("a key");
        assert_eq!(std::fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
        let before = std::fs::read(&file).expect("readable");
        assert!(generate(&file).expect_err("it exists").to_string().contains("never overwritten"));
        assert_eq!(std::fs::read(&file).expect("readable"), before);
        let (one, two) = (load(&file).expect("a key"), load(&file).expect("a key"));
        assert_eq!(one.identity, identity);
        assert_eq!(one.certificate, two.certificate);
        let shown = folder.path().join("dc1.pem");
        std::fs::write(&shown, certificate_pem(&file).expect("a certificate")).expect("writable");
        assert_eq!(public_of(&shown).expect("of a certificate"), identity);
        assert_eq!(public_of(&file).expect("of a key"), identity);
    }
}
