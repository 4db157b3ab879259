//! Keeps the snapshot of every group true: probes the nodes, feeds the tracker, publishes what it decides.
//!
//! `app` runs it on a thread and a runtime of its own, because a late probe looks like a dead master. It
//! decides nothing itself and never touches connections of the data path. It changes the group only when it is told to:
//! by `redan promote`, or by the tracker where `failover = "auto"`.

mod connection;
mod delegated;
pub(crate) mod direct;
mod group;
pub(crate) mod order;
pub(crate) mod probe;
mod promoting;
mod rescue;
pub(crate) mod sentinel;
mod switch;

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

pub(crate) use connection::Auth;
pub(crate) use group::tracker;
pub(crate) use rescue::is_heard_by_sentinels;
pub(crate) use switch::Promotion;

use crate::config::Group;
use crate::net::Shortcuts;
use crate::tls::keyring::Keyring;
use crate::topology::{Snapshot, Testimony};

/// The operator wants no reads at a node, or wants them again.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) node: String,
    pub(crate) on: bool,
    /// Told when the snapshot is published that says so; an error is for the operator.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// What is called with each new snapshot.
pub(crate) type Published = Box<dyn Fn(&Arc<Snapshot>) + Send>;

/// One group, and where its snapshots go.
pub(crate) struct GroupControl {
    pub(crate) config: Arc<Group>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) shortcuts: Arc<Shortcuts>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// What each Sentinel said last.
    pub(crate) witnesses: Arc<ArcSwap<Vec<Testimony>>>,
    /// The data path saw a sign of a change (`-READONLY`, a lost connection): look at once.
    pub(crate) look: Arc<Notify>,
    /// Called after each new snapshot, to poke the workers.
    pub(crate) published: Published,
    /// Switches that somebody asks for.
    pub(crate) promotions: mpsc::Receiver<Promotion>,
    /// Nodes that the operator takes out of reads, or puts back.
    pub(crate) drains: mpsc::Receiver<Drain>,
}

/// Runs until `stop` is ready. Returns before that only when a group is watched no longer: a defect, which the caller
/// must not survive in silence.
pub(crate) async fn run(groups: Vec<GroupControl>, stop: impl Future<Output = ()>) {
    let mut tasks = JoinSet::new();
    for group in groups {
        tasks.spawn(group::watch(group));
    }
    tokio::select! {
        () = stop => {}
        // Groups are watched for ever, so a task that ended has panicked.
        Some(_) = tasks.join_next() => {}
    }
    // Dropping the set ends the others, with their probes.
    drop(tasks);
}

#[cfg(test)]
pub(crate) mod tests;
