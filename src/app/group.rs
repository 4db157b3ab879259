//! A group as each thread needs it: workers, control, admin.
//!
//! Made by `start` and `reload`, for a group that was not there before.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::Shared;
use super::orders::{self, Askers};
use crate::admin::KnownGroup;
use crate::backend::acknowledged::Acknowledged;
use crate::backend::dial::Dialer;
use crate::backend::hub::registry::Registry;
use crate::backend::pool::{GroupSetup, GroupView};
use crate::backend::scripts::Scripts;
use crate::config::Group;
use crate::control::{GroupControl, Published};
use crate::events::{Moves, Tally};
use crate::metrics::{LastMaster, WorkerCounters};
use crate::net::Shortcuts;
use crate::tls::keyring::Keyring;
use crate::topology::Snapshot;
use crate::worker::{Bell, Mailbox};

pub(super) struct NewGroup {
    pub(super) setup: GroupSetup,
    pub(super) control: (usize, GroupControl),
    pub(super) known: KnownGroup,
    /// Who takes orders about it.
    pub(super) askers: Askers,
}

impl NewGroup {
    pub(super) fn make(
        number: usize,
        group: &Arc<Group>,
        keyring: &Arc<Keyring>,
        shortcuts: &Arc<Shortcuts>,
        workers: &[Mailbox],
        shared: &Shared,
    ) -> Self {
        let (askers, promotions, drains) = orders::askers();
        let known = KnownGroup {
            number,
            config: Arc::clone(group),
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::unknown())),
            witnesses: Arc::default(),
            since: Arc::default(),
            masters: Arc::default(),
            paused: Arc::default(),
            orders: Arc::new(askers.orders(group, keyring, shortcuts)),
        };
        let view = GroupView {
            index: number,
            name: group.name.as_str().into(),
            published: Arc::clone(&known.snapshot),
            look: Arc::new(Notify::new()),
            acknowledged: Acknowledged::default(),
            registry: Registry::default(),
            scripts: Scripts::default(),
        };
        let control = GroupControl {
            config: Arc::clone(group),
            keyring: Arc::clone(keyring),
            shortcuts: Arc::clone(shortcuts),
            snapshot: Arc::clone(&known.snapshot),
            witnesses: Arc::clone(&known.witnesses),
            look: Arc::clone(&view.look),
            published: published(&known, workers, shared),
            promotions,
            drains,
        };
        let dialer = Arc::new(Dialer::new(Arc::clone(group), Arc::clone(keyring), Arc::clone(shortcuts)));
        Self { setup: GroupSetup { view, dialer }, control: (number, control), known, askers }
    }
}

/// What follows from each new snapshot.
fn published(known: &KnownGroup, workers: &[Mailbox], shared: &Shared) -> Published {
    let bells: Vec<Bell> = workers.iter().map(|worker| worker.bell(known.number)).collect();
    let (since, masters, started) = (Arc::clone(&known.since), Arc::clone(&known.masters), shared.started);
    let (last, moves) = (RefCell::new(LastMaster::default()), RefCell::new(Moves::default()));
    let (counters, group) = (shared.counters.clone(), known.config.name.clone());
    Box::new(move |snapshot| {
        since.note(snapshot.epoch, started.elapsed());
        let master = snapshot.master().map(|node| &*node.address);
        if let Some(event) = last.borrow_mut().becomes(master) {
            masters.of(event).increment();
        }
        let told = moves.borrow_mut().see(started.elapsed(), master, &snapshot.reason, tally(&counters));
        if let Some(words) = told {
            tracing::warn!(group, "{words}");
        }
        bells.iter().for_each(Bell::ring);
    })
}

/// What all workers have counted of clients that had to wait.
fn tally(workers: &[Arc<WorkerCounters>]) -> Tally {
    workers.iter().fold(Tally::default(), |sum, worker| Tally {
        waits: sum.waits.wrapping_add(worker.holds_total.get()),
        expired: sum.expired.wrapping_add(worker.holds_expired.get()),
        in_doubt: sum.in_doubt.wrapping_add(worker.in_doubt.get()),
    })
}
