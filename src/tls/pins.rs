//! Trust in keys instead of in a CA: a node's certificate is believed if its public key is one of those that are listed.
//!
//! Names and dates do not count: whoever holds the key is the node. That it does is verified in the handshake as ever.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use crate::config::Pin;

#[derive(Debug)]
pub(super) struct ByPin {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

/// The key that was shown instead.
#[derive(Debug)]
struct Unlisted(Pin);

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its key is {}, which is none of the pins; list it if the node is the right one", show(&self.0))
    }
}

impl std::error::Error for Unlisted {}

/// As `pins` takes it.
pub(crate) fn show(pin: &Pin) -> String {
    pin.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The pin of a certificate's key; an error from what is no certificate.
pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Pin, Error> {
    let info = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let mut pin = Pin::default();
    pin.copy_from_slice(digest(&SHA256, info.as_ref()).as_ref());
    Ok(pin)
}

impl ByPin {
    pub(super) fn new(pins: Vec<Pin>, provider: Arc<CryptoProvider>) -> Self {
        Self { pins, provider }
    }
}

impl ServerCertVerifier for ByPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = of(end_entity)?;
        if self.pins.contains(&shown) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(Unlisted(shown)))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
