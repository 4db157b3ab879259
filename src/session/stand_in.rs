//! Commands inside a transaction that Redan has a word in: what each of them is at its place in EXEC's reply.
//!
//! What only Redan can answer (a client's name, other clients, subscriptions) the node gets as a PING, which it queues like
//! anything else; what changes the connection too (HELLO, SELECT, CLIENT TRACKING) it gets itself. `exec` puts Redan's
//! answers into the reply, where they take effect: with the transaction, and only if that was executed.

use std::collections::VecDeque;

use super::adapted::Adapter;
use super::login::Turn;
use super::pinned::{Expect, Pinned};
use crate::command::{Care, Local};
use crate::limits;
use crate::resp::encode;

/// What Redan does where the command stands in EXEC's reply.
pub(super) enum Part {
    /// It answers as outside a transaction.
    Own(Local),
    /// It answers with this error.
    Words(String),
    /// The client becomes somebody else or speaks another version, if the node says so too.
    Login(Box<Turn>),
    /// The session follows the connection to another database.
    Select(u32),
    /// One of (S|P)(UN)SUBSCRIBE.
    Subscription,
    /// CLIENT TRACKING.
    Tracking,
    /// The node's answer gets rewritten.
    Adapted(Adapter),
    /// The same, as is known only then how.
    Care(Care),
}

pub(super) struct StandIn {
    /// Its place among the transaction's commands.
    pub(super) place: u32,
    pub(super) part: Part,
    /// What the client sent, as far as the part needs it.
    pub(super) raw: Vec<u8>,
}

/// Those of one transaction, in their order.
#[derive(Default)]
pub(super) struct StandIns {
    items: VecDeque<StandIn>,
    bytes: usize,
}

impl StandIns {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What comes behind the transaction depends on what becomes of it.
    pub(super) fn change_what_follows(&self) -> bool {
        self.items.iter().any(|item| !matches!(item.part, Part::Adapted(_) | Part::Care(_)))
    }

    /// Nobody but Redan can do what these say, so none of them may be passed over.
    pub(super) fn are_vital(&self) -> bool {
        let minor = |part: &Part| matches!(part, Part::Adapted(_) | Part::Care(_) | Part::Select(_));
        self.items.iter().any(|item| !minor(&item.part))
    }

    /// A SELECT is among them.
    pub(super) fn select(&self) -> bool {
        self.items.iter().any(|item| matches!(item.part, Part::Select(_)))
    }

    pub(super) fn subscribe(&self) -> bool {
        self.items.iter().any(|item| matches!(item.part, Part::Subscription))
    }

    pub(super) fn into_items(self) -> VecDeque<StandIn> {
        self.items
    }
}

pub(super) const TOO_MANY: &str =
    "ERR Redan: one transaction may hold 1 MiB of CLIENT and SUBSCRIBE commands, which Redan keeps until EXEC";

impl Pinned {
    /// Whether Redan keeps so many bytes more of this transaction.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.stand_ins.bytes + bytes <= limits::STAND_INS
    }

    /// Queues `sent`, or a PING, for the client's command `raw`, and keeps `kept` of that for EXEC.
    pub(super) fn stands_in(&mut self, part: Part, raw: &[u8], sent: Option<&[u8]>, kept: &[u8]) {
        let mut ping = Vec::new();
        if sent.is_none() {
            encode::command(&mut ping, &[b"PING"]);
        }
        // A transaction that begins again begins with what the client sent.
        self.note_as(raw, sent.unwrap_or(&ping));
        self.stand_ins.bytes += size_of::<StandIn>() + kept.len();
        self.stand_ins.items.push_back(StandIn { place: self.queued, part, raw: kept.to_vec() });
        self.queued += 1;
        self.expected.push_back(Expect::Opening);
    }
}
