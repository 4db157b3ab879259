//! How a session ends without its client's doing: it is idle or slow for too long, or its task is dropped.

use std::rc::Rc;
use std::time::Instant;

use super::Session;
use super::output::Output;
use super::pinned::Mode;

impl Session {
    /// Called about once a second: closes clients that are idle too long or take their replies too slowly.
    pub(crate) fn tick(&self, now: Instant) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else {
            return;
        };
        let idle = now.saturating_duration_since(inner.last_active);
        let idle_too_long = self.context.listener.idle_timeout.is_some_and(|limit| idle >= limit);
        self.close_if_slow(&mut inner, now);
        let stalled = inner.output.is_stalled(now, inner.is_subscribed());
        if stalled {
            self.context.workspace.counters.slow_clients_closed.increment();
            tracing::warn!("closed client {}: it does not take its replies", inner.identity.peer.remote());
        }
        let waits = inner.is_subscribed() || self.context.pool.pause.is_active();
        let idle_too_long = idle_too_long && !waits && inner.owes_nothing() && matches!(inner.mode, Mode::Plain);
        inner.dead |= stalled || inner.is_revoked() || idle_too_long;
        if inner.dead {
            self.wake();
        }
    }
}

/// However the task ends, also by a panic: replies that still come for the session go nowhere.
pub(super) struct EndOnDrop(pub(super) Rc<Session>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.0.inner.try_borrow_mut() {
            inner.dead = true;
            inner.mode = Mode::Plain;
            inner.lane = None;
            inner.tracking = None;
            self.0.leave_all(&mut inner);
            inner.login = None;
            inner.asked = None;
            inner.output = Output::default();
            self.0.end_hold(&mut inner);
        }
    }
}
