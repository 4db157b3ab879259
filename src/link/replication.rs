//! A replica's conversation with its master, seen from one end of a link.
//!
//! Until PSYNC this end stands between the two: the replica is announced by the address that the operator gave it, and the
//! master may be asked ahead of PSYNC what it is, on the same connection, so that the replica's own password serves. A sync
//! that would do harm, or has to wait its turn, is answered here and never reaches the master. From PSYNC on it only watches:
//! not one byte of data or stream is changed, held back or added. Pure: `pump` moves the bytes and reads the clock.

mod answer;
mod handshake;
mod inquiry;
mod judge;
mod lag;
mod progress;
mod rdb;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use progress::Progress;

use self::answer::{Answer, Line, Reply, answer};
use self::handshake::{Channel, Handshake, Passed, Wish};
use self::inquiry::{Inquiry, Master};
use self::judge::{Case, Verdict, followed, is_partial, judge};
use self::lag::{Lag, acknowledgement};
use self::rdb::Rdb;
use super::counters::LinkCounters;
use super::desk::{Begin, Desk, Place};
use crate::config::link::{EmptyMaster, End, Link};

/// How a master answered a replica that asks for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Full,
    Partial,
}

/// Why a sync did not reach the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Empty,
    Unsure,
    Loading,
    Turn,
}

impl Why {
    pub(super) const KINDS: usize = 4;
}

/// Both sides of what may become a replica's connection.
#[derive(Debug)]
pub(super) struct Replication {
    link: Arc<Link>,
    counters: Arc<LinkCounters>,
    /// For the log.
    from: String,
    /// Where it comes from, without what differs at each connection.
    who: String,
    is_entry: bool,
    handshake: Handshake,
    /// Answers of the master that the replica waits for.
    owed: u32,
    reply: Reply,
    phase: Phase,
    /// For the master and for the replica, not handed on yet.
    to_master: Vec<u8>,
    to_replica: Vec<u8>,
    place: Option<Place>,
    /// Of a place that waits for this replica's second connection.
    ticket: Option<u64>,
    /// Which may pass without being asked again.
    cleared: bool,
    master: Option<Master>,
    progress: Arc<Progress>,
}

#[derive(Debug)]
enum Phase {
    /// Commands are looked at, and answers counted.
    Greeting,
    /// The master was asked what it is; the replica waits.
    Asking(Inquiry, Wish),
    /// PSYNC or SYNC went on: the lines before the data. What the stream begins with, if that is known already.
    Answering(Line, Wish, Option<Begin>),
    Data(Rdb, u64, Option<Begin>),
    /// And, of a stream whose beginning the second connection is told, the number of this one at the master.
    Stream(Lag, Option<u64>),
    /// It is no replica, or speaks of something that is not known here. Nothing is looked at any more.
    Other,
}

impl Replication {
    /// `from` is the program or the peer, for the log; `who` is the same without what differs at each connection.
    pub(super) fn new(link: &Arc<Link>, counters: &Arc<LinkCounters>, from: String, who: String) -> Self {
        let (is_entry, announced) = match &link.end {
            End::Entry { announce, .. } => (true, announce.clone()),
            End::Exit { .. } => (false, None),
        };
        let progress = Arc::new(Progress::new(counters.desk.origin));
        Self {
            link: Arc::clone(link),
            counters: Arc::clone(counters),
            from,
            who,
            is_entry,
            handshake: Handshake::new(announced, !is_entry),
            owed: 0,
            reply: Reply::default(),
            phase: Phase::Greeting,
            to_master: Vec::new(),
            to_replica: Vec::new(),
            place: None,
            ticket: None,
            cleared: false,
            master: None,
            progress,
        }
    }

    fn desk(&self) -> &Desk {
        &self.counters.desk
    }

    // ---- For the pump, which has a local side and a wire ----

    /// Whether bytes of both sides must go through [`Self::local_said`] and [`Self::wire_said`].
    pub(super) fn stands_between(&self) -> bool {
        self.mediates() || !self.for_local().is_empty()
    }

