//! The line of CLIENT LIST and CLIENT INFO, with the fields of 7.0.15 in its order; and whether a filter means a client.
//!
//! What a server counts and Redan has no such thing for (argument memory, reply blocks) is 0; the rest is true.

use std::time::Instant;

use super::filter::{Class, Filter};
use crate::session::pinned::{Mode, Pinned};
use crate::session::{Inner, Session};

impl Session {
    pub(super) fn is_meant_by(&self, inner: &Inner, filter: &Filter, now: Instant) -> bool {
        let identity = &inner.identity;
        let class = if inner.is_subscriber() { Class::PubSub } else { Class::Normal };
        filter.ids.as_ref().is_none_or(|ids| ids.contains(&self.id))
            && filter.class.is_none_or(|wanted| wanted == class)
            && filter.user.as_ref().is_none_or(|user| **user == *identity.user)
            && filter.address.as_ref().is_none_or(|address| *address == identity.peer.remote())
            && filter.local_address.as_ref().is_none_or(|address| *address == identity.peer.local())
            && filter.max_age_s.is_none_or(|age| now.saturating_duration_since(identity.since).as_secs() >= age)
    }

    /// `pinned` is the connection of the session's own, which stands outside `inner` while the session uses it.
    pub(in crate::session) fn line(&self, inner: &Inner, pinned: Option<&Pinned>, now: Instant) -> String {
        let identity = &inner.identity;
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        let (channels, patterns, shards) = inner.subscription_counts();
        let queued = pinned.filter(|pinned| pinned.in_multi);
        let (input, spare) = (inner.input.len(), inner.input.capacity() - inner.input.len());
        let queued_bytes = queued.and_then(|pinned| pinned.journal.as_ref()).map_or(0, Vec::len);
        let waiting = inner.output.len();
        let total = size_of::<Self>() + inner.input.capacity() + queued_bytes + waiting;
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={channels} psub={patterns} \
             ssub={shards} multi={} qbuf={input} qbuf-free={spare} argv-mem=0 multi-mem={queued_bytes} rbs=0 rbp=0 \
             obl=0 oll={} omem={waiting} tot-mem={total} events={} cmd={} user={} redir={} resp={} lib-name={} \
             lib-ver={}\n",
            self.id,
            identity.peer.remote(),
            identity.peer.local(),
            inner.stream.descriptor(),
            identity.name,
            seconds(identity.since),
            seconds(inner.last_active),
            self.flags(inner, pinned),
            inner.dialect.db,
            queued.map_or(-1, |pinned| i64::from(pinned.queued)),
            u8::from(waiting > 0),
            if waiting > 0 { "rw" } else { "r" },
            inner.last.map_or("NULL", |spec| spec.name),
            identity.user,
            inner.redirection(),
            if inner.dialect.resp3 { 3 } else { 2 },
            identity.library,
            identity.library_version,
        )
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
    pub(super) fn own_connection(&self) -> Option<&Pinned> {
        match &self.mode {
            Mode::Pinned(pinned) => Some(pinned),
            Mode::Plain | Mode::Connecting(_) => None,
        }
    }

    pub(in crate::session) fn is_subscriber(&self) -> bool {
        self.is_subscribed()
    }
}
