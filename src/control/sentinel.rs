//! Asks one Sentinel what it knows of the group, and listens to what it says by itself.
//!
//! `control` does both for ever, each over a connection of its own; `redan check` asks once. Nothing is assumed of what a
//! Sentinel's user may do: a command that is refused leaves its answer unknown. The judgement is the tracker's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::connection::{Connection, Trust, broken, failure, refusal};
use super::group::Pace;
use super::probe::is_forbidden;
use crate::config::{Access, Group};
use crate::net::Shortcuts;
use crate::resp::value::Value;
use crate::topology::address::split_host_port;
use crate::topology::member::{Failure, FailureKind};
use crate::topology::sentinel::{EVENTS, Notice, Replies, Statement, notice, statement};
use crate::topology::tracker::Event;

/// While nothing happens: Sentinels themselves ask as often.
const CALM: Duration = Duration::from_secs(10);

/// Where events are not heard, asking has to make up for it.
const DEAF: Duration = Duration::from_secs(1);

/// While there is no master, or something is going on.
const SEARCHING: Duration = Duration::from_millis(250);

/// What one change makes many say at once is answered with one round of questions.
const SPACING: Duration = Duration::from_millis(20);

/// A subscription that is silent for so long is asked whether it still is one.
const SILENCE: Duration = Duration::from_secs(5);

/// Asks the Sentinel at one address, over a connection that it keeps.
pub(crate) struct Inquiry {
    to: Target,
    probe_timeout: Duration,
    open: Option<Connection>,
    /// The newer name of SENTINEL SLAVES is the only one that the user may use.
    says_replicas: bool,
}

/// How to reach one Sentinel.
#[derive(Clone)]
struct Target {
    address: Arc<str>,
    access: Arc<Access>,
    master: String,
    shortcuts: Arc<Shortcuts>,
    connect_timeout: Duration,
}

impl Target {
    fn new(address: Arc<str>, group: &Group, shortcuts: &Arc<Shortcuts>) -> Option<Self> {
        let sentinel = group.sentinel.as_ref()?;
        // A Sentinel that another announced and that is reached elsewhere has a certificate for what was announced.
        let mapped = group.map.iter().find(|mapped| mapped.dialled == address);
        let mapped = mapped.filter(|_| !sentinel.addresses.contains(&address));
        let host = mapped.and_then(|mapped| split_host_port(&mapped.announced)).map(|(host, _)| host);
        let access = host.map_or_else(|| sentinel.access.clone(), |host| sentinel.access.announced_as(host));
        let (master, shortcuts) = (sentinel.master.clone(), Arc::clone(shortcuts));
        Some(Self { address, access, master, shortcuts, connect_timeout: group.connect_timeout })
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let (access, timeout) = (&self.access, self.connect_timeout);
        let opening = Connection::open(&self.address, access, Trust::Files, &self.shortcuts, timeout);
        opening.await.map_err(in_words_of_sentinels)
    }
}

impl Inquiry {
    /// `None` where the group has no Sentinels.
    pub(crate) fn new(address: Arc<str>, group: &Group, shortcuts: &Arc<Shortcuts>) -> Option<Self> {
        let to = Target::new(address, group, shortcuts)?;
        Some(Self { to, probe_timeout: group.probe_timeout, open: None, says_replicas: false })
    }

    /// One round of questions. A connection that broke since the last one is replaced at once.
    pub(crate) async fn ask(&mut self) -> Result<Statement, Failure> {
        let reused = self.open.is_some();
        match self.attempt().await {
            Err(Trouble::Broken(_)) if reused => self.attempt().await,
            other => other,
        }
        .map_err(|trouble| match trouble {
            Trouble::Broken(error) => broken(&error),
            Trouble::Said(failure) => failure,
        })
        .map_err(in_words_of_sentinels)
    }

