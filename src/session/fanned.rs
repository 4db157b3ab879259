//! Commands that every node must get: SCRIPT FLUSH, SCRIPT KILL, FUNCTION KILL.
//!
//! One command of the client goes to each node that can be reached; the client gets one reply, when all have answered.
//! Only the master's part may be sent again: a node that is lost meanwhile has nothing left to flush or to kill.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{self, Waker};

use super::{Flow, Inner, Session};
use crate::backend::dial::Dialect;
use crate::backend::lane::{Lane, Purpose};
use crate::backend::pool::Pool;
use crate::backend::recipient::{Effect, Judged, Lost, Origin, Recipient};
use crate::topology::NodeId;

/// Which of the replies the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    /// The first target's, which is the master. (SCRIPT FLUSH.)
    First,
    /// `+OK` if any says so, else the first target's: nobody knows on which node the script runs.
    AnyOk,
}

struct Fanned {
    session: Rc<Session>,
    sequence: u64,
    chosen: Chosen,
    missing: Cell<usize>,
    answer: RefCell<Option<(Origin, Vec<u8>)>>,
    request: Box<[u8]>,
    /// The first target's reply stood behind a refusal: so does the client's.
    judged: Cell<bool>,
}

/// One node's share.
struct Part {
    fanned: Rc<Fanned>,
    first: bool,
}

impl Fanned {
    fn answered(&self, origin: Origin, reply: &[u8], first: bool) {
        if first && self.chosen == Chosen::First && reply.starts_with(b"+") {
            // At once, not when all have answered: what the client sent behind this must not find them.
            self.session.context.pool.scripts().forget_all();
        }
        let mut answer = self.answer.borrow_mut();
        let wins = match self.chosen {
            Chosen::First => first,
            Chosen::AnyOk => {
                let decided = answer.as_ref().is_some_and(|(_, reply)| reply.starts_with(b"+"));
                reply.starts_with(b"+") || (!decided && (first || answer.is_none()))
            }
        };
        if wins {
            *answer = Some((origin, reply.to_vec()));
        }
        drop(answer);
        self.one_less();
    }

    fn one_less(&self) {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0
            && let Some((origin, reply)) = self.answer.take()
        {
            if self.judged.get() {
                let Self { sequence, request, .. } = self;
                let (sequence, effect, refusal) = (*sequence, Effect::Write, None);
                self.session.judged(origin, Judged { sequence, request, effect, reply: &reply, refusal });
            } else {
                self.session.replies(origin, self.sequence, 1, &reply);
            }
        }
    }
}

impl Recipient for Part {
    fn replies(&self, origin: Origin, _: u64, _: u32, bytes: &[u8]) {
        self.fanned.answered(origin, bytes, self.first);
    }

    fn piece(&self, origin: Origin, _: u64, bytes: &[u8], last: bool) {
        // No server answers these at such length.
        if last {
            self.fanned.answered(origin, bytes, self.first);
        }
    }

    fn judged(&self, origin: Origin, judged: Judged<'_>) {
        if self.first && judged.refusal.is_some() && self.fanned.chosen == Chosen::First {
            self.fanned.session.judged(origin, judged);
        } else {
            self.fanned.judged.set(self.fanned.judged.get() || self.first);
            self.fanned.answered(origin, judged.reply, self.first);
        }
    }

    fn lost(&self, lost: Lost<'_>) {
        let fanned = &self.fanned;
        let nothing_else = fanned.missing.get() == 1 && fanned.answer.borrow().is_none();
        if (self.first && fanned.chosen == Chosen::First) || (fanned.chosen == Chosen::AnyOk && nothing_else) {
            fanned.session.lost(Lost { sequence: fanned.sequence, ..lost });
        } else {
            fanned.one_less();
        }
    }

    fn backlog(&self) -> usize {
        0
    }

    fn wake_when_drained(&self, waker: &Waker, _others: bool) {
        waker.wake_by_ref();
    }
}

/// Does not care for the reply.
struct Nobody;

