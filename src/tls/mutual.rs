//! TLS between the two ends of a link by certificates: both show one, and one CA has signed them.
//!
//! For peers such as stunnel that have a PKI already. TLS 1.3 alone, nothing is resumed. Used by `link` alone.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};

use super::contents::Contents;
use super::validity::{self, Expiry};
use super::{TlsError, pem, provider};
use crate::config::Identity;
use crate::config::link::CaTls;
use crate::topology::address::split_host_port;

/// Who is believed at the other end; asked again about connections that are open when the files change.
#[derive(Debug)]
pub(crate) enum Judge {
    OfServers(Arc<dyn ServerCertVerifier>, ServerName<'static>),
    OfClients(Arc<dyn ClientCertVerifier>),
}

impl Judge {
    /// Whether an end that was believed with this chain would be today, and if not what is wrong with it. That its certificate
    /// has ended meanwhile closes nothing.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let [own, others @ ..] = chain else { return Err("it shows no certificate".to_owned()) };
        let at = validity::judged_at(chain);
        let verdict = match self {
            Self::OfServers(judge, name) => judge.verify_server_cert(own, others, name, &[], at).map(drop),
            Self::OfClients(judge) => judge.verify_client_cert(own, others, at).map(drop),
        };
        verdict.map_err(|error| trouble(&error).unwrap_or_else(|| error.to_string()))
    }
}

/// What is wrong with a certificate, where a CA judges; `None` for other failures.
pub(crate) fn trouble(error: &Error) -> Option<String> {
    use CertificateError as Bad;
    let Error::InvalidCertificate(bad) = error else { return None };
    Some(match bad {
        Bad::Revoked => "its certificate is revoked by a list in `crl`".to_owned(),
        Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired; renew it there".to_owned(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clocks".to_owned()
        }
        // A renewed CA often keeps its name: then the issuer is found and only the signature is wrong.
        Bad::UnknownIssuer | Bad::BadSignature => "its certificate was not signed by the configured `ca`".to_owned(),
        Bad::UnknownRevocationStatus => {
            "no list in `crl` is of the CA that signed its certificate; add one for every CA".to_owned()
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            format!("{bad}; set `server_name` in `tls` to a name the certificate carries")
        }
        _ => return None,
    })
}

/// Every file of the setting.
pub(crate) fn files(files: &CaTls) -> impl Iterator<Item = &Path> {
    [&files.ca, &files.cert, &files.key].into_iter().chain(&files.crl).map(|file| file.as_path())
}

fn shown(files: &CaTls, contents: &Contents) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let identity = Identity { cert: files.cert.clone(), key: files.key.clone() };
    Ok(Arc::new(SingleCertAndKey::from(pem::identity(contents, &identity)?)))
}

/// Until when each of the files is good.
pub(crate) fn expiries(files: &CaTls, contents: &Contents) -> Result<Vec<Expiry>, TlsError> {
    let mut expiries = Vec::new();
    for file in [&files.cert, &files.ca] {
        expiries.extend(Expiry::of_certificates(file, &pem::certificates(contents, file)?));
    }
    for file in &files.crl {
        expiries.extend(Expiry::of_lists(file, &pem::revocations(contents, &[file])?));
    }
    Ok(expiries)
}

fn unusable(files: &CaTls, error: VerifierBuilderError) -> TlsError {
    match error {
        VerifierBuilderError::InvalidCrl(error) => pem::unusable_list(&files.crl, &error),
        other => TlsError::Refused { file: files.ca.clone(), problem: other.to_string() },
    }
}

/// For the end that dials `address`.
pub(crate) fn client_config(
    files: &CaTls,
    contents: &Contents,
    address: &str,
) -> Result<(Arc<ClientConfig>, Judge), TlsError> {
    let roots = pem::roots(contents, &files.ca)?;
    let judge = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .with_crls(pem::revocations(contents, &files.crl)?)
        .build()
        .map_err(|error| unusable(files, error))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(judge.clone())
        .with_client_cert_resolver(shown(files, contents)?);
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), Judge::OfServers(judge, server_name(files, address))))
}

/// For the end that is dialled.
pub(crate) fn server_config(files: &CaTls, contents: &Contents) -> Result<(Arc<ServerConfig>, Judge), TlsError> {
    let provider = provider();
    let roots = pem::roots(contents, &files.ca)?;
    let judge = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .with_crls(pem::revocations(contents, &files.crl)?)
        .build()
        .map_err(|error| unusable(files, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(judge.clone())
        .with_cert_resolver(shown(files, contents)?);
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), Judge::OfClients(judge)))
}

/// The name that the certificate of the end at `address` must carry. The configuration has only names that can be.
pub(crate) fn server_name(files: &CaTls, address: &str) -> ServerName<'static> {
    let host = split_host_port(address).map_or(address, |(host, _)| host);
    let name = files.server_name.as_deref().unwrap_or(host).to_owned();
    let nobody = || ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    ServerName::try_from(name).unwrap_or_else(|_| nobody())
}
