//! Commands inside a transaction that only Redan can answer: a client's name, its id, what it tracks.
//!
//! The node would speak of Redan's connection. It gets a PING in their place, which it queues like anything else, and in
//! EXEC's reply Redan's own answer stands where the node's was. They take effect then, and only if the transaction does.

use super::pinned::{Expect, Pinned};
use super::plan::Arrived;
use super::{Inner, Session};
use crate::command::Local;
use crate::limits;
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;
use crate::resp::request::{Bounds, Request, RequestScanner};

/// One such command.
#[derive(Debug)]
struct StandIn {
    /// Its place among the transaction's commands.
    place: u32,
    local: Local,
    raw: Vec<u8>,
}

/// Those of one transaction, in their order.
#[derive(Debug, Default)]
pub(super) struct StandIns {
    items: Vec<StandIn>,
    bytes: usize,
}

impl StandIns {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, stand_in: StandIn) {
        self.bytes += size_of::<StandIn>() + stand_in.raw.len();
        self.items.push(stand_in);
    }
}

pub(super) const TOO_MANY: &str =
    "ERR Redan: one transaction may hold 1 MiB of CLIENT commands, which Redan keeps until EXEC";

impl Pinned {
    /// Whether Redan keeps one more command of this transaction.
    pub(super) fn has_room_for(&self, arrived: &Arrived<'_>) -> bool {
        self.stand_ins.bytes + arrived.raw.len() <= limits::STAND_INS
    }

    /// Queues a PING for `arrived`, whose arguments are as many as it takes.
    pub(super) fn stands_in(&mut self, local: Local, arrived: &Arrived<'_>) {
        let mut ping = Vec::new();
        encode::command(&mut ping, &[b"PING"]);
        // A transaction that begins again begins with what the client sent.
        self.note_as(arrived.raw, &ping);
        self.stand_ins.push(StandIn { place: self.queued, local, raw: arrived.raw.to_vec() });
        self.queued += 1;
        self.expected.push_back(Expect::Opening);
    }
}

impl Session {
    /// EXEC's reply with Redan's own answers in it. What is no array (an error, nil) stays as it is.
    pub(super) fn with_own_answers(
        &self,
        inner: &mut Inner,
        pinned: &Pinned,
        reply: &[u8],
        stand_ins: StandIns,
    ) -> Vec<u8> {
        let header = reply.windows(2).position(|pair| pair == b"\r\n").map_or(reply.len(), |at| at + 2);
        if stand_ins.is_empty() || reply[0] != b'*' || reply.starts_with(b"*-") {
            return reply.to_vec();
        }
        let mut out = reply[..header].to_vec();
        let (mut at, mut place) = (header, 0);
        let mut stand_ins = stand_ins.items.into_iter().peekable();
        while at < reply.len() {
            // The whole reply was scanned before, so each element is complete.
            let Ok(element) = ReplyScanner::new().advance(&reply[at..]) else {
                return reply.to_vec();
            };
            let end = at + element.consumed.max(1);
            match stand_ins.next_if(|stand_in| stand_in.place == place) {
                Some(stand_in) => self.answer_in_place(inner, pinned, &stand_in, &mut out),
                None => out.extend_from_slice(&reply[at..end]),
            }
            (at, place) = (end, place + 1);
        }
        out
    }

    fn answer_in_place(&self, inner: &mut Inner, pinned: &Pinned, stand_in: &StandIn, out: &mut Vec<u8>) {
        if let Ok(Request::Command(frame)) = RequestScanner::new().scan(&stand_in.raw, &Bounds::AUTHENTICATED) {
            self.own_reply(inner, stand_in.local, &frame, &stand_in.raw, Some(pinned), out);
        }
    }
}
