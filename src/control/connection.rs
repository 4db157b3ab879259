//! A probe's own connection to a node or a Sentinel: dial, TLS, AUTH, then whole requests and whole replies.
//!
//! Used by [`super::probe`] and [`super::sentinel`] only. It never shares a connection with the data path, so that a slow client can
//! never look like a dead master.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::config::{Access, NodeTls};
use crate::net::{DialError, Shortcuts, Socket};
use crate::resp::value::{Value, decode};
use crate::tls::TlsError;
use crate::tls::client::{self, Reaching};
use crate::tls::keyring::Keyring;
use crate::topology::member::{Failure, FailureKind};

/// The longest reply read. INFO of a server with a thousand replicas is about 100 KiB; more than 1 MiB is not
/// an answer to anything a probe asks.
const REPLY: usize = 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How the node let Redan in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// No password is configured here.
    NotSent,
    Accepted,
    /// A password is configured here, but the node asks for none.
    NotNeeded,
}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    /// A reply that is longer than this ends the connection.
    pub(super) longest: usize,
    /// The TLS version, as text; `None` for plaintext.
    pub(super) tls: Option<String>,
    with: Option<Arc<Reaching>>,
    pub(super) auth: Auth,
}

pub(super) fn failure(kind: FailureKind, text: impl Into<String>) -> Failure {
    Failure { kind, text: text.into() }
}

/// Where it stands what is shown to the peer, and whom among them is believed.
#[derive(Clone, Copy)]
pub(super) enum Trust<'a> {
    /// In memory, as it was last renewed: for nodes, which are dialled often.
    Keyring(&'a Keyring),
    /// In the files, which are read now: for whoever dials seldom.
    Files,
}

fn unloadable(error: TlsError) -> Failure {
    failure(FailureKind::Tls, error.to_string())
}

impl Connection {
    /// Connects, shakes hands and authenticates, all within `timeout`.
    pub(super) async fn open(
        address: &str,
        access: &Access,
        trust: Trust<'_>,
        shortcuts: &Shortcuts,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + timeout;
        let late = |what: &str, then: &str| {
            failure(FailureKind::Timeout, format!("no answer to {what} within {} ms{then}", timeout.as_millis()))
        };
        let reaching = match trust {
            Trust::Keyring(keyring) => keyring.to(address),
            Trust::Files => match &access.tls {
                Some(tls) => Some((tls, client::load(tls).map(Arc::new).map_err(unloadable)?)),
                None => None,
            },
        };
        let socket = shortcuts.dial(address, timeout).await.map_err(dial_failure)?;
        let mut connection = match reaching {
            None => Self::over(Box::new(socket), None),
            Some((tls, with)) => {
                timeout_at(deadline, shake_hands(address, tls, with, socket)).await.map_err(|_| {
                    // A Redis without TLS takes the handshake for an unfinished command and waits for its end.
                    late(
                        "the TLS handshake",
                        ": does the node speak TLS on this port? If not, use its `tls-port` or remove `tls`",
                    )
                })??
            }
        };
        timeout_at(deadline, connection.authenticate(access))
            .await
            .map_err(|_| late("AUTH", ": it is frozen, overloaded or cut off"))??;
        Ok(connection)
    }

    fn over(stream: Box<dyn Stream>, tls: Option<String>) -> Self {
        Self { stream, buffer: BytesMut::new(), longest: REPLY, tls, with: None, auth: Auth::NotSent }
    }

    /// Whether it was opened with what holds now.
    pub(super) fn is_current(&self, address: &str, keyring: &Keyring) -> bool {
        match (&self.with, keyring.to(address)) {
            (Some(with), Some((_, now))) => Arc::ptr_eq(with, &now),
            (with, now) => with.is_none() && now.is_none(),
        }
    }

    async fn authenticate(&mut self, access: &Access) -> Result<(), Failure> {
        let Some(password) = &access.password else { return Ok(()) };
        let mut words = vec!["AUTH"];
        words.extend(access.user.as_deref());
        words.push(password.reveal());
        let replies = self.ask(&[&words]).await.map_err(|error| broken(&error))?;
        let Some(Value::Error(error)) = replies.first() else {
            self.auth = Auth::Accepted;
            return Ok(());
        };
        // Before 6.0: "Client sent AUTH, but no password is set"; since: "… called without any password configured".
        if error.contains("no password is set") || error.contains("without any password configured") {
            self.auth = Auth::NotNeeded;
            return Ok(());
        }
        Err(auth_failure(error, access))
    }

    /// Waits until the node closes the connection, or says what nobody asked.
    pub(super) async fn disturbed(&mut self) {
        // Bytes, an end or an error: each means that this connection is not what it was.
        let _ = self.stream.read_buf(&mut self.buffer).await;
    }

    /// Sends a command whose reply somebody else reads.
    pub(super) async fn send(&mut self, command: &[&str]) -> io::Result<()> {
        self.write(&[command]).await
    }

    async fn write<W: AsRef<[u8]>>(&mut self, commands: &[&[W]]) -> io::Result<()> {
        let mut out = Vec::new();
        for command in commands {
            out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command.iter().map(AsRef::as_ref) {
                out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                out.extend_from_slice(word);
                out.extend_from_slice(b"\r\n");
            }
        }
        self.stream.write_all(&out).await?;
        self.stream.flush().await
    }

