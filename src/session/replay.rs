//! Commands that came back unexecuted, and the order that must be kept when they are sent again.
//!
//! A refused or lost command waits in the stash, at its place. When nothing of the session is on a lane any more, all
//! that wait are sent again in order. Two rules are never broken: a write is sent again only when it is proven that it was not
//! executed, and not after a later write of the same session was executed; a read that came after a refused write is
//! asked again, because it was answered without that write.

use std::future::Future;
use std::rc::Rc;
use std::task;
use std::time::{Duration, Instant};

use super::assured::TOO_FEW_REPLICAS;
use super::batch::{Demand, NoLane};
use super::context::Context;
use super::doubt::Repeated;
use super::pinned::NOT_EXECUTED;
use super::plan::Arrived;
use super::scripts;
use super::{Flow, Inner, Session};
use crate::backend::login::UserKey;
use crate::backend::recipient::{Effect, Errand, Judged, Lost, Origin};
use crate::backend::refusal::Refusal;
use crate::command::learned::Learned;
use crate::command::{Care, Kind, NO_ROW};
use crate::limits;
use crate::metrics::{Stamp, Tag};
use crate::resp::encode;
use crate::resp::request::{Bounds, Request, RequestScanner};

/// What stands at a place in the session's order that is not at the front, or cannot go on.
#[derive(Debug)]
pub(super) enum Stashed {
    /// Replies to `count` commands in a row.
    Answers { count: u32, bytes: Vec<u8> },
    /// To be sent again. `unless_overtaken`: the answer if that cannot be, since a later write was executed.
    Retry { request: Vec<u8>, effect: Effect, tag: Tag, to_master: bool, unless_overtaken: Option<Vec<u8>> },
    /// Answered after a refusal on the same lane; whether the answer stands is decided when nothing is in flight.
    Suspended { request: Vec<u8>, effect: Effect, tag: Tag, reply: Vec<u8> },
}

impl Inner {
    pub(super) fn has_retries(&self) -> bool {
        self.retrying
    }

    fn insert(&mut self, sequence: u64, stashed: Stashed) {
        // What comes for a client that is gone is not kept, nor what stands behind the end of its connection.
        if !self.dead && sequence < self.next {
            self.stash.insert(sequence, stashed);
        }
    }

    pub(super) fn stash_answers(&mut self, first: u64, count: u32, bytes: Vec<u8>) {
        self.insert(first, Stashed::Answers { count, bytes });
    }

    pub(super) fn stash_error(&mut self, sequence: u64, request: &[u8], words: &str) {
        self.stash_answers(sequence, 1, failure(request, words));
    }

    fn stash_request(&mut self, sequence: u64, request: &[u8], effect: Effect, tag: Tag, to_master: bool) {
        if sequence >= self.next {
            return;
        }
        self.retrying = true;
        self.retrying_since.get_or_insert_with(Instant::now);
        let request = request.to_vec();
        let unless_overtaken = None;
        self.insert(sequence, Stashed::Retry { request, effect, tag, to_master, unless_overtaken });
    }

    /// The same for a command that has another form, in which it is sent now.
    fn stash_rewritten(&mut self, request: Vec<u8>, judged: &Judged<'_>) {
        self.retrying = true;
        self.retrying_since.get_or_insert_with(Instant::now);
        let Judged { sequence, effect, tag, .. } = *judged;
        let unless_overtaken = Some(judged.reply.to_vec());
        self.insert(sequence, Stashed::Retry { request, effect, tag, to_master: false, unless_overtaken });
    }

    pub(super) fn stash_retry(&mut self, lost: &Lost<'_>) {
        self.stash_request(lost.sequence, lost.request, lost.effect, lost.tag, false);
    }

