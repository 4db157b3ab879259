//! The group's watch while a planned switch is under way: it withholds the master and releases the next one.
//!
//! One switch at a time. The steps among the nodes are [`super::switch`]'s; proof of the new master is the tracker's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::delegated::Delegated;
use super::group::Watch;
use super::switch::{Ending, Promotion, Switch, Teller, Wish};
use crate::config::Group;
use crate::topology::NodeId;

/// A switch asks two or three things of the watch.
const WISHES: usize = 4;

pub(super) struct Promoting {
    now: Option<Underway>,
    task: JoinSet<(Ending, String)>,
    wishes: mpsc::Receiver<Wish>,
    wish: mpsc::Sender<Wish>,
}

struct Underway {
    heir: Option<NodeId>,
    teller: Arc<Teller>,
    reason: String,
    /// Since when writes are held, and how long they were in the end.
    held_since: Option<Instant>,
}

/// Something to react to.
pub(super) enum Happened {
    Wish(Wish),
    Over(Result<(Ending, String), JoinError>),
}

impl Promoting {
    pub(super) fn new() -> Self {
        let (wish, wishes) = mpsc::channel(WISHES);
        Self { now: None, task: JoinSet::new(), wishes, wish }
    }

    /// Waits for what a switch wants or has come to; for ever while there is none.
    pub(super) async fn next(&mut self) -> Option<Happened> {
        tokio::select! {
            biased;
            Some(wish) = self.wishes.recv() => Some(Happened::Wish(wish)),
            Some(over) = self.task.join_next() => Some(Happened::Over(over)),
            else => std::future::pending().await,
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.now.is_some()
    }
}

impl Watch {
    /// Begins a switch, or refuses it.
    pub(super) fn promote(&mut self, promotion: Promotion) {
        let Promotion { node, timeout, progress } = promotion;
        let group = Arc::clone(&self.control.config);
        let teller = Arc::new(Teller { group: group.name.clone(), to: progress });
        if self.promoting.is_under_way() {
            return teller.end(Ending::Refused, "another switch of this group is under way; nothing was changed");
        }
        if self.tracker.is_proven(&node) {
            return teller.end(Ending::Done, &format!("{node} is the master already; nothing was changed"));
        }
        if group.sentinel.is_some() {
            return self.delegate(group, node, timeout, teller);
        }
        let plan = match self.tracker.plan_switch(&node) {
            Ok(plan) => plan,
            Err(against) => {
                return teller.end(Ending::Refused, &format!("{}; nothing was changed", against.join("; ")));
            }
        };
        let reason = format!("{} takes over from {}, as it was asked for", plan.heir.address, plan.master.address);
        teller.say(&reason);
        self.promoting.now =
            Some(Underway { heir: Some(plan.heir_id), teller: Arc::clone(&teller), reason, held_since: None });
        let switch = Switch {
            plan,
            group,
            shortcuts: Arc::clone(&self.control.shortcuts),
            snapshot: Arc::clone(&self.control.snapshot),
            wishes: self.promoting.wish.clone(),
            deadline: Instant::now() + timeout,
            teller,
        };
        self.promoting.task.spawn(switch.run());
    }

    /// Sentinels are in charge: Redan only asks them, and follows.
    fn delegate(&mut self, group: Arc<Group>, node: String, timeout: Duration, teller: Arc<Teller>) {
        let reason = format!("the Sentinels are asked to switch the master, {node} is wanted");
        teller.say(&reason);
        self.promoting.now = Some(Underway { heir: None, teller, reason, held_since: None });
        let delegated = Delegated {
            group,
            shortcuts: Arc::clone(&self.control.shortcuts),
            sentinels: self.tracker.sentinels().map(|sentinel| sentinel.address.clone()).collect(),
            node,
            snapshot: Arc::clone(&self.control.snapshot),
            deadline: Instant::now() + timeout,
        };
        self.promoting.task.spawn(delegated.run());
    }

    pub(super) fn goes_on(&mut self, happened: Happened) {
        match happened {
            Happened::Wish(Wish::Hold(published)) => {
                let Some(now) = &mut self.promoting.now else { return };
                now.held_since = Some(Instant::now());
                let actions = self.tracker.withhold(Instant::now(), &now.reason);
                self.perform(actions);
                // The task that waits for it may have been ended.
                let _ = published.send(());
            }
            Happened::Wish(Wish::Look) => {
                self.look();
                self.release_when_proven();
            }
            Happened::Over(outcome) => {
                let (ending, text) = outcome.unwrap_or_else(|error| {
                    (Ending::Failed, format!("a defect of Redan ended it, look at every node: {error}"))
                });
                self.release();
                if let Some(now) = self.promoting.now.take() {
                    now.teller.end(ending, &text);
                }
                self.look();
            }
        }
    }

    /// Writes go on as soon as the heir is proven, whatever is left to do then.
    pub(super) fn release_when_proven(&mut self) {
        let heir = self.promoting.now.as_ref().and_then(|now| now.heir);
        if heir.is_some_and(|heir| self.tracker.has_proven(heir)) {
            self.release();
        }
    }

    fn release(&mut self) {
        let Some(now) = &mut self.promoting.now else { return };
        let Some(since) = now.held_since.take() else { return };
        let teller = Arc::clone(&now.teller);
        let actions = self.tracker.release(Instant::now());
        self.perform(actions);
        teller.say(&format!("writes were held for {} ms", since.elapsed().as_millis()));
    }
}
