//! WAIT and WAITAOF over a connection of the session's own: a write in front gives them something to wait for.

use super::Session;
use super::local::integer;
use super::pinned::{Expect, Pinned};
use crate::command::Pin;
use crate::resp::encode;
use crate::resp::request::arguments;
use crate::topology::{Node, Role, Version};

/// What WAIT is given to wait for: an own connection's WAIT counts from its own last write, and the session's writes
/// went over a lane. A message nobody subscribes to reaches every replica behind all earlier writes.
const WAIT_BARRIER: &[&[u8]] = &[b"PUBLISH", b"redan:barrier", b""];
/// WAITAOF needs a write that is appended to the file; it expires at once.
const WAITAOF_BARRIER: &[&[u8]] = &[b"SET", b"redan:barrier", b"", b"PX", b"1"];

/// How long a WAIT for nobody waits for those who acknowledge at once: tens of times what a replica needs that is there, and
/// still at once for whoever asks how many there are. One that does not say so within this is not counted.
const COUNTING_MS: &str = "50";

impl Session {
    /// Puts a write in front of WAIT, where the server has WAITAOF only if it is asked for.
    pub(super) fn forward_wait(&self, pinned: &mut Pinned, pin: Pin, raw: &[u8]) {
        pinned.blocking = true;
        // It speaks of writes that another master may not have: it is not asked there.
        pinned.from_now = true;
        if let Some(barrier) = self.barrier(pinned, pin) {
            encode::command(&mut pinned.pin.output, barrier);
            pinned.expected.push_back(Expect::Barrier);
        }
        let counting = if pin == Pin::Wait { self.counting(pinned, raw) } else { None };
        pinned.note_as(raw, counting.as_deref().unwrap_or(raw));
        pinned.expected.push_back(Expect::Reply);
    }

    fn barrier(&self, pinned: &Pinned, pin: Pin) -> Option<&'static [&'static [u8]]> {
        if pin == Pin::Wait {
            return Some(WAIT_BARRIER);
        }
        let snapshot = self.context.pool.snapshot();
        let version = snapshot.node(pinned.pin.node).and_then(|node| node.version);
        version.is_none_or(|version| version >= Version(7, 2, 0)).then_some(WAITAOF_BARRIER)
    }

    /// WAIT for no replica tells at once how many have the session's last write. Behind the barrier it would be none, since
    /// nobody has acknowledged that: so it waits a moment for those that are there.
    fn counting(&self, pinned: &Pinned, raw: &[u8]) -> Option<Vec<u8>> {
        let words: Vec<&[u8]> = arguments(raw).collect();
        let &[name, wanted, timeout] = words.as_slice() else {
            return None;
        };
        if integer(wanted)? > 0 || integer(timeout)? < 0 {
            return None;
        }
        let snapshot = self.context.pool.snapshot();
        let follows = |node: &&Node| node.role == Role::Replica && node.parent == Some(pinned.pin.node) && !node.silent;
        let replicas = snapshot.nodes.iter().filter(follows).count().to_string();
        let mut command = Vec::new();
        encode::command(&mut command, &[name, replicas.as_bytes(), COUNTING_MS.as_bytes()]);
        Some(command)
    }
}
