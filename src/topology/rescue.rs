//! Failover without Sentinel: `(state, members, now) → orders`. Decides when a group gets another master, who that is, and who
//! has to follow it.
//!
//! Pure. The tracker asks after each event, where `failover = "auto"`; `control` carries the orders out. The rules, with the
//! reasons for each, are in `docs/design/0006-changing-the-master.md`. It never orders what would empty a node that holds
//! newer data, and orders nothing while anybody else seems to be changing the master.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::{Places, split_host_port};
use super::member::{FailureKind, Member, follows, parent_of};
use super::observe::Observation;
use super::past::Past;
use super::succession::{Station, Whereabouts, whereabouts};
use super::{NodeId, Role};

/// Two failovers within this time are no help but the illness: somebody has to look.
const REST: Duration = Duration::from_secs(30);

/// An order is repeated after this time, if it has changed nothing.
const AGAIN: Duration = Duration::from_secs(2);

/// A link that carries a ping every 10 s and has carried none for 2 s more is dead, although the replica calls it up.
const SILENCE_S: u64 = 12;

/// Whether the replica's link to its master carries anything.
pub(crate) fn hears_master(said: &Observation) -> bool {
    said.link_up == Some(true) && said.last_io.is_none_or(|silence| silence <= SILENCE_S)
}

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Become the master. `at_once`: its data are at stake, nothing is to be asked before.
    Lead {
        who: Station,
        at_once: bool,
    },
    Follow {
        who: Station,
        whom: Whereabouts,
    },
}

/// What came of a look: orders, and sentences for the log, the second of each pair saying whether it is an alarm.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) orders: Vec<Order>,
    pub(super) words: Vec<(String, bool)>,
}

#[derive(Debug)]
pub(super) struct Rescue {
    down_after: Duration,
    down_since: Option<Instant>,
    last: Option<Instant>,
    /// The master that was replaced by this process, until it follows.
    deposed: Option<NodeId>,
    /// When each node was told something last.
    told: HashMap<NodeId, Instant>,
    /// Under which run each node was last seen as a replica of this group.
    served: HashMap<NodeId, Option<Arc<str>>>,
    /// How the nodes reach each of them, as the last master said.
    places: HashMap<NodeId, Whereabouts>,
    /// Where announced addresses are dialled.
    map: Places,
    /// What was said last of why nothing is done.
    obstacle: String,
}

impl Rescue {
    pub(super) fn new(down_after: Duration) -> Self {
        Self {
            down_after,
            down_since: None,
            last: None,
            deposed: None,
            told: HashMap::new(),
            served: HashMap::new(),
            places: HashMap::new(),
            map: Places::default(),
            obstacle: String::new(),
        }
    }

    pub(super) fn with_map(mut self, map: Places) -> Self {
        self.map = map;
        self
    }

