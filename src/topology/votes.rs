//! The Sentinels of a group as witnesses: what each says, and what they say together.
//!
//! Pure. The tracker feeds it; `proof` reads [`Votes`]. A vote counts when most of the known Sentinels give it, as in
//! their own elections: those that cannot be asked are silent, not absent. It must never decide who the master is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SentinelState;
use super::member::{Failure, Member};
use super::proof::MOVE_SLACK;
use super::sentinel::{Statement, Subject};

/// A Sentinel that nobody names and that does not answer counts no longer after this time.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Sentinels of a group. More is a mistake or an attack.
pub(super) const SENTINELS: usize = 32;

/// How long the word of one Sentinel that it promotes a node is remembered: a node that has not become the master by then
/// becomes it for another reason.
const PROMOTION: Duration = Duration::from_secs(30);

/// From the promotion to the leader's report of it a second passes, or a little more.
const REPORTED: Duration = Duration::from_secs(2);

/// How long writes wait for a node that is being promoted although the old master goes on: from the word to the node's own
/// answer it takes tens of milliseconds, and what the old master acknowledges meanwhile is lost.
const HANDOVER: Duration = Duration::from_secs(1);

/// One Sentinel.
#[derive(Debug)]
pub(super) struct Witness {
    /// Where it is dialled.
    pub(super) address: Arc<str>,
    /// Never forgotten.
    configured: bool,
    pub(super) tried: bool,
    /// What it says now; `None` while it cannot be asked.
    pub(super) said: Option<Statement>,
    /// Where the master that it names is dialled, if that means anything here, and since when it names it.
    pub(super) names: Option<(Arc<str>, Instant)>,
    pub(super) failure: Option<Failure>,
    /// Remembered while it is silent.
    pub(super) id: Option<Arc<str>>,
    /// The node that it promotes.
    pub(super) promotes: Option<(Arc<str>, Instant)>,
    /// When it last answered or was last named.
    heard_of: Option<Instant>,
}

impl Witness {
    fn new(address: Arc<str>, configured: bool, heard_of: Option<Instant>) -> Self {
        Self {
            address,
            configured,
            tried: false,
            said: None,
            names: None,
            failure: None,
            id: None,
            promotes: None,
            heard_of,
        }
    }

    fn counts(&self, now: Instant) -> bool {
        self.heard_of.is_some_and(|at| now < at + FORGET_AFTER)
    }

    /// What it says of the group, if its word is worth anything.
    pub(super) fn subject(&self) -> Option<&Subject> {
        self.said.as_ref().filter(|said| !said.tilt)?.subject.as_ref()
    }

    pub(super) fn state(&mut self, now: Instant, said: Statement, master: Option<Arc<str>>) {
        self.names = match (master, self.names.take()) {
            (Some(now_named), Some((before, since))) if now_named == before => Some((before, since)),
            (Some(named), _) => Some((named, now)),
            (None, _) => None,
        };
        if said.id.is_some() {
            self.id.clone_from(&said.id);
        }
        // Kept: from now on it is the master by that Sentinel's record, until that changes.
        let named = self.names.as_ref().map(|(named, _)| named);
        self.promotes.take_if(|(node, _)| Some(&*node) == named);
        (self.said, self.failure, self.tried, self.heard_of) = (Some(said), None, true, Some(now));
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        (self.said, self.failure, self.tried) = (None, Some(failure), true);
    }
}

/// The master that most Sentinels name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elected {
    pub(super) address: Arc<str>,
    /// The highest that so many of them have reached.
    pub(super) epoch: u64,
    by: usize,
    of: usize,
    /// When they began to.
    pub(super) since: Instant,
    /// They say so now; else they did when last enough of them could be asked.
    pub(super) live: bool,
}

impl Elected {
    pub(super) fn words(&self) -> String {
        let (by, of, epoch) = (self.by, self.of, self.epoch);
        let when = if self.live { "" } else { " when they could last be asked" };
        format!("{by} of {of} Sentinels, epoch {epoch}{when}")
    }
}

