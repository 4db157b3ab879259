//! Hedged reads: what one node owes for longer than the group's `hedge` is also asked of another, and the first answer counts.
//!
//! All of a session's unanswered reads race as one, from the oldest on, and nothing is sent behind them meanwhile. So the one
//! lane that a session has commands on is, after the first answer, the winner's, and order and sight are what they always
//! are. The loser's answers have nobody left to go to. Only plain reads race; an error never wins, since it may be
//! about the node (`-BUSY`) and not about the read.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::task::Waker;

use super::{Inner, Session};
use crate::backend::lane::Lane;
use crate::backend::recipient::{Judged, Lost, Noted, Origin, Recipient};
use crate::backend::refusal::Refusal;
use crate::metrics::Tag;
use crate::route::Read;

/// The other half of a race that is not decided.
pub(super) struct Hedge {
    racer: Rc<Racer>,
    lane: Rc<Lane>,
}

/// Stands between the second lane and the session.
struct Racer {
    session: Weak<Session>,
    won: Cell<bool>,
}

impl Session {
    /// The reads in flight have been owed for long: asks another node too, if one may serve them and the budget allows.
    pub(super) fn hedge(self: &Rc<Self>, inner: &mut Inner) {
        inner.reading.hedge_due = false;
        let idle = inner.in_lane == 0 || inner.reading.hedge.is_some();
        if idle || inner.muted || inner.mid_reply || inner.fanned || inner.attempts > 0 || inner.has_retries() {
            return;
        }
        let Some(slow) = inner.lane.clone() else { return };
        if slow.count_moving(self) != Some(inner.in_lane) {
            return;
        }
        let Some(lane) = self.second_lane(inner, &slow) else { return };
        let pool = &self.context.pool;
        if !pool.spend_on_hedges(inner.in_lane as u64) {
            return;
        }
        let racer = Rc::new(Racer { session: Rc::downgrade(self), won: Cell::new(false) });
        slow.each_read_of(self, |sequence, request, tag| lane.submit_read(&racer, sequence, request, tag));
        self.context.workspace.counters.hedges.add(inner.in_lane as u64);
        inner.reading.hedge = Some(Hedge { racer, lane });
    }

    /// To another node that may serve the session as well. Not to the master where that only stands in for replicas.
    fn second_lane(&self, inner: &Inner, slow: &Lane) -> Option<Rc<Lane>> {
        let pool = &self.context.pool;
        let route = self.route_read(inner, Some(slow.key.node));
        if route.wanted_mark {
            // Should it still be owed then, a replica will have been proven to have what the session has seen.
            pool.want_mark();
        }
        let Read::Nodes(set) = route.to else { return None };
        let lane = pool.read_lane(&set, &pool.snapshot(), inner.dialect)?;
        let another = lane.key.node != slow.key.node && !lane.usage().is_out();
        (another && lane.has_room(Waker::noop())).then_some(lane)
    }
}

impl Inner {
    /// The first lane has answered, or will not: what the second one says is not wanted any more.
    pub(super) fn end_hedge(&mut self) {
        if let Some(Hedge { racer, lane }) = self.reading.hedge.take() {
            lane.forget(&racer);
        }
    }
}

impl Racer {
    fn is_in(&self, inner: &Inner) -> bool {
        inner.reading.hedge.as_ref().is_some_and(|hedge| std::ptr::eq(&*hedge.racer, self))
    }

    /// The session, if it is to hear of this: the race is won, or is with this answer.
    fn winning(&self) -> Option<Rc<Session>> {
        let session = self.session.upgrade()?;
        if self.won.get() {
            return Some(session);
        }
        let inner = &mut *session.inner.borrow_mut();
        let hedge = inner.reading.hedge.take_if(|hedge| std::ptr::eq(&*hedge.racer, self))?;
        if let Some(slow) = inner.lane.replace(hedge.lane) {
            slow.forget(&session);
        }
        self.won.set(true);
        session.context.workspace.counters.hedges_won.increment();
        Some(Rc::clone(&session))
    }

    /// Its answer does not count, and so none behind it does. The lane that is in the middle of telling must not be called
    /// back; whoever is not in a race any more hears nothing.
    fn give_up(&self) {
        if let Some(session) = self.session.upgrade() {
            let inner = &mut *session.inner.borrow_mut();
            if self.is_in(inner) {
                inner.reading.hedge = None;
            }
        }
    }
}

impl Recipient for Racer {
    fn replies(&self, origin: Origin, first: u64, count: u32, bytes: &[u8]) {
        if !self.won.get() && bytes.first() == Some(&b'-') {
            return self.give_up();
        }
        if let Some(session) = self.winning() {
            session.replies(origin, first, count, bytes);
        }
    }

    fn piece(&self, origin: Origin, sequence: u64, bytes: &[u8], last: bool) {
        if let Some(session) = self.winning() {
            session.piece(origin, sequence, bytes, last);
        }
    }

    fn judged(&self, origin: Origin, judged: Judged<'_>) {
        if !self.won.get() && judged.reply.first() == Some(&b'-') {
            if judged.refusal == Some(Refusal::NotReady)
                && let Some(session) = self.session.upgrade()
            {
                session.context.pool.not_ready(origin.node);
            }
            return self.give_up();
        }
        if let Some(session) = self.winning() {
            session.judged(origin, judged);
        }
    }

    fn lost(&self, lost: Lost<'_>) {
        match self.session.upgrade() {
            Some(session) if self.won.get() => session.lost(lost),
            _ => self.give_up(),
        }
    }

    fn noted(&self, origin: Origin, noted: &Noted<'_>) {
        if let Some(session) = self.session.upgrade() {
            // The loser's error is not what the client gets, nor the end of its command.
            let counts = self.won.get() || noted.error.is_none();
            let tag = Tag { traced: noted.tag.traced && counts, ..noted.tag };
            session.noted(origin, &Noted { tag, ..*noted });
        }
    }

    fn backlog(&self) -> usize {
        self.session.upgrade().filter(|_| self.won.get()).map_or(0, |session| session.backlog())
    }

    fn wake_when_drained(&self, waker: &Waker, others: bool) {
        match self.session.upgrade() {
            Some(session) => session.wake_when_drained(waker, others),
            None => waker.wake_by_ref(),
        }
    }
}
