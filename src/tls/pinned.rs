//! TLS between the two ends of a link: 1.3 alone, both sides show a certificate, and what counts of it is its key.
//!
//! No CA, no names, no dates. A peer is let in if its public key is one of the pinned ones and it proves, by the signature
//! in the handshake, that it has the private key. Nothing is resumed: a key that is no longer pinned is out at its next
//! connection. Used by `link` alone.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    ServerConfig, SignatureScheme,
};

use super::contents::Contents;
use super::identity::{self, Own};
use super::{TlsError, mutual, pem, provider};
use crate::config::link::{Peer, Pinned};
use crate::identity::Identity;

/// What both ends of a link must agree on, so that nothing else is taken for one.
pub(crate) const ALPN: &[u8] = b"redan-link/1";

/// Of a peer that has offered no protocol, or agreed on none.
pub(crate) const OTHER_PROTOCOL: &str = "it does not speak redan-link/1; is `mode` the same at both ends?";

/// A peer that is not pinned.
#[derive(Debug)]
pub(crate) struct NotPinned(pub(crate) Identity);

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it shows the identity {}, which is not in `peers`", self.0)
    }
}

impl std::error::Error for NotPinned {}

#[derive(Debug)]
struct Pins {
    peers: Vec<Identity>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pins {
    fn new(peers: &[Identity], provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self { peers: peers.to_vec(), algorithms: provider.signature_verification_algorithms })
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let shown = identity::of_certificate(certificate).ok_or_else(bad)?;
        if self.peers.contains(&shown) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NotPinned(shown))))))
    }
}

/// Neither end offers TLS 1.2; whoever gets here all the same gets no further.
fn only_tls13() -> Error {
    Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Everybody that a link trusts, by its list and by its file.
pub(crate) fn peers(pinned: &Pinned, contents: &Contents) -> Result<Vec<Peer>, TlsError> {
    let mut peers = pinned.peers.clone();
    if let Some(file) = &pinned.peers_file {
        peers.extend(pem::peers(contents, file)?);
    }
    Ok(peers)
}

/// For the end that dials. `alpn` is none for a peer that is not Redan.
pub(crate) fn client_config(own: &Own, peers: &[Identity], alpn: bool) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Pins::new(peers, &provider))
        .with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())?;
    config.resumption = Resumption::disabled();
    // For `link::traffic`, which writes the records itself.
    config.enable_secret_extraction = alpn;
    config.enable_sni = false;
    config.alpn_protocols = if alpn { vec![ALPN.to_vec()] } else { Vec::new() };
    Ok(Arc::new(config))
}

/// For the end that is dialled.
pub(crate) fn server_config(own: &Own, peers: &[Identity], alpn: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Pins::new(peers, &provider))
        .with_single_cert(vec![own.certificate.clone()], own.key.clone_key())?;
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = alpn;
    config.alpn_protocols = if alpn { vec![ALPN.to_vec()] } else { Vec::new() };
    Ok(Arc::new(config))
}

/// The identity that the other end has proven in a finished handshake.
pub(crate) fn proven(certificates: Option<&[CertificateDer<'_>]>) -> Option<Identity> {
    certificates.and_then(<[_]>::first).and_then(identity::of_certificate)
}

/// A failed handshake in one sentence, whoever of the two refused.
pub(crate) fn trouble(error: &std::io::Error) -> String {
    use rustls::AlertDescription as Alert;
    use std::io::ErrorKind;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => why.to_string(),
        Some(bad @ Error::InvalidCertificate(_)) => mutual::trouble(bad).unwrap_or_else(|| bad.to_string()),
        Some(Error::InvalidMessage(_)) => "what it sends is not TLS; is it the other end of a link?".to_owned(),
        Some(Error::NoCertificatesPresented) => "it shows no certificate, so it cannot be a peer".to_owned(),
        Some(Error::NoApplicationProtocol | Error::AlertReceived(Alert::NoApplicationProtocol)) => {
            OTHER_PROTOCOL.to_owned()
        }
        Some(Error::AlertReceived(alert @ (Alert::CertificateUnknown | Alert::BadCertificate | Alert::UnknownCA))) => {
            format!("it refuses our identity ({alert:?}); put our line into its `peers`: its log names it")
        }
        Some(Error::PeerIncompatible(_) | Error::AlertReceived(Alert::ProtocolVersion)) => {
            "it does not speak TLS 1.3".to_owned()
        }
        Some(other) => other.to_string(),
        None if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            "it closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
    }
}