    /// Has the Sentinels replace the master now, whether or not it is well.
    pub(crate) async fn fail_over(&mut self) -> Result<(), Failure> {
        let mut connection = self.to.open().await?;
        let commands: [&[&str]; 1] = [&["SENTINEL", "FAILOVER", &self.to.master]];
        let asked = tokio::time::timeout(self.probe_timeout, connection.ask(&commands)).await;
        let replies = asked.map_err(|_| failure(FailureKind::Timeout, "it does not answer"))?;
        let replies = replies.map_err(|error| in_words_of_sentinels(broken(&error)))?;
        match replies.first().and_then(Value::error) {
            Some(error) => Err(failure(FailureKind::Protocol, error)),
            None => Ok(()),
        }
    }

    async fn attempt(&mut self) -> Result<Statement, Trouble> {
        // Taken out, so that an attempt that is cancelled or fails leaves no half-read connection behind.
        let mut connection = match self.open.take() {
            Some(open) => open,
            None => self.to.open().await.map_err(Trouble::Said)?,
        };
        let Ok(outcome) = tokio::time::timeout(self.probe_timeout, self.question(&mut connection)).await else {
            let text = format!("no answer within {} ms", self.probe_timeout.as_millis());
            return Err(Trouble::Said(failure(FailureKind::Timeout, text)));
        };
        if !matches!(outcome, Err(Trouble::Broken(_))) {
            self.open = Some(connection);
        }
        outcome
    }

    async fn question(&mut self, connection: &mut Connection) -> Result<Statement, Trouble> {
        let name = &*self.to.master;
        let replicas = if self.says_replicas { "REPLICAS" } else { "SLAVES" };
        let commands: [&[&str]; 6] = [
            &["SENTINEL", "MASTER", name],
            &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name],
            &["SENTINEL", replicas, name],
            &["SENTINEL", "SENTINELS", name],
            &["SENTINEL", "MYID"],
            &["INFO"],
        ];
        let mut replies = connection.ask(&commands).await.map_err(Trouble::Broken)?;
        let [master, address, listed, sentinels, id, info] = &mut replies[..] else {
            let text = replies.last().and_then(Value::error).unwrap_or("it closed the connection");
            return Err(Trouble::Said(refusal(text)));
        };
        // Since Redis 5 both names exist; an ACL may allow only the newer one.
        if !self.says_replicas && listed.error().is_some_and(is_forbidden) {
            self.says_replicas = true;
            let again = connection.ask(&[&["SENTINEL", "REPLICAS", name]]).await.map_err(Trouble::Broken)?;
            *listed = again.into_iter().next().unwrap_or(Value::Null);
        }
        let master = match master {
            Value::Error(text) if text.contains("No such master") => None,
            Value::Error(text)
                if text.starts_with("ERR unknown command") || text.starts_with("ERR Unknown command") =>
            {
                let text = "a server answers there, and no Sentinel: list it in `nodes`";
                return Err(Trouble::Said(failure(FailureKind::Protocol, text)));
            }
            Value::Error(text) if is_forbidden(text) => {
                let text = "the user may not ask SENTINEL MASTER: grant it +sentinel|master (ACL SETUSER)";
                return Err(Trouble::Said(failure(FailureKind::NoPermission, text)));
            }
            Value::Error(text) => return Err(Trouble::Said(refusal(text))),
            other => Some(&*other),
        };
        let round = Replies { master, address, replicas: listed, sentinels, id, info };
        let nonsense = || failure(FailureKind::Protocol, "its answer to SENTINEL MASTER makes no sense");
        statement(&round).ok_or_else(|| Trouble::Said(nonsense()))
    }
}

enum Trouble {
    Broken(io::Error),
    Said(Failure),
}

/// The advice about passwords names the group's settings, but a Sentinel's are its own.
fn in_words_of_sentinels(failure: Failure) -> Failure {
    let text = failure.text.replace("the group's user", "the user in `sentinel`").replace("the group's", "its");
    let text = text.replace("set password_file or password_env", "set them in `sentinel`");
    let text = text.replace("remove `user` from the group", "remove `user` from `sentinel`");
    Failure { text: text.replace("the node", "it"), ..failure }
}

