//! A CA and one server certificate (ECDSA P-256, 127.0.0.1) for every contender that speaks TLS.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

pub(crate) struct Authority {
    /// For redis-benchmark.
    pub(crate) file: PathBuf,
    /// For the idle clients.
    pub(crate) der: CertificateDer<'static>,
}

/// Writes `ca.pem`, `server.pem`, `server.key` and `both.pem` (what HAProxy wants) into `folder`.
pub(crate) fn write(folder: &Path) -> Result<Authority, String> {
    let failed = |error: rcgen::Error| format!("no certificate: {error}");
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut ca = CertificateParams::new(Vec::new()).map_err(failed)?;
    // Names that differ: OpenSSL takes a certificate whose issuer is named like itself for self-signed, and
    // redis-benchmark then spins for ever instead of saying so.
    ca.distinguished_name.push(DnType::CommonName, "Redan benchmark CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).map_err(failed)?;

    let key = KeyPair::generate().map_err(failed)?;
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).map_err(failed)?;
    server.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).map_err(failed)?;

    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display())).map(|()| path)
    };
    put("server.pem", &certificate.pem())?;
    put("server.key", &key.serialize_pem())?;
    put("both.pem", &(certificate.pem() + &key.serialize_pem()))?;
    let file = put("ca.pem", &ca_certificate.pem())?;
    Ok(Authority { file, der: ca_certificate.der().clone() })
}
