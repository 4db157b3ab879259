//! One group: a task per node and per Sentinel asks, this task hands the answers to the tracker and does what it says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::probe::Probe;
use super::promoting::Promoting;
use super::rescue::carry_out;
use super::sentinel;
use super::{Drain, GroupControl, Reconfigured};
use crate::config::Group;
use crate::topology::address::Places;
use crate::topology::member::FailureKind;
use crate::topology::tracker::{Action, Event, Level, Settings, Tracker};

/// While there is no master every node is asked this often: a promotion is seen within one interval, and a
/// hundred writes a second held for 75 ms are eight commands.
const SEARCHING: Duration = Duration::from_millis(75);

/// Signs of a change come in bursts, one per session; the nodes are asked at most this often, and a node that
/// closes every connection is not dialled more often either.
const LOOK_SPACING: Duration = Duration::from_millis(10);

/// A Sentinel that says something starts a search of this length although there is a master: from `+sdown` to the
/// promotion it takes a second or two, and each of its messages begins the time anew.
const STIRRED: Duration = Duration::from_secs(5);

/// What tells every node's and Sentinel's task when to ask again. A change of it means: now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// There is no master, or something is going on.
    pub(super) searching: bool,
    looks: u64,
}

/// A tracker of the group as it is configured.
pub(crate) fn tracker(config: &Group) -> Tracker {
    let seeds = config.seeds.iter().map(|seed| seed.address.clone());
    let sentinels = config.sentinel.iter().flat_map(|sentinel| sentinel.addresses.iter().cloned());
    let places = Places::new(config.map.iter().map(|mapped| (&mapped.announced, &mapped.dialled)));
    Tracker::new(seeds, Instant::now()).with_places(places).with_sentinels(sentinels)
}

/// Watches the group for ever, as it is configured and as `news` says later.
pub(super) async fn watch(control: GroupControl, mut news: mpsc::UnboundedReceiver<Reconfigured>) {
    let tracker = tracker(&control.config).acting(control.config.fence, control.config.failover);
    let (pace, _) = watch::channel(Pace { interval: SEARCHING, searching: true, looks: 0 });
    // Each node has one answer under way at most, and the tracker bounds the nodes.
    let (events, mut arrived) = mpsc::channel(64);
    let promoting = Promoting::new();
    let mut watch = Watch {
        control,
        tracker,
        pace,
        events,
        tasks: JoinSet::new(),
        orders: JoinSet::new(),
        nodes: HashMap::new(),
        sentinels: HashMap::new(),
        promoting,
        stirred_until: None,
        wanted: false,
    };
    for address in watch.tracker.addresses().cloned().collect::<Vec<_>>() {
        watch.begin(address);
    }
    for address in watch.tracker.sentinels().map(|sentinel| sentinel.address.clone()).collect::<Vec<_>>() {
        watch.begin_sentinel(address);
    }
    let mut looked = Instant::now();
    loop {
        let next_look = tokio::time::Instant::from_std(looked + LOOK_SPACING);
        let calm = watch.stirred_until.map(tokio::time::Instant::from_std);
        tokio::select! {
            Some(event) = arrived.recv() => watch.handle(event),
            Some(news) = news.recv() => watch.reconfigure(news),
            Some(ended) = watch.tasks.join_next() => watch.revive(ended),
            // Whatever came of it, the nodes have to be asked.
            Some(_) = watch.orders.join_next() => watch.look(),
            Some(promotion) = watch.control.promotions.recv() => watch.promote(promotion),
            Some(drain) = watch.control.drains.recv() => watch.drain(drain),
            Some(happened) = watch.promoting.next() => watch.goes_on(happened),
            () = watch.control.look.notified(), if !watch.wanted => watch.wanted = true,
            () = tokio::time::sleep_until(next_look), if watch.wanted => {
                (watch.wanted, looked) = (false, Instant::now());
                watch.look();
            }
            () = tokio::time::sleep_until(calm.unwrap_or(next_look)), if calm.is_some() => {
                watch.stirred_until = None;
                watch.set_pace();
            }
        }
    }
}

pub(super) struct Watch {
    pub(super) control: GroupControl,
    pub(super) tracker: Tracker,
    pub(super) promoting: Promoting,
    pace: watch::Sender<Pace>,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    /// What nodes are being told.
    orders: JoinSet<()>,
    nodes: HashMap<Arc<str>, AbortHandle>,
    sentinels: HashMap<Arc<str>, AbortHandle>,
    /// A Sentinel spoke a moment ago.
    stirred_until: Option<Instant>,
    /// Somebody wants to know now.
    wanted: bool,
}

impl Watch {
    fn begin(&mut self, address: Arc<str>) {
        let asking = ask_for_ever(
            Probe::new(address.clone(), &self.control.config, &self.control.keyring, &self.control.shortcuts),
            address.clone(),
            self.control.config.clone(),
            self.pace.subscribe(),
            self.events.clone(),
        );
        if let Some(before) = self.nodes.insert(address, self.tasks.spawn(asking)) {
            before.abort();
        }
    }

