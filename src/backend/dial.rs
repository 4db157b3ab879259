//! Opens a backend connection: TCP or a link, TLS, authentication, RESP version, database. Used for lanes and pins.
//!
//! Everything is sent in one piece and read in one piece, so a connection costs one round trip after TCP and TLS.
//! It logs in as the group's user, or, for a client whose login a node has accepted, as that client and nobody else.

use std::future::Future;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::login::{Claim, UserKey};
use crate::config::{Access, Group, NodeTls};
use crate::net::{Shortcuts, Socket};
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;
use crate::tls::client;
use crate::tls::keyring::Keyring;
use crate::transport::Stream;

/// What a backend connection was opened as. Two commands may share one only if they agree on all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Dialect {
    pub(crate) resp3: bool,
    pub(crate) db: u32,
    pub(crate) user: UserKey,
}

impl Dialect {
    /// Redan's own.
    pub(crate) const GROUP: Self = Self::of(UserKey::GROUP);

    /// It speaks as Redan's own user.
    pub(crate) fn is_groups(self) -> bool {
        self.user == UserKey::GROUP
    }

    /// As a connection begins.
    pub(crate) const fn of(user: UserKey) -> Self {
        Self { resp3: false, db: 0, user }
    }
}

/// A connection on which nothing has been said yet.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// Whose fault it is that there is no connection, which decides what becomes of the commands that wait for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The node or the way to it; another node, or the same one later, may do.
    #[error("{0}")]
    Unreachable(String),
    /// The node answered and refused this dialect: the reply belongs to the client (`ERR DB index is out of range`).
    #[error("{0}")]
    Dialect(String),
    /// The node refused the client's login in these words.
    #[error("{0}")]
    Login(String),
}

/// A connection that was opened.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// The node took all scripts.
    pub(crate) loaded: bool,
    /// By which the node knows the connection: what CLIENT ID says. Servers before 5.0 do not know.
    pub(crate) number: Option<u64>,
}

/// Knows how to reach and authenticate to every node of one group.
pub(crate) struct Dialer {
    group: Arc<Group>,
    keyring: Arc<Keyring>,
    shortcuts: Arc<Shortcuts>,
}

impl Dialer {
    /// The keyring is that of the same group.
    pub(crate) fn new(group: Arc<Group>, keyring: Arc<Keyring>, shortcuts: Arc<Shortcuts>) -> Self {
        Self { group, keyring, shortcuts }
    }

