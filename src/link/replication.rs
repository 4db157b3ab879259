//! A replica's conversation with its master, seen from one end of a link.
//!
//! Until PSYNC this end stands between the two: the replica is announced by the address that the operator gave it, and the
//! master may be asked ahead of PSYNC what it is, on the same connection, so that the replica's own password serves. A sync
//! that would do harm, or has to wait its turn, is answered here and never reaches the master. From PSYNC on it only watches:
//! not one byte of data or stream is changed, held back or added. Pure: `pump` moves the bytes and reads the clock.

mod answer;
mod carried;
mod guard;
pub(super) mod handshake;
mod inquiry;
mod judge;
mod lag;
mod progress;
mod rdb;
mod watch;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use progress::Progress;

use self::answer::{Line, Reply};
use self::handshake::{Channel, Handshake, Passed, Wish};
use self::inquiry::{Inquiry, Master};
use self::lag::Lag;
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

    pub(super) fn for_local(&self) -> &[u8] {
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

    fn forward(&mut self, wish: Wish) {
        self.desk().enter(&self.progress);
        self.to_master.extend_from_slice(&wish.said);
        let behind = self.handshake.give_back();
        self.to_master.extend(behind);
        self.phase = Phase::Answering(Line::default(), wish, None);
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
