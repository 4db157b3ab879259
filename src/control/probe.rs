//! Asks one node what it is. `control` repeats it for ever, `redan check` a few times; both through here.
//!
//! INFO says everything but the answer to HELLO, which is asked beside it. A user who may not ask INFO falls back to ROLE, then to HELLO, which tells the role
//! even to users without any dangerous rights. The judgement is the tracker's.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Auth, Connection, Trust, broken, failure, refusal};
use crate::config::{Access, Group};
use crate::net::Shortcuts;
use crate::resp::value::Value;
use crate::tls::keyring::Keyring;
use crate::topology::member::{Failure, FailureKind};
use crate::topology::observe::{Observation, from_hello, from_info, from_role};

/// Asks the node at one address, over a connection that it keeps.
pub(crate) struct Probe {
    address: Arc<str>,
    access: Arc<Access>,
    keyring: Arc<Keyring>,
    shortcuts: Arc<Shortcuts>,
    connect_timeout: Duration,
    probe_timeout: Duration,
    open: Option<Open>,
}

/// A connection, and what was learnt on it.
struct Open {
    connection: Connection,
    means: Means,
    /// The text of INFO server, which does not change while a connection lives.
    server: Option<String>,
    may_ask_role: bool,
    /// It answers HELLO, which servers before 6.0 do not know.
    greets: bool,
}

/// Which question the user may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    Info,
    Role,
    Hello,
}

/// The argument keeps 6.0 happy, which insists on one; RESP2 is what the connection speaks. Asked each time, for modules come
/// and go.
const HELLO: [&str; 2] = ["HELLO", "2"];

/// What a node said, and how long it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) observation: Observation,
    pub(crate) round_trip: Duration,
    pub(crate) means: Means,
    /// The TLS version; `None` for plaintext.
    pub(crate) tls: Option<String>,
    pub(crate) auth: Auth,
    /// Workers ask ROLE to see how far a replica is, whatever probes ask. Asked once on each connection.
    pub(crate) may_ask_role: bool,
}

/// What became of one question.
enum Reply {
    Seen(Box<Observation>),
    /// The user may not ask this way.
    Forbidden,
}

enum Trouble {
    Broken(io::Error),
    Said(Failure),
}

impl Probe {
    /// The keyring is that of the same group.
    pub(crate) fn new(address: Arc<str>, group: &Group, keyring: &Arc<Keyring>, shortcuts: &Arc<Shortcuts>) -> Self {
        let access = group.access_to(&address).clone();
        Self {
            address,
            access,
            keyring: Arc::clone(keyring),
            shortcuts: Arc::clone(shortcuts),
            connect_timeout: group.connect_timeout,
            probe_timeout: group.probe_timeout,
            open: None,
        }
    }

    /// One probe. A connection that broke since the last one is replaced at once: its end alone says nothing
    /// about the server.
    pub(crate) async fn ask(&mut self) -> Result<Answer, Failure> {
        let reused = self.open.is_some();
        match self.attempt().await {
            Err(Trouble::Broken(_)) if reused => match self.attempt().await {
                Err(Trouble::Broken(error)) => Err(broken(&error)),
                Err(Trouble::Said(failure)) => Err(failure),
                Ok(answer) => Ok(answer),
            },
            Err(Trouble::Broken(error)) => Err(broken(&error)),
            Err(Trouble::Said(failure)) => Err(failure),
            Ok(answer) => Ok(answer),
        }
    }

    /// Waits until the connection that is kept ends: a server that dies is noticed by that, long before the
    /// next question is due. Without a connection it waits for ever.
    pub(crate) async fn disturbed(&mut self) {
        match &mut self.open {
            Some(open) => open.connection.disturbed().await,
            None => std::future::pending().await,
        }
        self.open = None;
    }

