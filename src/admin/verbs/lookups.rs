//! Finds the group, node or link that the operator names, or says which there are.

use std::sync::Arc;

use super::Call;
use crate::topology::NodeId;

/// A node, and the place of its group.
pub(super) struct Found {
    pub(super) group: usize,
    pub(super) id: NodeId,
    pub(super) address: Arc<str>,
}

impl Call {
    /// The place of the group with this name; without a name the only one.
    pub(super) fn group(&self, name: Option<&str>) -> Result<usize, String> {
        let groups = &self.state.groups;
        let names = || groups.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => groups
                .iter()
                .position(|(group, _)| group == name)
                .ok_or_else(|| format!("no group is called '{name}'; there is {}", names())),
            None if groups.len() == 1 => Ok(0),
            None if groups.is_empty() => Err("this Redan has no groups".to_owned()),
            None => Err(format!("say which group: {}", names())),
        }
    }

    /// The node at `address`, in the group that is named or in the only one that has it.
    pub(super) fn node(&self, address: &str, group: Option<&str>) -> Result<Found, String> {
        let within = group.map(|name| self.group(Some(name))).transpose()?;
        let (mut found, mut known) = (Vec::new(), Vec::new());
        for (index, (_, snapshot)) in self.state.groups.iter().enumerate() {
            if within.is_some_and(|within| within != index) {
                continue;
            }
            for node in &snapshot.load().nodes {
                known.push(node.address.to_string());
                if *node.address == *address {
                    found.push(Found { group: index, id: node.id, address: Arc::clone(&node.address) });
                }
            }
        }
        match found.len() {
            0 => Err(format!("no node is at {address}; there is {}", known.join(", "))),
            1 => Ok(found.remove(0)),
            _ => {
                let groups = found.iter().map(|found| self.state.groups[found.group].0.as_str()).collect::<Vec<_>>();
                Err(format!("{address} is in several groups; add GROUP and one of {}", groups.join(", ")))
            }
        }
    }

    pub(super) fn group_name(&self, group: usize) -> &str {
        &self.state.groups[group].0
    }
}
