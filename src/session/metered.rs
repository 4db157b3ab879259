//! When commands over a pin went out, so that their answers can be counted as those over lanes are.
//!
//! Replies over a pin come in the order of what was sent, so a number is all that ties one to its command. What waits by
//! design (BLPOP, WAIT) is counted, but not its time. It must stay bounded: a long pipeline is noted without its words.

use std::collections::VecDeque;

use super::pinned::Pinned;
use super::plan::Arrived;
use super::{Inner, Session};
use crate::backend::recipient::Noted;
use crate::command::{Kind, Pin};
use crate::metrics::{Stamp, Tag, error_of};

/// Of one command; its first words and what they say are within that.
const WORDS: usize = 512;
const ALL_WORDS: usize = 16 * 1024;

struct Meter {
    /// Which reply on this pin is its own.
    number: u64,
    tag: Tag,
    waits: bool,
    /// Its beginning, in `words`.
    start: usize,
    end: usize,
}

#[derive(Default)]
pub(super) struct Meters {
    waiting: VecDeque<Meter>,
    words: Vec<u8>,
    /// Replies that have come.
    answered: u64,
    /// Bytes of the reply that is coming in pieces.
    gone: u64,
}

impl Meters {
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() + self.waiting.capacity() * size_of::<Meter>()
    }

    pub(super) fn piece(&mut self, bytes: usize) {
        self.gone += bytes as u64;
    }
}

impl Session {
    /// A command has gone out over the pin.
    pub(super) fn meter(&self, inner: &Inner, pinned: &mut Pinned, arrived: &Arrived<'_>) {
        self.context.counters().commands.increment();
        let tag = self.tag(inner, arrived.row());
        let tag = Tag { submitted: Stamp::now(), ..tag };
        let waits = matches!(arrived.kind, Kind::Pin(Pin::Blocking | Pin::Wait | Pin::WaitAof));
        let number = pinned.meters.answered + pinned.expected.len() as u64;
        let meters = &mut pinned.meters;
        let start = meters.words.len();
        if start < ALL_WORDS {
            meters.words.extend_from_slice(&arrived.raw[..arrived.raw.len().min(WORDS)]);
        }
        let end = meters.words.len();
        meters.waiting.push_back(Meter { number, tag, waits, start, end });
    }

    /// So many replies have come with `reply`, the last of them or its end.
    pub(super) fn metered(&self, inner: &Inner, pinned: &mut Pinned, count: usize, reply: &[u8]) {
        if count == 0 {
            return;
        }
        let (node, meters) = (pinned.pin.node, &mut pinned.meters);
        meters.answered += count as u64;
        let bytes = std::mem::take(&mut meters.gone) + reply.len() as u64;
        let now = Stamp::now();
        while meters.waiting.front().is_some_and(|meter| meter.number <= meters.answered)
            && let Some(meter) = meters.waiting.pop_front()
        {
            let counters = &self.context.workspace.counters;
            let of_node = self.context.pool.counters_of(node);
            of_node.commands.increment();
            if meter.waits {
                self.context.counted_here(meter.tag.row);
            } else {
                counters.answered(&meter.tag, 1, &of_node, now);
            }
            if reply.first() == Some(&b'-') {
                counters.answered_with_error(&meter.tag, &of_node, reply);
            }
            let slow = !meter.waits && counters.notable.is_slow(now.since(meter.tag.arrived));
            if meter.tag.traced || slow || counters.notable.is_big(bytes) {
                let request = &meters.words[meter.start..meter.end];
                let (tag, stalled, error) = (meter.tag, 0, error_of(reply));
                let noted = Noted { sequence: None, request, tag, now, stalled, bytes, error, pending: false };
                self.note(inner, node, &noted);
            }
        }
        if meters.waiting.is_empty() {
            meters.words.clear();
        }
    }
}
