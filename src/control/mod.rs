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

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

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

/// The same group in another configuration.
pub(crate) struct Reconfigured {
    pub(crate) config: Arc<Group>,
    pub(crate) keyring: Arc<Keyring>,
}

/// What another configuration changes here. Groups are known by their numbers.
pub(crate) enum Change {
    Add(usize, Box<GroupControl>),
    Update(usize, Reconfigured),
    Drop(usize),
}

/// Runs until `stop` is ready. Returns before that only when a group is watched no longer: a defect, which the caller
/// must not survive in silence.
pub(crate) async fn run(
    groups: Vec<(usize, GroupControl)>,
    mut changes: mpsc::UnboundedReceiver<Change>,
    stop: impl Future<Output = ()>,
) {
    let mut watched = Watched::default();
    groups.into_iter().for_each(|(number, group)| watched.add(number, group));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(change) = changes.recv() => watched.change(change),
            Some(ended) = watched.tasks.join_next() => match ended {
                // It was ended on purpose.
                Err(error) if error.is_cancelled() => {}
                // Groups are watched for ever, so a task that ended has panicked.
                _ => break,
            },
        }
    }
    // Dropping the set ends the others, with their probes.
    drop(watched);
}

/// A group's task, and where it hears of another configuration.
type Watching = (AbortHandle, mpsc::UnboundedSender<Reconfigured>);

#[derive(Default)]
struct Watched {
    tasks: JoinSet<()>,
    /// By the numbers of groups.
    groups: HashMap<usize, Watching>,
}

impl Watched {
    fn add(&mut self, number: usize, group: GroupControl) {
        let (sender, news) = mpsc::unbounded_channel();
        let task = self.tasks.spawn(group::watch(group, news));
        self.groups.insert(number, (task, sender));
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Add(number, group) => self.add(number, *group),
            Change::Update(number, news) => {
                if let Some((_, sender)) = self.groups.get(&number) {
                    // A task that has ended ends the process.
                    let _ = sender.send(news);
                }
            }
            Change::Drop(number) => {
                if let Some((task, _)) = self.groups.remove(&number) {
                    task.abort();
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