    /// Nothing is in flight: decides what of the stash stands and what is sent again.
    fn settle(&mut self, context: &Context) {
        let executed = |(sequence, stashed): &(u64, Stashed)| {
            matches!(stashed, Stashed::Suspended { effect: Effect::Write, .. }).then_some(*sequence)
        };
        if let Some(executed) = self.stash.iter().rev().find_map(executed) {
            self.repeats_end(executed, context);
        }
        let mut later_write_executed = false;
        let mut stash = self.stash.take();
        let mut refused_write_before = stash.iter().any(|(_, s)| is_write_to_retry(s));
        for (sequence, stashed) in stash.iter_mut().rev() {
            match stashed {
                Stashed::Suspended { effect: Effect::Write, .. } => later_write_executed = true,
                Stashed::Retry { request, effect: Effect::Write, tag, unless_overtaken, .. }
                    if later_write_executed =>
                {
                    self.tell_refused(context, *sequence, *tag, OVERTAKEN);
                    let bytes = unless_overtaken.take().unwrap_or_else(|| failure(request, OVERTAKEN));
                    *stashed = Stashed::Answers { count: 1, bytes };
                }
                _ => {}
            }
        }
        if refused_write_before {
            refused_write_before = false;
            for (_, stashed) in &mut stash {
                refused_write_before |= is_write_to_retry(stashed);
                if let (Stashed::Suspended { request, effect: Effect::Read, tag, .. }, true) =
                    (&mut *stashed, refused_write_before)
                {
                    let (request, effect) = (std::mem::take(request), Effect::Read);
                    let (tag, to_master, unless_overtaken) = (*tag, false, None);
                    *stashed = Stashed::Retry { request, effect, tag, to_master, unless_overtaken };
                }
            }
        }
        for (_, stashed) in &mut stash {
            if let Stashed::Suspended { reply, .. } = stashed {
                let bytes = std::mem::take(reply);
                *stashed = Stashed::Answers { count: 1, bytes };
            }
        }
        if !stash.iter().any(|(_, stashed)| matches!(stashed, Stashed::Retry { .. })) {
            self.retrying = false;
        }
        self.stash.put(stash);
        self.emit_stashed(context);
    }
}

fn is_write_to_retry(stashed: &Stashed) -> bool {
    matches!(stashed, Stashed::Retry { effect: Effect::Write, .. })
}

const OVERTAKEN: &str = "TRYAGAIN Redan did not execute this command: its node stopped being the master, and a later \
     command of this connection was executed before it could be sent again";

impl Session {
    /// A refusal, or a reply that came after one on the same lane.
    pub(super) fn judge(&self, inner: &mut Inner, origin: Origin, judged: Judged<'_>) {
        let Judged { sequence, request, effect, reply, refusal, tag } = judged;
        let pool = &self.context.pool;
        let master = pool.snapshot().master().map(|master| master.id);
        let (has_master, from_master) = (master.is_some(), master == Some(origin.node));
        if refusal == Some(Refusal::NoScript)
            && inner.attempts < limits::ATTEMPTS
            && let Some(text) = scripts::text_of(request, pool.scripts())
        {
            self.context.workspace.counters.scripts_repaired.increment();
            if inner.dialect.user == UserKey::GROUP {
                inner.stash_rewritten(scripts::with_text(request, &text), &judged);
            } else {
                // A user whom the node knows may have the right to EVALSHA without that to EVAL: Redan loads it.
                pool.give_script(origin.node, text);
                self.pause(inner);
                inner.stash_rewritten(request.to_vec(), &judged);
            }
            if tag.traced {
                inner.tell_judged(&self.context, origin, &judged, false);
            }
            return;
        }
        let again = match refusal {
            Some(Refusal::NotMaster | Refusal::NotReady) => {
                // What a replica refused the master takes at once; what the master refused waits for what control finds.
                if from_master || !has_master {
                    self.pause(inner);
                } else if refusal == Some(Refusal::NotReady) {
                    pool.not_ready(origin.node);
                } else {
                    pool.look();
                }
                if inner.attempts >= limits::ATTEMPTS && !is_script(request) {
                    self.give_up_on(inner, sequence, request, tag, NOT_EXECUTED);
                    inner.emit_stashed(&self.context);
                    return;
                }
                // A script that goes on saying so on a node that is the master says it itself.
                inner.attempts < limits::ATTEMPTS
            }
            // What the master does not know nobody knows. A replica may be older, or lack a module.
            Some(Refusal::NoScript | Refusal::NotKnown) => has_master && !from_master && effect == Effect::Read,
            Some(Refusal::Unblocked) | None => false,
        };
        if tag.traced {
            inner.tell_judged(&self.context, origin, &judged, !again);
        }
        if again {
            self.context.workspace.counters.bounces.increment();
            inner.stash_request(sequence, request, effect, tag, has_master && !from_master);
        } else if inner.has_retries() {
            inner.saw(origin, sequence, &self.context);
            // It has been told of. Should it have to be asked once more, nothing is told of that.
            let tag = Tag { traced: false, ..tag };
            let (request, reply) = (request.to_vec(), reply.to_vec());
            inner.insert(sequence, Stashed::Suspended { request, effect, tag, reply });
        } else {
            inner.saw(origin, sequence, &self.context);
            if sequence == inner.front {
                inner.in_turn(sequence);
                inner.front += 1;
                inner.emit(reply, &self.context);
                inner.emit_stashed(&self.context);
            } else {
                inner.stash_answers(sequence, 1, reply.to_vec());
            }
        }
    }

