//! A TLS client of a test: it resumes its sessions as client libraries do, and shows what it was shown.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certs::Certs;
use super::redis::DEADLINE;

pub(crate) type TlsStream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

pub(crate) struct TlsClient {
    config: Arc<rustls::ClientConfig>,
}

impl TlsClient {
    /// Trusts the CA, and shows the certificate of this client.
    pub(crate) fn new(certs: &Certs, client: Option<&str>) -> Self {
        Self::of_versions(certs, client, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn of_versions(
        certs: &Certs,
        client: Option<&str>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certs.ca()).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let [cert, key] = certs.client(client);
                let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                builder.with_client_auth_cert(vec![cert], key).expect("a pair")
            }
        };
        Self { config: Arc::new(config) }
    }

    /// Shakes hands when it is first used.
    pub(crate) fn connect(&self, address: &str) -> TlsStream {
        self.dial(address, "127.0.0.1")
    }

    /// The same by a name.
    pub(crate) fn dial(&self, address: &str, name: &str) -> TlsStream {
        let name = name.to_owned().try_into().expect("a name");
        let connection = rustls::ClientConnection::new(Arc::clone(&self.config), name).expect("a connection");
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        rustls::StreamOwned::new(connection, socket)
    }
}

/// Whether PING is answered.
pub(crate) fn pings(stream: &mut TlsStream) -> io::Result<()> {
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    if &reply == b"+PONG\r\n" { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&reply).into_owned())) }
}

/// The first certificate that the server has shown.
pub(crate) fn shown(stream: &TlsStream) -> Vec<u8> {
    let chain = stream.conn.peer_certificates().expect("a finished handshake");
    chain[0].as_ref().to_vec()
}