/// The master that one Sentinel names alone.
#[derive(Clone, Debug)]
pub(super) struct Nomination {
    pub(super) node: Arc<str>,
    pub(super) by: Arc<str>,
    /// `None`: it said that it promotes the node, which always is news.
    pub(super) epoch: Option<u64>,
    /// The node's epoch, whatever it is, is higher than this.
    pub(super) beyond: u64,
    pub(super) since: Instant,
}

/// What the Sentinels say together at one moment.
#[derive(Debug, Default)]
pub(super) struct Votes {
    pub(super) configured: bool,
    /// The first one that was not asked yet, or whose answer is under way for the first time.
    pub(super) awaited: Option<Arc<str>>,
    pub(super) elected: Option<Elected>,
    pub(super) nominated: Vec<Nomination>,
    /// The node that a Sentinel promotes at this very moment.
    pub(super) promoting: Option<Arc<str>>,
}

impl Nomination {
    /// `member` began to claim about when this was said.
    pub(super) fn is_about_now(&self, member: &Member) -> bool {
        member.is_at(&self.node)
            && member.role_since + REPORTED >= self.since
            && self.since + MOVE_SLACK >= member.role_since
    }
}

impl Votes {
    /// A Sentinel that promoted this master, and does not name it yet, gives it a higher epoch than all that it does name.
    /// By the most modest of them: another may lie.
    pub(super) fn promised_beyond(&self, master: &Member) -> u64 {
        let promised = self.nominated.iter().filter(|vote| vote.epoch.is_none() && vote.is_about_now(master));
        promised.map(|vote| vote.beyond).min().unwrap_or(0)
    }
}

/// All of them, with the memory of what they agreed on.
#[derive(Debug, Default)]
pub(super) struct Sentinels {
    pub(super) witnesses: Vec<Witness>,
    last: Option<Elected>,
}

impl Sentinels {
    pub(super) fn configure(&mut self, address: Arc<str>) {
        if self.find(&address).is_none() {
            self.witnesses.push(Witness::new(address, true, None));
        }
    }

    /// These are configured from now on. Those that were and are not any more are dropped, and returned: whoever is named by
    /// another is discovered again.
    pub(super) fn reconfigure(&mut self, addresses: &[Arc<str>]) -> Vec<Arc<str>> {
        let goes =
            |witness: &&Witness| addresses.is_empty() || witness.configured && !addresses.contains(&witness.address);
        let gone = self.witnesses.iter().filter(goes);
        let gone: Vec<Arc<str>> = gone.map(|witness| witness.address.clone()).collect();
        self.witnesses.retain(|witness| !gone.contains(&witness.address));
        for address in addresses {
            match self.find(address) {
                Some(known) => known.configured = true,
                None => self.configure(address.clone()),
            }
        }
        gone
    }

    fn is_configured(&self) -> bool {
        self.witnesses.iter().any(|witness| witness.configured)
    }

    pub(super) fn find(&mut self, address: &str) -> Option<&mut Witness> {
        self.witnesses.iter_mut().find(|witness| &*witness.address == address)
    }

    /// A Sentinel named this one. Whether it is new, and has to be asked.
    pub(super) fn named(&mut self, now: Instant, address: &Arc<str>, id: Option<&Arc<str>>) -> bool {
        let same = |witness: &Witness| witness.address == *address || (id.is_some() && witness.id.as_ref() == id);
        if let Some(known) = self.witnesses.iter_mut().find(|witness| same(witness)) {
            known.heard_of = Some(now);
            return false;
        }
        let room = self.witnesses.len() < SENTINELS;
        if room {
            self.witnesses.push(Witness::new(Arc::clone(address), false, Some(now)));
        }
        room
    }

