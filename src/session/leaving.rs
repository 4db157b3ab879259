//! A client that goes away while its command is held up: by a pause, or because there is no master.
//!
//! Its socket is not served then, and nobody waits for the answer any more. As servers do with a postponed command, it is
//! never executed: whoever has given up may have sent the same elsewhere.

use std::task::{self, Poll};
use std::time::Instant;

use super::context::Context;
use super::pinned::Mode;
use super::{Inner, Session};
use crate::limits;

impl Inner {
    /// What it is to do next waits for something that may take long, and nothing of it is on its way.
    pub(super) fn is_held_up(&self, context: &Context) -> bool {
        let paused = context.pool.pause.is_active() && !self.input.is_empty() && self.asking.is_none();
        matches!(self.mode, Mode::Plain) && self.in_lane == 0 && (self.hold.is_some() || paused)
    }
}

impl Session {
    /// Reads on, as far as that may wait, only to learn whether the client is there. `true`: something came, or it is not.
    pub(super) fn looks_for_its_client(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> bool {
        if inner.ended_input {
            inner.dead = true;
            return true;
        }
        if inner.input.len() >= limits::GATHERED_COMMAND {
            return false;
        }
        let workspace = &self.context.workspace;
        let mut scratch = workspace.scratch.borrow_mut();
        match inner.stream.poll_read(cx, &mut workspace.cipher.borrow_mut(), &mut scratch) {
            Poll::Pending => false,
            Poll::Ready(Ok(0) | Err(_)) => {
                inner.dead = true;
                true
            }
            Poll::Ready(Ok(n)) => {
                workspace.counters.bytes_in.add(n as u64);
                inner.received += n as u64;
                inner.last_active = Instant::now();
                inner.input.extend_from_slice(&scratch[..n]);
                true
            }
        }
    }
}
