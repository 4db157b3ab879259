//! What Redan presents to its clients.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoClientAuth, ServerSessionMemoryCache, WebPkiClientVerifier};

use super::{TlsError, pem, provider};
use crate::config::ListenerTls;

/// TLS 1.2 sessions that can be resumed; 1.3 needs none of it, its tickets are kept by the clients. An entry is
/// a few hundred bytes.
const SESSIONS: usize = 4096;

/// The configuration of a listener: TLS 1.3 and, for older client libraries, 1.2.
///
/// Tickets let a returning client skip the certificate and its signature; their key lives in this process only
/// and rotates. Early data stays off: it can be replayed, and a write must not be.
pub(crate) fn server_config(tls: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = match &tls.client_ca {
        None => Arc::new(NoClientAuth) as Arc<_>,
        Some(file) => {
            let builder = WebPkiClientVerifier::builder_with_provider(pem::roots(file)?, provider.clone());
            let builder = if tls.client_may_show_none { builder.allow_unauthenticated() } else { builder };
            builder.build().map_err(|error| TlsError::Refused { file: file.clone(), problem: error.to_string() })?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(pem::certificates(&tls.cert)?, pem::private_key(&tls.key)?)
        .map_err(|error| pem::pair_error(&tls.cert, &tls.key, error))?;
    // Our order of cipher suites decides, else most clients' habit of AES-256 first would.
    config.ignore_client_order = true;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}
