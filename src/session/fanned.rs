//! Commands that every node must get: SCRIPT FLUSH, and with `kill` SCRIPT KILL and FUNCTION KILL.
//!
//! One command of the client goes to each node that can be reached; the client gets one reply, when all have answered.
//! Only the master's part may be sent again: a node that is lost meanwhile has nothing left to flush or to kill.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::Session;
use crate::backend::dial::Dialect;
use crate::backend::lane::{Lane, Purpose};
use crate::backend::pool::Pool;
use crate::backend::recipient::{Effect, Errand, Fate, Judged, Lost, Origin, Recipient};
use crate::metrics::Tag;
use crate::topology::NodeId;

/// Which of the replies the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// The first target's, which is the master. (SCRIPT FLUSH.)
    First,
    /// `+OK` if any says so, else the first target's, which is asked again if it was not reached: nobody knows on which node
    /// the script runs. (SCRIPT KILL.)
    AnyOk,
}

struct Fanned {
    session: Rc<Session>,
    sequence: u64,
    chosen: Chosen,
    missing: Cell<usize>,
    answer: RefCell<Option<(Origin, Vec<u8>)>>,
    request: Box<[u8]>,
    tag: Tag,
    /// The first target's reply stood behind a refusal: so does the client's.
    judged: Cell<bool>,
    /// The first target was lost, and the answers of others may yet do.
    missed: RefCell<Option<Missed>>,
}

enum Missed {
    /// Perhaps it was, but what is asked for does no harm twice.
    NotSent,
    /// In these words.
    Refused(Box<str>),
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
        if self.missing.get() > 0 {
            return;
        }
        let answer = self.answer.take();
        let decided = answer.as_ref().is_some_and(|(_, reply)| reply.starts_with(b"+"));
        if let Some(missed) = self.missed.take().filter(|_| !decided) {
            let fate = match &missed {
                Missed::NotSent => Fate::NotSent,
                Missed::Refused(words) => Fate::Refused(words),
            };
            let Self { sequence, request, tag, .. } = self;
            let (sequence, effect, tag) = (*sequence, Effect::Write, *tag);
            self.session.lost(Lost { sequence, request, effect, fate, tag });
        } else if let Some((origin, reply)) = answer {
            if self.judged.get() {
                let Self { sequence, request, tag, .. } = self;
                let (sequence, effect, refusal, tag) = (*sequence, Effect::Write, None, *tag);
                self.session.judged(origin, Judged { sequence, request, effect, reply: &reply, refusal, tag });
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
        if self.first && fanned.chosen == Chosen::First {
            fanned.session.lost(Lost { sequence: fanned.sequence, ..lost });
            return;
        }
        if self.first {
            fanned.missed.replace(Some(match lost.fate {
                Fate::Refused(words) => Missed::Refused(words.into()),
                Fate::NotSent | Fate::Unanswered | Fate::Late | Fate::Torn => Missed::NotSent,
            }));
        }
        fanned.one_less();
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
    pub(super) fn fan_out(
        self: &Rc<Self>,
        lanes: &[Rc<Lane>],
        sequence: u64,
        raw: &[u8],
        errand: Errand,
        chosen: Chosen,
    ) {
        let fanned = Rc::new(Fanned {
            session: Rc::clone(self),
            sequence,
            chosen,
            missing: Cell::new(lanes.len()),
            answer: RefCell::default(),
            request: raw.into(),
            tag: errand.tag,
            judged: Cell::new(false),
            missed: RefCell::default(),
        });
        for (index, lane) in lanes.iter().enumerate() {
            let part = Rc::new(Part { fanned: Rc::clone(&fanned), first: index == 0 });
            // The client's command is one, whoever else gets it.
            let errand = if index == 0 { errand } else { Errand::own(errand.effect) };
            lane.submit(&part, sequence, raw, errand);
        }
    }

    /// SCRIPT FLUSH, with the master's lane: since 7.0 it concerns one server alone, and the client means all.
    pub(super) fn flush_scripts(self: &Rc<Self>, lane: &Rc<Lane>, sequence: u64, raw: &[u8], errand: Errand) {
        let mut lanes = vec![Rc::clone(lane)];
        lanes.extend(side_lanes(&self.context.pool, lane.key.dialect, Some(lane.key.node)));
        self.fan_out(&lanes, sequence, raw, errand, Chosen::First);
    }
}

/// SCRIPT FLUSH has been executed over a pin to `node`: everyone else forgets.
pub(super) fn flush_elsewhere(pool: &Rc<Pool>, dialect: Dialect, node: NodeId, raw: &[u8]) {
    pool.scripts().forget_all();
    for lane in side_lanes(pool, dialect, Some(node)) {
        lane.submit(&Rc::new(Nobody), 0, raw, Errand::own(Effect::Write));
    }
}

/// A lane beside those of commands to each node that can be reached, the master's first. None is opened to `except`: a new
/// connection to the master brings scripts along, which must not come behind their flush.
pub(super) fn side_lanes(pool: &Rc<Pool>, dialect: Dialect, except: Option<NodeId>) -> Vec<Rc<Lane>> {
    let snapshot = pool.snapshot();
    let master = snapshot.master().into_iter();
    let others = snapshot.nodes.iter().filter(|node| snapshot.master().is_none_or(|master| master.id != node.id));
    let wanted = master.chain(others).filter(|node| except != Some(node.id));
    wanted.filter_map(|node| pool.lane(node, Purpose::Marks, dialect)).collect()
}
