//! What a session subscribes to, and the messages it gets: from the hub's task straight to the client's socket.
//!
//! A message goes out between two replies, never in the middle of one. It is no reply: CLIENT REPLY does not silence it.
//! What waits for a subscriber is bounded as servers bound it, in size and in time.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Inner, Session};
use crate::backend::hub::Hub;
use crate::backend::hub::subscriber::{Subscriber, Ticket};
use crate::backend::hub::topic::{Kind, Name};
use crate::resp::encode;
use crate::topology::NodeId;

/// Kept apart from the session: most have none.
#[derive(Default)]
pub(super) struct Subscriptions {
    /// By `Kind`: each name with the hub that carries it, which is another one after AUTH as another user.
    topics: [HashMap<Name, Rc<Hub>>; 3],
    /// A SUBSCRIBE that the node has not confirmed.
    pub(super) pending: Option<Pending>,
    /// Messages that came in the middle of a large reply.
    deferred: Vec<u8>,
}

pub(super) struct Pending {
    pub(super) ticket: Rc<Ticket>,
    pub(super) hub: Rc<Hub>,
    pub(super) kind: Kind,
    /// What it adds.
    pub(super) names: Vec<Name>,
}

impl Pending {
    /// The session does not wait for it any more.
    pub(super) fn withdraw(self, id: u64) {
        self.names.iter().for_each(|name| self.hub.leave(id, self.kind, name));
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.topics.iter().map(HashMap::len).sum()
    }

    pub(super) fn has(&self, kind: Kind, name: &[u8]) -> bool {
        self.topics[kind as usize].contains_key(name)
    }

    pub(super) fn names(&self, kind: Kind) -> Vec<Name> {
        self.topics[kind as usize].keys().map(Rc::clone).collect()
    }

    pub(super) fn insert(&mut self, kind: Kind, name: Name, hub: Rc<Hub>) {
        self.topics[kind as usize].insert(name, hub);
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &[u8]) -> Option<Rc<Hub>> {
        self.topics[kind as usize].remove(name)
    }

    /// The number that a confirmation of this kind tells: shard channels are counted apart.
    pub(super) fn count(&self, kind: Kind) -> usize {
        let of = |kind: Kind| self.topics[kind as usize].len();
        match kind {
            Kind::Channel | Kind::Pattern => of(Kind::Channel) + of(Kind::Pattern),
            Kind::Shard => of(Kind::Shard),
        }
    }

    fn is_needed(&self) -> bool {
        self.pending.is_some() || !self.deferred.is_empty() || self.len() > 0
    }
}

impl Inner {
    pub(super) fn subscription_count(&self, kind: Kind) -> usize {
        self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.count(kind))
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.len() > 0)
    }

    /// Channels, patterns and shard channels it subscribes to.
    pub(super) fn subscription_counts(&self) -> (usize, usize, usize) {
        let of = |kind: Kind| self.subscriptions.as_ref().map_or(0, |s| s.topics[kind as usize].len());
        (of(Kind::Channel), of(Kind::Pattern), of(Kind::Shard))
    }

    /// RESP2 cannot tell a message from a reply, so a subscriber may hardly ask anything.
    pub(super) fn only_listens(&self) -> bool {
        !self.dialect.resp3 && self.is_subscribed()
    }

    /// Lets go of what only a subscriber needs.
    pub(super) fn tidy_subscriptions(&mut self) {
        self.subscriptions.take_if(|subscriptions| !subscriptions.is_needed());
    }

    /// Part of a reply has gone to the client, or its end.
    pub(super) fn mid_reply(&mut self, mid_reply: bool, session: &Session) {
        self.mid_reply = mid_reply;
        if !mid_reply
            && let Some(subscriptions) = &mut self.subscriptions
            && !subscriptions.deferred.is_empty()
        {
            let deferred = std::mem::take(&mut subscriptions.deferred);
            session.send_message(self, &deferred);
            self.tidy_subscriptions();
        }
    }

    /// Bytes of messages that wait for the end of a reply.
    pub(super) fn deferred(&self) -> usize {
        self.subscriptions.as_ref().map_or(0, |subscriptions| subscriptions.deferred.capacity())
    }

    pub(super) fn drop_deferred(&mut self) {
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.deferred = Vec::new();
        }
    }
}

impl Session {
    /// Hands the client a message that is no reply, complete and in its protocol. To be called by another task than its own.
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        let inner = &mut *self.inner.borrow_mut();
        self.send_message(inner, bytes);
        if inner.wants_turn() {
            self.wake();
        }
    }

    fn send_message(&self, inner: &mut Inner, bytes: &[u8]) {
        if inner.dead {
            return;
        }
        if inner.mid_reply {
            inner.subscriptions.get_or_insert_default().deferred.extend_from_slice(bytes);
        } else if inner.kept_back_unmuted(bytes) {
            return;
        } else if inner.output.send(bytes, &mut inner.stream, &self.context.workspace).is_err() {
            inner.dead = true;
            return;
        }
        if !inner.output.is_empty() || inner.mid_reply {
            inner.more_waits(&self.context);
        }
    }

    /// RESET, or the end of the session: it subscribes to nothing any more.
    pub(super) fn leave_all(&self, inner: &mut Inner) {
        let Some(mut subscriptions) = inner.subscriptions.take() else {
            return;
        };
        if let Some(pending) = subscriptions.pending.take() {
            pending.withdraw(self.id);
        }
        for kind in Kind::ALL {
            for (name, hub) in subscriptions.topics[kind as usize].drain() {
                hub.leave(self.id, kind, &name);
            }
        }
    }
}

impl Subscriber for Session {
    fn speaks_resp3(&self) -> bool {
        self.inner.borrow().dialect.resp3
    }

    fn messages(&self, node: NodeId, bytes: &[u8]) {
        // Whoever published may have written first, and told so: what the session reads next must have it.
        let generation = self.context.pool.generation();
        {
            let sight = &mut self.inner.borrow_mut().sight;
            sight.node = Some(node);
            sight.generation = generation;
        }
        self.deliver(bytes);
    }

    fn look(&self) {
        self.wake();
    }

    fn revoked(&self, why: &str) {
        let inner = &mut *self.inner.borrow_mut();
        // When the worker ends, so do all; that is no news.
        if !inner.dead && !self.context.workspace.draining.get() {
            tracing::warn!("closed client {}: {why}", inner.identity.peer.remote());
        }
        inner.dead = true;
        self.wake();
    }
}

/// What a client is told of one of its subscriptions; `None` is the name of nothing.
pub(super) fn confirmation(out: &mut Vec<u8>, resp3: bool, verb: &str, name: Option<&[u8]>, count: usize) {
    out.extend_from_slice(if resp3 { b">3\r\n" } else { b"*3\r\n" });
    encode::bulk(out, verb.as_bytes());
    match name {
        Some(name) => encode::bulk(out, name),
        None => encode::null(out, resp3),
    }
    encode::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_in_both_protocols() {
        let told = |resp3, name| {
            let mut out = Vec::new();
            confirmation(&mut out, resp3, "unsubscribe", name, 2);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(told(false, Some(&b"a"[..])), "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n");
        assert_eq!(told(false, None), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:2\r\n");
        assert_eq!(told(true, None), ">3\r\n$11\r\nunsubscribe\r\n_\r\n:2\r\n");
    }
}