    /// Whether the node is believed now that was believed when it showed this chain; if not, why.
    pub(super) fn still_accepts(&self, address: &str, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        self.keyring.still_accepts(address, chain)
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// `claim` is that of the dialect's user; `None` for the group's own. Loads scripts in the same round trip.
    pub(super) async fn dial(
        &self,
        address: &str,
        dialect: Dialect,
        claim: Option<&Claim>,
        scripts: &[Arc<[u8]>],
    ) -> Result<Opened, DialError> {
        self.in_time(address, async {
            let access = self.group.access_to(address);
            let mut opening = match claim {
                None => opening(access, dialect),
                Some(claim) => opening_as(claim, dialect),
            };
            for script in scripts {
                opening.asked.push("SCRIPT");
                encode::command(&mut opening.bytes, &[b"SCRIPT", b"LOAD", script]);
            }
            match self.reach(address).await? {
                Reached::Plain(mut socket) => {
                    let (loaded, number) = introduce(&mut socket, address, opening).await?;
                    Ok(Opened { stream: socket.into(), loaded, number })
                }
                Reached::Tls(mut stream) => {
                    let (loaded, number) = introduce(&mut stream, address, opening).await?;
                    Ok(Opened { stream: (*stream).into(), loaded, number })
                }
            }
        })
        .await
    }

    /// A connection on which nothing has been said.
    pub(super) async fn connect(&self, address: &str) -> Result<Box<dyn Wire>, DialError> {
        self.in_time(address, async {
            Ok(match self.reach(address).await? {
                Reached::Plain(socket) => Box::new(socket) as Box<dyn Wire>,
                Reached::Tls(stream) => stream,
            })
        })
        .await
    }

    async fn in_time<T>(
        &self,
        address: &str,
        handshake: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        let limit = self.group.connect_timeout;
        tokio::time::timeout(limit, handshake).await.unwrap_or_else(|_| {
            Err(DialError::Unreachable(format!("{address} did not finish the handshake in {} ms", limit.as_millis())))
        })
    }

    async fn reach(&self, address: &str) -> Result<Reached, DialError> {
        let socket = self.shortcuts.dial(address, self.group.connect_timeout).await;
        let socket = socket.map_err(|error| DialError::Unreachable(error.to_string()))?;
        Ok(match self.keyring.to(address) {
            None => Reached::Plain(socket),
            Some((settings, reaching)) => {
                Reached::Tls(Box::new(self.encrypt(socket, address, settings, &reaching.config).await?))
            }
        })
    }

    async fn encrypt(
        &self,
        socket: Socket,
        address: &str,
        settings: &NodeTls,
        config: &Arc<ClientConfig>,
    ) -> Result<tokio_rustls::client::TlsStream<Socket>, DialError> {
        let unreachable = |text: String| DialError::Unreachable(format!("TLS with {address}: {text}"));
        let name = client::server_name(settings, address).map_err(|error| unreachable(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream =
            connector.connect(name, socket).await.map_err(|error| unreachable(client::handshake_trouble(&error)))?;
        // The files may have changed during the handshake.
        if self.keyring.to(address).is_some_and(|(_, now)| !Arc::ptr_eq(&now.config, config)) {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            self.keyring.still_accepts(address, chain).map_err(unreachable)?;
        }
        Ok(stream)
    }
}

/// A connection as it comes from the network.
enum Reached {
    Plain(Socket),
    Tls(Box<tokio_rustls::client::TlsStream<Socket>>),
}

/// The opening commands, and which of their replies decide.
struct Opening {
    bytes: Vec<u8>,
    /// One word per reply to come: what was asked.
    asked: Vec<&'static str>,
    /// A refusal is one of a client's login.
    of_client: bool,
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
    if dialect.resp3 {
        name(&mut bytes, &mut asked);
    } else {
        name_and_number(&mut bytes, &mut asked);
    }
    select(dialect, &mut bytes, &mut asked);
    Opening { bytes, asked, of_client: false }
}

/// So that CLIENT LIST on the server tells whose connections these are. Refused or unknown, it does no harm.
fn name(bytes: &mut Vec<u8>, asked: &mut Vec<&'static str>) {
    asked.push("CLIENT");
    encode::command(bytes, &[b"CLIENT", b"SETNAME", b"redan"]);
}

/// Without HELLO, whose reply has it, nothing else tells the connection's number, by which a wait is ended.
fn name_and_number(bytes: &mut Vec<u8>, asked: &mut Vec<&'static str>) {
    name(bytes, asked);
    asked.push("ID");
    encode::command(bytes, &[b"CLIENT", b"ID"]);
}

fn select(dialect: Dialect, bytes: &mut Vec<u8>, asked: &mut Vec<&'static str>) {
    if dialect.db != 0 {
        asked.push("SELECT");
        encode::command(bytes, &[b"SELECT", dialect.db.to_string().as_bytes()]);
    }
}

/// The same for a client. Where there are users there is HELLO, which names the connection without a right to
/// CLIENT SETNAME; the server would log each try of a user that lacks it.
fn opening_as(claim: &Claim, dialect: Dialect) -> Opening {
    let (mut bytes, mut asked) = (Vec::new(), Vec::new());
    let version: &[u8] = if dialect.resp3 { b"3" } else { b"2" };
    match claim {
        Claim::Password { user: Some(user), password } => {
            asked.push("HELLO");
            encode::command(&mut bytes, &[b"HELLO", version, b"AUTH", user, password, b"SETNAME", b"redan"]);
        }
        Claim::Password { user: None, password } if dialect.resp3 => {
            asked.push("HELLO");
            encode::command(&mut bytes, &[b"HELLO", b"3", b"AUTH", b"default", password, b"SETNAME", b"redan"]);
        }
        Claim::Password { user: None, password } => {
            asked.push("AUTH");
            encode::command(&mut bytes, &[b"AUTH", password]);
            name_and_number(&mut bytes, &mut asked);
        }
        Claim::Nothing if dialect.resp3 => {
            asked.push("HELLO");
            encode::command(&mut bytes, &[b"HELLO", b"3", b"SETNAME", b"redan"]);
        }
        Claim::Nothing => name_and_number(&mut bytes, &mut asked),
    }
    select(dialect, &mut bytes, &mut asked);
    Opening { bytes, asked, of_client: true }
}

/// Whether the node took all scripts, and its number for the connection.
async fn introduce(stream: &mut impl Wire, address: &str, opening: Opening) -> Result<(bool, Option<u64>), DialError> {
    let lost = |text: String| DialError::Unreachable(format!("{address} {text}"));
    let mut loaded = true;
    stream.write_all(&opening.bytes).await.map_err(|error| lost(format!("broke the connection: {error}")))?;
    stream.flush().await.map_err(|error| lost(format!("broke the connection: {error}")))?;
    let mut buf = Vec::with_capacity(1024);
    let (mut start, mut at) = (0, 0);
    let mut number = None;
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
        judge(&buf[start..at], asked, address, opening.of_client)?;
        loaded &= asked != "SCRIPT" || buf[start] == b'$';
        if matches!(asked, "ID" | "HELLO") {
            number = number_in(&buf[start..at], asked).or(number);
        }
        start = at;
    }
    if start == buf.len() { Ok((loaded, number)) } else { Err(lost("sent more than it was asked".to_owned())) }
}

/// The connection's number: CLIENT ID answers nothing else, HELLO has it behind its name.
fn number_in(reply: &[u8], asked: &str) -> Option<u64> {
    let text = std::str::from_utf8(reply).ok()?;
    let name = if asked == "HELLO" { "$2\r\nid\r\n:" } else { ":" };
    let (_, number) = text.split_once(name)?;
    number.split("\r\n").next()?.parse().ok()
}

/// In the words of servers before and since 6.0.
const NO_PASSWORD_NEEDED: [&str; 2] = ["no password is set", "without any password configured"];

/// A node's words for a login that is wrong, or that is missing.
const WRONG_LOGIN: [&str; 3] = ["WRONGPASS", "NOAUTH", "ERR invalid password"];

fn judge(reply: &[u8], asked: &str, address: &str, of_client: bool) -> Result<(), DialError> {
    let Some(b'-') = reply.first() else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
    if of_client && WRONG_LOGIN.iter().any(|words| text.starts_with(words)) {
        return Err(DialError::Login(text));
    }
    match asked {
        "SCRIPT" => Ok(()),
        // These refuse the connection, not the command; the node closes it now.
        "CLIENT" | "ID" if !["NOAUTH", "DENIED", "ERR max number of clients"].iter().any(|no| text.starts_with(no)) => {
            Ok(())
        }
        // The node asks for no password. `redan check` says so; commands are carried all the same, as probes are.
        "AUTH" if NO_PASSWORD_NEEDED.iter().any(|words| text.contains(words)) => Ok(()),
        "SELECT" if ["ERR", "NOPERM", "BUSY"].iter().any(|code| text.starts_with(code)) => {
            Err(DialError::Dialect(text))
        }
        "HELLO" if text.starts_with("ERR unknown command") || text.starts_with("NOPROTO") => {
            Err(DialError::Dialect(text))
        }
        _ => Err(DialError::Unreachable(format!("{address} refused {asked}: {text}"))),
    }
}
