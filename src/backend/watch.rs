//! Watches how nodes serve this worker: gives back reads that are owed for too long, and takes bad replicas out of reads.
//!
//! One task per worker and group, which sleeps while nothing is in flight. The judgement is `reading::outlier`'s; here are
//! the clock, the lanes and the log.

use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::lane::Purpose;
use super::pool::Pool;
use crate::config::{Group, Hedge};
use crate::limits::LEAST_HEDGE;
use crate::reading::budget::Tenth;
use crate::reading::outlier::{Member, Outliers};
use crate::reading::tail::Percentile;
use crate::reading::{Standing, Usage};
use crate::topology::{Node, NodeId, Snapshot};

/// The longest time between two judgements.
const TICK: Duration = Duration::from_millis(125);

/// What a pool keeps for it.
#[derive(Default)]
pub(super) struct Watch {
    usages: RefCell<Vec<(NodeId, Rc<Usage>)>>,
    /// Of the snapshot's nodes, at its indices.
    standings: RefCell<Vec<Standing>>,
    outliers: RefCell<Outliers>,
    hedges: RefCell<Tenth>,
    /// The task ticks.
    awake: Cell<bool>,
    wanted: Notify,
    /// As the group is configured; `None`: to be worked out anew.
    paces: Cell<Option<Paces>>,
}

impl Watch {
    pub(super) fn forget_paces(&self) {
        self.paces.set(None);
        self.wanted.notify_one();
    }
}

pub(super) async fn run(pool: Weak<Pool>) {
    for number in 1u64.. {
        let Some(strong) = pool.upgrade() else {
            return;
        };
        if !strong.watch.awake.get() {
            let wanted = strong.watch.wanted.notified();
            // Looked at again now and then, so that the task ends with its worker.
            let _ = tokio::time::timeout(Duration::from_secs(5), wanted).await;
            continue;
        }
        let Paces { tick, late, hedge, percentile, judge } = strong.paces();
        let hedge = hedge.or_else(|| Some(ticks(strong.hedge_after(percentile?) / 4, tick)));
        let is_due = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        if is_due(hedge) {
            strong
                .lanes
                .borrow()
                .iter()
                .filter(|lane| lane.key.purpose == Purpose::Reads)
                .for_each(|lane| lane.tell_slow());
        }
        let late = is_due(late) && strong.give_back_late_reads();
        if late || is_due(Some(judge)) {
            strong.judge_nodes(Instant::now());
        }
        drop(strong);
        tokio::time::sleep(tick).await;
    }
}

/// The time between two ticks, and after how many of them what is done. `None`: never.
#[derive(Clone, Copy)]
struct Paces {
    tick: Duration,
    late: Option<u64>,
    hedge: Option<u64>,
    /// In place of `hedge`: by what nodes need.
    percentile: Option<Percentile>,
    judge: u64,
}

impl Paces {
    fn of(group: &Group) -> Self {
        // `Age` counts so many ticks.
        let (after, percentile) = match group.hedge {
            None => (None, None),
            Some(Hedge::After(time)) => (Some(time), None),
            Some(Hedge::SlowerThan(percentile)) => (None, Some(percentile)),
        };
        let (late, hedge) = (group.read_timeout.map(|time| time / 8), after.map(|time| time / 4));
        let shortest = percentile.map(|_| LEAST_HEDGE / 4);
        let tick = late.into_iter().chain(hedge).chain(shortest).fold(TICK, Duration::min);
        let ticks = |time: Duration| ticks(time, tick);
        Self { tick, late: late.map(ticks), hedge: hedge.map(ticks), percentile, judge: ticks(TICK) }
    }
}

fn ticks(time: Duration, tick: Duration) -> u64 {
    (time.div_duration_f64(tick).round() as u64).max(1)
}

impl Pool {
    /// Something is in flight.
    pub(super) fn keep_watch(&self) {
        if !self.watch.awake.replace(true) {
            self.watch.wanted.notify_one();
        }
    }

