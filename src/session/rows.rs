//! What the operator is shown of a session or a lane, and which of them he means: plain data, made on the worker's thread.
//!
//! Rows are bounded by the question, so that a worker with ten thousand sessions says no more than was asked for.

use std::time::Instant;

use serde::Serialize;

use super::pinned::{Mode, Pinned};
use super::{Inner, Session};
use crate::backend::lane::{Lane, Purpose};
use crate::backend::pool::Pool;
use crate::metrics::PinReason;

/// One session.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionRow {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) listener: String,
    pub(crate) group: String,
    pub(crate) worker: usize,
    pub(crate) user: String,
    pub(crate) name: String,
    pub(crate) library: String,
    pub(crate) age_seconds: u64,
    pub(crate) idle_seconds: u64,
    /// What it is doing: one of [`STATES`].
    pub(crate) state: &'static str,
    /// Why it has a connection of its own, if it has one.
    pub(crate) pinned_for: Option<&'static str>,
    pub(crate) db: u32,
    pub(crate) resp: u8,
    /// The node whose answer it waits for, or that its own connection leads to.
    pub(crate) node: Option<String>,
    /// Commands that it has sent and that are not answered.
    pub(crate) unanswered: u64,
    /// Its last command.
    pub(crate) command: Option<&'static str>,
    pub(crate) commands: u64,
    pub(crate) subscriptions: usize,
    pub(crate) tls: bool,
    /// What its buffers hold: of commands that it has sent, and of replies that it has not taken.
    pub(crate) input_bytes: usize,
    pub(crate) output_bytes: usize,
}

/// Every state a session can be in; the first that fits is shown.
pub(crate) const STATES: [&str; 12] = [
    // Waits for a master.
    "held",
    // Waits for the end of a pause.
    "paused",
    // Waits at a node, as BLPOP does.
    "blocked",
    "multi",
    "watching",
    "tracking",
    "monitor",
    "subscribed",
    // Has a connection of its own for another reason, or is getting one.
    "pinned",
    "slow",
    "busy",
    "idle",
];

/// Which sessions are meant: all that fit everything that is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) id: Option<u64>,
    /// Begins so.
    pub(crate) address: Option<String>,
    pub(crate) listener: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) db: Option<u32>,
    /// Silent for at least so many seconds.
    pub(crate) idle: Option<u64>,
    /// Rows at most, of each worker.
    pub(crate) limit: usize,
}

/// A connection to a node that sessions share.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LaneRow {
    pub(crate) group: String,
    pub(crate) worker: usize,
    pub(crate) node: String,
    /// `ordered`: writes, and reads behind them; `reads`; `marks`: questions for offsets.
    pub(crate) purpose: &'static str,
    pub(crate) db: u32,
    pub(crate) resp: u8,
    /// It speaks as a client's own user, not as the group's.
    pub(crate) own_user: bool,
    /// `connecting`, `serving` or `ending` (it finishes what it owes and takes nothing new).
    pub(crate) state: &'static str,
    pub(crate) in_flight: usize,
    pub(crate) commands: u64,
    pub(crate) idle_seconds: u64,
    pub(crate) buffer_bytes: u64,
}

impl Session {
    pub(super) fn is_wanted(&self, inner: &Inner, wanted: &Wanted, now: Instant) -> bool {
        let identity = &inner.identity;
        let idle = || now.saturating_duration_since(inner.last_active).as_secs();
        wanted.id.is_none_or(|id| id == self.id)
            && wanted.listener.as_ref().is_none_or(|listener| *listener == self.context.listener().name)
            && wanted.user.as_ref().is_none_or(|user| **user == *identity.user)
            && wanted.name.as_ref().is_none_or(|name| **name == *identity.name)
            && wanted.db.is_none_or(|db| db == inner.dialect.db)
            && wanted.idle.is_none_or(|least| idle() >= least)
            && wanted.state.as_ref().is_none_or(|state| state == self.state(inner))
            && wanted.node.as_ref().is_none_or(|node| self.node_in_use(inner).as_ref() == Some(node))
            && wanted.address.as_ref().is_none_or(|address| identity.peer.remote().starts_with(address))
    }

