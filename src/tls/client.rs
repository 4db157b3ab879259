//! How Redan trusts the nodes it dials, and what it presents to them.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{TlsError, pem, provider};
use crate::config::NodeTls;
use crate::topology::address::split_host_port;

/// The configuration for nodes. TLS 1.2 stays allowed, because Redis 6 on the OpenSSL of older distributions
/// has nothing newer. Sessions are resumed (rustls's default), so a reconnecting lane skips the signatures.
pub(crate) fn client_config(tls: &NodeTls) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(pem::roots(&tls.ca)?);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(pem::certificates(cert)?, pem::private_key(key)?)
            .map_err(|error| pem::pair_error(cert, key, error))?,
    };
    Ok(Arc::new(config))
}

/// The name that the certificate of the node at `address` must carry: `server_name` where set, else its host.
pub(crate) fn server_name(tls: &NodeTls, address: &str) -> Result<ServerName<'static>, TlsError> {
    let host = split_host_port(address).map_or(address, |(host, _)| host);
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    ServerName::try_from(name.clone()).map_err(|_| TlsError::Name { name })
}

/// A failed handshake in one sentence, with what to do where the cause is known.
pub(crate) fn handshake_trouble(error: &io::Error) -> String {
    use rustls::CertificateError as Bad;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                format!("{bad}; set `server_name` to a name the certificate carries")
            }
            // A renewed CA often keeps its name: then the issuer is found and only the signature is wrong.
            Bad::UnknownIssuer | Bad::BadSignature => {
                "the node's certificate was not signed by the configured `ca`".to_owned()
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "the node's certificate has expired; renew it".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the node's certificate is not valid yet; check the clocks".to_owned()
            }
            Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the node presents its CA's own certificate; give it a certificate signed by the CA".to_owned()
            }
            other => format!("the node's certificate is not accepted: {other}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => {
            "the node does not speak TLS on this port; use its `tls-port`, or remove `tls` here".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => {
            "the node closed the connection during the TLS handshake; does it speak TLS on this port?".to_owned()
        }
        None => error.to_string(),
    }
}

/// What a node's alert means. Until TLS 1.3 a missing certificate was answered with HandshakeFailure.
fn refused(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as Alert;
    let todo = match alert {
        Alert::CertificateRequired => "it asks for a certificate: set `cert` and `key`",
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::DecryptError => {
            "it does not trust the certificate in `cert`: have it signed by the CA that the node trusts"
        }
        Alert::CertificateExpired => "the certificate in `cert` has expired: renew it",
        Alert::CertificateRevoked => "the certificate in `cert` is revoked: make a new one",
        Alert::ProtocolVersion => "it speaks neither TLS 1.3 nor 1.2: set its `tls-protocols`",
        _ => "it may ask for a certificate: set `cert` and `key`",
    };
    format!("the node refused the connection ({alert:?}); {todo}")
}
