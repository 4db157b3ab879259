//! What a listener presents to its clients and whom among them it believes, from its files.
//!
//! Made at the start and by `renewal` whenever the files change; workers ask it again about clients that are connected when
//! it does.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::contents::{Contents, Digest};
use super::sni::ByName;
use super::validity::{self, Expiry};
use super::{TlsError, pem, provider};
use crate::config::ListenerTls;

/// TLS 1.2 sessions that can be resumed; 1.3 needs none of it, its tickets are kept by the clients. An entry is
/// a few hundred bytes.
const SESSIONS: usize = 4096;

#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) config: Arc<ServerConfig>,
    /// `None`: no client is asked for a certificate.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Of the files that say which clients are believed.
    trust: Digest,
    /// Of all files.
    whole: Digest,
    pub(crate) expiries: Vec<Expiry>,
}

/// Every file of the setting.
pub(crate) fn files(tls: &ListenerTls) -> impl Iterator<Item = &Path> {
    let own = tls.certificates.iter().flat_map(|identity| [identity.cert.as_path(), identity.key.as_path()]);
    own.chain(trust_files(tls))
}

fn trust_files(tls: &ListenerTls) -> impl Iterator<Item = &Path> {
    tls.client_ca.iter().chain(&tls.client_crl).map(|file| file.as_path())
}

/// From the files as they are now.
pub(crate) fn load(tls: &ListenerTls) -> Result<Serving, TlsError> {
    Serving::new(tls, &Contents::read(files(tls)))
}

impl Serving {
    /// TLS 1.3 and, for older client libraries, 1.2.
    ///
    /// Tickets let a returning client skip the certificate and its signature; their key lives in here only and rotates: with
    /// other files come other keys, so nobody returns past what these say. Early data stays off: it can be replayed, and a
    /// write must not be.
    pub(crate) fn new(tls: &ListenerTls, contents: &Contents) -> Result<Self, TlsError> {
        let keys: Result<Vec<CertifiedKey>, TlsError> =
            tls.certificates.iter().map(|identity| pem::identity(contents, identity)).collect();
        let keys = keys?;
        let mut expiries = Vec::new();
        for (identity, key) in tls.certificates.iter().zip(&keys) {
            expiries.extend(Expiry::of_certificates(&identity.cert, &key.cert));
        }
        let clients = clients(tls, contents, &mut expiries)?;
        let versions: &[&rustls::SupportedProtocolVersion] = if tls.only_tls13 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(clients.clone().unwrap_or_else(|| Arc::new(NoClientAuth)))
            .with_cert_resolver(Arc::new(ByName::new(keys)));
        // Our order of cipher suites decides, else most clients' habit of AES-256 first would.
        config.ignore_client_order = true;
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let trust = contents.digest_of(trust_files(tls));
        Ok(Self { config: Arc::new(config), clients, trust, whole: contents.digest(), expiries })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.whole
    }

    /// Whether it believes the same clients as the other.
    pub(crate) fn trusts_as(&self, other: &Self) -> bool {
        self.trust == other.trust
    }

    /// Whether a client that has come in with this chain would come in today; `None` showed none.
    pub(crate) fn accepts(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), rustls::Error> {
        self.judge(chain, validity::judged_at)
    }

    /// The same for one that comes in now, by a ticket that was given to it earlier.
    pub(crate) fn accepts_again(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), rustls::Error> {
        self.judge(chain, |_| UnixTime::now())
    }

    fn judge(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        at: impl Fn(&[CertificateDer<'_>]) -> UnixTime,
    ) -> Result<(), rustls::Error> {
        match (&self.clients, chain) {
            (Some(clients), Some(chain @ [own, others @ ..])) => {
                clients.verify_client_cert(own, others, at(chain)).map(drop)
            }
            (Some(clients), _) if clients.client_auth_mandatory() => Err(rustls::Error::NoCertificatesPresented),
            _ => Ok(()),
        }
    }
}

fn clients(
    tls: &ListenerTls,
    contents: &Contents,
    expiries: &mut Vec<Expiry>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(file) = &tls.client_ca else { return Ok(None) };
    expiries.extend(Expiry::of_certificates(file, &pem::certificates(contents, file)?));
    for file in &tls.client_crl {
        expiries.extend(Expiry::of_lists(file, &pem::revocations(contents, &[file])?));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(pem::roots(contents, file)?, provider())
        .with_crls(pem::revocations(contents, &tls.client_crl)?);
    let builder = if tls.client_may_show_none { builder.allow_unauthenticated() } else { builder };
    builder.build().map(Some).map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => pem::unusable_list(&tls.client_crl, &error),
        other => TlsError::Refused { file: file.clone(), problem: other.to_string() },
    })
}
