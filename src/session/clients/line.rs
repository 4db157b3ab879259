//! The line of CLIENT LIST and CLIENT INFO, with the fields of the server that leads the group, in its order; and whether a
//! filter means a client.
//!
//! What a server counts and Redan has no such thing for (argument memory, reply blocks, threads for input) is 0; the rest is true.

use std::fmt::{Display, Write};
use std::time::Instant;

use super::filter::{Check, Class, Filter};
use crate::session::pinned::{Mode, Pinned};
use crate::session::{Inner, Session};
use crate::topology::Version;
use crate::topology::edition::{Edition, Since};

/// Fields that came after Redis 7.0.
const NEWER: &[(&str, Since)] = &[
    ("capa", Since::valkey(Version(8, 1, 0))),
    ("watch", Since::both(Version(7, 4, 0), Version(8, 0, 0))),
    ("lib-name", Since::both(Version(7, 2, 0), Version(7, 2, 0))),
    ("lib-ver", Since::both(Version(7, 2, 0), Version(7, 2, 0))),
    ("io-thread", Since::redis(Version(8, 0, 0))),
    ("tot-net-in", Since::both(Version(8, 2, 0), Version(8, 0, 0))),
    ("tot-net-out", Since::both(Version(8, 2, 0), Version(8, 0, 0))),
    ("tot-cmds", Since::both(Version(8, 2, 0), Version(8, 0, 0))),
];

/// A line as it grows.
struct Line {
    edition: Edition,
    text: String,
}

impl Line {
    fn add(&mut self, name: &str, value: impl Display) {
        let since = NEWER.iter().find(|(newer, _)| *newer == name);
        if since.is_some_and(|(_, since)| !self.edition.has(*since)) {
            return;
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        // Writing into a String cannot fail.
        let _ = write!(self.text, "{name}={value}");
    }
}

impl Session {
    pub(super) fn is_meant_by(&self, inner: &Inner, filter: &Filter, now: Instant) -> bool {
        let identity = &inner.identity;
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        let all = |wanted: &str, has: &str| wanted.chars().all(|letter| has.contains(letter));
        filter.means(self.id, |check| match check {
            Check::Ids(ids) => ids.contains(&self.id),
            Check::Class(wanted) => *wanted == if inner.is_subscriber() { Class::PubSub } else { Class::Normal },
            Check::User(user) => **user == *identity.user,
            Check::Address(address) => *address == identity.peer.remote(),
            Check::LocalAddress(address) => *address == identity.peer.local(),
            Check::Age(least) => seconds(identity.since) >= *least,
            Check::Idle(least) => seconds(inner.last_active) >= *least,
            Check::Flags(wanted) => all(wanted, &self.flags(inner, inner.own_connection())),
            Check::Capabilities(wanted) => all(wanted, identity.capabilities()),
            Check::Name(name) => **name == *identity.name.as_bytes(),
            Check::Library(name) => **name == *identity.library.as_bytes(),
            Check::LibraryVersion(version) => **version == *identity.library_version.as_bytes(),
            Check::Database(db) => *db == inner.dialect.db,
            Check::Ip(ip) => *ip == identity.peer.ip(),
        })
    }

    /// `pinned` is the connection of the session's own, which stands outside `inner` while the session uses it.
    pub(in crate::session) fn line(&self, inner: &Inner, pinned: Option<&Pinned>, now: Instant) -> String {
        let identity = &inner.identity;
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        let (channels, patterns, shards) = inner.subscription_counts();
        let queued = pinned.filter(|pinned| pinned.in_multi);
        let queued_bytes = queued.and_then(|pinned| pinned.journal.as_ref()).map_or(0, Vec::len);
        let waiting = inner.output.len();
        let mut line = Line { edition: self.context.edition(), text: String::with_capacity(400) };
        line.add("id", self.id);
        line.add("addr", identity.peer.remote());
        line.add("laddr", identity.peer.local());
        line.add("fd", inner.stream.descriptor());
        line.add("name", &identity.name);
        line.add("age", seconds(identity.since));
        line.add("idle", seconds(inner.last_active));
        line.add("flags", self.flags(inner, pinned));
        line.add("capa", identity.capabilities());
        line.add("db", inner.dialect.db);
        line.add("sub", channels);
        line.add("psub", patterns);
        line.add("ssub", shards);
        line.add("multi", queued.map_or(-1, |pinned| i64::from(pinned.queued)));
        line.add("watch", pinned.map_or(0, |pinned| pinned.watched.len()));
        line.add("qbuf", inner.input.len());
        line.add("qbuf-free", inner.input.capacity() - inner.input.len());
        line.add("argv-mem", 0);
        line.add("multi-mem", queued_bytes);
        line.add("rbs", 0);
        line.add("rbp", 0);
        line.add("obl", 0);
        line.add("oll", u8::from(waiting > 0));
        line.add("omem", waiting);
        line.add("tot-mem", size_of::<Self>() + inner.input.capacity() + queued_bytes + waiting);
        line.add("events", if waiting > 0 { "rw" } else { "r" });
        line.add("cmd", inner.last.map_or("NULL", |spec| spec.name));
        line.add("user", &identity.user);
        line.add("redir", inner.redirection());
        line.add("resp", if inner.dialect.resp3 { 3 } else { 2 });
        line.add("lib-name", &identity.library);
        line.add("lib-ver", &identity.library_version);
        line.add("io-thread", 0);
        line.add("tot-net-in", inner.received);
        line.add("tot-net-out", inner.output.total());
        line.add("tot-cmds", inner.front + inner.apart);
        line.text.push('\n');
        line.text
    }

    fn flags(&self, inner: &Inner, pinned: Option<&Pinned>) -> String {
        let mut flags = String::new();
        let mut flag = |letter, on: bool| {
            if on {
                flags.push(letter);
            }
        };
        let paused = self.context.pool.pause.is_active() && !inner.input.is_empty() && inner.asking.is_none();
        let held = inner.hold.is_some() || paused;
        let blocked = inner.waiting.is_some() || pinned.is_some_and(|pinned| pinned.is_blocked());
        flag('O', pinned.is_some_and(|pinned| pinned.monitors));
        flag('P', inner.is_subscriber());
        flag('x', pinned.is_some_and(|pinned| pinned.in_multi) || inner.is_in_severed_transaction());
        flag('b', blocked || held);
        flag('t', inner.tracking.is_some());
        flag('R', inner.tracking.as_ref().is_some_and(|tracking| tracking.is_broken()));
        flag('B', inner.tracking.as_ref().is_some_and(|tracking| tracking.options.bcast));
        flag('c', inner.closing);
        flag('U', inner.identity.peer.is_local());
        flag('e', inner.identity.no_evict);
        flag('T', inner.identity.no_touch);
        if flags.is_empty() { "N".to_owned() } else { flags }
    }
}

impl Inner {
    /// The connection of the session's own, while the session is not at work with it.
    pub(in crate::session) fn own_connection(&self) -> Option<&Pinned> {
        match &self.mode {
            Mode::Pinned(pinned) => Some(pinned),
            Mode::Plain | Mode::Connecting(_) => None,
        }
    }

    pub(in crate::session) fn is_subscriber(&self) -> bool {
        self.is_subscribed()
    }
}
