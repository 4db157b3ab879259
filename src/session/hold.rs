//! Waiting for a group that cannot be served: bounded by the listener's `hold`, ended by any change.

use std::future::Future;
use std::pin::Pin;
use std::task;
use std::time::Instant;

use super::holding::{Exhausted, Share};
use super::{Flow, Inner, Session};
use crate::limits;
use crate::route;
use crate::topology::Flavor;

/// A timer, made only when a session must wait.
pub(super) type Sleeping = Pin<Box<tokio::time::Sleep>>;

pub(super) struct Hold {
    timer: Sleeping,
    pub(super) since: Instant,
    pub(super) share: Share,
}

impl Session {
    /// The session's next command cannot be routed now. `Again` once it has waited as long as it may, or at once where no
    /// more may wait or a script is what they would wait for: the caller then answers with [`Self::hold_error`].
    pub(super) fn hold(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        if self.context.pool.snapshot().busy {
            self.end_hold(inner);
            return Flow::Again;
        }
        self.hold_for_any_reason(inner, cx)
    }

    /// The same for the one command that a busy server listens to: the end of the script.
    pub(super) fn hold_for_any_reason(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        let counters = &self.context.workspace.counters;
        self.exhausted.set(None);
        let hold = match &mut inner.hold {
            Some(hold) => hold,
            none => match self.begin_hold() {
                Ok(hold) => none.insert(Box::new(hold)),
                Err(exhausted) => {
                    match exhausted {
                        Exhausted::Sessions(_) => &counters.holds_refused_sessions,
                        Exhausted::Bytes(_) => &counters.holds_refused_bytes,
                    }
                    .increment();
                    self.exhausted.set(Some(exhausted));
                    return Flow::Again;
                }
            },
        };
        if hold.timer.as_mut().poll(cx).is_ready() {
            counters.holds_expired.increment();
            self.end_hold(inner);
            return Flow::Again;
        }
        self.context.pool.wait_for_change(cx.waker());
        Flow::Wait
    }

    fn begin_hold(&self) -> Result<Hold, Exhausted> {
        let listener = &self.context.listener();
        let share = self.context.holding.enter(&listener.hold_budget)?;
        let counters = &self.context.workspace.counters;
        counters.holds_total.increment();
        counters.holds_now.increment();
        let since = Instant::now();
        // What the group has been missing for long is not waited for again by every command.
        let missing_since = self.context.pool.unserved_since().unwrap_or(since);
        let timer = Box::pin(tokio::time::sleep_until((missing_since + listener.hold).into()));
        Ok(Hold { timer, since, share })
    }

    pub(super) fn end_hold(&self, inner: &mut Inner) {
        self.exhausted.set(None);
        if let Some(hold) = inner.hold.take() {
            let counters = &self.context.workspace.counters;
            let now = Instant::now();
            counters.hold_us.add(now.saturating_duration_since(hold.since).as_micros() as u64);
            inner.last_hold = Some(Box::new((hold.since, now)));
            counters.holds_now.decrement();
        }
    }

    /// What a command is answered that was never sent. Clients retry on LOADING.
    pub(super) fn hold_error(&self) -> String {
        let pool = &self.context.pool;
        let waited = pool.unserved_since().map_or(self.context.listener().hold, |since| since.elapsed());
        let snapshot = pool.snapshot();
        if snapshot.busy {
            let server = match self.context.edition().flavor {
                Flavor::Redis => "Redis",
                Flavor::Valkey => "Valkey",
            };
            return format!(
                "BUSY {server} is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            );
        }
        let failure = pool.last_failure();
        let (problem, reason) = match snapshot.master() {
            None => (format!("has had no master for group '{}'", pool.group_name()), &*snapshot.reason),
            Some(master) => (
                format!("has not reached {}, the master of group '{}',", master.address, pool.group_name()),
                failure.as_str(),
            ),
        };
        let seconds = waited.as_secs_f64();
        match self.exhausted.get() {
            None => format!("LOADING Redan {problem} for {seconds:.1} s: {reason}"),
            Some(Exhausted::Sessions(limit)) => format!(
                "LOADING Redan {problem} for {seconds:.1} s, and as many clients wait as may (hold_sessions = {limit}): {reason}"
            ),
            Some(Exhausted::Bytes(limit)) => format!(
                "LOADING Redan {problem} for {seconds:.1} s, and clients that wait hold as much as they may (hold_bytes = {limit}): {reason}"
            ),
        }
    }

    /// The session is kept from replicas only because it goes on reading from the master: after a while it waits for
    /// a mark, a few milliseconds, and then reads from a replica. Bounded, since a replica may be further behind than that:
    /// then the session tries again after twice as many reads.
    pub(super) fn waits_for_mark(&self, inner: &mut Inner, route: &route::ReadRoute, cx: &task::Context<'_>) -> bool {
        if !route.wanted_mark {
            inner.kept_from_replicas = 0;
            return false;
        }
        inner.kept_from_replicas += 1;
        if !route.only_sight || inner.kept_from_replicas < inner.patience {
            self.context.pool.want_mark();
            return false;
        }
        if inner.kept_from_replicas >= inner.patience + ROUNDS {
            inner.kept_from_replicas = 0;
            inner.patience = (inner.patience * 2).min(limits::LONGEST_PATIENCE);
            return false;
        }
        self.context.pool.wait_for_mark(cx.waker());
        true
    }

    /// The session could choose among more nodes if a mark proved them: now and then it waits for one, so that sessions
    /// spread again after a node was away, or after a write took them to the master.
    pub(super) fn waits_to_choose(&self, inner: &mut Inner, route: &route::ReadRoute, cx: &task::Context<'_>) -> bool {
        let long_ago = inner.last_active.saturating_duration_since(inner.chosen_at) >= limits::CHOOSE_AGAIN;
        if long_ago && route.wanted_mark && inner.choosing < ROUNDS {
            inner.choosing += 1;
            self.context.pool.wait_for_mark(cx.waker());
            return true;
        }
        if long_ago {
            inner.chosen_at = inner.last_active;
            inner.choosing = 0;
        }
        false
    }
}

/// Rounds of questions that a session waits for.
const ROUNDS: u32 = 3;
