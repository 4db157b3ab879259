//! What `Replication` learns from bytes that pass as they are: how the master answers, where its data ends, what the replica
//! has of the stream. It must never say anything to either of them.

use std::sync::Arc;
use std::time::Instant;

use super::answer::{Answer, Payload, answer};
use super::handshake::Channel;
use super::lag::{Lag, acknowledgement};
use super::rdb::Rdb;
use super::{Phase, Replication, Sync};
use crate::link::desk::Begin;

impl Replication {
    pub(super) fn hear_replica(&mut self, bytes: &[u8], now: Instant) {
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

    pub(super) fn hear_master(&mut self, mut bytes: &[u8], now: Instant) {
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
                // What was said before PSYNC is answered before it.
                Phase::Answering(..) if self.owed > 0 => {
                    let (taken, ended) = self.reply.take(bytes);
                    self.owed -= u32::from(ended);
                    bytes = &bytes[taken..];
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
                    Payload::Bytes(bytes) => Some(bytes),
                    Payload::Until(_) => None,
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