    async fn attempt(&mut self) -> Result<Answer, Trouble> {
        // Taken out, so that an attempt that is cancelled or fails leaves no half-read connection behind.
        // With other files the node must prove itself by those.
        let open = self.open.take().filter(|open| open.connection.is_current(&self.address, &self.keyring));
        let mut open = match open {
            Some(open) => open,
            None => {
                let trust = Trust::Keyring(&self.keyring);
                let opening =
                    Connection::open(&self.address, &self.access, trust, &self.shortcuts, self.connect_timeout);
                let connection = opening.await.map_err(Trouble::Said)?;
                Open { connection, means: Means::Info, server: None, may_ask_role: true, greets: true }
            }
        };
        let asked = Instant::now();
        let outcome = tokio::time::timeout(self.probe_timeout, open.question()).await;
        let round_trip = asked.elapsed();
        let observation = match outcome {
            Err(_) => {
                let text = format!(
                    "no answer within {} ms: it is frozen, overloaded or cut off",
                    self.probe_timeout.as_millis()
                );
                return Err(Trouble::Said(failure(FailureKind::Timeout, text)));
            }
            Ok(Err(Trouble::Said(failure))) => {
                // Its words were read to the end: the connection is still in order.
                self.open = Some(open);
                return Err(Trouble::Said(failure));
            }
            Ok(Err(broken)) => return Err(broken),
            Ok(Ok(observation)) => observation,
        };
        let answer = Answer {
            observation,
            round_trip,
            means: open.means,
            tls: open.connection.tls.clone(),
            auth: open.connection.auth,
            may_ask_role: open.may_ask_role,
        };
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    async fn question(&mut self) -> Result<Observation, Trouble> {
        loop {
            let reply = match self.means {
                Means::Info => self.info().await?,
                Means::Role => match self.single(&["ROLE"], from_role).await? {
                    Reply::Seen(seen) => Reply::Seen(Box::new(self.greeted(*seen).await?)),
                    Reply::Forbidden => Reply::Forbidden,
                },
                Means::Hello => self.single(&HELLO, from_hello).await?,
            };
            self.means = match (reply, self.means) {
                (Reply::Seen(observation), _) => return Ok(*observation),
                (Reply::Forbidden, Means::Info) => Means::Role,
                (Reply::Forbidden, Means::Role) => Means::Hello,
                (Reply::Forbidden, Means::Hello) => return Err(Trouble::Said(refusal("NOPERM"))),
            };
        }
    }

    /// All sections in one write. A server before 7.0 takes one section per INFO.
    async fn info(&mut self) -> Result<Reply, Trouble> {
        const CHANGING: [&[&str]; 3] = [&["INFO", "replication"], &["INFO", "persistence"], &["INFO", "keyspace"]];
        const ALL: [&[&str]; 5] = [&["INFO", "server"], CHANGING[0], CHANGING[1], CHANGING[2], &["ROLE"]];
        let mut commands = if self.server.is_some() { CHANGING.to_vec() } else { ALL.to_vec() };
        if self.greets {
            commands.push(&HELLO);
        }
        let mut replies = self.connection.ask(&commands).await.map_err(Trouble::Broken)?;
        // There are fewer replies where the node ended the connection.
        let hello = if self.greets && replies.len() == commands.len() { replies.pop() } else { None };
        self.greets &= !hello.as_ref().and_then(Value::error).is_some_and(is_forbidden);
        if replies.len() == ALL.len() {
            let role = replies.pop();
            self.may_ask_role = !role.as_ref().and_then(Value::error).is_some_and(is_forbidden);
        }
        let mut texts = Vec::with_capacity(replies.len());
        for reply in replies {
            match reply {
                Value::Text(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
                Value::Error(error) if is_forbidden(&error) => return Ok(Reply::Forbidden),
                Value::Error(error) => return Err(Trouble::Said(refusal(&error))),
                _ => return Err(Trouble::Said(failure(FailureKind::Protocol, "its answer to INFO is not a text"))),
            }
        }
        if self.server.is_none() && !texts.is_empty() {
            self.server = Some(texts.remove(0));
        }
        let whole = format!("{}\n{}", self.server.as_deref().unwrap_or_default(), texts.join("\n"));
        let seen = from_info(&whole);
        Ok(Reply::Seen(Box::new(match hello {
            Some(hello) => seen.greeted(&hello),
            None => seen,
        })))
    }

    /// With what it answers to HELLO, which every user may ask.
    async fn greeted(&mut self, seen: Observation) -> Result<Observation, Trouble> {
        if !self.greets {
            return Ok(seen);
        }
        let replies = self.connection.ask(&[&HELLO]).await.map_err(Trouble::Broken)?;
        let Some(hello) = replies.first() else { return Ok(seen) };
        self.greets = !hello.error().is_some_and(is_forbidden);
        Ok(seen.greeted(hello))
    }

    async fn single(&mut self, words: &[&str], read: fn(&Value) -> Option<Observation>) -> Result<Reply, Trouble> {
        let replies = self.connection.ask(&[words]).await.map_err(Trouble::Broken)?;
        match replies.first() {
            Some(Value::Error(error)) if is_forbidden(error) => Ok(Reply::Forbidden),
            Some(Value::Error(error)) => Err(Trouble::Said(refusal(error))),
            Some(value) => match read(value) {
                Some(seen) => Ok(Reply::Seen(Box::new(seen))),
                None => Err(Trouble::Said(failure(
                    FailureKind::Protocol,
                    format!("its answer to {} makes no sense", words[0]),
                ))),
            },
            None => Err(Trouble::Broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Denied by ACL, or renamed away.
pub(super) fn is_forbidden(error: &str) -> bool {
    error.starts_with("NOPERM") || error.starts_with("ERR unknown command") || error.starts_with("ERR Unknown command")
}
