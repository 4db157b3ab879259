//! What a session subscribes to, and the messages it gets: from the hub's task straight to the client's socket.
//!
//! A message goes out between two replies, never in the middle of one. It is no reply: CLIENT REPLY does not silence it.
//! What waits for a subscriber is bounded as servers bound it, in size and in time.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Inner, Session, elements};
use crate::backend::hub::Hub;
use crate::backend::hub::subscriber::{Outcome, Subscriber, Ticket};
use crate::backend::hub::topic::{Kind, Name, topic_of};
use crate::resp::encode;
use crate::topology::NodeId;

/// Kept apart from the session: most have none.
#[derive(Default)]
pub(super) struct Subscriptions {
    /// By `Kind`: each name with the hub that carries it, which is another one after AUTH as another user.
    topics: [HashMap<Name, Rc<Hub>>; 3],
    /// A SUBSCRIBE that the node has not confirmed.
    pub(super) pending: Option<Pending>,
    /// What the node has confirmed and the client is not told yet, as in `topics`: a SUBSCRIBE queued in a transaction.
    early: [HashMap<Name, Rc<Hub>>; 3],
    /// What it does not want any more, until no message of it can come.
    parting: Vec<Rc<Ticket>>,
    /// EXEC is on its way: messages wait for its reply.
    holds_back: bool,
    /// Messages that came in the middle of a large reply, or before the one to EXEC.
    deferred: Vec<u8>,
}

pub(super) struct Pending {
    pub(super) ticket: Rc<Ticket>,
    pub(super) hub: Rc<Hub>,
    pub(super) kind: Kind,
    /// What it adds.
    pub(super) names: Vec<Name>,
}