    /// Sends the commands in one write and reads one reply for each.
    pub(super) async fn ask<W: AsRef<[u8]>>(&mut self, commands: &[&[W]]) -> io::Result<Vec<Value>> {
        self.write(commands).await?;
        let mut replies = Vec::with_capacity(commands.len());
        while replies.len() < commands.len() {
            let value = self.read().await?;
            // These end the connection; no reply follows for the rest.
            let last =
                value.error().is_some_and(|text| text.starts_with("DENIED") || text.contains("max number of clients"));
            replies.push(value);
            if last {
                break;
            }
        }
        Ok(replies)
    }

    /// Reads one whole reply, or one message of those that come unasked.
    pub(super) async fn read(&mut self) -> io::Result<Value> {
        loop {
            match decode(&self.buffer, false).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Some((value, len)) => {
                    self.buffer.advance(len);
                    return Ok(value);
                }
                None if self.buffer.len() > self.longest => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the node's reply is longer than any that was asked for",
                    ));
                }
                None => {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}

async fn shake_hands(address: &str, tls: &NodeTls, with: Arc<Reaching>, socket: Socket) -> Result<Connection, Failure> {
    let name = client::server_name(tls, address).map_err(|error| failure(FailureKind::Tls, error.to_string()))?;
    let stream = TlsConnector::from(Arc::clone(&with.config)).connect(name, socket).await.map_err(|error| {
        failure(FailureKind::Tls, format!("the TLS handshake failed: {}", client::handshake_trouble(&error)))
    })?;
    let version = stream.get_ref().1.protocol_version().and_then(|version| version.as_str());
    let version = version.unwrap_or("TLS").replace("TLSv1_", "TLS 1.");
    Ok(Connection { with: Some(with), ..Connection::over(Box::new(stream), Some(version)) })
}

fn dial_failure(error: DialError) -> Failure {
    match error {
        DialError::Refused { .. } => {
            failure(FailureKind::Refused, "the connection is refused: start the server, or correct the port")
        }
        DialError::Timeout { timeout, .. } => failure(
            FailureKind::Timeout,
            format!("no connection within {} ms: the host is down, or a firewall drops packets", timeout.as_millis()),
        ),
        DialError::Unresolved { source, .. } => {
            failure(FailureKind::Unreachable, format!("its name cannot be resolved ({source}): correct it, or the DNS"))
        }
        DialError::Malformed(_) => failure(FailureKind::Unreachable, "its address is not of the form host:port"),
        DialError::Link { why, .. } => failure(FailureKind::Refused, format!("the link has no way to it: {why}")),
        DialError::Failed { source, .. } => failure(FailureKind::Unreachable, format!("cannot connect: {source}")),
    }
}

/// A connection that broke in the middle of a question.
pub(super) fn broken(error: &io::Error) -> Failure {
    // In TLS 1.3 the node judges Redan's certificate after the handshake, and says so where a reply should be.
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return failure(FailureKind::Tls, client::handshake_trouble(error));
    }
    if error.kind() == io::ErrorKind::InvalidData {
        return failure(FailureKind::Protocol, error.to_string());
    }
    let text = "the node closed the connection: it is stopping, or it expects TLS on this port";
    failure(FailureKind::Unreachable, text)
}

/// What the refusal of AUTH means.
fn auth_failure(error: &str, access: &Access) -> Failure {
    let text = if error.starts_with("WRONGPASS") || error.contains("invalid password") {
        match &access.user {
            Some(user) => format!(
                "wrong password for user '{user}', or the user is disabled: correct the group's user and password"
            ),
            None => "wrong password: correct the group's password".to_owned(),
        }
    } else if error.contains("wrong number of arguments") {
        "a server before 6.0 knows no users: remove `user` from the group".to_owned()
    } else {
        return refusal(error);
    };
    failure(FailureKind::Auth, text)
}

/// What an error reply to a probe's question means.
pub(super) fn refusal(error: &str) -> Failure {
    let (kind, text) = match error.split(' ').next().unwrap_or_default() {
        "NOAUTH" => (
            FailureKind::Auth,
            "it asks for a password and none is configured: set password_file or password_env".to_owned(),
        ),
        "NOPERM" => (
            FailureKind::NoPermission,
            "the user may ask neither INFO nor ROLE nor HELLO: grant it +info +role (ACL SETUSER)".to_owned(),
        ),
        "BUSY" => (FailureKind::Busy, "a script blocks it (BUSY): end it with SCRIPT KILL".to_owned()),
        "LOADING" => (FailureKind::Protocol, "it is loading its data and answers nothing yet".to_owned()),
        "MASTERDOWN" => (
            FailureKind::Protocol,
            "it answers nothing while its link to its master is down (replica-serve-stale-data no)".to_owned(),
        ),
        "DENIED" => (
            FailureKind::Auth,
            "it is in protected mode and refuses other hosts: give it a password (requirepass)".to_owned(),
        ),
        _ if error.contains("max number of clients") => {
            (FailureKind::Unreachable, "it has reached its limit of clients: raise maxclients".to_owned())
        }
        _ => (FailureKind::Protocol, format!("it answers with an error: {error}")),
    };
    failure(kind, text)
}
