//! Commands that may or may not have been executed: what their client is told, and which of them are sent again all the same.
//!
//! A write whose connection died before its reply is in doubt. The listener says what comes of that: an error, or the end
//! of the client's connection, behind which nothing of it is executed any more; or, of writes that do no harm twice,
//! another sending. Such a repeated write stays in doubt until a node has said yes to it: whatever else becomes of it, its
//! client is told that it may have been executed.

use std::rc::Rc;
use std::task::Waker;

use super::context::Context;
use super::replay::failure;
use super::{Inner, Session, told};
use crate::backend::recipient::{Effect, Judged, Lost, Noted, Origin, Recipient};
use crate::command::repeat;
use crate::config::{InDoubt, Retry};
use crate::insight::trace::Outcome;
use crate::limits;
use crate::metrics::Tag;
use crate::topology::NodeId;

/// As the client is told of it.
const IN_DOUBT: Outcome = Outcome::Refused("INDOUBT");

/// A write that is sent again although it may have been executed, and what its client is told if nobody says yes to it.
pub(super) type Repeat = (u64, Box<[u8]>);

impl Session {
    /// A write was sent and will not be answered.
    pub(super) fn doubt(&self, inner: &mut Inner, lost: &Lost<'_>) {
        let node = inner.lane.as_ref().map(|lane| lane.key.node);
        let words = self.doubt_error(node);
        if self.may_be_repeated(inner, lost) {
            if !inner.is_repeated(lost.sequence) {
                inner.repeats.push((lost.sequence, failure(lost.request, &words).into()));
            }
            inner.tell_lost(&self.context, lost, told::BROKEN, false);
            inner.stash_retry(lost);
            return;
        }
        inner.tell_lost(&self.context, lost, IN_DOUBT, true);
        inner.take_repeat(lost.sequence);
        // What was sent before it and may have been executed must not be executed behind it.
        inner.repeats_end(lost.sequence, &self.context);
        self.leave_in_doubt(inner, lost.sequence, failure(lost.request, &words));
    }

    fn may_be_repeated(&self, inner: &Inner, lost: &Lost<'_>) -> bool {
        self.context.listener().writes.retry == Retry::Idempotent
            && lost.effect == Effect::Write
            && inner.attempts < limits::ATTEMPTS
            && inner.lane.is_some()
            && super::replay::replies_to(lost.request) == 1
            && repeat::may_be_repeated(lost.request)
    }

    /// The end of a command whose outcome nobody will know.
    fn leave_in_doubt(&self, inner: &mut Inner, sequence: u64, reply: Vec<u8>) {
        inner.leave_in_doubt(sequence, reply, &self.context);
    }

    /// The answer to a command that is not sent again, in words that say that it was not executed; unless an earlier
    /// sending of it may have been.
    pub(super) fn give_up_on(&self, inner: &mut Inner, sequence: u64, request: &[u8], tag: Tag, words: &str) {
        inner.tell_refused(&self.context, sequence, tag, words);
        match inner.take_repeat(sequence) {
            Some(reply) => self.leave_in_doubt(inner, sequence, reply.into()),
            None => inner.stash_error(sequence, request, words),
        }
    }

    pub(super) fn doubt_error(&self, node: Option<NodeId>) -> String {
        let snapshot = self.context.pool.snapshot();
        let address = node.and_then(|id| snapshot.node(id)).map_or("a node that has left", |node| &node.address);
        format!(
            "INDOUBT {address} closed the connection before it answered: the command may or may not have been executed"
        )
    }
}

impl Inner {
    pub(super) fn is_repeated(&self, sequence: u64) -> bool {
        self.repeats.iter().any(|(repeated, _)| *repeated == sequence)
    }

    /// The repeated write is decided; returns what its client would have been told.
    fn take_repeat(&mut self, sequence: u64) -> Option<Box<[u8]>> {
        let at = self.repeats.iter().position(|(repeated, _)| *repeated == sequence)?;
        let (_, reply) = self.repeats.swap_remove(at);
        if self.repeats.is_empty() {
            self.repeats = Vec::new();
        }
        Some(reply)
    }

