//! TLS between the two ends of a link by certificates: both show one, and one CA has signed them.
//!
//! For peers such as stunnel that have a PKI already. TLS 1.3 alone, nothing is resumed. Used by `link` alone.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

use super::contents::Contents;
use super::{TlsError, pem, provider};
use crate::config::Identity;
use crate::config::link::CaTls;
use crate::topology::address::split_host_port;

fn contents(files: &CaTls) -> Contents {
    Contents::read([files.ca.as_path(), &files.cert, &files.key])
}

fn shown(files: &CaTls, contents: &Contents) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let identity = Identity { cert: files.cert.clone(), key: files.key.clone() };
    Ok(Arc::new(SingleCertAndKey::from(pem::identity(contents, &identity)?)))
}

pub(crate) fn client_config(files: &CaTls) -> Result<Arc<ClientConfig>, TlsError> {
    let contents = contents(files);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(pem::roots(&contents, &files.ca)?)
        .with_client_cert_resolver(shown(files, &contents)?);
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

pub(crate) fn server_config(files: &CaTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let contents = contents(files);
    let verifier = WebPkiClientVerifier::builder_with_provider(pem::roots(&contents, &files.ca)?, provider.clone())
        .build()
        .map_err(|error| TlsError::Refused { file: files.ca.clone(), problem: error.to_string() })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown(files, &contents)?);
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The name that the certificate of the end at `address` must carry. The configuration has only names that can be.
pub(crate) fn server_name(files: &CaTls, address: &str) -> ServerName<'static> {
    let host = split_host_port(address).map_or(address, |(host, _)| host);
    let name = files.server_name.as_deref().unwrap_or(host).to_owned();
    let nobody = || ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    ServerName::try_from(name).unwrap_or_else(|_| nobody())
}
