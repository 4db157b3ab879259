//! Turns what probes saw into snapshots: `(state, event, now) → actions`.
//!
//! Pure and replayable: no I/O, no clock, no randomness. `control` feeds it events and performs its actions;
//! the simulation in the tests drives it through thousands of failovers. It discovers nodes, merges the
//! addresses of one server, asks `proof` who the master is and `health` who may serve reads. It must never
//! publish a master that did not say so in its last answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::Places;
use super::fence::{Fence, FenceSettings};
use super::health::{distance, judge, settle};
use super::member::{Failure, FailureKind, Member, parent_of};
use super::observe::{Kind, Observation};
use super::past::Past;
use super::proof::decide;
use super::rescue::{Order, Rescue};
use super::sentinel::{Notice, Statement};
use super::votes::Sentinels;
use super::{DRAINED, Node, NodeId, Role, SentinelState, Snapshot};

mod drained;
mod reconfigure;
mod sentinels;
mod withhold;
mod words;

pub(crate) use reconfigure::Settings;
pub(crate) use sentinels::SentinelView;

/// A discovered node that no other names and that does not answer is forgotten after this time: long enough
/// for a restart, short enough that renumbered containers do not pile up.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Nodes of a group, seeds and discovered. A master's list is bounded by its `maxclients` only; a group that
/// is larger than this is a mistake or an attack.
const MEMBERS: usize = 64;

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Observed {
        address: Arc<str>,
        observation: Box<Observation>,
        round_trip: Duration,
    },
    Failed {
        address: Arc<str>,
        failure: Failure,
    },
    /// A Sentinel answered.
    Stated {
        sentinel: Arc<str>,
        statement: Box<Statement>,
    },
    /// A Sentinel could not be asked.
    Mute {
        sentinel: Arc<str>,
        failure: Failure,
    },
    /// A Sentinel said something by itself.
    Noticed {
        sentinel: Arc<str>,
        notice: Notice,
    },
}

