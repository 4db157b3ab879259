//! What comes over a hub's connection: messages to their subscribers, answers to the table.
//!
//! Messages of one topic that stand back to back are handed on together: one system call per subscriber, not one per
//! message. Nothing is copied: RESP3's push frame is the same bytes with another first one, changed in place.

use super::entry::Entry;
use super::table::Table;
use super::topic::{Kind, Said, said};
use crate::limits;
use crate::metrics::WorkerCounters;
use crate::resp::reply::ReplyScanner;
use crate::topology::NodeId;

/// `| done | scanned part of a value | not scanned | free |`.
#[derive(Default)]
pub(super) struct Feed {
    buf: Vec<u8>,
    start: usize,
    at: usize,
    end: usize,
    scanner: ReplyScanner,
    /// The rest of a message that is larger than any client may have waiting is dropped as it comes.
    skipping: bool,
    /// Where the messages of the current run begin.
    run: Vec<usize>,
}

/// Messages of one topic in a row: the topic's place in the first one, and where the last one ends.
struct Run {
    kind: Kind,
    name: std::ops::Range<usize>,
    end: usize,
}

impl Feed {
    /// A new connection.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Where to read into: at least `limits::CLIENT_READ` bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.at, self.end) = (0, 0, 0);
        } else if self.start > 0 && self.buf.len() - self.end < limits::CLIENT_READ {
            self.buf.copy_within(self.start..self.end, 0);
            self.at -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.buf.len() - self.end < limits::CLIENT_READ {
            // Twice as large each time, so that a large message is not moved once per read.
            let grown = (self.end + limits::CLIENT_READ).max(self.buf.len() * 2);
            self.buf.resize(grown, 0);
        }
        let end = self.end + limits::CLIENT_READ;
        &mut self.buf[self.end..end]
    }

    /// Gives back what a large message took.
    pub(super) fn trim(&mut self) {
        if self.start == self.end && self.buf.len() > limits::CLIENT_READ {
            self.buf = Vec::new();
            (self.start, self.at, self.end) = (0, 0, 0);
        }
    }

    /// `n` bytes were read into `room()`. An error means that the stream cannot be understood any more.
    pub(super) fn came(&mut self, n: usize, table: &mut Table, counters: &WorkerCounters) -> Result<(), String> {
        self.end += n;
        let mut run: Option<Run> = None;
        let result = self.values(table, counters, &mut run);
        self.hand_on(run, table, counters);
        result
    }

    fn values(&mut self, table: &mut Table, counters: &WorkerCounters, run: &mut Option<Run>) -> Result<(), String> {
        while self.at < self.end {
            let scanned = self
                .scanner
                .advance(&self.buf[self.at..self.end])
                .map_err(|error| format!("the node does not speak RESP: {error}"))?;
            self.at += scanned.consumed;
            if !scanned.done {
                self.skip_if_too_large(table)?;
                return Ok(());
            }
            if !std::mem::take(&mut self.skipping) {
                self.value(table, counters, run)?;
            }
            self.start = self.at;
        }
        Ok(())
    }

    /// One complete value stands at `start..at`.
    fn value(&mut self, table: &mut Table, counters: &WorkerCounters, run: &mut Option<Run>) -> Result<(), String> {
        let value = &self.buf[self.start..self.at];
        let said = said(value);
        if let Said::Message(kind, name) = said {
            let in_run = run.as_ref().is_some_and(|run| run.kind == kind && self.buf[run.name.clone()] == *name);
            if !in_run {
                // The name's place, so that the run can be handed on while the buffer is changed.
                let offset = name.as_ptr().addr() - self.buf.as_ptr().addr();
                let next = Run { kind, name: offset..offset + name.len(), end: self.at };
                let ended = run.replace(next);
                self.hand_on(ended, table, counters);
            }
            if let Some(run) = run {
                run.end = self.at;
            }
            self.run.push(self.start);
            return Ok(());
        }
        let (start, at) = (self.start, self.at);
        self.hand_on(run.take(), table, counters);
        let value = &self.buf[start..at];
        let asked = match super::topic::said(value) {
            Said::Subscribed(kind, name) => table.subscribed(kind, name),
            Said::Unsubscribed(kind, name) => name.is_some_and(|name| table.unsubscribed(kind, name)),
            Said::Pong => table.ponged(),
            Said::Error(words) => table.refused(&String::from_utf8_lossy(words)),
            Said::Message(..) | Said::Unknown => false,
        };
        if asked {
            return Ok(());
        }
        let shown = &value[..value.len().min(100)];
        Err(format!("the node sent what nobody asked for: {}", String::from_utf8_lossy(shown).trim_end()))
    }

    /// Every subscriber of the topic gets the whole run.
    fn hand_on(&mut self, run: Option<Run>, table: &Table, counters: &WorkerCounters) {
        let Some(Run { kind, name, end }) = run else {
            return;
        };
        let starts = std::mem::take(&mut self.run);
        if let (Some(entry), Some(node), Some(first)) =
            (table.entry(kind, &self.buf[name]), table.node(), starts.first())
        {
            let handed = fan_out(entry, node, &mut self.buf[..end], *first, &starts);
            counters.messages_delivered.add((handed * starts.len()) as u64);
        }
        self.run = starts;
        self.run.clear();
    }

    /// A message over the hard limit of every subscriber's output would close them all: they are closed, and it is not gathered.
    fn skip_if_too_large(&mut self, table: &Table) -> Result<(), String> {
        if !self.skipping {
            let announced = (self.at - self.start) as u64 + self.scanner.outstanding();
            if announced <= limits::MESSAGE as u64 {
                return Ok(());
            }
            let Said::Message(kind, name) = said(&self.buf[self.start..self.at]) else {
                return Err("the node sent an answer of absurd length".to_owned());
            };
            for member in table.entry(kind, name).iter().flat_map(|entry| entry.members.values()) {
                member.to.revoked("a message is larger than all that may wait for it");
            }
            self.skipping = true;
        }
        self.start = self.at;
        Ok(())
    }
}

/// How many got it.
fn fan_out(entry: &Entry, node: NodeId, buf: &mut [u8], first: usize, starts: &[usize]) -> usize {
    let active = || entry.members.values().filter(|member| member.active);
    let (mut handed, mut pushed) = (0, 0);
    for member in active() {
        if member.to.speaks_resp3() {
            pushed += 1;
        } else {
            member.to.messages(node, &buf[first..]);
            handed += 1;
        }
    }
    if pushed > 0 {
        starts.iter().for_each(|start| buf[*start] = b'>');
        for member in active().filter(|member| member.to.speaks_resp3()) {
            member.to.messages(node, &buf[first..]);
        }
    }
    handed + pushed
}
