//! What the tracker does about the master beside proving it: withholds it while another takes over, orders a failover.
//!
//! Pure. `control` withholds and releases; proof and health go on beneath, so that the end of it is seen.

use std::time::Instant;

use super::super::succession::{self, Plan};
use super::{Action, Level, Tracker};
use crate::topology::NodeId;

impl Tracker {
    /// Plans to make the node at `address` the master, or says everything that speaks against it.
    pub(crate) fn plan_switch(&self, address: &str) -> Result<Plan, Vec<String>> {
        match &self.past {
            Some(past) if self.current == Some(past.node) => {
                succession::plan(&self.members, past, &self.places, address)
            }
            _ => Err(vec![format!("the group has no master now: {}", self.reason)]),
        }
    }

    /// Whether the node at `address` is the proven master, withheld or not.
    pub(crate) fn is_proven(&self, address: &str) -> bool {
        self.proven.and_then(|id| self.member(id)).is_some_and(|member| member.is_at(address))
    }

    /// Whether `node` is, by the last answers.
    pub(crate) fn has_proven(&self, node: NodeId) -> bool {
        self.proven == Some(node)
    }

    /// From now on no snapshot has a master, for this reason: new writes are held, reads go on from replicas.
    pub(crate) fn withhold(&mut self, now: Instant, reason: &str) -> Vec<Action> {
        self.withheld = Some(reason.into());
        self.show(now)
    }

    /// Whoever is proven is the master again.
    pub(crate) fn release(&mut self, now: Instant) -> Vec<Action> {
        self.withheld = None;
        self.show(now)
    }

    /// What has to be told to the nodes. Nothing during a planned switch, which tells them itself.
    pub(super) fn rescue(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.withheld.is_some() {
            return;
        }
        let Some(rescue) = &mut self.rescue else { return };
        let decision = rescue.decide(now, &self.members, self.past.as_ref(), self.proven);
        let level = |alarm| if alarm { Level::Error } else { Level::Warn };
        actions.extend(decision.words.into_iter().map(|(text, alarm)| Action::Say(level(alarm), text)));
        actions.extend(decision.orders.into_iter().map(Action::Order));
    }

    fn show(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let fresh = self.past.as_ref().map(|past| past.node);
        if let Some(fresh) = fresh {
            self.elect(now, Some(fresh), &mut actions);
            self.judge_all(Some(fresh), &mut actions);
            self.publish(&mut actions);
        }
        actions
    }
}
