//! Finds the group, node or link that the operator names, or says which there are.

use std::sync::Arc;

use super::Call;
use crate::admin::{KnownGroup, KnownLink};
use crate::topology::NodeId;

/// A node, and its group.
pub(super) struct Found<'a> {
    pub(super) group: &'a KnownGroup,
    pub(super) id: NodeId,
    pub(super) address: Arc<str>,
}

impl Call {
    /// The group with this name; without a name the only one.
    pub(super) fn group(&self, name: Option<&str>) -> Result<&KnownGroup, String> {
        let groups = &self.now.groups;
        let names = || groups.iter().map(KnownGroup::name).collect::<Vec<_>>().join(", ");
        match (name, groups.as_slice()) {
            (Some(name), _) => groups
                .iter()
                .find(|group| group.name() == name)
                .ok_or_else(|| format!("no group is called '{name}'; there is {}", names())),
            (None, [group]) => Ok(group),
            (None, []) => Err("this Redan has no groups".to_owned()),
            (None, _) => Err(format!("say which group: {}", names())),
        }
    }

    /// The named group; without a name all.
    pub(super) fn groups(&self, name: Option<&str>) -> Result<Vec<&KnownGroup>, String> {
        name.map_or_else(|| Ok(self.now.groups.iter().collect()), |name| Ok(vec![self.group(Some(name))?]))
    }

    /// The node at `address`, in the group that is named or in the only one that has it.
    pub(super) fn node(&self, address: &str, group: Option<&str>) -> Result<Found<'_>, String> {
        let (mut found, mut known) = (Vec::new(), Vec::new());
        for group in self.groups(group)? {
            for node in &group.snapshot.load().nodes {
                known.push(node.address.to_string());
                if *node.address == *address {
                    found.push(Found { group, id: node.id, address: Arc::clone(&node.address) });
                }
            }
        }
        match found.len() {
            0 => Err(format!("no node is at {address}; there is {}", known.join(", "))),
            1 => Ok(found.remove(0)),
            _ => {
                let groups = found.iter().map(|found| found.group.name()).collect::<Vec<_>>();
                Err(format!("{address} is in several groups; add GROUP and one of {}", groups.join(", ")))
            }
        }
    }

    pub(super) fn link(&self, name: &str) -> Result<&KnownLink, String> {
        let links = &self.now.links;
        links.iter().find(|link| link.config.name == name).ok_or_else(|| {
            let names = links.iter().map(|link| link.config.name.as_str()).collect::<Vec<_>>().join(", ");
            format!("no link is called '{name}'; there is {names}")
        })
    }
}