    /// A node refused: control looks at it now, and what was refused waits for what control finds. Only this session
    /// waits: a script can say whatever it likes, and other sessions must not suffer for it.
    pub(super) fn pause(&self, inner: &mut Inner) {
        let pool = &self.context.pool;
        pool.look();
        if inner.pause.is_none() {
            let length = Duration::from_millis(limits::FIRST_PAUSE_MS << inner.attempts);
            inner.pause = Some((Box::pin(tokio::time::sleep(length)), pool.changes()));
        }
    }

    /// `Wait` while the pause lasts.
    pub(super) fn pauses(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        let pool = &self.context.pool;
        if let Some((timer, changes)) = &mut inner.pause
            && *changes == pool.changes()
            && timer.as_mut().poll(cx).is_pending()
        {
            pool.wait_for_change(cx.waker());
            return Flow::Wait;
        }
        inner.pause = None;
        Flow::Again
    }

    /// Sends again what waits for it, when nothing is in flight.
    pub(super) fn replay(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        if inner.in_lane > 0 {
            return inner.wait_until_at_most(0);
        }
        inner.settle(&self.context);
        if !inner.retrying {
            return Flow::Again;
        }
        if self.pauses(inner, cx) == Flow::Wait {
            return Flow::Wait;
        }
        if let Some(flow) = self.kill_again(inner, cx) {
            return flow;
        }
        let demand = demand_of(inner, &self.context.pool.learned());
        let waited_enough = inner.retrying_since.is_some_and(|since| since.elapsed() >= self.context.listener().hold);
        let lane = if waited_enough { Err(NoLane::Unserved) } else { self.lane(inner, demand, cx) };
        match lane {
            Ok(lane) if lane.has_room(cx.waker()) => {
                self.send_again(inner, &lane);
                // Behind it, by which those who tell of commands know whose hold it was.
                self.end_hold(inner);
                inner.lane = Some(lane);
                Flow::Again
            }
            Err(NoLane::Unserved) if waited_enough || self.hold(inner, cx) == Flow::Again => {
                self.give_up(inner);
                Flow::Again
            }
            Ok(_) | Err(_) => Flow::Wait,
        }
    }

    fn send_again(self: &Rc<Self>, inner: &mut Inner, lane: &Rc<crate::backend::lane::Lane>) {
        inner.turned = Stamp::now();
        let mut stash = inner.stash.take();
        let refuses = stash.iter().any(|(_, stashed)| is_write_to_retry(stashed)) && self.lacks_replicas();
        stash.retain_mut(|(sequence, stashed)| {
            let Stashed::Retry { request, effect, tag, .. } = stashed else {
                return true;
            };
            if refuses && *effect == Effect::Write && !inner.is_repeated(*sequence) && self.refuses_write(request) {
                inner.tell_refused(&self.context, *sequence, *tag, TOO_FEW_REPLICAS);
                let bytes = failure(request, TOO_FEW_REPLICAS);
                *stashed = Stashed::Answers { count: 1, bytes };
                return true;
            }
            if *effect == Effect::Write {
                inner.last_write = Some(*sequence);
            }
            inner.in_lane += 1;
            let replies = replies_to(request);
            // A whole transaction may publish.
            let (care, row) = care_of(request);
            let care = if replies == 1 { care } else { Care::Publish };
            // It came when it came first.
            let tag = Tag { row, submitted: inner.turned, ..*tag };
            let errand = Errand { effect: *effect, replies, tag };
            inner.fanned |= care == Care::Flush;
            if inner.repeats.iter().any(|(repeated, _)| repeated == sequence) {
                let repeated = Rc::new(Repeated(Rc::clone(self)));
                self.hand_over(lane, &repeated, *sequence, request, errand);
            } else {
                self.submit_adapted(lane, *sequence, care, request, errand);
            }
            self.context.workspace.counters.replays.increment();
            false
        });
        inner.stash.put(stash);
        inner.attempts += 1;
        // Their replies come in order like any others. `retrying_since` stands until one comes: a node that refuses
        // for ever is not asked for ever.
        inner.retrying = false;
        inner.emit_stashed(&self.context);
    }