    /// `proven` is the master by the last answers.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        members: &[Member],
        past: Option<&Past>,
        proven: Option<NodeId>,
    ) -> Decision {
        let mut decision = Decision::default();
        let Some(past) = past else { return decision };
        match proven.and_then(|id| members.iter().find(|member| member.id == id)) {
            Some(master) => {
                self.down_since = None;
                if self.deposed == Some(master.id) {
                    self.deposed = None;
                }
                self.remember(members, master);
                self.gather(now, members, master, &mut decision);
            }
            None => self.replace(now, members, past, &mut decision),
        }
        decision
    }

    fn remember(&mut self, members: &[Member], master: &Member) {
        for member in members.iter().filter(|member| member.id != master.id) {
            if follows(members, member, master) {
                self.served.insert(member.id, member.run_id.clone());
                if let Some(place) = whereabouts(&self.map, master, member) {
                    self.places.insert(member.id, place);
                }
            }
        }
        self.served.retain(|id, _| members.iter().any(|member| member.id == *id));
        self.places.retain(|id, _| members.iter().any(|member| member.id == *id));
        self.told.retain(|id, _| members.iter().any(|member| member.id == *id));
    }

    /// There is no master: does the group need one that Redan makes?
    fn replace(&mut self, now: Instant, members: &[Member], past: &Past, decision: &mut Decision) {
        let lost = members.iter().find(|member| member.id == past.node);
        let others = || members.iter().filter(|member| member.id != past.node);
        if others().any(|member| member.says(Role::Master)) {
            // Somebody has promoted a node, or several claim: proof's to judge.
            self.down_since = None;
            return;
        }
        let emptied = lost.is_some_and(|lost| is_emptied(lost, past));
        if !emptied {
            let gone = lost.is_none_or(|lost| lost.failure.as_ref().is_some_and(|failure| is_down(failure.kind)));
            if !gone {
                self.down_since = None;
                return;
            }
            let since = *self.down_since.get_or_insert(now);
            if now.saturating_duration_since(since) < self.down_after {
                return;
            }
        }
        let heir = match self.heir(now, members, past, emptied) {
            Ok(heir) => heir,
            Err(why) => {
                if why != self.obstacle {
                    decision.words.push((format!("no failover: {why}"), true));
                    self.obstacle = why;
                }
                return;
            }
        };
        if !self.may_tell(now, heir.id) {
            return;
        }
        let cause = if emptied { "came back empty" } else { "is gone" };
        decision.words.push((
            format!("failover: {} {cause}; {} has the most data and becomes the master", past.address, heir.address),
            true,
        ));
        decision.orders.push(Order::Lead { who: Station::of(heir), at_once: emptied });
        self.deposed = Some(past.node);
        self.last = Some(now);
        if emptied {
            // Before they copy the emptiness, which they will within a second.
            for member in others().filter(|member| member.id != heir.id && belongs(member, past)) {
                self.tell(now, member, heir, decision);
            }
        }
    }

    /// Who takes over; an error says why nobody can.
    fn heir<'a>(&self, now: Instant, members: &'a [Member], past: &Past, emptied: bool) -> Result<&'a Member, String> {
        let others = || members.iter().filter(|member| member.id != past.node && (member.seed || member.answered));
        let (known, reachable) = (others().count(), others().filter(|member| member.said.is_some()).count());
        if reachable * 2 <= known {
            return Err(format!(
                "{reachable} of {known} nodes beside the master {} can be reached, so Redan itself may be cut off",
                past.address
            ));
        }
        if !emptied {
            let direct = |member: &&Member| {
                belongs(member, past) && parent_of(members, member).is_none_or(|parent| parent.id == past.node)
            };
            if let Some(witness) = others().filter(direct).find(|member| sees_master(member, self.down_after)) {
                return Err(format!("{} still sees the master {}", witness.address, past.address));
            }
        }
        let rested = self.last.is_none_or(|last| now.saturating_duration_since(last) >= REST);
        if !rested && !emptied && self.deposed != Some(past.node) {
            return Err(format!("the last failover was less than {} s ago: look at the nodes", REST.as_secs()));
        }
        let fit = others().filter(|member| belongs(member, past) && is_fit(member, emptied));
        // Most data first; then the priority, lower is better; then whoever has been known for longer.
        let rank = |member: &&Member| {
            let said = member.said.as_ref();
            let offset = said.and_then(|said| said.offset).unwrap_or(0);
            (offset, Reverse(said.and_then(|said| said.priority).unwrap_or(100)), Reverse(member.id))
        };
        fit.max_by_key(rank).ok_or_else(|| {
            format!("no reachable replica of {} may become the master: it needs its history, its data and a priority above 0", past.address)
        })
    }

    /// There is a master: whoever belongs to it and does not follow it is told to.
    fn gather(&mut self, now: Instant, members: &[Member], master: &Member, decision: &mut Decision) {
        for member in members.iter().filter(|member| member.id != master.id && member.said.is_some()) {
            let parent = parent_of(members, member);
            if parent.is_some_and(|parent| parent.id == master.id) {
                if self.deposed == Some(member.id) {
                    self.deposed = None;
                }
                continue;
            }
            let orphaned = member.says(Role::Replica) && parent.is_some_and(|parent| self.deposed == Some(parent.id));
            let why = if orphaned {
                Some("follows the old master".to_owned())
            } else if member.claims() {
                self.strayed(members, member, master, decision)
            } else {
                None
            };
            if let Some(why) = why
                && self.may_tell(now, member.id)
            {
                decision
                    .words
                    .push((format!("{} {why}: it is made a replica of {}", member.address, master.address), false));
                self.tell(now, member, master, decision);
            }
        }
    }

    /// Why a node that says it is a master of its own belongs to `master`. `None`: it does not, or that is not certain.
    fn strayed(
        &mut self,
        members: &[Member],
        member: &Member,
        master: &Member,
        decision: &mut Decision,
    ) -> Option<String> {
        let (said, masters) = (member.said.as_ref()?, master.said.as_ref()?);
        let followed = |whom: &Member| members.iter().any(|other| other.id != whom.id && follows(members, other, whom));
        let has_keys = said.keys.is_none_or(|keys| keys > 0);
        if masters.keys == Some(0) && has_keys {
            // The other way round would be a loss, too, but a person's to decide.
            return None;
        }
        let ancestor = said.replid.is_some() && said.replid == masters.replid2;
        if self.deposed == Some(member.id) || (ancestor && !followed(member) && followed(master)) {
            let beyond = match (ancestor, said.offset, masters.second_offset) {
                (true, Some(own), Some(second)) if own >= second => own - second + 1,
                _ => 0,
            };
            return Some(match beyond {
                0 => "was the master before and is back".to_owned(),
                bytes => {
                    format!("was the master before and is back; {bytes} bytes of writes that only it has are discarded")
                }
            });
        }
        if followed(member) {
            return None;
        }
        let served = self.served.get(&member.id);
        // REPLICAOF NO ONE on a running node is somebody's will; a restart without the setting is nobody's.
        let restarted = served.is_some_and(|run| run.is_some() && *run != member.run_id);
        let empty_seed = !has_keys && member.seed && served.is_none() && said.replid2.is_none();
        if !restarted && !empty_seed {
            return None;
        }
        let wrote = said.replid2.is_some() && said.offset >= said.second_offset && said.second_offset.is_some();
        if wrote {
            let text =
                format!("{} came back as a master and was written to: decide by hand what it holds", member.address);
            if text != self.obstacle {
                decision.words.push((text.clone(), true));
                self.obstacle = text;
            }
            return None;
        }
        Some("came back without its `replicaof`".to_owned())
    }

    fn may_tell(&mut self, now: Instant, whom: NodeId) -> bool {
        let free = self.told.get(&whom).is_none_or(|told| now.saturating_duration_since(*told) >= AGAIN);
        if free {
            self.told.insert(whom, now);
        }
        free
    }

    fn tell(&mut self, now: Instant, who: &Member, master: &Member, decision: &mut Decision) {
        let dialled = || {
            let (host, port) = split_host_port(self.map.name(&who.address, &master.address)?)?;
            Some(Whereabouts { host: host.to_owned(), port: port.to_string() })
        };
        match self.places.get(&master.id).cloned().or_else(dialled) {
            Some(whom) => {
                self.told.insert(who.id, now);
                decision.orders.push(Order::Follow { who: Station::of(who), whom });
            }
            None => decision.words.push((
                format!(
                    "{} cannot be told where {} is: set replica-announce-ip there, or say in `map` what it is called",
                    who.address, master.address
                ),
                true,
            )),
        }
    }
}

