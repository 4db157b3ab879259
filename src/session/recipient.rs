//! What reaches a session from its lane: replies, pieces of large ones, refusals, losses.
//!
//! Runs on the lane's task, in the middle of its read. It writes to the client and notes what happened; it must never
//! call the lane, and it wakes the session's task only when that has something to do.

use std::task::Waker;

use super::context::Context;
use super::{Inner, Session, told};
use crate::backend::recipient::{Effect, Fate, Judged, Lost, Noted, Origin, Recipient};
use crate::limits;

impl Inner {
    /// Commands up to `sequence` were answered by `origin`: remembers what the client has seen.
    pub(super) fn saw(&mut self, origin: Origin, sequence: u64, context: &Context) {
        self.sight.node = Some(origin.node);
        self.sight.generation = origin.generation;
        if !self.retrying {
            self.retrying_since = None;
            self.attempts = 0;
            self.reading.avoid = None;
        }
        if self.last_write.is_some_and(|write| write <= sequence) {
            self.last_write = None;
            self.sight.write = origin.generation;
            self.write_epoch = context.pool.snapshot().epoch;
        }
    }
}

impl Recipient for Session {
    fn replies(&self, origin: Origin, first: u64, count: u32, bytes: &[u8]) {
        let inner = &mut *self.inner.borrow_mut();
        inner.end_hedge();
        inner.in_lane -= count as usize;
        inner.saw(origin, first + u64::from(count) - 1, &self.context);
        if first == inner.front {
            inner.in_turn(first);
            inner.front += u64::from(count);
            inner.emit(bytes, &self.context);
            if !inner.stash.is_empty() {
                inner.emit_stashed(&self.context);
            }
        } else {
            inner.stash_answers(first, count, bytes.to_vec());
            inner.more_waits(&self.context);
        }
        if inner.wants_turn() {
            self.wake();
        }
    }

    fn piece(&self, origin: Origin, sequence: u64, bytes: &[u8], last: bool) {
        let inner = &mut *self.inner.borrow_mut();
        inner.end_hedge();
        if sequence == inner.front {
            inner.in_turn(sequence);
            inner.emit(bytes, &self.context);
            inner.more_comes(!last);
        } else {
            // A command before it was refused and must be asked again first, and this answer is too large to be kept.
            inner.dead = true;
        }
        inner.mid_reply(!last, self);
        if last {
            inner.in_lane -= 1;
            inner.saw(origin, sequence, &self.context);
            if sequence == inner.front {
                inner.front += 1;
            }
            inner.emit_stashed(&self.context);
        }
        if inner.wants_turn() {
            self.wake();
        }
    }

    fn judged(&self, origin: Origin, judged: Judged<'_>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.end_hedge();
        inner.in_lane -= 1;
        self.judge(inner, origin, judged);
        inner.more_waits(&self.context);
        if inner.wants_turn() {
            self.wake();
        }
    }

    fn lost(&self, lost: Lost<'_>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.end_hedge();
        inner.in_lane -= 1;
        if inner.is_revoked() {
            // As a server that closes the connections of a user that is gone.
            inner.dead = true;
            self.wake();
            return;
        }
        match (lost.fate, lost.effect) {
            (Fate::Torn, _) => {
                inner.tell_lost(&self.context, &lost, told::TORN, true);
                inner.dead = true;
            }
            (Fate::Refused(words), _) => self.give_up_on(inner, lost.sequence, lost.request, lost.tag, words),
            (Fate::NotSent, _) => inner.stash_retry(&lost),
            (Fate::Late, _) => {
                inner.tell_lost(&self.context, &lost, told::LATE, false);
                inner.reading.avoid = inner.lane.as_ref().map(|lane| lane.key.node);
                inner.stash_retry(&lost);
            }
            // A read over which node after node dies is not sent to the next for ever.
            (Fate::Unanswered, Effect::Read) if inner.attempts < limits::ATTEMPTS => {
                inner.tell_lost(&self.context, &lost, told::BROKEN, false);
                inner.stash_retry(&lost);
            }
            (Fate::Unanswered, _) => self.doubt(inner, &lost),
        }
        inner.emit_stashed(&self.context);
        inner.more_waits(&self.context);
        if inner.wants_turn() {
            self.wake();
        }
    }

    fn noted(&self, origin: Origin, noted: &Noted<'_>) {
        self.note(&self.inner.borrow(), origin.node, noted);
    }

    fn slow(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if !std::mem::replace(&mut inner.reading.hedge_due, true) {
            self.wake();
        }
    }

    fn backlog(&self) -> usize {
        let inner = self.inner.borrow();
        if inner.dead { 0 } else { inner.output.len() }
    }

    fn wake_when_drained(&self, waker: &Waker, others: bool) {
        self.inner.borrow_mut().output.block(waker, others);
    }
}
