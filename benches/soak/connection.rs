//! One connection of a client, in plaintext or over TLS, and where it leads.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::resp::{Reply, decode, encode};

/// Longer than any hold and any failover: who waits longer has been forgotten.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    tls: Option<TlsConnector>,
}

impl Target {
    pub(crate) fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None }
    }

    pub(crate) fn tls(address: &str, ca: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("no TLS client: {error}");
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(ca).map_err(|error| failed(&error))?;
        roots.add(ca).map_err(|error| failed(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map_err(|error| failed(&error))?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address: address.to_owned(), tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(connector) => {
                let host = self.address.split(':').next().unwrap_or_default().to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                Box::new(connector.connect(name, stream).await?)
            }
        };
        Ok(Connection { stream, buffer: Vec::new() })
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends all of them at once.
    pub(crate) async fn send(&mut self, commands: &[Vec<String>]) -> io::Result<()> {
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|words| encode(&words.iter().map(String::as_str).collect::<Vec<_>>()))
            .collect();
        self.stream.write_all(&bytes).await?;
        // TLS may keep the last of it.
        self.stream.flush().await
    }

    /// The next reply. `TimedOut`: none for [`PATIENCE`].
    pub(crate) async fn reply(&mut self) -> io::Result<Reply> {
        self.reply_within(PATIENCE).await
    }

    pub(crate) async fn reply_within(&mut self, patience: Duration) -> io::Result<Reply> {
        match timeout(patience, self.whole_reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn whole_reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, len)) = decode(&self.buffer)? {
                self.buffer.drain(..len);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
