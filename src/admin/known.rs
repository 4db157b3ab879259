//! What is configured now, and what runs by it: groups, listeners and links, each in the order of the configuration.
//!
//! `app` publishes another whenever the configuration becomes another one. Whoever shows or orders something takes one and keeps
//! it until the answer is complete, so that what stands in one answer belongs together.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Crowd, GroupOrders, PausedUntil, Since};
use crate::config::link::Link;
use crate::config::{Config, Group, Listener};
use crate::limits;
use crate::link::LinkCounters;
use crate::metrics::GroupCounters;
use crate::topology::{Snapshot, Testimony};

pub(crate) struct Known {
    pub(crate) config: Arc<Config>,
    pub(crate) groups: Vec<KnownGroup>,
    pub(crate) listeners: Vec<KnownListener>,
    pub(crate) links: Vec<KnownLink>,
}

/// A group that is watched.
#[derive(Clone)]
pub(crate) struct KnownGroup {
    /// By which workers count for it.
    pub(crate) number: usize,
    pub(crate) config: Arc<Group>,
    /// The newest of its snapshots.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// What its Sentinels said last.
    pub(crate) witnesses: Arc<ArcSwap<Vec<Testimony>>>,
    /// When its master changed last, and how often.
    pub(crate) since: Arc<Since>,
    pub(crate) masters: Arc<GroupCounters>,
    pub(crate) paused: Arc<PausedUntil>,
    pub(crate) orders: Arc<GroupOrders>,
}

/// A listener that accepts.
#[derive(Clone)]
pub(crate) struct KnownListener {
    /// By which workers and the acceptor count for it.
    pub(crate) number: usize,
    pub(crate) config: Arc<Listener>,
    /// The name of its group.
    pub(crate) group: String,
    pub(crate) crowd: Arc<dyn Fn() -> Crowd + Send + Sync>,
}

/// A link that runs.
#[derive(Clone)]
pub(crate) struct KnownLink {
    pub(crate) config: Arc<Link>,
    pub(crate) counters: Arc<LinkCounters>,
}

impl KnownGroup {
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }
}

impl KnownListener {
    /// Where workers count for it, unless others share the place.
    pub(super) fn row(&self) -> Option<u8> {
        u8::try_from(self.number).ok().filter(|row| usize::from(*row) < limits::LISTENER_COUNTERS)
    }
}
