//! The tracker's part about another configuration of the same group: what is known stays known.
//!
//! The proven master, its epoch and the places of all nodes go on. A node that is not configured any more is one that
//! was discovered: it is forgotten when nobody names it and it does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Tracker};
use crate::topology::address::Places;
use crate::topology::fence::{Fence, FenceSettings};
use crate::topology::rescue::Rescue;

/// What an operator may say otherwise of a group.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) seeds: Vec<Arc<str>>,
    pub(crate) sentinels: Vec<Arc<str>>,
    pub(crate) places: Places,
    /// `None`: as before.
    pub(crate) fence: Option<Option<FenceSettings>>,
    pub(crate) failover: Option<Option<Duration>>,
}

impl Tracker {
    /// Takes the settings over. Whoever is new has to be asked, by the actions that are returned.
    pub(crate) fn reconfigure(&mut self, now: Instant, settings: Settings) -> Vec<Action> {
        let Settings { seeds, sentinels, places, fence, failover } = settings;
        let mut actions = Vec::new();
        self.places = places;
        self.unplaced.clear();
        for member in &mut self.members {
            let is_seed = seeds.contains(&member.address);
            if member.seed && !is_seed {
                member.heard_of = now;
            }
            member.seed = is_seed;
            for (alias, seed) in &mut member.aliases {
                *seed = seeds.contains(alias);
            }
        }
        for seed in seeds {
            if !self.members.iter().any(|member| member.is_at(&seed)) {
                actions.push(Action::Probe(seed.clone()));
                self.add(seed, true, now);
            }
        }
        let gone = self.sentinels.reconfigure(&sentinels);
        actions.extend(gone.into_iter().map(Action::ForgetSentinel));
        actions.extend(sentinels.into_iter().map(Action::AskSentinel));
        if let Some(fence) = fence {
            self.fence = Fence::new(fence);
        }
        if let Some(failover) = failover {
            self.rescue = failover.map(Rescue::new);
        }
        self.rescue = self.rescue.take().map(|rescue| rescue.with_map(self.places.clone()));
        self.publish(&mut actions);
        actions
    }
}
