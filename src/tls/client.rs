//! How Redan trusts the nodes it dials, and what it presents to them, from files.
//!
//! Made through `keyring` for a group's nodes. Its verdicts are asked again about connections that are open when the files change.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::VerifierBuilderError;
use rustls::sign::SingleCertAndKey;

use super::contents::{Contents, Digest};
use super::pins::ByPin;
use super::validity::{self, Expiry};
use super::{TlsError, pem, provider};
use crate::config::{NodeTls, NodeTrust};
use crate::topology::address::{linked, split_host_port};

#[derive(Debug)]
pub(crate) struct Reaching {
    pub(crate) config: Arc<ClientConfig>,
    nodes: Arc<dyn ServerCertVerifier>,
    /// Of the files that say which nodes are believed.
    trust: Digest,
    /// Of all files.
    whole: Digest,
    pub(crate) expiries: Vec<Expiry>,
}

/// Every file of the setting.
pub(crate) fn files(tls: &NodeTls) -> impl Iterator<Item = &Path> {
    let own = tls.identity.iter().flat_map(|identity| [identity.cert.as_path(), identity.key.as_path()]);
    own.chain(trust_files(tls))
}

fn trust_files(tls: &NodeTls) -> impl Iterator<Item = &Path> {
    let (first, others) = match &tls.trust {
        NodeTrust::Ca { ca, crl } => (Some(ca), &crl[..]),
        NodeTrust::Pins { file, .. } => (file.as_ref(), &[][..]),
    };
    first.into_iter().chain(others).map(|file| file.as_path())
}

/// From the files as they are now.
pub(crate) fn load(tls: &NodeTls) -> Result<Reaching, TlsError> {
    Reaching::new(tls, &Contents::read(files(tls)))
}

impl Reaching {
    /// TLS 1.2 stays allowed, because Redis 6 on the OpenSSL of older distributions has nothing newer. Sessions are
    /// resumed (rustls's default), so a reconnecting lane skips the signatures; with other files nothing is.
    pub(crate) fn new(tls: &NodeTls, contents: &Contents) -> Result<Self, TlsError> {
        let mut expiries = Vec::new();
        let nodes = verifier(tls, contents, &mut expiries)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&nodes));
        let config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = pem::identity(contents, identity)?;
                expiries.extend(Expiry::of_certificates(&identity.cert, &key.cert));
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        let trust = contents.digest_of(trust_files(tls));
        Ok(Self { config: Arc::new(config), nodes, trust, whole: contents.digest(), expiries })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.whole
    }

    /// Whether it believes the same nodes as the other.
    pub(crate) fn trusts_as(&self, other: &Self) -> bool {
        self.trust == other.trust
    }

    /// Whether a node that was believed with this chain would be today.
    pub(crate) fn accepts(&self, name: &ServerName<'_>, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let [own, others @ ..] = chain else { return Err(rustls::Error::NoCertificatesPresented) };
        self.nodes.verify_server_cert(own, others, name, &[], validity::judged_at(chain)).map(drop)
    }
}

fn verifier(
    tls: &NodeTls,
    contents: &Contents,
    expiries: &mut Vec<Expiry>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    match &tls.trust {
        NodeTrust::Ca { ca, crl } => {
            expiries.extend(Expiry::of_certificates(ca, &pem::certificates(contents, ca)?));
            for file in crl {
                expiries.extend(Expiry::of_lists(file, &pem::revocations(contents, &[file])?));
            }
            let builder = WebPkiServerVerifier::builder_with_provider(pem::roots(contents, ca)?, provider());
            let built = builder.with_crls(pem::revocations(contents, crl)?).build();
            built.map(|verifier| verifier as Arc<dyn ServerCertVerifier>).map_err(|error| match error {
                VerifierBuilderError::InvalidCrl(error) => pem::unusable_list(crl, &error),
                other => TlsError::Refused { file: ca.clone(), problem: other.to_string() },
            })
        }
        NodeTrust::Pins { pins, file } => {
            let mut pins = pins.clone();
            if let Some(file) = file {
                pins.extend(pem::pins(contents, file)?);
            }
            Ok(Arc::new(ByPin::new(pins, provider())))
        }
    }
}

/// The name that the certificate of the node at `address` must carry: `server_name` where set, else its host. A node behind a
/// link has no host here: without `server_name` only its key can be trusted, and no name is asked for.
pub(crate) fn server_name(tls: &NodeTls, address: &str) -> Result<ServerName<'static>, TlsError> {
    if tls.server_name.is_none() && matches!(tls.trust, NodeTrust::Pins { .. }) && linked(address).is_some() {
        return Ok(ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()));
    }
    let host = split_host_port(address).map_or(address, |(host, _)| host);
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    ServerName::try_from(name.clone()).map_err(|_| TlsError::Name { name })
}

/// A failed handshake in one sentence, with what to do where the cause is known.
pub(crate) fn handshake_trouble(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(error @ rustls::Error::InvalidCertificate(_)) => certificate_trouble(error),
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

/// What is wrong with a node's certificate.
pub(super) fn certificate_trouble(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
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
            Bad::Revoked => "the node's certificate is revoked by a list in `crl`; give it a new one".to_owned(),
            Bad::UnknownRevocationStatus => {
                "no list in `crl` is of the CA that signed the node's certificate; add one for every CA".to_owned()
            }
            Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the node presents its CA's own certificate; give it a certificate signed by the CA".to_owned()
            }
            Bad::Other(other) if !other.to_string().is_empty() => format!("the node is not trusted: {other}"),
            other => format!("the node's certificate is not accepted: {other}"),
        },
        other => other.to_string(),
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