    pub(super) fn row(&self, inner: &Inner, worker: usize, now: Instant) -> SessionRow {
        let identity = &inner.identity;
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        let (channels, patterns, shards) = inner.subscription_counts();
        SessionRow {
            id: self.id,
            address: identity.peer.remote(),
            listener: self.context.listener().name.clone(),
            group: self.context.pool.group_name().to_owned(),
            worker,
            user: identity.user.to_string(),
            name: identity.name.to_string(),
            library: identity.library.to_string(),
            age_seconds: seconds(identity.since),
            idle_seconds: seconds(inner.last_active),
            state: self.state(inner),
            pinned_for: inner.pinned_for.filter(|_| !matches!(inner.mode, Mode::Plain)).map(PinReason::name),
            db: inner.dialect.db,
            resp: if inner.dialect.resp3 { 3 } else { 2 },
            node: self.node_in_use(inner),
            unanswered: inner.unanswered() as u64,
            command: inner.last.map(|spec| spec.name),
            commands: inner.front + inner.apart,
            subscriptions: channels + patterns + shards,
            tls: self.context.listener().tls.is_some(),
            input_bytes: inner.input.len(),
            output_bytes: inner.output.len(),
        }
    }

    fn state(&self, inner: &Inner) -> &'static str {
        let pinned = inner.own_connection();
        let is = |fits: fn(&Pinned) -> bool| pinned.is_some_and(fits);
        if inner.hold.is_some() {
            "held"
        } else if self.context.pool.pause.is_active() && !inner.input.is_empty() && inner.asking.is_none() {
            "paused"
        } else if inner.waiting.is_some() || is(Pinned::is_blocked) {
            "blocked"
        } else if is(|pinned| pinned.in_multi) || inner.is_in_severed_transaction() {
            "multi"
        } else if is(Pinned::is_watching) {
            "watching"
        } else if inner.tracking.is_some() {
            "tracking"
        } else if is(|pinned| pinned.monitors) {
            "monitor"
        } else if inner.is_subscribed() {
            "subscribed"
        } else if !matches!(inner.mode, Mode::Plain) {
            "pinned"
        } else if !inner.output.is_empty() {
            "slow"
        } else if inner.unanswered() > 0 {
            "busy"
        } else {
            "idle"
        }
    }

    fn node_in_use(&self, inner: &Inner) -> Option<String> {
        let lane = || inner.lane.as_ref().filter(|_| inner.in_lane > 0).map(|lane| lane.key.node);
        let node = inner.own_connection().map(|pinned| pinned.pin.node).or_else(lane)?;
        self.context.pool.snapshot().node(node).map(|node| node.address.to_string())
    }
}

impl Inner {
    /// Commands of the client that are on their way, or whose replies are kept back. One that waits at a node by design is
    /// not counted: it may do so for ever.
    pub(super) fn unanswered(&self) -> usize {
        let own = match &self.mode {
            Mode::Plain | Mode::Connecting(_) => 0,
            Mode::Pinned(pinned) if pinned.is_blocked() => 0,
            Mode::Pinned(pinned) => pinned.expected.len().max(usize::from(!pinned.owes_nothing())),
        };
        let numbered = usize::try_from(self.next - self.front).unwrap_or(usize::MAX);
        numbered + own + usize::from(self.is_keeping_back())
    }

    pub(super) fn waits_at_node(&self) -> bool {
        self.own_connection().is_some_and(Pinned::is_blocked)
    }
}

impl Lane {
    pub(super) fn row(&self, pool: &Pool, worker: usize) -> LaneRow {
        let node = pool.snapshot().node(self.key.node).map(|node| node.address.to_string());
        let numbers = self.numbers();
        LaneRow {
            group: pool.group_name().to_owned(),
            worker,
            node: node.unwrap_or_else(|| "(gone)".to_owned()),
            purpose: match self.key.purpose {
                Purpose::Ordered => "ordered",
                Purpose::Reads => "reads",
                Purpose::Marks => "marks",
            },
            db: self.key.dialect.db,
            resp: if self.key.dialect.resp3 { 3 } else { 2 },
            own_user: !self.key.dialect.is_groups(),
            state: match (numbers.open, self.serves()) {
                (_, false) => "ending",
                (true, true) => "serving",
                (false, true) => "connecting",
            },
            in_flight: self.load(),
            commands: numbers.submitted,
            idle_seconds: numbers.idle_seconds,
            buffer_bytes: numbers.bytes,
        }
    }
}
