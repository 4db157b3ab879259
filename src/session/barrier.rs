//! WAIT and WAITAOF over a connection of the session's own: a write in front gives them something to wait for.

use super::Session;
use super::pinned::{Expect, Pinned};
use crate::command::Pin;
use crate::resp::encode;
use crate::topology::Version;

/// What WAIT is given to wait for: an own connection's WAIT counts from its own last write, and the session's writes
/// went over a lane. A message nobody subscribes to reaches every replica behind all earlier writes (`semantics` §6).
const WAIT_BARRIER: &[&[u8]] = &[b"PUBLISH", b"redan:barrier", b""];
/// WAITAOF needs a write that is appended to the file; it expires at once.
const WAITAOF_BARRIER: &[&[u8]] = &[b"SET", b"redan:barrier", b"", b"PX", b"1"];

impl Session {
    /// Puts a write in front of WAIT, where the server has WAITAOF only if it is asked for.
    pub(super) fn put_barrier(&self, pinned: &mut Pinned, pin: Pin) {
        pinned.blocking = true;
        // It speaks of writes that another master may not have: it is not asked there.
        pinned.from_now = true;
        let barrier = if pin == Pin::Wait {
            WAIT_BARRIER
        } else {
            let snapshot = self.context.pool.snapshot();
            let version = snapshot.node(pinned.pin.node).and_then(|node| node.version);
            if version.is_some_and(|version| version < Version(7, 2, 0)) {
                return;
            }
            WAITAOF_BARRIER
        };
        encode::command(&mut pinned.pin.output, barrier);
        pinned.expected.push_back(Expect::Barrier);
    }
}
