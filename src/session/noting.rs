//! What a session tells of its commands: to the counters, the slow log, the hot keys, the large replies and the trace.
//!
//! On the path of a command stand [`Session::tag`] and one look at whether keys are counted; all else here runs for the few
//! commands that are worth a note. Nothing here may keep or print what [`words::shown`] would hide.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::plan::{Arrived, Item};
use super::told::{self, Told};
use super::{Inner, Session};
use crate::backend::recipient::Noted;
use crate::command::table;
use crate::insight::large::Large;
use crate::insight::slow::Slow;
use crate::insight::words;
use crate::metrics::{OTHERS, Stamp, Tag};
use crate::topology::NodeId;

impl Inner {
    /// The client has sent something that is routed now.
    pub(super) fn came(&mut self, now: Instant) {
        self.last_active = now;
        self.arrived = Stamp::of(now);
        self.turned = self.arrived;
    }
}

impl Session {
    /// For a command that is about to be handed to a lane.
    #[inline]
    pub(super) fn tag(&self, inner: &Inner, row: u16) -> Tag {
        let workspace = &self.context.workspace;
        let traced = workspace.traces.get() && workspace.insight.borrow_mut().traces();
        Tag { row, listener: self.context.number, arrived: inner.arrived, submitted: inner.turned, traced }
    }

    /// A command that Redan answered, or took up by itself.
    pub(super) fn count_alone(&self, arrived: &Arrived<'_>) {
        self.context.counters().commands.increment();
        self.context.counted_here(arrived.row());
    }

    /// Counts the keys of a batch, if somebody wants that.
    #[inline]
    pub(super) fn note_keys(&self, items: &[Item], buf: &[u8]) {
        let mut insight = self.context.workspace.insight.borrow_mut();
        let Some(hot) = insight.hot() else { return };
        for item in items {
            if hot.samples()
                && let Some(place) = table::first_key(item.row)
                && let Some(key) = words::nth(&buf[item.start..item.start + item.len], place)
            {
                hot.count(key, item.part == super::plan::Part::Write);
            }
        }
    }

    /// An answer of `node` took long, is large or is traced.
    #[cold]
    pub(super) fn note(&self, inner: &Inner, node: NodeId, noted: &Noted<'_>) {
        let workspace = &self.context.workspace;
        let counters = &workspace.counters;
        let micros = noted.now.since(noted.tag.arrived);
        let address = || {
            let snapshot = self.context.pool.snapshot();
            snapshot.node(node).map_or_else(String::new, |node| node.address.to_string())
        };
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let client = || inner.identity.peer.remote();
        let mut insight = workspace.insight.borrow_mut();
        let waited = noted.tag.submitted.since(noted.tag.arrived);
        let at_node = micros - waited;
        let stalled = noted.stalled.min(at_node);
        if counters.notable.is_slow(micros) {
            counters.slow_commands.increment();
            if insight.slow.takes() {
                insight.slow.push(Slow {
                    id: 0,
                    at_ms,
                    micros: micros.into(),
                    waited_us: waited.into(),
                    node_us: (at_node - stalled).into(),
                    client_us: stalled.into(),
                    words: words::shown(noted.request),
                    node: address(),
                    listener: self.context.listener().name.clone(),
                    user: inner.identity.user.to_string(),
                    client: client(),
                    client_name: inner.identity.name.to_string(),
                    bytes: noted.bytes,
                });
            }
        }
        if counters.notable.is_big(noted.bytes) {
            counters.big_replies.increment();
            let mut shown = words::shown(noted.request);
            let key = table::first_key(noted.tag.row).filter(|place| *place < shown.len());
            let key = key.map_or_else(Vec::new, |place| shown.swap_remove(place));
            let command = table::name_of(noted.tag.row).unwrap_or(OTHERS).into();
            let (bytes, node, client) = (noted.bytes, address(), client());
            insight.large.push(Large { command, key, bytes, count: 1, node, at_ms, client });
        }
        drop(insight);
        if noted.tag.traced && !noted.pending {
            let Noted { sequence, tag, now, stalled, bytes, error, .. } = *noted;
            let (way, outcome) = (inner.way(sequence), told::outcome_of(error));
            let node = Some(node);
            inner.tell(&self.context, &Told { sequence, tag, way, node, outcome, now, stalled, bytes, whole: true });
        }
    }
}