    fn begin_sentinel(&mut self, address: Arc<str>) {
        let (config, pace, events) = (self.control.config.clone(), self.pace.subscribe(), self.events.clone());
        let shortcuts = Arc::clone(&self.control.shortcuts);
        let asking = sentinel::ask_for_ever(address.clone(), config, shortcuts, pace, events);
        if let Some(before) = self.sentinels.insert(address, self.tasks.spawn(asking)) {
            before.abort();
        }
    }

    fn drain(&mut self, drain: Drain) {
        let Drain { node, on, done } = drain;
        let outcome = self.tracker.drain(&node, on).map(|actions| self.perform(actions));
        // Who asked may have gone away.
        let _ = done.send(outcome);
    }

    /// What is known stays known; everybody is asked anew, in the way that is configured now.
    fn reconfigure(&mut self, Reconfigured { config, keyring }: Reconfigured) {
        let before = std::mem::replace(&mut self.control.config, config);
        self.control.keyring = keyring;
        let config = Arc::clone(&self.control.config);
        let sentinels = config.sentinel.iter().flat_map(|sentinel| sentinel.addresses.iter().cloned());
        let settings = Settings {
            seeds: config.seeds.iter().map(|seed| seed.address.clone()).collect(),
            sentinels: sentinels.collect(),
            places: Places::new(config.map.iter().map(|mapped| (&mapped.announced, &mapped.dialled))),
            fence: (config.fence != before.fence).then_some(config.fence),
            failover: (config.failover != before.failover).then_some(config.failover),
        };
        let actions = self.tracker.reconfigure(Instant::now(), settings);
        self.perform(actions);
        for address in self.tracker.addresses().cloned().collect::<Vec<_>>() {
            self.begin(address);
        }
        for address in self.tracker.sentinels().map(|sentinel| sentinel.address.clone()).collect::<Vec<_>>() {
            self.begin_sentinel(address);
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Noticed { .. } = event {
            self.stirred_until = Some(Instant::now() + STIRRED);
            self.wanted = true;
        }
        let of_sentinel = matches!(event, Event::Stated { .. } | Event::Mute { .. });
        let actions = self.tracker.handle(Instant::now(), event);
        if of_sentinel {
            self.control.witnesses.store(Arc::new(self.tracker.testimonies()));
        }
        self.perform(actions);
        self.release_when_proven();
    }

    /// Asks every node now.
    pub(super) fn look(&self) {
        self.pace.send_modify(|pace| pace.looks += 1);
    }

    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Probe(address) => self.begin(address),
                Action::Forget(address) => {
                    if let Some(task) = self.nodes.remove(&address) {
                        task.abort();
                    }
                }
                Action::AskSentinel(address) => self.begin_sentinel(address),
                Action::ForgetSentinel(address) => {
                    if let Some(task) = self.sentinels.remove(&address) {
                        task.abort();
                    }
                }
                Action::Publish(snapshot) => {
                    self.control.snapshot.store(snapshot.clone());
                    (self.control.published)(&snapshot);
                }
                Action::Order(order) => {
                    let (config, shortcuts) = (&self.control.config, &self.control.shortcuts);
                    self.orders.spawn(carry_out(order, Arc::clone(config), Arc::clone(shortcuts)));
                }
                Action::Say(level, text) => say(&self.control.config.name, level, &text),
            }
        }
        self.set_pace();
    }

    fn set_pace(&self) {
        let usual = self.control.config.probe_interval;
        let searching = !self.tracker.has_master() || self.stirred_until.is_some();
        let interval = if searching { usual.min(SEARCHING) } else { usual };
        self.pace.send_if_modified(|pace| {
            let changed = (pace.interval, pace.searching) != (interval, searching);
            (pace.interval, pace.searching) = (interval, searching);
            changed
        });
    }

    /// A probe never ends by itself. If one panicked, its node would go unwatched: begin it anew.
    fn revive(&mut self, ended: Result<(), JoinError>) {
        let Err(error) = ended else { return };
        if error.is_cancelled() {
            return;
        }
        let of = |tasks: &HashMap<Arc<str>, AbortHandle>| {
            tasks.iter().find(|(_, task)| task.id() == error.id()).map(|(address, _)| address.clone())
        };
        let group = &self.control.config.name;
        if let Some(address) = of(&self.nodes) {
            tracing::error!(group, "the probe of {address} failed inside Redan and is restarted: {error}");
            self.begin(address);
        } else if let Some(address) = of(&self.sentinels) {
            tracing::error!(group, "the questions to the Sentinel {address} failed inside Redan and go on: {error}");
            self.begin_sentinel(address);
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