    /// Drops those that are gone for good, and returns their addresses.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<Arc<str>> {
        let gone = |witness: &Witness| !witness.configured && witness.said.is_none() && !witness.counts(now);
        let addresses = self.witnesses.iter().filter(|witness| gone(witness)).map(|witness| witness.address.clone());
        let addresses = addresses.collect();
        self.witnesses.retain(|witness| !gone(witness));
        addresses
    }

    /// Those that count, each once, whatever addresses it has; who answers comes before who does not.
    fn voters(&self, now: Instant) -> Vec<&Witness> {
        let mut counted: Vec<&Witness> = self.witnesses.iter().filter(|witness| witness.counts(now)).collect();
        counted.sort_by_key(|witness| witness.said.is_none());
        let mut ids = BTreeSet::new();
        counted.retain(|witness| witness.id.as_ref().is_none_or(|id| ids.insert(id.clone())));
        counted
    }

    /// Counts. `canonical` makes one address of all that a node has; `current` is the present master.
    pub(super) fn count(
        &mut self,
        now: Instant,
        canonical: impl Fn(&Arc<str>) -> Arc<str>,
        current: Option<&str>,
    ) -> Votes {
        let voters = self.voters(now);
        let mut votes = Votes {
            configured: self.is_configured(),
            awaited: self.witnesses.iter().find(|witness| !witness.tried).map(|witness| witness.address.clone()),
            ..Votes::default()
        };
        let mut named: Vec<(Arc<str>, Vec<u64>)> = Vec::new();
        for witness in &voters {
            let (Some(subject), Some((node, since))) = (witness.subject(), &witness.names) else { continue };
            let node = canonical(node);
            match named.iter_mut().find(|(other, _)| *other == node) {
                Some((_, epochs)) => epochs.push(subject.epoch),
                None => named.push((node.clone(), vec![subject.epoch])),
            }
            let by = witness.address.clone();
            let (epoch, beyond) = (Some(subject.epoch), subject.epoch.saturating_sub(1));
            votes.nominated.push(Nomination { node, by, epoch, beyond, since: *since });
        }
        for witness in self.witnesses.iter().filter(|witness| witness.said.as_ref().is_none_or(|said| !said.tilt)) {
            let Some((node, since)) = &witness.promotes else { continue };
            if now >= *since + PROMOTION {
                continue;
            }
            let (node, by) = (canonical(node), witness.address.clone());
            if now < *since + HANDOVER {
                votes.promoting = Some(node.clone());
            }
            let beyond = witness.subject().map_or(0, |subject| subject.epoch);
            votes.nominated.push(Nomination { node, by, epoch: None, beyond, since: *since });
        }
        let of = voters.len();
        let most = named.into_iter().find(|(_, epochs)| epochs.len() * 2 > of);
        let present = most.map(|(address, mut epochs)| {
            epochs.sort_unstable_by(|a, b| b.cmp(a));
            Elected { address, epoch: epochs[of / 2], by: epochs.len(), of, since: now, live: true }
        });
        votes.elected = self.remember(present, canonical, current);
        votes
    }

    /// Epochs only grow: what most of them say with a lower one is old. Unless they name the present master: then they
    /// were set up anew, and counting begins again.
    fn remember(
        &mut self,
        present: Option<Elected>,
        canonical: impl Fn(&Arc<str>) -> Arc<str>,
        current: Option<&str>,
    ) -> Option<Elected> {
        let known = self.last.as_ref().map_or(0, |last| last.epoch);
        match present {
            Some(mut present) if present.epoch >= known || Some(&*present.address) == current => {
                if let Some(before) = self.last.as_ref().filter(|last| canonical(&last.address) == present.address) {
                    present.since = before.since;
                }
                self.last = Some(present.clone());
                Some(present)
            }
            _ => {
                let last = self.last.as_mut()?;
                last.address = canonical(&last.address);
                Some(Elected { live: false, ..last.clone() })
            }
        }
    }

    /// For the snapshot.
    pub(super) fn state_of(&self, now: Instant, votes: &Votes) -> Option<SentinelState> {
        let voters = self.voters(now);
        self.is_configured().then(|| SentinelState {
            known: voters.len(),
            answering: voters.iter().filter(|witness| witness.subject().is_some()).count(),
            epoch: votes.elected.as_ref().map_or(0, |elected| elected.epoch),
            in_charge: votes.elected.as_ref().is_some_and(|elected| elected.live),
        })
    }
}
