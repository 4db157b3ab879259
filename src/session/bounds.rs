//! When a session is closed for what its client does not do: take its replies, or say anything.
//!
//! Looked at when more waits for the client, and once a second. How much all sessions hold together is `held.rs`.

use std::time::{Duration, Instant};

use super::context::Context;
use super::pinned::Mode;
use super::{Inner, Session};
use crate::config::ClientClass;
use crate::limits;

impl Session {
    /// Called about once a second: closes clients that are idle too long or take their replies too slowly.
    pub(crate) fn tick(&self, now: Instant) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else {
            return;
        };
        if inner.output.is_stalled(now, inner.is_subscribed()) {
            inner.close_as_slow(&self.context, "it does not take its replies");
        } else if !inner.output.is_empty() || inner.deferred() > 0 {
            // A soft limit may be passed by time alone.
            inner.more_waits(&self.context);
        }
        let idle_too_long = self.context.listener().idle_timeout.is_some_and(|limit| {
            if self.context.pool.pause.is_active() || !inner.may_idle_out() {
                inner.waited_until = now;
            }
            now.saturating_duration_since(inner.last_active.max(inner.waited_until)) >= limit
        });
        if inner.dead || inner.is_revoked() || idle_too_long {
            inner.dead = true;
            self.wake();
        }
        // Nothing is lost with a watch: its client begins again elsewhere, as it does when a watched key has changed.
        let quiet = now.saturating_duration_since(inner.last_active) >= limits::WATCH_AT_DRAIN;
        let waits_for_client = matches!(inner.mode, Mode::Plain)
            && self.context.workspace.patient.get()
            && !self.will_depart(&inner)
            && inner.owes_nothing()
            && inner.output.is_empty();
        if quiet
            && self.context.is_leaving()
            && (inner.mode.only_watches() || waits_for_client)
            && inner.input.is_empty()
        {
            inner.closing = true;
            self.wake();
        }
    }
}

impl Session {
    /// How long it has been waiting for a master.
    pub(crate) fn held_for(&self, now: Instant) -> Duration {
        let inner = self.inner.try_borrow();
        let since = inner.ok().and_then(|inner| Some(inner.hold.as_ref()?.since));
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl Inner {
    /// It waits for its client alone. As in Redis a client that blocks, has subscriptions or watches with MONITOR may be
    /// silent for ever, and one in the middle of a transaction may not; a wait of Redan's own is not the client's fault.
    fn may_idle_out(&self) -> bool {
        let waits_for_redan =
            self.hold.is_some() || self.pause.is_some() || self.penance.is_some() || self.asked.is_some();
        let waits_for_messages = self.subscriptions.is_some() || !self.mode.may_idle_out();
        self.owes_nothing()
            && !self.is_keeping_back()
            && !waits_for_redan
            && !waits_for_messages
            && self.output.is_empty()
    }

    /// More waits for the client than did before: it is closed when that is too much, for it or for the process.
    pub(super) fn more_waits(&mut self, context: &Context) {
        let class = if self.is_subscribed() { ClientClass::Pubsub } else { ClientClass::Normal };
        let listener = context.listener();
        let limit = listener.output_limit.of(class);
        let waiting = self.output.len() + self.stash.replies() + self.deferred() + self.kept_of_one();
        if !self.dead && limit.is_over(waiting, self.output.over_soft_limit(), Instant::now) {
            let what = if class == ClientClass::Pubsub { "messages" } else { "replies" };
            self.close_as_slow(context, &format!("{waiting} bytes of {what} wait for it"));
        }
        self.account(context);
    }

    fn close_as_slow(&mut self, context: &Context, why: &str) {
        context.workspace.counters.slow_clients_closed.increment();
        tracing::warn!("closed client {}: {why}", self.identity.peer.remote());
        self.dead = true;
    }
}
