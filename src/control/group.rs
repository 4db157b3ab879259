//! One group: a task per node asks, this task hands the answers to the tracker and does what it says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::GroupControl;
use super::probe::Probe;
use crate::config::Group;
use crate::topology::member::FailureKind;
use crate::topology::tracker::{Action, Event, Level, Tracker};

/// While there is no master every node is asked this often: a promotion is seen within one interval, and a
/// hundred writes a second held for 75 ms are eight commands.
const SEARCHING: Duration = Duration::from_millis(75);

/// Signs of a change come in bursts, one per session; the nodes are asked at most this often, and a node that
/// closes every connection is not dialled more often either.
const LOOK_SPACING: Duration = Duration::from_millis(10);

/// What tells every node's task when to ask again. A change of it means: now.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
    looks: u64,
}

/// Watches the group for ever.
pub(super) async fn watch(control: GroupControl) {
    let seeds = control.config.seeds.iter().map(|seed| seed.address.clone());
    let tracker = Tracker::new(seeds, Instant::now());
    let (pace, _) = watch::channel(Pace { interval: SEARCHING, looks: 0 });
    // Each node has one answer under way at most, and the tracker bounds the nodes.
    let (events, mut arrived) = mpsc::channel(64);
    let mut watch = Watch { control, tracker, pace, events, tasks: JoinSet::new(), nodes: HashMap::new() };
    for address in watch.tracker.addresses().cloned().collect::<Vec<_>>() {
        watch.begin(address);
    }
    let mut looked = Instant::now();
    let mut wanted = false;
    loop {
        let next_look = tokio::time::Instant::from_std(looked + LOOK_SPACING);
        tokio::select! {
            Some(event) = arrived.recv() => watch.handle(event),
            Some(ended) = watch.tasks.join_next() => watch.revive(ended),
            () = watch.control.look.notified(), if !wanted => wanted = true,
            () = tokio::time::sleep_until(next_look), if wanted => {
                (wanted, looked) = (false, Instant::now());
                watch.pace.send_modify(|pace| pace.looks += 1);
            }
        }
    }
}

struct Watch {
    control: GroupControl,
    tracker: Tracker,
    pace: watch::Sender<Pace>,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    nodes: HashMap<Arc<str>, AbortHandle>,
}

impl Watch {
    fn begin(&mut self, address: Arc<str>) {
        let asking = ask_for_ever(
            Probe::new(address.clone(), &self.control.config, &self.control.keyring),
            address.clone(),
            self.control.config.clone(),
            self.pace.subscribe(),
            self.events.clone(),
        );
        if let Some(before) = self.nodes.insert(address, self.tasks.spawn(asking)) {
            before.abort();
        }
    }

    fn handle(&mut self, event: Event) {
        for action in self.tracker.handle(Instant::now(), event) {
            match action {
                Action::Probe(address) => self.begin(address),
                Action::Forget(address) => {
                    if let Some(task) = self.nodes.remove(&address) {
                        task.abort();
                    }
                }
                Action::Publish(snapshot) => {
                    self.control.snapshot.store(snapshot.clone());
                    (self.control.published)(&snapshot);
                }
                Action::Say(level, text) => say(&self.control.config.name, level, &text),
            }
        }
        let usual = self.control.config.probe_interval;
        let interval = if self.tracker.has_master() { usual } else { usual.min(SEARCHING) };
        self.pace.send_if_modified(|pace| {
            let changed = pace.interval != interval;
            pace.interval = interval;
            changed
        });
    }

    /// A probe never ends by itself. If one panicked, its node would go unwatched: begin it anew.
    fn revive(&mut self, ended: Result<(), JoinError>) {
        let Err(error) = ended else { return };
        if error.is_cancelled() {
            return;
        }
        let address = self.nodes.iter().find(|(_, task)| task.id() == error.id()).map(|(address, _)| address.clone());
        if let Some(address) = address {
            tracing::error!(group = %self.control.config.name, "the probe of {address} failed inside Redan and is restarted: {error}");
            self.begin(address);
        }
    }
}

fn say(group: &str, level: Level, text: &str) {
    match level {
        Level::Info => tracing::info!(group, "{text}"),
        Level::Warn => tracing::warn!(group, "{text}"),
        Level::Error => tracing::error!(group, "{text}"),
    }
}

/// Asks one node again and again, as the pace says.
async fn ask_for_ever(
    mut probe: Probe,
    address: Arc<str>,
    group: Arc<Group>,
    mut pace: watch::Receiver<Pace>,
    events: mpsc::Sender<Event>,
) {
    loop {
        let mut least = Duration::ZERO;
        pace.mark_unchanged();
        let event = match probe.ask().await {
            Ok(answer) => Event::Observed {
                address: address.clone(),
                observation: Box::new(answer.observation),
                round_trip: answer.round_trip,
            },
            Err(failure) => {
                // Asking faster does not mend a password, but it fills the server's log.
                if matches!(failure.kind, FailureKind::Auth | FailureKind::NoPermission | FailureKind::Tls) {
                    least = group.probe_interval;
                }
                Event::Failed { address: address.clone(), failure }
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
        tokio::time::sleep(least).await;
        let interval = pace.borrow().interval;
        // Either the interval passes, or somebody wants to know now, or the node closed the connection.
        tokio::select! {
            _ = tokio::time::timeout(interval.saturating_sub(least), pace.changed()) => {}
            () = probe.disturbed() => tokio::time::sleep(LOOK_SPACING).await,
        }
    }
}
