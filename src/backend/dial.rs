//! Opens a backend connection: TCP, TLS, authentication, RESP version, database. Used for lanes and pins.
//!
//! Everything is sent in one piece and read in one piece, so a connection costs one round trip after TCP and TLS.
//! It must never send a client's credentials: those are the group's.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Access, Group};
use crate::net;
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;
use crate::tls::{TlsError, client};
use crate::transport::Stream;

/// What a backend connection was opened as. Two commands may share one only if they agree on all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) resp3: bool,
    pub(crate) db: u32,
}

/// Whose fault it is that there is no connection, which decides what becomes of the commands that wait for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The node or the way to it; another node, or the same one later, may do.
    #[error("{0}")]
    Unreachable(String),
    /// The node answered and refused this dialect: the reply belongs to the client (`ERR DB index is out of range`).
    #[error("{0}")]
    Dialect(String),
}

/// Knows how to reach and authenticate to every node of one group.
pub(crate) struct Dialer {
    group: Arc<Group>,
    tls: Vec<(Arc<Access>, Arc<ClientConfig>)>,
}

impl Dialer {
    /// Loads the TLS files of every seed and of the group.
    pub(crate) fn new(group: Arc<Group>) -> Result<Self, TlsError> {
        let mut tls: Vec<(Arc<Access>, Arc<ClientConfig>)> = Vec::new();
        let seeds = group.seeds.iter().map(|seed| &seed.access);
        for access in seeds.chain([&group.access]) {
            if let (Some(settings), false) = (&access.tls, tls.iter().any(|(known, _)| Arc::ptr_eq(known, access))) {
                tls.push((Arc::clone(access), client::client_config(settings)?));
            }
        }
        Ok(Self { group, tls })
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(crate) async fn dial(&self, address: &str, dialect: Dialect) -> Result<Stream, DialError> {
        self.dial_with_scripts(address, dialect, &[]).await.map(|(stream, _)| stream)
    }

    /// Loads scripts in the same round trip; `false` when the node did not take all of them.
    pub(crate) async fn dial_with_scripts(
        &self,
        address: &str,
        dialect: Dialect,
        scripts: &[Arc<[u8]>],
    ) -> Result<(Stream, bool), DialError> {
        let limit = self.group.connect_timeout;
        tokio::time::timeout(limit, self.dial_unbounded(address, dialect, scripts)).await.unwrap_or_else(|_| {
            Err(DialError::Unreachable(format!("{address} did not finish the handshake in {} ms", limit.as_millis())))
        })
    }

    async fn dial_unbounded(
        &self,
        address: &str,
        dialect: Dialect,
        scripts: &[Arc<[u8]>],
    ) -> Result<(Stream, bool), DialError> {
        let access = self.group.access_to(address);
        let tcp = net::dial(address, self.group.connect_timeout)
            .await
            .map_err(|error| DialError::Unreachable(error.to_string()))?;
        match self.tls.iter().find(|(known, _)| Arc::ptr_eq(known, access)) {
            None => {
                let mut tcp = tcp;
                let loaded = introduce(&mut tcp, address, access, dialect, scripts).await?;
                Ok((tcp.into(), loaded))
            }
            Some((_, config)) => {
                let mut stream = self.encrypt(tcp, address, access, config).await?;
                let loaded = introduce(&mut stream, address, access, dialect, scripts).await?;
                Ok((stream.into(), loaded))
            }
        }
    }

    async fn encrypt(
        &self,
        tcp: TcpStream,
        address: &str,
        access: &Access,
        config: &Arc<ClientConfig>,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
        let unreachable = |text: String| DialError::Unreachable(format!("TLS with {address}: {text}"));
        let Some(settings) = &access.tls else {
            return Err(unreachable("no settings".to_owned()));
        };
        let name = client::server_name(settings, address).map_err(|error| unreachable(error.to_string()))?;
        TlsConnector::from(Arc::clone(config))
            .connect(name, tcp)
            .await
            .map_err(|error| unreachable(client::handshake_trouble(&error)))
    }
}

/// The opening commands, and which of their replies decide.
struct Opening {
    bytes: Vec<u8>,
    /// One word per reply to come: what was asked.
    asked: Vec<&'static str>,
}

fn opening(access: &Access, dialect: Dialect) -> Opening {
    let mut bytes = Vec::new();
    let mut asked = Vec::new();
    let user = access.user.as_deref();
    let password = access.password.as_ref().map(|secret| secret.reveal());
    if dialect.resp3 {
        asked.push("HELLO");
        match password {
            Some(password) => encode::command(
                &mut bytes,
                &[b"HELLO", b"3", b"AUTH", user.unwrap_or("default").as_bytes(), password.as_bytes()],
            ),
            None => encode::command(&mut bytes, &[b"HELLO", b"3"]),
        }
    } else if let Some(password) = password {
        asked.push("AUTH");
        // Servers before 6.0 know only the form without a user.
        match user {
            Some(user) => encode::command(&mut bytes, &[b"AUTH", user.as_bytes(), password.as_bytes()]),
            None => encode::command(&mut bytes, &[b"AUTH", password.as_bytes()]),
        }
    }
    // So that CLIENT LIST on the server tells whose connections these are. Refused or unknown, it does no harm.
    asked.push("CLIENT");
    encode::command(&mut bytes, &[b"CLIENT", b"SETNAME", b"redan"]);
    if dialect.db != 0 {
        asked.push("SELECT");
        encode::command(&mut bytes, &[b"SELECT", dialect.db.to_string().as_bytes()]);
    }
    Opening { bytes, asked }
}

/// `true` when the node took all scripts.
async fn introduce<S>(
    stream: &mut S,
    address: &str,
    access: &Access,
    dialect: Dialect,
    scripts: &[Arc<[u8]>],
) -> Result<bool, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |text: String| DialError::Unreachable(format!("{address} {text}"));
    let mut opening = opening(access, dialect);
    for script in scripts {
        opening.asked.push("SCRIPT");
        encode::command(&mut opening.bytes, &[b"SCRIPT", b"LOAD", script]);
    }
    let mut loaded = true;
    stream.write_all(&opening.bytes).await.map_err(|error| lost(format!("broke the connection: {error}")))?;
    stream.flush().await.map_err(|error| lost(format!("broke the connection: {error}")))?;
    let mut buf = Vec::with_capacity(1024);
    let (mut start, mut at) = (0, 0);
    let mut scanner = ReplyScanner::new();
    for asked in opening.asked {
        loop {
            let scanned = scanner.advance(&buf[at..]).map_err(|error| lost(format!("does not speak RESP: {error}")))?;
            at += scanned.consumed;
            if scanned.done {
                break;
            }
            match stream.read_buf(&mut buf).await {
                Ok(0) => return Err(lost("closed the connection during the handshake".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(lost(format!("broke the connection: {error}"))),
            }
        }
        judge(&buf[start..at], asked, address)?;
        loaded &= asked != "SCRIPT" || buf[start] == b'$';
        start = at;
    }
    if start == buf.len() { Ok(loaded) } else { Err(lost("sent more than it was asked".to_owned())) }
}

/// In the words of servers before and since 6.0.
const NO_PASSWORD_NEEDED: [&str; 2] = ["no password is set", "without any password configured"];

fn judge(reply: &[u8], asked: &str, address: &str) -> Result<(), DialError> {
    let Some(b'-') = reply.first() else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
    match asked {
        "SCRIPT" => Ok(()),
        // These refuse the connection, not the command; the node closes it now.
        "CLIENT" if !["NOAUTH", "DENIED", "ERR max number of clients"].iter().any(|no| text.starts_with(no)) => Ok(()),
        // The node asks for no password. `redan check` says so; commands are carried all the same, as probes are.
        "AUTH" if NO_PASSWORD_NEEDED.iter().any(|words| text.contains(words)) => Ok(()),
        "SELECT" if text.starts_with("ERR") || text.starts_with("NOPERM") => Err(DialError::Dialect(text)),
        "HELLO" if text.starts_with("ERR unknown command") || text.starts_with("NOPROTO") => {
            Err(DialError::Dialect(text))
        }
        _ => Err(DialError::Unreachable(format!("{address} refused {asked}: {text}"))),
    }
}