/// Topics that one hub carries.
type OfHub = (Rc<Hub>, Vec<(Kind, Name)>);

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

    /// It has the topic, or will have it when the transaction is executed.
    pub(super) fn has_or_will(&self, kind: Kind, name: &[u8]) -> bool {
        self.has(kind, name) || self.early[kind as usize].contains_key(name)
    }

    /// With what is not told yet.
    pub(super) fn len_in_all(&self) -> usize {
        self.len() + self.early.iter().map(HashMap::len).sum::<usize>()
    }

    /// The node has confirmed it.
    pub(super) fn joined(&mut self, pending: &Pending) {
        let names = pending.names.iter().map(|name| (Rc::clone(name), Rc::clone(&pending.hub)));
        self.early[pending.kind as usize].extend(names);
    }

    /// Its client is told of one: messages of it go to the client from now on.
    pub(super) fn begin(&mut self, id: u64, kind: Kind, name: &[u8]) {
        if let Some(hub) = self.early[kind as usize].remove(name)
            && let Some(name) = hub.activate(id, kind, name)
        {
            self.topics[kind as usize].insert(name, hub);
        }
    }

    pub(super) fn names(&self, kind: Kind) -> Vec<Name> {
        self.topics[kind as usize].keys().map(Rc::clone).collect()
    }

    /// The hubs of these topics, each with its own.
    fn by_hub(&self, topics: impl Iterator<Item = (Kind, Name)>) -> Vec<OfHub> {
        let mut hubs: Vec<OfHub> = Vec::new();
        for (kind, name) in topics {
            let Some(hub) = self.topics[kind as usize].get(&name) else { continue };
            match hubs.iter_mut().find(|(known, _)| Rc::ptr_eq(known, hub)) {
                Some((_, names)) => names.push((kind, name)),
                None => hubs.push((Rc::clone(hub), vec![(kind, name)])),
            }
        }
        hubs
    }

    /// Its hub has been told before.
    pub(super) fn remove(&mut self, kind: Kind, name: &[u8]) {
        if self.topics[kind as usize].remove(name).is_some() {
            // Who leaves is not there any more for a later command of the same transaction either.
            self.early[kind as usize].remove(name);
        }
    }

    /// The number that a confirmation of this kind tells: shard channels are counted apart.
    pub(super) fn count(&self, kind: Kind) -> usize {
        let of = |kind: Kind| self.topics[kind as usize].len();
        match kind {
            Kind::Channel | Kind::Pattern => of(Kind::Channel) + of(Kind::Pattern),
            Kind::Shard => of(Kind::Shard),
        }
    }

    /// Of the messages that wait those of its topics, in its protocol, which the transaction may have changed.
    fn meant_for_it(&self, resp3: bool) -> Vec<u8> {
        let (mut kept, mut at) = (Vec::new(), 0);
        while let Some(end) = elements::end_of(&self.deferred, at) {
            let message = &self.deferred[at..end];
            let topic = topic_of(message).filter(|(_, name)| *name != INVALIDATE);
            if topic.is_none_or(|(kind, name)| self.has(kind, name)) {
                let start = kept.len();
                kept.extend_from_slice(message);
                if topic.is_some() {
                    kept[start] = if resp3 { b'>' } else { b'*' };
                }
            }
            at = end;
        }
        kept
    }

    fn is_needed(&self) -> bool {
        self.pending.is_some() || !self.deferred.is_empty() || self.len_in_all() > 0
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
        session.send_deferred(self);
    }

    /// Messages must wait.
    fn holds_back(&self) -> bool {
        self.mid_reply || self.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.holds_back)
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
        let waits = inner.holds_back();
        if waits {
            inner.subscriptions.get_or_insert_default().deferred.extend_from_slice(bytes);
        } else if inner.kept_back_unmuted(bytes) {
            return;
        } else if inner.output.send(bytes, &mut inner.stream, &self.context.workspace).is_err() {
            inner.dead = true;
            return;
        }
        if !inner.output.is_empty() || waits {
            inner.more_waits(&self.context);
        }
    }

    fn send_deferred(&self, inner: &mut Inner) {
        if !inner.holds_back()
            && let Some(subscriptions) = &mut inner.subscriptions
            && !subscriptions.deferred.is_empty()
        {
            let deferred = std::mem::take(&mut subscriptions.deferred);
            self.send_message(inner, &deferred);
            inner.tidy_subscriptions();
        }
    }

    /// EXEC is about to be sent. A message that is published right after it must not be lost, so what the transaction
    /// subscribes to comes from now on, and waits for EXEC's reply.
    pub(super) fn subscribe_at_exec(&self, inner: &mut Inner) {
        let subscriptions = inner.subscriptions.get_or_insert_default();
        subscriptions.holds_back = true;
        for kind in Kind::ALL {
            for (name, hub) in &subscriptions.early[kind as usize] {
                hub.activate(self.id, kind, name);
            }
        }
    }

    /// The transaction was executed, or will not be: what its client was not told of it does not subscribe to.
    pub(super) fn transaction_is_over(&self, inner: &mut Inner) {
        let resp3 = inner.dialect.resp3;
        let Some(subscriptions) = &mut inner.subscriptions else {
            return;
        };
        for kind in Kind::ALL {
            for (name, hub) in std::mem::take(&mut subscriptions.early[kind as usize]) {
                if !subscriptions.has(kind, &name) {
                    hub.leave(self.id, kind, &name);
                }
            }
        }
        if std::mem::take(&mut subscriptions.holds_back) {
            subscriptions.deferred = subscriptions.meant_for_it(resp3);
            self.send_deferred(inner);
        }
        inner.tidy_subscriptions();
    }

    /// Tells the hubs that the session wants these topics no more; `true` once no message of them can come. To be asked again
    /// until then.
    pub(super) fn has_parted(self: &Rc<Self>, inner: &mut Inner, topics: impl Iterator<Item = (Kind, Name)>) -> bool {
        let Some(subscriptions) = &mut inner.subscriptions else {
            return true;
        };
        if subscriptions.parting.is_empty() {
            let hubs = subscriptions.by_hub(topics);
            subscriptions.parting = hubs.iter().map(|(hub, topics)| hub.part(self.id, self, topics)).collect();
        }
        if subscriptions.parting.iter().any(|ticket| ticket.outcome() == Outcome::Waiting) {
            return false;
        }
        subscriptions.parting = Vec::new();
        true
    }

    /// The same for all it subscribes to.
    pub(super) fn has_parted_from_all(self: &Rc<Self>, inner: &mut Inner) -> bool {
        let all = inner.subscriptions.iter().flat_map(|subscriptions| {
            Kind::ALL.into_iter().flat_map(|kind| subscriptions.names(kind).into_iter().map(move |name| (kind, name)))
        });
        let all: Vec<_> = all.collect();
        self.has_parted(inner, all.into_iter())
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
            let Subscriptions { topics, early, .. } = &mut *subscriptions;
            for (name, hub) in topics[kind as usize].drain().chain(early[kind as usize].drain()) {
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
        if !inner.dead && !self.context.is_leaving() {
            tracing::warn!("closed client {}: {why}", inner.identity.peer.remote());
        }
        inner.dead = true;
        self.wake();
    }
}

/// The channel by which RESP2 clients are told of changed keys; nobody subscribes to it through a hub for that.
pub(super) const INVALIDATE: &[u8] = b"__redis__:invalidate";

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