    pub(super) fn give_up(&self, inner: &mut Inner) {
        inner.repeats_end(u64::MAX, &self.context);
        let words = self.unserved_error(inner);
        let mut stash = inner.stash.take();
        self.end_hold(inner);
        for (sequence, stashed) in &mut stash {
            if let Stashed::Retry { request, tag, .. } = stashed {
                inner.tell_refused(&self.context, *sequence, *tag, &words);
                let bytes = failure(request, &words);
                *stashed = Stashed::Answers { count: 1, bytes };
            }
        }
        inner.stash.put(stash);
        inner.retrying = false;
        inner.retrying_since = None;
        inner.emit_stashed(&self.context);
    }
}

/// What the commands to be sent again ask of a lane: the same as when they were sent first.
fn demand_of(inner: &Inner, learned: &Learned) -> Demand {
    let mut demand = Demand { writes: false, needs_master: false };
    for (_, stashed) in inner.stash.iter() {
        if let Stashed::Retry { request, effect, to_master, .. } = stashed {
            demand.writes |= *effect == Effect::Write;
            demand.needs_master |= demand.writes || *to_master || !may_leave_master(request, learned);
        }
    }
    demand
}

/// How many replies a request has: a transaction that rode the lane in one piece has one for each of its commands.
pub(super) fn replies_to(request: &[u8]) -> u32 {
    let (mut at, mut replies) = (0, 0);
    while let Ok(Request::Command(frame)) = RequestScanner::new().scan(&request[at..], &Bounds::AUTHENTICATED) {
        at += frame.len;
        replies += 1;
    }
    replies
}

/// The answer to a request that failed as a whole: an error, of a transaction as EXEC's answer.
pub(super) fn failure(request: &[u8], words: &str) -> Vec<u8> {
    failure_of(replies_to(request), words)
}

/// The same for a request that has so many replies.
pub(super) fn failure_of(replies: u32, words: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for before_exec in 1..replies {
        encode::simple(&mut bytes, if before_exec == 1 { "OK" } else { "QUEUED" });
    }
    encode::error(&mut bytes, words);
    bytes
}

/// With its number in the table. Nothing that has to be learnt needs care.
fn care_of(request: &[u8]) -> (Care, u16) {
    match RequestScanner::new().scan(request, &Bounds::AUTHENTICATED) {
        Ok(Request::Command(frame)) => {
            let arrived = Arrived::new(request, frame, &Learned::default());
            (arrived.care(), arrived.row())
        }
        _ => (Care::None, NO_ROW),
    }
}

fn is_script(request: &[u8]) -> bool {
    match RequestScanner::new().scan(request, &Bounds::AUTHENTICATED) {
        Ok(Request::Command(frame)) => {
            let name = frame.name.of(request).to_ascii_uppercase();
            name.starts_with(b"EVAL") || name.starts_with(b"FCALL")
        }
        _ => false,
    }
}

fn may_leave_master(request: &[u8], learned: &Learned) -> bool {
    match RequestScanner::new().scan(request, &Bounds::AUTHENTICATED) {
        Ok(Request::Command(frame)) => Arrived::new(request, frame, learned).kind == Kind::Read,
        _ => false,
    }
}
