//! Messages that are no reply, handed to a session by another task: between two replies, never in the middle of one.

use super::{Inner, Session};
use crate::limits;

impl Session {
    /// `bytes` are complete and in the session's protocol. CLIENT REPLY does not silence them.
    pub(super) fn deliver(&self, bytes: &[u8]) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else {
            return;
        };
        let inner = &mut *inner;
        if inner.mid_reply {
            let deferred = inner.deferred.get_or_insert_default();
            deferred.extend_from_slice(bytes);
            // As for replies that wait.
            inner.dead |= deferred.len() > limits::OUTPUT_CLOSE;
        } else {
            let muted = std::mem::take(&mut inner.muted);
            inner.emit(bytes, &self.context);
            inner.muted = muted;
        }
        if inner.wants_turn() {
            self.wake();
        }
    }
}

impl Inner {
    /// Part of a reply has gone to the client, or its end.
    pub(super) fn mid_reply(&mut self, mid_reply: bool, session: &Session) {
        self.mid_reply = mid_reply;
        if !mid_reply && let Some(deferred) = self.deferred.take() {
            let muted = std::mem::take(&mut self.muted);
            self.emit(&deferred, &session.context);
            self.muted = muted;
        }
    }
}