    /// The same, leaving out that something is still to be handed on.
    pub(super) fn mediates(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Asking(..))
    }

    /// Nothing will be seen any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Other) && self.to_master.is_empty() && self.to_replica.is_empty()
    }

    /// Whether the local side may be read: a replica that waits for an answer has nothing to say.
    pub(super) fn reads_local(&self) -> bool {
        !(self.is_entry && matches!(self.phase, Phase::Asking(..)))
    }

    pub(super) fn local_said(&mut self, bytes: &[u8], now: Instant) {
        if self.is_entry { self.replica_says(bytes, now) } else { self.master_says(bytes, now) }
    }

    /// How many of the bytes were taken.
    pub(super) fn wire_said(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.is_entry {
            self.master_says(bytes, now);
        } else if matches!(self.phase, Phase::Asking(..)) {
            return 0;
        } else {
            self.replica_says(bytes, now);
        }
        bytes.len()
    }

    /// The local side has ended; what of it was kept for the end of a command is none.
    pub(super) fn local_ended(&mut self) {
        if self.is_entry {
            self.replica_ended();
        }
    }

    /// The other side has.
    pub(super) fn wire_ended(&mut self) {
        if !self.is_entry {
            self.replica_ended();
        }
    }

    fn replica_ended(&mut self) {
        let rest = self.handshake.give_back();
        self.to_master.extend(rest);
    }

    pub(super) fn for_local(&self) -> &Vec<u8> {
        if self.is_entry { &self.to_replica } else { &self.to_master }
    }

    pub(super) fn local_took(&mut self, bytes: usize) {
        let queue = if self.is_entry { &mut self.to_replica } else { &mut self.to_master };
        queue.drain(..bytes.min(queue.len()));
    }

    pub(super) fn take_for_wire(&mut self) -> Vec<u8> {
        std::mem::take(if self.is_entry { &mut self.to_master } else { &mut self.to_replica })
    }

    /// These bytes of the local side went on as they are.
    pub(super) fn saw_from_local(&mut self, bytes: &[u8], now: Instant) {
        if self.is_entry { self.hear_replica(bytes, now) } else { self.hear_master(bytes, now) }
    }

    /// These bytes of the wire did.
    pub(super) fn saw_from_wire(&mut self, bytes: &[u8], now: Instant) {
        if self.is_entry { self.hear_master(bytes, now) } else { self.hear_replica(bytes, now) }
    }

    /// The rate at which bytes of the master may go on now, if there is one; `true`: they come from the local side.
    pub(super) fn paced(&self) -> Option<(u64, bool)> {
        let rate = self.link.replicas.rdb_rate?;
        matches!(self.phase, Phase::Data(..)).then_some((rate, !self.is_entry))
    }

    // ---- While it stands between ----

    fn replica_says(&mut self, bytes: &[u8], now: Instant) {
        if !matches!(self.phase, Phase::Greeting) {
            self.to_master.extend_from_slice(bytes);
            return self.hear_replica(bytes, now);
        }
        self.handshake.push(bytes);
        self.greet(now);
    }

    fn greet(&mut self, now: Instant) {
        match self.handshake.pass(&mut self.to_master, &mut self.owed) {
            Passed::Waits => {}
            Passed::Other => {
                self.replica_ended();
                self.phase = Phase::Other;
            }
            Passed::Sync(wish) => self.wish(wish, now),
        }
    }

    fn wish(&mut self, wish: Wish, now: Instant) {
        let rules = &self.link.replicas;
        let asks = rules.empty_master != EmptyMaster::Allow || rules.full_syncs.is_some();
        match self.handshake.channel() {
            Channel::Main if asks && !self.cleared => {
                Inquiry::ask(&mut self.to_master);
                self.phase = Phase::Asking(Inquiry::default(), wish);
            }
            // The master lets in who belongs to a first connection, and that one was let through.
            Channel::Rdb { .. } => {
                self.place = Some(self.desk().adopt());
                self.forward(wish);
            }
            _ if self.cleared || self.take_place() => self.forward(wish),
            _ => self.refuse(Why::Turn, &wish, now),
        }
    }

    fn master_says(&mut self, bytes: &[u8], now: Instant) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.phase {
                Phase::Asking(inquiry, _) if self.owed == 0 => {
                    if let Some(answers) = inquiry.take(&mut rest) {
                        self.answered(answers, now);
                    }
                }
                Phase::Greeting | Phase::Asking(..) if self.owed > 0 => {
                    let (taken, ended) = self.reply.take(rest);
                    self.owed -= u32::from(ended);
                    let (reply, behind) = rest.split_at(taken);
                    self.to_replica.extend_from_slice(reply);
                    rest = behind;
                }
                // Whoever speaks without having been asked is no master.
                Phase::Greeting | Phase::Asking(..) => {
                    self.replica_ended();
                    self.phase = Phase::Other;
                }
                _ => {
                    self.to_replica.extend_from_slice(rest);
                    return self.hear_master(rest, now);
                }
            }
        }
    }

    fn answered(&mut self, answers: Result<Result<Master, String>, ()>, now: Instant) {
        let Phase::Asking(_, wish) = std::mem::replace(&mut self.phase, Phase::Greeting) else { return };
        let Ok(master) = answers else {
            // Where its next answer begins is not known, so nothing more can be asked of it.
            self.refuse(Why::Unsure, &wish, now);
            self.phase = Phase::Other;
            return;
        };
        let name = self.handshake.name(&self.who);
        let remembered = self.desk().followed(&name);
        let rules = &self.link.replicas;
        let verdict = judge(&Case {
            wish: &wish,
            master: master.as_ref().map_err(String::as_str),
            policy: rules.empty_master,
            empty_below: rules.empty_below,
            remembered: remembered.as_deref(),
            found_empty: master.as_ref().is_ok_and(|master| self.desk().was_found_empty(&master.history)),
        });
        let foreseen = master.as_ref().is_ok_and(|master| is_partial(&wish, master));
        let followed = followed(&wish, remembered.as_deref()).unwrap_or_default().to_owned();
        let strict = rules.empty_master == EmptyMaster::RefuseUnsure;
        self.master = master.ok();
        let refusal = match verdict {
            Verdict::Pass => None,
            Verdict::Loading => Some(Why::Loading),
            Verdict::Empty if self.is_let_through(now) => None,
            Verdict::Empty => Some(Why::Empty),
            Verdict::Unsure(why) => {
                self.say_unsure(&why, strict, now);
                Some(Why::Unsure).filter(|_| strict && !self.desk().is_allowed(now))
            }
        };
        if let Some(why) = refusal {
            self.say_refused(why, &followed, now);
            return self.refuse(why, &wish, now);
        }
        if foreseen || self.take_place() {
            return self.forward(wish);
        }
        self.refuse(Why::Turn, &wish, now);
    }

    /// Whether the operator has said that this master may empty replicas.
    fn is_let_through(&self, now: Instant) -> bool {
        let allowed = self.desk().is_allowed(now);
        if let Some(master) = self.master.as_ref().filter(|_| allowed) {
            self.desk().forgive(&master.history);
            let (name, from, keys) = (&self.link.name, &self.from, master.keys);
            tracing::warn!("link '{name}': the replica {from} is let through, as ordered, to a master that has {keys} keys");
        }
        allowed
    }

    fn say_unsure(&self, why: &str, strict: bool, now: Instant) {
        if self.desk().says(Why::Unsure, now) {
            let (name, from) = (&self.link.name, &self.from);
            let then = if strict { "it is refused" } else { "it is let through" };
            tracing::warn!(
                "link '{name}': whether the master of replica {from} is empty cannot be seen ({why}), and {then}; give the \
                 replica's user the right to INFO (`+info`), or set `empty_master = \"allow\"`"
            );
        }
    }

    fn say_refused(&self, why: Why, followed: &str, now: Instant) {
        let (Why::Empty, Some(master)) = (why, &self.master) else { return };
        self.desk().found_empty(&master.history);
        if self.desk().says(Why::Empty, now) {
            let (name, from, keys) = (&self.link.name, &self.from, master.keys);
            tracing::error!(
                "link '{name}': the replica {from} keeps its data and is refused: it followed {followed}, and the master is \
                 another one, {}, that came with {keys} keys; bring the master's data back, or if the replica shall lose its \
                 own: `redan link allow {name}`",
                master.history
            );
        }
    }

    fn take_place(&mut self) -> bool {
        let Some(most) = self.link.replicas.full_syncs else { return true };
        self.place = self.desk().place(most as u64);
        self.place.is_some()
    }

    fn refuse(&mut self, why: Why, wish: &Wish, now: Instant) {
        let name = &self.link.name;
        let words = match why {
            Why::Empty => format!("Redan keeps this replica's data: its master came back empty (`redan link allow {name}`)"),
            Why::Unsure => "Redan cannot see whether the master is empty, and keeps this replica's data".to_owned(),
            Why::Loading => "the master is loading its data".to_owned(),
            Why::Turn => format!("other replicas have their full sync over link '{name}' first; wait for your turn"),
        };
        if self.desk().denied(why, now) && why == Why::Turn {
            let (from, most) = (&self.from, self.link.replicas.full_syncs.unwrap_or_default());
            tracing::info!("link '{name}': the replica {from} waits for its turn: `full_syncs` is {most}");
        }
        tracing::debug!("link '{name}': {} of {} is refused: {words}", String::from_utf8_lossy(&wish.said), self.from);
        self.to_replica.extend_from_slice(format!("-NOMASTERLINK {words}\r\n").as_bytes());
        self.phase = Phase::Greeting;
    }

    fn forward(&mut self, wish: Wish) {
        self.desk().enter(&self.progress);
        self.to_master.extend_from_slice(&wish.said);
        let behind = self.handshake.give_back();
        self.to_master.extend(behind);
        self.phase = Phase::Answering(Line::default(), wish, None);
    }

    // ---- While it only watches ----

    fn hear_replica(&mut self, bytes: &[u8], now: Instant) {
        let Phase::Stream(lag, main) = &mut self.phase else { return };
        let Some(offset) = acknowledgement(bytes) else { return };
        let begun = main.and_then(|main| self.counters.desk.begun(main));
        if let Some(begin) = begun {
            lag.moved(begin.offset);
            *main = None;
            self.counters.desk.follows(self.handshake.name(&self.who), begin.history);
        }
        if main.is_none()
            && let Some(warning) = lag.acknowledged(offset, now)
        {
            tracing::warn!("link '{}': the replica {} {warning}", self.link.name, self.from);
        }
    }

    fn hear_master(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            match &mut self.phase {
                Phase::Stream(lag, _) => return lag.passed(bytes.len(), now),
                Phase::Data(rdb, passed, begin) => {
                    let taken = rdb.take(bytes);
                    bytes = &bytes[taken..];
                    *passed += taken as u64;
                    self.progress.rdb_passed(*passed);
                    if rdb.has_ended() {
                        let begin = begin.take();
                        self.data_ended(begin, now);
                    }
                }
                Phase::Answering(line, ..) => match line.take(&mut bytes) {
                    None => return,
                    Some(Ok(line)) => self.said(answer(&line), now),
                    Some(Err(())) => self.give_up(),
                },
                Phase::Greeting | Phase::Asking(..) | Phase::Other => return,
            }
        }
    }

    /// The master's word on PSYNC.
    fn said(&mut self, answer: Answer, now: Instant) {
        let Phase::Answering(_, wish, begin) = &mut self.phase else { return };
        match answer {
            Answer::Wait => {}
            Answer::Full { history, offset } => {
                *begin = Some(Begin { history, offset });
                if let (Channel::Rdb { main: Some(main) }, Some(begin)) = (self.handshake.channel(), begin.clone()) {
                    self.desk().begins(main, begin);
                }
                self.began();
            }
            Answer::End { history, offset } => {
                *begin = history.zip(offset).map(|(history, offset)| Begin { history, offset });
                self.began();
            }
            Answer::Data(payload) => {
                let begin = begin.take();
                let total = match payload {
                    answer::Payload::Bytes(bytes) => Some(bytes),
                    answer::Payload::Until(_) => None,
                };
                // SYNC is answered by nothing else.
                if self.place.is_none() {
                    self.began();
                }
                self.progress.rdb_begins(total);
                self.phase = Phase::Data(Rdb::new(payload), 0, begin);
            }
            Answer::Partial { history } => {
                let begin = history.or_else(|| wish.history.clone()).map(|history| {
                    // It says which byte it wants next.
                    Begin { history, offset: wish.offset.saturating_sub(1) }
                });
                self.place = None;
                if !self.cleared {
                    self.counters.sync(Sync::Partial);
                }
                self.stream(begin, None, now);
            }
            Answer::Beside { id } => {
                self.park();
                self.stream(None, Some(id), now);
            }
            Answer::Before => {
                self.park();
                self.cleared = true;
                self.phase = Phase::Greeting;
            }
            Answer::Refused => {
                self.place = None;
                self.phase = Phase::Greeting;
            }
            Answer::Unknown => self.give_up(),
        }
    }

    /// A full sync has begun, once for all connections of a replica.
    fn began(&mut self) {
        self.counters.sync(Sync::Full);
        if self.place.is_none() {
            self.place = Some(self.desk().any_place());
        }
    }

    fn park(&mut self) {
        let place = self.place.take().unwrap_or_else(|| self.desk().any_place());
        self.ticket = Some(self.desk().park(place));
    }

    fn data_ended(&mut self, begin: Option<Begin>, now: Instant) {
        self.place = None;
        self.progress.rdb_ends();
        match self.handshake.channel() {
            Channel::Main => self.stream(begin, None, now),
            // What the replica says behind it is about the data alone.
            Channel::Rdb { .. } | Channel::Copy => self.phase = Phase::Other,
        }
    }

    fn stream(&mut self, begin: Option<Begin>, main: Option<u64>, now: Instant) {
        let backlog = self.master.as_ref().map_or(0, |master| master.backlog_size);
        let offset = begin.as_ref().map_or(0, |begin| begin.offset);
        if begin.is_none() && main.is_none() {
            // Without a number to compare with, what the replica acknowledges says nothing.
            return self.give_up();
        }
        if let Some(begin) = begin {
            self.desk().follows(self.handshake.name(&self.who), begin.history);
        }
        self.phase = Phase::Stream(Lag::new(Arc::clone(&self.progress), offset, backlog, now), main);
    }

    fn give_up(&mut self) {
        self.place = None;
        self.phase = Phase::Other;
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            drop(self.desk().unpark(ticket));
        }
        self.desk().leave(&self.progress);
    }
}

#[cfg(test)]
mod tests;