/// Nothing answers there; a node that refuses a password or a right is alive.
fn is_down(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Refused | FailureKind::Timeout | FailureKind::Unreachable)
}

/// The master's place is taken by a new process without any data.
fn is_emptied(lost: &Member, past: &Past) -> bool {
    let Some(said) = &lost.said else { return false };
    let restarted = said.run_id.is_some() && past.run_id.is_some() && said.run_id != past.run_id;
    lost.claims() && said.keys == Some(0) && restarted && said.replid != past.replid
}

/// A replica with the lost master's data.
fn belongs(member: &Member, past: &Past) -> bool {
    let same_history = match (member.replid(), &past.replid) {
        (Some(own), Some(masters)) => own == masters,
        _ => member.in_step_at.is_some(),
    };
    member.says(Role::Replica) && same_history
}

fn sees_master(member: &Member, down_after: Duration) -> bool {
    let Some(said) = &member.said else { return false };
    // Or it is down, but only just: whole seconds, rounded down.
    hears_master(said) || said.link_down_for.is_some_and(|seconds| seconds + 1 < down_after.as_secs())
}

/// While it copies an empty master (`emptied`) it has its data until it loads what it copied.
fn is_fit(member: &Member, emptied: bool) -> bool {
    member.said.as_ref().is_some_and(|said| {
        said.priority.is_some_and(|priority| priority > 0)
            && said.announced != Some(false)
            && said.read_only != Some(false)
            && (if emptied { said.keys != Some(0) } else { said.syncing != Some(true) })
            && said.loading != Some(true)
            && said.offset.is_some()
            && said.keys.is_some()
    })
}
