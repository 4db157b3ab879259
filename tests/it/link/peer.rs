//! The other end of a link as a test speaks it: the right key, and whatever frames it is told to send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};

use crate::support::link::keygen;
use crate::support::redis::DEADLINE;

pub(super) type Tls = StreamOwned<ClientConnection, TcpStream>;

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Past its handshake as soon as it is used.
pub(super) fn connect(address: &str, key: &str) -> Tls {
    let certificate = keygen(&["--certificate", key]).stdout;
    let certificate = CertificateDer::from_pem_slice(&certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_auth_cert(vec![certificate], key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"redan-link/1".to_vec()];
    let name = ServerName::try_from("link").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    StreamOwned::new(connection, super::connect(address))
}

/// Where an end stands: received, delivered, window.
pub(super) type Position = (u64, u64, u32);

pub(super) const BEGINNING: Position = (0, 0, 1 << 20);

pub(super) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend(payload);
    bytes
}

pub(super) fn hello(id: u8, resume: bool, (received, delivered, window): Position) -> Vec<u8> {
    let mut payload = vec![1, u8::from(resume)];
    payload.extend([id; 16]);
    payload.extend(received.to_be_bytes());
    payload.extend(delivered.to_be_bytes());
    payload.extend(window.to_be_bytes());
    payload.extend(b"main");
    frame(1, &payload)
}

pub(super) const WELCOME: u8 = 2;
pub(super) const DATA: u8 = 3;
pub(super) const ACK: u8 = 4;
pub(super) const FIN: u8 = 7;
pub(super) const RESET: u8 = 8;

/// The next frame that is no PING, PONG or ACK; `None` at the end of the connection.
pub(super) fn next(tls: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    loop {
        let mut header = [0; 4];
        tls.read_exact(&mut header).ok()?;
        let mut payload = vec![0; usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3])];
        tls.read_exact(&mut payload).ok()?;
        if !matches!(header[0], 4..=6) {
            return Some((header[0], payload));
        }
    }
}

/// A stream that has begun, or goes on.
pub(super) fn begin(address: &str, key: &str, id: u8, resume: bool, position: Position) -> Tls {
    let mut tls = connect(address, key);
    tls.write_all(&hello(id, resume, position)).expect("taken");
    let (kind, _) = next(&mut tls).expect("an answer");
    assert_eq!(kind, WELCOME);
    tls
}

pub(super) fn welcome((received, delivered, window): Position) -> Vec<u8> {
    // Version 1, and no flags.
    let mut payload = vec![1, 0];
    payload.extend(received.to_be_bytes());
    payload.extend(delivered.to_be_bytes());
    payload.extend(window.to_be_bytes());
    frame(WELCOME, &payload)
}

/// As an exit with this key, which believes anyone.
pub(super) fn answer(socket: TcpStream, key: &str) -> StreamOwned<ServerConnection, TcpStream> {
    let certificate = keygen(&["--certificate", key]).stdout;
    let certificate = CertificateDer::from_pem_slice(&certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"redan-link/1".to_vec()];
    // A link has none.
    config.send_tls13_tickets = 0;
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    StreamOwned::new(ServerConnection::new(Arc::new(config)).expect("a connection"), socket)
}