    /// Repeated writes before `sequence` that wait to be sent again are not: they are in doubt for good.
    pub(super) fn repeats_end(&mut self, sequence: u64, context: &Context) {
        let mut waiting: Vec<u64> = self.repeats.iter().map(|(repeated, _)| *repeated).collect();
        waiting.retain(|repeated| *repeated < sequence && self.stash.has_retry(*repeated));
        waiting.sort_unstable();
        for repeated in waiting {
            self.stash.remove(repeated);
            if let Some(reply) = self.take_repeat(repeated) {
                self.leave_in_doubt(repeated, reply.into(), context);
            }
        }
    }

    fn leave_in_doubt(&mut self, sequence: u64, reply: Vec<u8>, context: &Context) {
        if sequence >= self.next {
            // The client is being disconnected because of a command before it.
            return;
        }
        context.workspace.counters.in_doubt.increment();
        match context.listener().writes.in_doubt {
            InDoubt::Error => self.stash_answers(sequence, 1, reply),
            InDoubt::Disconnect => self.disconnect_at(sequence, context),
        }
    }

    /// The client is closed in the place of this command's answer: what it sent before is answered first, and what it sent
    /// behind is not executed any more.
    pub(super) fn disconnect_at(&mut self, sequence: u64, context: &Context) {
        if !self.dead {
            let remote = self.identity.peer.remote();
            tracing::info!("closed client {remote}: nobody knows whether its command was executed");
        }
        context.workspace.counters.doubtful_clients_closed.increment();
        self.next = sequence;
        self.stash.truncate(sequence);
        self.repeats.retain(|(repeated, _)| *repeated < sequence);
        self.retrying = self.stash.has_retries();
        self.input = Vec::new();
        self.discarding = None;
        self.closing = true;
    }
}

/// Stands between a lane and a session for one repeated write. An error now says nothing of the first time.
pub(super) struct Repeated(pub(super) Rc<Session>);

impl Repeated {
    /// `true`: the session has been told.
    fn is_doubtful(&self, sequence: u64, reply: &[u8]) -> bool {
        let session = &self.0;
        let inner = &mut *session.inner.borrow_mut();
        let Some(doubt) = inner.take_repeat(sequence).filter(|_| reply.starts_with(b"-")) else {
            return false;
        };
        inner.in_lane -= 1;
        session.leave_in_doubt(inner, sequence, doubt.into());
        inner.emit_stashed(&session.context);
        inner.more_waits(&session.context);
        if inner.wants_turn() {
            session.wake();
        }
        true
    }
}

impl Recipient for Repeated {
    fn replies(&self, origin: Origin, first: u64, count: u32, bytes: &[u8]) {
        if !self.is_doubtful(first, bytes) {
            self.0.replies(origin, first, count, bytes);
        }
    }

    fn piece(&self, origin: Origin, sequence: u64, bytes: &[u8], last: bool) {
        if last {
            self.0.inner.borrow_mut().take_repeat(sequence);
        }
        self.0.piece(origin, sequence, bytes, last);
    }

    fn judged(&self, origin: Origin, judged: Judged<'_>) {
        // What is refused is sent once more, and stays in doubt.
        if judged.refusal.is_some() || !self.is_doubtful(judged.sequence, judged.reply) {
            self.0.judged(origin, judged);
        } else if judged.tag.traced {
            self.0.inner.borrow().tell_judged(&self.0.context, origin, &judged, true);
        }
    }

    fn lost(&self, lost: Lost<'_>) {
        self.0.lost(lost);
    }

    fn noted(&self, origin: Origin, noted: &Noted<'_>) {
        self.0.noted(origin, noted);
    }

    fn backlog(&self) -> usize {
        self.0.backlog()
    }

    fn wake_when_drained(&self, waker: &Waker, others: bool) {
        self.0.wake_when_drained(waker, others);
    }
}
