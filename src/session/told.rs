//! What a session tells of a command that was sampled: to the log, or to whoever sends it to a collector.
//!
//! Called where an answer is taken, a command is given back, or Redan answers in a node's place, and there only for commands
//! that are traced. It must never wait, nor hand on a byte that a client wrote.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::context::Context;
use super::{Inner, Peer};
use crate::backend::lane::Purpose;
use crate::backend::recipient::{Judged, Lost, Origin};
use crate::command::table;
use crate::insight::trace::{Outcome, Traced, Way};
use crate::metrics::{OTHERS, PinReason, Stamp, Tag, error_code, error_of};
use crate::topology::NodeId;

/// One sending of a command, or the answer that came instead of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Its number in the session; over a pin it has none.
    pub(super) sequence: Option<u64>,
    pub(super) tag: Tag,
    pub(super) way: Way,
    pub(super) node: Option<NodeId>,
    pub(super) outcome: Outcome,
    pub(super) now: Stamp,
    pub(super) stalled: u32,
    pub(super) bytes: u64,
    /// The client gets this; otherwise the command is sent again.
    pub(super) whole: bool,
}

/// Why a connection had no reply to a command.
pub(super) const LATE: Outcome = Outcome::Lost("late");
pub(super) const BROKEN: Outcome = Outcome::Lost("connection_lost");
pub(super) const TORN: Outcome = Outcome::Lost("reply_torn");

pub(super) fn outcome_of(error: Option<&'static str>) -> Outcome {
    error.map_or(Outcome::Answered, Outcome::Refused)
}

impl Inner {
    /// What took the command that is answered now.
    pub(super) fn way(&self, sequence: Option<u64>) -> Way {
        match (&self.lane, sequence) {
            (Some(lane), Some(_)) if lane.key.purpose == Purpose::Ordered => Way::Ordered,
            (_, Some(_)) => Way::Reads,
            (_, None) => Way::Pin(self.pinned_for.map_or("", PinReason::name)),
        }
    }

    /// A connection had no reply for the command.
    pub(super) fn tell_lost(&self, context: &Context, lost: &Lost<'_>, outcome: Outcome, whole: bool) {
        if !lost.tag.traced {
            return;
        }
        let (sequence, node) = (Some(lost.sequence), self.lane.as_ref().map(|lane| lane.key.node));
        let (way, now) = (self.way(sequence), Stamp::now());
        self.tell(context, &Told { sequence, tag: lost.tag, way, node, outcome, now, stalled: 0, bytes: 0, whole });
    }

    /// A node's answer to a command that it refused, or that stood behind one.
    pub(super) fn tell_judged(&self, context: &Context, origin: Origin, judged: &Judged<'_>, whole: bool) {
        let (sequence, bytes) = (Some(judged.sequence), judged.reply.len() as u64);
        let (way, now) = (self.way(sequence), Stamp::now());
        let (node, outcome) = (Some(origin.node), outcome_of(error_of(judged.reply)));
        self.tell(context, &Told { sequence, tag: judged.tag, way, node, outcome, now, stalled: 0, bytes, whole });
    }

    /// Redan answers with an error in these words, and no node does.
    pub(super) fn tell_refused(&self, context: &Context, sequence: u64, tag: Tag, words: &str) {
        if !tag.traced {
            return;
        }
        let outcome = Outcome::Refused(error_code(format!("-{words}").as_bytes()));
        let (sequence, now) = (Some(sequence), Stamp::now());
        let told =
            Told { sequence, tag, way: Way::Nowhere, node: None, outcome, now, stalled: 0, bytes: 0, whole: true };
        self.tell(context, &told);
    }

    /// To be called for commands that are traced.
    #[cold]
    pub(super) fn tell(&self, context: &Context, told: &Told) {
        let workspace = &context.workspace;
        let (tag, total) = (told.tag, told.now.since(told.tag.arrived));
        // What was never handed to a connection has waited all the time.
        let waited = if told.node.is_some() { tag.submitted.since(tag.arrived).min(total) } else { total };
        let snapshot = context.pool.snapshot();
        let traced = Traced {
            ids: workspace.insight.borrow_mut().ids(self.identity.id, told.sequence),
            whole: told.whole,
            command: table::name_of(tag.row),
            listener: context.listener().name.clone(),
            group: context.pool.group_name().to_owned(),
            database: self.dialect.db,
            way: told.way,
            client: match self.identity.peer {
                Peer::Tcp { remote, .. } => Some(remote),
                Peer::Unix { .. } => None,
            },
            node: told.node.map(|id| snapshot.node(id).map_or_else(|| Arc::from(GONE), |node| node.address.clone())),
            outcome: told.outcome,
            ended_us: wall_clock(told.now),
            total_us: total.into(),
            waited_us: waited.into(),
            held: self.held_within(told),
            stalled_us: told.stalled.min(total - waited).into(),
            bytes: told.bytes,
        };
        match &workspace.outlet {
            None => log(&traced),
            Some(outlet) => {
                if !outlet.takes(traced) {
                    workspace.counters.traces_dropped.increment();
                }
            }
        }
    }

    /// From when to when the command waited for a master before this sending, in microseconds from its arrival. The session
    /// remembers its last hold alone, which was another's unless it ended where this command went on.
    fn held_within(&self, told: &Told) -> Option<(u64, u64)> {
        let (from, to) = **self.last_hold.as_ref()?;
        // All as microseconds before now, which does not begin anew every hour as stamps do.
        let now = Instant::now();
        let ago = |then: Instant| now.saturating_duration_since(then).as_micros() as u64;
        let (arrived, submitted) = (Stamp::of(now).since(told.tag.arrived), Stamp::of(now).since(told.tag.submitted));
        let (arrived, submitted) = (u64::from(arrived), u64::from(submitted));
        let (from, to) = (ago(from), ago(to));
        let own = match told.way {
            // It was taken up again, waited no more, and was sent.
            Way::Ordered | Way::Reads => from >= submitted && to <= submitted + SLACK,
            // The connection was made in between.
            Way::Pin(_) => to >= submitted && to <= arrived,
            Way::Nowhere => to <= submitted + SLACK && to <= arrived,
        };
        // A lane is handed the command a moment before its session says that the hold is over.
        let over = if told.node.is_some() { to.max(submitted) } else { to };
        own.then(|| (arrived.saturating_sub(from), arrived.saturating_sub(over)))
    }
}

/// Microseconds since 1970 at this stamp, which is not long ago. So what several lanes and attempts tell of fits together.
fn wall_clock(stamp: Stamp) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    now.saturating_sub(Stamp::now().since(stamp).into())
}

/// Stamps and instants are cut to microseconds at different places.
const SLACK: u64 = 2;

/// A node that answered and has left its group since.
const GONE: &str = "gone";

fn log(traced: &Traced) {
    let error = match traced.outcome {
        Outcome::Answered => None,
        Outcome::Refused(code) => Some(code),
        Outcome::Lost(why) => Some(why),
    };
    tracing::info!(
        target: "redan::trace",
        listener = traced.listener.as_str(),
        command = traced.command.unwrap_or(OTHERS),
        node = traced.node.as_deref().unwrap_or_default(),
        wait_us = traced.waited_us,
        hold_us = traced.held.map_or(0, |(from, to)| to - from),
        node_us = traced.total_us - traced.waited_us - traced.stalled_us,
        client_us = traced.stalled_us,
        bytes = traced.bytes,
        error,
        "a command"
    );
}