impl Recipient for Nobody {
    fn replies(&self, _: Origin, _: u64, _: u32, _: &[u8]) {}

    fn piece(&self, _: Origin, _: u64, _: &[u8], _: bool) {}

    fn judged(&self, _: Origin, _: Judged<'_>) {}

    fn lost(&self, _: Lost<'_>) {}

    fn backlog(&self) -> usize {
        0
    }

    fn wake_when_drained(&self, waker: &Waker, _others: bool) {
        waker.wake_by_ref();
    }
}

impl Session {
    /// Sends a command over these lanes, of which there is at least one.
    fn fan_out(self: &Rc<Self>, lanes: &[Rc<Lane>], sequence: u64, raw: &[u8], effect: Effect, chosen: Chosen) {
        let fanned = Rc::new(Fanned {
            session: Rc::clone(self),
            sequence,
            chosen,
            missing: Cell::new(lanes.len()),
            answer: RefCell::default(),
            request: raw.into(),
            judged: Cell::new(false),
        });
        for (index, lane) in lanes.iter().enumerate() {
            let part = Rc::new(Part { fanned: Rc::clone(&fanned), first: index == 0 });
            lane.submit(&part, sequence, raw, effect, 1);
        }
    }

    /// SCRIPT FLUSH, with the master's lane: since 7.0 it concerns one server alone, and the client means all.
    pub(super) fn flush_scripts(self: &Rc<Self>, lane: &Rc<Lane>, sequence: u64, raw: &[u8], effect: Effect) {
        let mut lanes = vec![Rc::clone(lane)];
        lanes.extend(side_lanes(&self.context.pool, lane.key.dialect, Some(lane.key.node)));
        self.fan_out(&lanes, sequence, raw, effect, Chosen::First);
    }

    /// SCRIPT KILL and FUNCTION KILL: not over the lanes of commands, where they would queue behind the script.
    pub(super) fn kill_script(
        self: &Rc<Self>,
        inner: &mut Inner,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        if !inner.owes_nothing() {
            return Some(if inner.in_lane > 0 { inner.wait_until_at_most(0) } else { Flow::Again });
        }
        // A busy server takes neither SELECT nor questions, so the database is the one it begins with.
        let lanes = side_lanes(&self.context.pool, Dialect { db: 0, ..inner.dialect }, None);
        if lanes.is_empty() {
            if self.hold(inner, cx) == Flow::Wait {
                return Some(Flow::Wait);
            }
            self.answer_error(inner, &self.hold_error());
            return None;
        }
        self.end_hold(inner);
        let sequence = inner.next;
        inner.next += 1;
        inner.in_lane += 1;
        inner.lane = None;
        inner.mute_next();
        // Killing what is not there any more does no harm, so it may be asked again.
        self.fan_out(&lanes, sequence, raw, Effect::Write, Chosen::AnyOk);
        None
    }
}

/// SCRIPT FLUSH has been executed, or will be at EXEC, over a pin to `node`: everyone else forgets. Should the transaction fail,
/// the master still knows its scripts, and that is where a replica's NOSCRIPT leads.
pub(super) fn flush_elsewhere(pool: &Rc<Pool>, dialect: Dialect, node: NodeId, raw: &[u8]) {
    pool.scripts().forget_all();
    for lane in side_lanes(pool, dialect, Some(node)) {
        lane.submit(&Rc::new(Nobody), 0, raw, Effect::Write, 1);
    }
}

/// A lane beside those of commands to each node that can be reached, the master's first. None is opened to `except`: a new
/// connection to the master brings scripts along, which must not come behind their flush.
fn side_lanes(pool: &Rc<Pool>, dialect: Dialect, except: Option<NodeId>) -> Vec<Rc<Lane>> {
    let snapshot = pool.snapshot();
    let master = snapshot.master().into_iter();
    let others = snapshot.nodes.iter().filter(|node| snapshot.master().is_none_or(|master| master.id != node.id));
    let wanted = master.chain(others).filter(|node| except != Some(node.id));
    wanted.filter_map(|node| pool.lane(node, Purpose::Marks, dialect)).collect()
}