/// Asks one Sentinel again and again, as the pace says, and hands on what it says by itself.
pub(super) async fn ask_for_ever(
    address: Arc<str>,
    group: Arc<Group>,
    shortcuts: Arc<Shortcuts>,
    mut pace: watch::Receiver<Pace>,
    events: mpsc::Sender<Event>,
) {
    let Some(mut inquiry) = Inquiry::new(address.clone(), &group, &shortcuts) else { return };
    let mut listener = Listener { to: inquiry.to.clone(), group: group.name.clone(), open: None, refused: false };
    loop {
        pace.mark_unchanged();
        // The subscription first: what happens between the answer and the subscription would be missed.
        listener.subscribe().await;
        let mut least = SPACING;
        let event = match inquiry.ask().await {
            Ok(statement) => Event::Stated { sentinel: address.clone(), statement: Box::new(statement) },
            Err(failure) => {
                if !matches!(failure.kind, FailureKind::Refused | FailureKind::Timeout) {
                    least = DEAF;
                }
                Event::Mute { sentinel: address.clone(), failure }
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
        let soon = Instant::now() + least;
        let mut due = Instant::now() + interval(&pace.borrow(), &listener).max(least);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => break,
                Ok(()) = pace.changed() => due = due.min(soon),
                notice = listener.next() => {
                    due = due.min(soon);
                    let event = Event::Noticed { sentinel: address.clone(), notice };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn interval(pace: &Pace, listener: &Listener) -> Duration {
    match (pace.searching, listener.open.is_some()) {
        (true, _) => SEARCHING,
        (false, true) => CALM,
        (false, false) => DEAF,
    }
}

/// The subscription to one Sentinel's events.
struct Listener {
    to: Target,
    /// For the log.
    group: String,
    open: Option<Connection>,
    /// It was said that the user may not subscribe.
    refused: bool,
}

impl Listener {
    /// Subscribes if it is not subscribed. Failing is no matter: the questions tell the trouble.
    async fn subscribe(&mut self) {
        if self.open.is_some() || self.refused {
            return;
        }
        let Ok(mut connection) = self.to.open().await else { return };
        let commands: Vec<Vec<&str>> = EVENTS.iter().map(|event| vec!["SUBSCRIBE", event]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
        match tokio::time::timeout(self.to.connect_timeout, connection.ask(&commands)).await {
            Ok(Ok(replies)) if replies.iter().all(|reply| reply.error().is_none()) => self.open = Some(connection),
            Ok(Ok(replies)) if replies.iter().filter_map(Value::error).any(is_forbidden) => {
                self.refused = true;
                tracing::warn!(
                    group = self.group,
                    "the Sentinel {}: the user may not subscribe to its events, so it is asked once a second: grant it +subscribe and &* (ACL SETUSER)",
                    self.to.address
                );
            }
            _ => {}
        }
    }

    /// Waits for the next event that concerns the group. The end of the subscription is one: something may have been
    /// missed. Without a subscription it waits for ever. It may be cancelled at any time.
    async fn next(&mut self) -> Notice {
        let Some(connection) = &mut self.open else { return std::future::pending().await };
        let mut asked = false;
        loop {
            let message = match tokio::time::timeout(SILENCE, connection.read()).await {
                Ok(Ok(message)) => message,
                Err(_) if !asked => {
                    asked = true;
                    if connection.send(&["PING"]).await.is_ok() {
                        continue;
                    }
                    break;
                }
                Ok(Err(_)) | Err(_) => break,
            };
            asked = false;
            let Some([kind, event, payload]) = message.items() else { continue };
            let (Some("message"), Some(event), Some(payload)) = (kind.text(), event.text(), payload.text()) else {
                continue;
            };
            if let Some(notice) = notice(event, payload, &self.to.master) {
                return notice;
            }
        }
        self.open = None;
        Notice::Stir
    }
}
