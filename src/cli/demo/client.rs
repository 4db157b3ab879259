//! A small client: one connection, one command at a time. The demo's traffic and its orders to the servers use it.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{NodeTls, NodeTrust};
use crate::resp::encode;
use crate::resp::value::{Value, decode};
use crate::tls::client::{load, server_name};

/// Longer than a command may be held for want of a master (10 s), so that Redan's own answer is seen.
const PATIENCE: Duration = Duration::from_secs(15);

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub(super) struct Client {
    wire: Box<dyn Wire>,
    buf: Vec<u8>,
}

/// How to reach a server, Redan or a node.
#[derive(Clone)]
pub(super) struct Way {
    address: String,
    tls: Option<(NodeTls, Arc<ClientConfig>)>,
    password: Option<String>,
}

impl Way {
    pub(super) fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None, password: None }
    }

    pub(super) fn with_password(address: &str, password: &str) -> Self {
        Self { password: Some(password.to_owned()), ..Self::plain(address) }
    }

    /// Over TLS, trusting this CA.
    pub(super) fn encrypted(address: &str, ca: &std::path::Path) -> Result<Self, String> {
        let trust = NodeTrust::Ca { ca: ca.to_owned(), crl: Vec::new() };
        let tls = NodeTls { trust, server_name: None, identity: None };
        let config = load(&tls).map_err(|error| error.to_string())?.config;
        Ok(Self { tls: Some((tls, config)), ..Self::plain(address) })
    }

    pub(super) async fn connect(&self) -> Result<Client, String> {
        let opening = async {
            let stream = TcpStream::connect(&self.address).await.map_err(|error| error.to_string())?;
            // One small command at a time: waiting for more to send would only delay it.
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let wire: Box<dyn Wire> = match &self.tls {
                None => Box::new(stream),
                Some((tls, config)) => {
                    let name = server_name(tls, &self.address).map_err(|error| error.to_string())?;
                    let connector = TlsConnector::from(Arc::clone(config));
                    Box::new(connector.connect(name, stream).await.map_err(|error| error.to_string())?)
                }
            };
            let mut client = Client { wire, buf: Vec::new() };
            if let Some(password) = &self.password {
                client.order(&["AUTH", password]).await?;
            }
            Ok(client)
        };
        let connected = tokio::time::timeout(PATIENCE, opening).await;
        connected.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }
}

impl Client {
    /// The reply, an error reply included; `Err` when the connection is of no more use.
    pub(super) async fn call(&mut self, words: &[&str]) -> Result<Value, String> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(words)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer to {} within {} s", words[0], PATIENCE.as_secs())))
    }

    /// As `call`, for what must not be refused.
    pub(super) async fn order(&mut self, words: &[&str]) -> Result<Value, String> {
        let value = self.call(words).await?;
        match value.error() {
            Some(error) => Err(format!("{} was answered: {error}", words[0])),
            None => Ok(value),
        }
    }

    async fn exchange(&mut self, words: &[&str]) -> Result<Value, String> {
        let mut command = Vec::new();
        encode::command(&mut command, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        self.wire.write_all(&command).await.map_err(|error| error.to_string())?;
        self.wire.flush().await.map_err(|error| error.to_string())?;
        loop {
            if let Some((value, taken)) = decode(&self.buf, false).map_err(|error| error.to_string())? {
                self.buf.drain(..taken);
                return Ok(value);
            }
            match self.wire.read_buf(&mut self.buf).await {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
