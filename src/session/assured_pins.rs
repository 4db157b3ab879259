//! Writes over a connection of the session's own that wait for their assurance: which replies tell of one.
//!
//! The pin's own code knows nothing of it but when a command was sent and when a reply comes.

use std::collections::VecDeque;

use super::pinned::{Expect, Pinned};
use super::plan::Arrived;
use super::{Inner, Session};
use crate::command::{Kind, Pin};

/// Which of the replies to come over a connection of the session's own tell of writes.
#[derive(Debug, Default)]
pub(super) struct Assures {
    /// Replies that have come.
    came: u64,
    /// Numbers of replies.
    writes: VecDeque<u64>,
    /// The transaction being queued writes.
    queued: bool,
}

impl Assures {
    /// A command was sent that makes `expected` replies outstanding.
    pub(super) fn sent(&mut self, expected: usize) {
        self.writes.push_back(self.came + expected as u64 - 1);
    }

    /// Whether the next reply tells of a write.
    fn is_next(&self) -> bool {
        self.writes.front() == Some(&self.came)
    }

    /// So many replies have come.
    pub(super) fn came(&mut self, replies: usize) {
        self.came += replies as u64;
        while self.writes.front().is_some_and(|number| *number < self.came) {
            self.writes.pop_front();
        }
    }

    pub(super) fn queue(&mut self) {
        self.queued = true;
    }

    /// EXEC or DISCARD was sent; whether the transaction writes.
    pub(super) fn transaction_ends(&mut self) -> bool {
        std::mem::take(&mut self.queued)
    }
}

impl Session {
    /// A command was sent over the pin; `before` it was sent the pin was in a transaction or not, and owed so many replies.
    pub(super) fn sent_over_pin(&self, pinned: &mut Pinned, arrived: &Arrived<'_>, before: (bool, usize)) {
        if self.durable() == 0 {
            return;
        }
        // XREAD waits and writes nothing.
        let reads = arrived.spec.is_some_and(|spec| spec.kind == Kind::ReadUnlessBlock);
        let kind = Some(arrived.kind).filter(|_| !reads && leaves_data(arrived));
        self.began_over_pin(pinned, kind, before);
    }

    /// The same, with its kind alone; `None` is not a write.
    pub(super) fn began_over_pin(&self, pinned: &mut Pinned, kind: Option<Kind>, before: (bool, usize)) {
        let (in_multi, owed) = before;
        let writes = match kind {
            _ if self.durable() == 0 => return,
            Some(Kind::Write | Kind::WriteUnlessBlock | Kind::Pin(Pin::Blocking | Pin::Unknown)) => {
                !in_multi || {
                    pinned.assures.queue();
                    false
                }
            }
            Some(Kind::Pin(Pin::Exec)) if in_multi => pinned.assures.transaction_ends(),
            Some(Kind::Pin(Pin::Discard)) => {
                pinned.assures.transaction_ends();
                false
            }
            _ => false,
        };
        let expected = pinned.expected.len();
        if writes && expected > owed {
            pinned.assures.sent(expected);
        }
    }

    /// The command is a write, and too few replicas are there for it.
    pub(super) fn is_refused(&self, inner: &mut Inner, pinned: &mut Pinned, arrived: &Arrived<'_>) -> bool {
        let writes = matches!(arrived.kind, Kind::Write | Kind::WriteUnlessBlock)
            || (arrived.kind == Kind::Pin(Pin::Blocking)
                && arrived.spec.is_none_or(|spec| spec.kind != Kind::ReadUnlessBlock));
        let refused = writes && self.lacks_replicas() && self.refuses_write(arrived.raw);
        if refused && !pinned.in_multi {
            inner.end_waiting();
            // The pin was taken for nothing, or is not as it was when its journal began.
            pinned.journal = None;
        }
        refused
    }

    /// A reply, or the beginning of one, is about to be handed on; `begun`: it is the rest of one.
    pub(super) fn before_pinned(&self, inner: &mut Inner, pinned: &Pinned, reply: &[u8], begun: bool) {
        let is_reply = !begun && reply[0] != b'>' && !pinned.expected.is_empty();
        // Nothing was popped, or nothing executed.
        let waits = pinned.blocking || matches!(pinned.expected.front(), Some(Expect::Exec { .. }));
        let nothing = waits && [&b"*-1"[..], b"$-1", b"_"].iter().any(|nil| reply.starts_with(nil));
        if is_reply && pinned.assures.is_next() && reply[0] != b'-' && !nothing {
            let written = self.written(pinned.pin.node, self.context.pool.generation(), 1);
            inner.gate.get_or_insert_default().next = Some(written);
        }
    }

    /// It was handed on; `owed` replies were outstanding before.
    pub(super) fn after_pinned(&self, inner: &mut Inner, pinned: &mut Pinned, owed: usize) {
        if self.durable() > 0 {
            pinned.assures.came(owed.saturating_sub(pinned.expected.len()));
            if let Some(gate) = &mut inner.gate {
                gate.next = None;
            }
            if !pinned.in_piece {
                inner.more_comes(false);
            }
            self.arm(inner);
        }
    }
}

fn leaves_data(arrived: &Arrived<'_>) -> bool {
    crate::command::leaves_data(arrived.frame.name.of(arrived.raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_over_a_pin_are_told_apart_by_number() {
        let mut assures = Assures::default();
        assures.sent(1);
        assert!(assures.is_next());
        // A read behind it, and a write behind that.
        assures.sent(3);
        assures.came(1);
        assert!(!assures.is_next());
        assures.came(1);
        assert!(assures.is_next());
        assures.came(1);
        assert!(!assures.is_next());
        assures.queue();
        assert!(assures.transaction_ends() && !assures.transaction_ends());
    }
}