/// What has to be done now.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Begin probing this newly discovered address.
    Probe(Arc<str>),
    /// Stop probing this address.
    Forget(Arc<str>),
    /// Begin asking the Sentinel at this newly discovered address.
    AskSentinel(Arc<str>),
    /// Stop asking the Sentinel at this address.
    ForgetSentinel(Arc<str>),
    Publish(Arc<Snapshot>),
    /// Tell a node to change: only where `failover = "auto"`.
    Order(Order),
    /// Log this sentence.
    Say(Level, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// The state of one group.
#[derive(Debug)]
pub(crate) struct Tracker {
    members: Vec<Member>,
    next_id: u32,
    /// The last proven master, kept while there is none.
    past: Option<Past>,
    /// Who is the master by the last answers, also while that is withheld.
    proven: Option<NodeId>,
    /// Why workers are not to know a master now although one may be proven.
    withheld: Option<Arc<str>>,
    /// Addresses of nodes that are to serve no reads, because the operator says so.
    drained: Vec<Arc<str>>,
    fence: Fence,
    rescue: Option<Rescue>,
    current: Option<NodeId>,
    epoch: u64,
    reason: Arc<str>,
    alarm: Option<String>,
    sentinels: Sentinels,
    sentinel_state: Option<SentinelState>,
    /// Where announced addresses are dialled.
    places: Places,
    /// Addresses that mean nothing here and were spoken of once.
    unplaced: BTreeSet<String>,
    published: Arc<Snapshot>,
}

impl Tracker {
    /// A tracker of the group with these seeds; the caller probes them from the start.
    pub(crate) fn new(seeds: impl IntoIterator<Item = Arc<str>>, now: Instant) -> Self {
        let mut tracker = Self {
            members: Vec::new(),
            next_id: 0,
            past: None,
            proven: None,
            withheld: None,
            drained: Vec::new(),
            fence: Fence::new(None),
            rescue: None,
            current: None,
            epoch: 0,
            reason: "no node has been asked yet".into(),
            alarm: None,
            sentinels: Sentinels::default(),
            sentinel_state: None,
            places: Places::default(),
            unplaced: BTreeSet::new(),
            published: Arc::new(Snapshot::unknown()),
        };
        for seed in seeds {
            if !tracker.members.iter().any(|member| member.address == seed) {
                tracker.add(seed, true, now);
            }
        }
        tracker
    }

    /// What Redan may do about the master by itself: close a fence, and put another one in its place.
    pub(crate) fn acting(mut self, fence: Option<FenceSettings>, failover: Option<Duration>) -> Self {
        self.fence = Fence::new(fence);
        self.rescue = failover.map(|down_after| Rescue::new(down_after).with_map(self.places.clone()));
        self
    }

    /// Every address that is probed now.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.iter().map(|member| &member.address)
    }

    /// Whether a master is proven at present: if not, look more often.
    pub(crate) fn has_master(&self) -> bool {
        self.current.is_some()
    }

    /// What an operator has to put right although there is a master: a second claim, for instance.
    pub(crate) fn alarm(&self) -> Option<&str> {
        self.alarm.as_deref()
    }

    /// Sentences about addresses that nodes name and that mean nothing on this host.
    pub(crate) fn unplaced(&self) -> impl Iterator<Item = &str> {
        self.unplaced.iter().map(String::as_str)
    }

    /// The last snapshot.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.published
    }

    /// Takes in one event. Events of addresses that are no longer probed are ignored.
    pub(crate) fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        // The node that answered or did not; none when a Sentinel spoke.
        let fresh = match event {
            Event::Observed { address, observation, round_trip } => match observation.kind {
                Kind::Standalone => self.observed(now, &address, *observation, round_trip, &mut actions).map(Some),
                kind => self.failed(&address, wrong_kind(kind), &mut actions).map(Some),
            },
            Event::Failed { address, failure } => self.failed(&address, failure, &mut actions).map(Some),
            Event::Stated { sentinel, statement } => {
                self.stated(now, &sentinel, *statement, &mut actions).then_some(None)
            }
            Event::Mute { sentinel, failure } => self.mute(&sentinel, failure, &mut actions).then_some(None),
            Event::Noticed { sentinel, notice } => self.noticed(now, &sentinel, notice, &mut actions).then_some(None),
        };
        let Some(fresh) = fresh else { return actions };
        self.forget(now, &mut actions);
        self.elect(now, fresh, &mut actions);
        self.judge_all(fresh, &mut actions);
        self.publish(&mut actions);
        self.rescue(now, &mut actions);
        actions
    }

    fn add(&mut self, address: Arc<str>, seed: bool, now: Instant) {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        self.members.push(Member::new(id, address, seed, now));
    }

    fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The id of the node that answered, unless nobody asked for it.
    fn observed(
        &mut self,
        now: Instant,
        address: &str,
        seen: Observation,
        round_trip: Duration,
        actions: &mut Vec<Action>,
    ) -> Option<NodeId> {
        let index = self.members.iter().position(|member| &*member.address == address)?;
        let restarted =
            seen.run_id.is_some() && self.members[index].run_id.is_some() && seen.run_id != self.members[index].run_id;
        if restarted {
            self.part(index, now, actions);
        }
        let before = words::Status::of(&self.members[index]);
        self.members[index].observe(now, seen, round_trip, &self.places);
        let id = self.merge(index, actions);
        if let Some(member) = self.member(id) {
            actions.extend(before.changes(member, parent_of(&self.members, member)));
        }
        self.discover(id, now, actions);
        Some(id)
    }

    fn failed(&mut self, address: &str, failure: Failure, actions: &mut Vec<Action>) -> Option<NodeId> {
        let member = self.members.iter_mut().find(|member| &*member.address == address)?;
        let before = words::Status::of(member);
        member.fail(failure);
        actions.extend(before.changes(member, None));
        Some(member.id)
    }

    /// If another address turned out to be the same server, keeps one of them: a configured one before a
    /// discovered one, else the older. Returns the id that remains.
    fn merge(&mut self, index: usize, actions: &mut Vec<Action>) -> NodeId {
        let member = &self.members[index];
        let twin = self.members.iter().position(|other| {
            other.id != member.id && other.said.is_some() && other.run_id.is_some() && other.run_id == member.run_id
        });
        let Some(twin) = twin else { return member.id };
        let preference = |index: usize| (!self.members[index].seed, self.members[index].id);
        let (keep, drop) = if preference(index) < preference(twin) { (index, twin) } else { (twin, index) };
        let kept = self.members[keep].id;
        let dropped = self.members[drop].id;
        if self.past.as_ref().is_some_and(|past| past.node == dropped) {
            let address = self.members[keep].address.clone();
            if let Some(past) = &mut self.past {
                (past.node, past.address) = (kept, address);
            }
        }
        let gone = self.members.remove(drop);
        if let Some(member) = self.members.iter_mut().find(|member| member.id == kept) {
            if gone.seed {
                let text = format!("{} and {} are one server: configure it once", member.address, gone.address);
                actions.push(Action::Say(Level::Warn, text));
            }
            member.aliases.push((gone.address.clone(), gone.seed));
            member.aliases.extend(gone.aliases);
        }
        actions.push(Action::Forget(gone.address));
        kept
    }

    /// A restarted server may have other addresses now: its aliases have to prove themselves again.
    fn part(&mut self, index: usize, now: Instant, actions: &mut Vec<Action>) {
        for (address, seed) in std::mem::take(&mut self.members[index].aliases) {
            if seed {
                actions.push(Action::Probe(address.clone()));
                self.add(address, true, now);
            }
        }
    }

    /// Adds the nodes that `id` names: its master and its replicas.
    fn discover(&mut self, id: NodeId, now: Instant, actions: &mut Vec<Action>) {
        let Some(member) = self.member(id) else { return };
        let Some(said) = &member.said else { return };
        let speaker = member.address.clone();
        let listed = said.replicas.iter().flatten().map(|replica| replica.address.clone());
        let named: Vec<String> = said.parent.iter().cloned().chain(listed).collect();
        for address in named {
            self.named(now, &speaker, &address, actions);
        }
    }

    /// `speaker`, a node or a Sentinel, named the node at `address`.
    fn named(&mut self, now: Instant, speaker: &str, address: &str, actions: &mut Vec<Action>) {
        let Some(address) = self.places.place(speaker, address) else {
            let text = format!(
                "{speaker} names {address}, which means its own host, so Redan cannot dial it: list that node in `nodes`, or say in `map` where it is"
            );
            if self.unplaced.len() < MEMBERS && self.unplaced.insert(text.clone()) {
                actions.push(Action::Say(Level::Info, text));
            }
            return;
        };
        if let Some(known) = self.members.iter_mut().find(|member| member.is_at(&address)) {
            known.heard_of = now;
        } else if self.members.len() < MEMBERS {
            actions.push(Action::Say(Level::Info, format!("{address} was discovered through {speaker}")));
            actions.push(Action::Probe(address.clone()));
            self.add(address, false, now);
        }
    }

    fn forget(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.members.retain(|member| {
            let keep = member.seed || member.said.is_some() || now < member.heard_of + FORGET_AFTER;
            if !keep {
                actions.push(Action::Say(Level::Info, format!("{} is gone for good and is forgotten", member.address)));
                actions.push(Action::Forget(member.address.clone()));
            }
            keep
        });
    }

    /// Asks for the proof and keeps the memory of it.
    fn elect(&mut self, now: Instant, fresh: Option<NodeId>, actions: &mut Vec<Action>) {
        let votes = self.count_votes(now);
        if let Some(past) = self.past.as_mut().filter(|past| past.ahead > 0)
            && let Some(master) = self.members.iter().find(|member| member.id == past.node)
        {
            past.floor = past.floor.max(votes.promised_beyond(master));
        }
        let mut verdict = decide(&self.members, self.past.as_ref(), &votes);
        let before = self.current;
        let mut changed = verdict.master != self.proven;
        self.proven = verdict.master;
        if let Some(master) = verdict.master.and_then(|id| self.members.iter().find(|member| member.id == id)) {
            let renewed = self.past.as_ref().is_none_or(|past| !past.is_same_history(master));
            let succeeded = self.past.as_ref().map(|past| past.node).filter(|before| *before != master.id);
            let known = votes.elected.as_ref().map_or(0, |elected| elected.epoch);
            if renewed {
                let floor = self.past.as_ref().map_or(0, |past| past.floor).max(known).max(verdict.beyond);
                let ahead = self.past.as_ref().map_or(0, |past| past.ahead) + u64::from(succeeded.is_some());
                self.past = Some(Past::begin(master, floor, ahead));
                changed = true;
            }
            if let Some(past) = &mut self.past {
                if changed || Some(master.id) == fresh {
                    past.update(master);
                }
                if votes.elected.as_ref().is_some_and(|elected| master.is_at(&elected.address)) {
                    (past.floor, past.ahead) = (known, 0);
                }
            }
            for member in &mut self.members {
                member.succeeded =
                    (member.succeeded || Some(member.id) == succeeded) && Some(member.id) != verdict.master;
            }
        }
        let proven = verdict.master.and_then(|id| self.members.iter().find(|member| member.id == id));
        let fenced = self.fence.holds(now, proven);
        if let Some(reason) = self.withheld.as_ref().map(ToString::to_string).or(fenced) {
            verdict.master = None;
            verdict.reason = reason;
            changed = false;
        }
        changed |= verdict.master != before;
        self.current = verdict.master;
        self.sentinel_state = self.sentinels.state_of(now, &votes);
        if changed {
            self.epoch += 1;
        }
        // While a master goes on, the reason it was accepted for says more than that it goes on.
        if changed || self.current.is_none() {
            words::decided(before.is_some(), self.withheld.is_some(), &verdict, &self.reason, actions);
            self.reason = verdict.reason.into();
        }
        if verdict.alarm != self.alarm {
            let in_charge = self.sentinel_state.is_some_and(|state| state.in_charge);
            actions.extend(verdict.alarm.iter().map(|text| words::alarm(text, in_charge)));
            self.alarm = verdict.alarm;
        }
    }

    /// Judges every replica anew: the answer of one node changes what the others' are worth.
    fn judge_all(&mut self, fresh: Option<NodeId>, actions: &mut Vec<Action>) {
        let Some(past) = &self.past else { return };
        let master = self.current == Some(past.node);
        if master {
            let in_step: Vec<NodeId> = (self.members.iter())
                .filter(|member| member.said.as_ref().is_some_and(|said| said.link_up == Some(true)))
                .filter(|member| parent_of(&self.members, member).is_some_and(|parent| parent.id == past.node))
                .map(|member| member.id)
                .collect();
            for member in self.members.iter_mut().filter(|member| in_step.contains(&member.id)) {
                member.in_step_at = member.observed_at;
            }
        }
        let judged: Vec<_> = self.members.iter().map(|member| judge(&self.members, member, past, master)).collect();
        for (member, judged) in self.members.iter_mut().zip(judged) {
            if !member.tried {
                continue;
            }
            let before = member.health.readable.clone();
            let first = !member.health.judged;
            settle(member, judged, Some(member.id) == fresh);
            actions.extend(words::readability(member, &before, first));
        }
    }

    fn publish(&mut self, actions: &mut Vec<Action>) {
        self.forget_drained_master(actions);
        // A discovered address that never answered may be an alias, or out of reach: not a node yet.
        let shown: Vec<&Member> = self.members.iter().filter(|member| member.seed || member.answered).collect();
        let nodes: Vec<Node> = shown.iter().map(|member| self.node(member)).collect();
        let master = shown.iter().position(|member| Some(member.id) == self.current);
        let (reason, sentinels) = (self.reason.clone(), self.sentinel_state);
        let last = self.past.as_ref().map(|past| past.node);
        let busy = master.is_none() && nodes.iter().any(|node| node.busy && Some(node.id) == last);
        let snapshot = Snapshot { epoch: self.epoch, master, nodes, reason, sentinels, busy };
        if snapshot != *self.published {
            self.published = Arc::new(snapshot);
            actions.push(Action::Publish(self.published.clone()));
        }
    }

    fn node(&self, member: &Member) -> Node {
        let distance = distance(&self.members, member, self.past.as_ref());
        let is_master = Some(member.id) == self.current;
        Node {
            id: member.id,
            address: member.address.clone(),
            role: member.said.as_ref().map_or(Role::Unknown, |said| said.role),
            readable: match is_master {
                true => Ok(()),
                false if self.is_drained(member) => Err(DRAINED.into()),
                false => member.health.readable.clone(),
            },
            interruptions: member.interruptions,
            run: member.run(),
            lag: distance.time,
            lag_bytes: distance.bytes,
            offsets_comparable: distance.comparable,
            round_trip: member.round_trip,
            zone: member.zone.clone(),
            flavor: member.flavor,
            version: member.version,
            greeting: member.greeting.clone(),
            parent: parent_of(&self.members, member).map(|parent| parent.id),
            silent: member.failure.as_ref().is_some_and(|failure| failure.kind != FailureKind::Busy),
            busy: member.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Busy),
            trouble: member.failure.as_ref().map(|failure| failure.text.as_str().into()),
        }
    }
}

fn wrong_kind(kind: Kind) -> Failure {
    let text = match kind {
        Kind::Sentinel => "a Sentinel answers there: list the servers in `nodes`, the Sentinels in `sentinel`",
        Kind::Cluster => "it runs in cluster mode, which Redan does not serve: use a cluster client",
        Kind::Standalone => "it is of an unknown kind",
    };
    Failure { kind: FailureKind::Protocol, text: text.to_owned() }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
