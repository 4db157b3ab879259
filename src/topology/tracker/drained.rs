//! Nodes that are to serve no reads because the operator says so: before they are restarted, moved or looked into.
//!
//! Pure. Nothing of it is remembered over a restart of Redan. The master cannot be drained, and who becomes the master is not
//! drained any more.

use std::sync::Arc;

use super::{Action, Level, Tracker};
use crate::topology::member::Member;

impl Tracker {
    /// Takes the node at `address` out of reads, or lets it serve again. An error is for the operator.
    pub(crate) fn drain(&mut self, address: &str, on: bool) -> Result<Vec<Action>, String> {
        let Some(member) = self.members.iter().find(|member| member.is_at(address)) else {
            let known: Vec<&str> = self.members.iter().map(|member| &*member.address).collect();
            return Err(format!("no node of the group is at {address}; there is {}", known.join(", ")));
        };
        let name = Arc::clone(&member.address);
        if on && (self.proven == Some(member.id) || self.current == Some(member.id)) {
            return Err(format!(
                "{name} is the master, which has to serve; make another node the master first (PROMOTE)"
            ));
        }
        let is_drained = self.is_drained(member);
        let mut actions = Vec::new();
        if is_drained != on {
            if on {
                self.drained.push(Arc::clone(&name));
                actions.push(Action::Say(Level::Info, format!("{name} is drained, as ordered: no reads go there")));
            } else {
                let stays = |drained: &Arc<str>| !self.members.iter().any(|m| m.is_at(address) && m.is_at(drained));
                let drained: Vec<Arc<str>> = self.drained.iter().filter(|drained| stays(drained)).cloned().collect();
                self.drained = drained;
                actions.push(Action::Say(Level::Info, format!("{name} may serve reads again, as ordered")));
            }
        }
        self.publish(&mut actions);
        Ok(actions)
    }

    pub(super) fn is_drained(&self, member: &Member) -> bool {
        self.drained.iter().any(|address| member.is_at(address))
    }

    pub(super) fn forget_drained_master(&mut self, actions: &mut Vec<Action>) {
        let Some(master) = self.current.and_then(|id| self.members.iter().find(|member| member.id == id)) else {
            return;
        };
        let before = self.drained.len();
        self.drained.retain(|address| !master.is_at(address));
        if self.drained.len() < before {
            let text = format!("{} is the master now, and not drained any more", master.address);
            actions.push(Action::Say(Level::Warn, text));
        }
    }
}