    /// Whether there were any.
    fn give_back_late_reads(&self) -> bool {
        let mut any = false;
        let lanes = self.lanes.borrow();
        for lane in lanes.iter().filter(|lane| lane.key.purpose == Purpose::Reads && lane.is_late()) {
            lane.usage().note_late();
            let given = lane.give_back();
            self.counters_of(lane.key.node).late_reads.add(given);
            // What is late here may be what control is to hear of.
            self.look();
            any = true;
        }
        any
    }

    /// What a read takes that is slow for the quickest of the nodes; a node that is slow throughout must not hide it.
    fn hedge_after(&self, percentile: Percentile) -> Duration {
        let standings = self.watch.standings.borrow();
        let quickest = standings.iter().filter_map(|standing| standing.usage.slowest_but(percentile)).min();
        quickest.unwrap_or(TICK).max(LEAST_HEDGE)
    }

    /// So many reads were sent: a tenth of them may be sent twice.
    pub(crate) fn save_for_hedges(&self, reads: u64) {
        self.watch.hedges.borrow_mut().save(reads);
    }

    pub(crate) fn spend_on_hedges(&self, reads: u64) -> bool {
        self.watch.hedges.borrow_mut().spend(reads)
    }

    fn judge_nodes(&self, now: Instant) {
        let standings = self.watch.standings.borrow();
        let mut outliers = self.watch.outliers.borrow_mut();
        for (index, standing) in standings.iter().enumerate() {
            outliers.note(now, index, &standing.usage.take());
        }
        outliers.judge(now, |index, cause, length| {
            let snapshot = self.snapshot();
            let Some(node) = snapshot.nodes.get(index) else { return };
            self.counters_of(node.id).ejections.increment();
            let (address, seconds) = (&node.address, length.as_secs());
            tracing::warn!("{address} gets no reads from this worker for {seconds} s: {}", cause.words());
        });
        for (index, standing) in standings.iter().enumerate() {
            standing.usage.set_share(outliers.share(index, now));
        }
        let busy = self.lanes.borrow().iter().any(|lane| lane.key.purpose == Purpose::Reads && lane.load() > 0);
        self.watch.awake.set(busy || !outliers.is_settled());
    }

    fn paces(&self) -> Paces {
        let paces = self.watch.paces.get().unwrap_or_else(|| Paces::of(self.dialer().group()));
        self.watch.paces.set(Some(paces));
        paces
    }

    /// Of the snapshot's nodes, at its indices.
    pub(crate) fn standings(&self) -> Ref<'_, Vec<Standing>> {
        self.watch.standings.borrow()
    }

    /// The nodes of a new snapshot, with what is known of them.
    pub(super) fn follow(&self, new: &Snapshot) {
        self.watch.usages.borrow_mut().retain(|(id, _)| new.node(*id).is_some());
        let dialer = self.dialer();
        let group = dialer.group();
        let standing = |node: &Node| {
            let usage = self.usage_of(node.id);
            usage.probed(node.round_trip);
            let zone = group.zone_of(&node.address).or(node.zone.as_deref());
            Standing {
                usage,
                weight: group.weight_of(&node.address),
                local: zone.is_some() && zone == group.zone.as_deref(),
            }
        };
        *self.watch.standings.borrow_mut() = new.nodes.iter().map(standing).collect();
        self.watch.outliers.borrow_mut().follow(new.nodes.iter().enumerate().map(|(index, node)| Member {
            node: node.id,
            readable: node.readable.is_ok(),
            master: new.master == Some(index),
            round_trip: node.round_trip,
        }));
    }

    pub(super) fn usage_of(&self, node: NodeId) -> Rc<Usage> {
        let mut usages = self.watch.usages.borrow_mut();
        if let Some((_, usage)) = usages.iter().find(|(id, _)| *id == node) {
            return Rc::clone(usage);
        }
        let usage = Rc::default();
        usages.push((node, Rc::clone(&usage)));
        usage
    }

    /// A replica says that it is loading, or that its master is down: no reads until it has been asked how it is.
    pub(crate) fn not_ready(&self, node: NodeId) {
        self.usage_of(node).note_refused();
        self.keep_watch();
        self.look();
    }
}
