//! One node as the tracker knows it: what it said last, what it said before, and whose word it is.
//!
//! Pure. Only the tracker changes members; `proof` and `health` read them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::Places;
use super::greeting::Greeting;
use super::observe::Observation;
use super::{Flavor, NodeId, Role, Version};

/// Hops that are followed from a replica to its master; more is a loop or a mistake.
pub(super) const CHAIN: usize = 16;

/// Why a probe brought no observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// One sentence for the operator, without the node's address.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Nothing listens there: the server is down.
    Refused,
    /// No answer in time: frozen, overloaded, or cut off.
    Timeout,
    /// Any other failure to connect, an unresolvable name for instance.
    Unreachable,
    /// Its password or user is wrong or missing.
    Auth,
    Tls,
    /// It answers, but not as a server of a replication group should.
    Protocol,
    /// The user may ask neither INFO nor ROLE nor HELLO.
    NoPermission,
    /// Alive, in a long script: what it said before still holds, since it cannot change roles meanwhile.
    Busy,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: NodeId,
    /// Where it is dialled.
    pub(super) address: Arc<str>,
    /// Configured, not discovered: never forgotten.
    pub(super) seed: bool,
    /// Other addresses at which the same server (by run id) answers, and whether each was configured.
    pub(super) aliases: Vec<(Arc<str>, bool)>,
    /// What it says now; `None` while it cannot be asked.
    pub(super) said: Option<Observation>,
    pub(super) observed_at: Option<Instant>,
    pub(super) failure: Option<Failure>,
    /// It was asked at least once, whatever came of it.
    pub(super) tried: bool,
    /// It answered at least once.
    pub(super) answered: bool,
    /// Remembered while it is silent.
    pub(super) run_id: Option<Arc<str>>,
    pub(super) flavor: Flavor,
    pub(super) zone: Option<Arc<str>>,
    pub(super) version: Option<Version>,
    pub(super) greeting: Option<Arc<Greeting>>,
    pub(super) role: Role,
    pub(super) role_since: Instant,
    parent_text: Option<String>,
    /// Where Redan dials the master that it named in its last answer, if that means anything here.
    parent_at: Option<Arc<str>>,
    /// Since when it follows whom it follows, and whether it followed somebody else (or nobody) before.
    pub(super) parent_since: Instant,
    pub(super) moved: bool,
    /// It was the master, another one followed it, and it has not been a replica since.
    pub(super) succeeded: bool,
    /// When it was last seen as a connected, direct replica of the proven master.
    pub(super) in_step_at: Option<Instant>,
    /// Where its data stood when it last answered, remembered while it is silent.
    last: Option<Point>,
    /// How often its data may have gone back in time: see [`Member::broke`].
    pub(super) interruptions: u64,
    /// When it last answered or was last named by another node.
    pub(super) heard_of: Instant,
    pub(super) round_trip: Option<Duration>,
    pub(super) health: Health,
}

/// A place in a history.
#[derive(Debug)]
struct Point {
    replid: Option<Arc<str>>,
    offset: Option<u64>,
}

/// The memory that hysteresis needs.
#[derive(Debug)]
pub(super) struct Health {
    /// It was judged at least once.
    pub(super) judged: bool,
    /// Good observations in a row.
    pub(super) good: u32,
    pub(super) readable: Result<(), Arc<str>>,
}

impl Member {
    pub(super) fn new(id: NodeId, address: Arc<str>, seed: bool, now: Instant) -> Self {
        Self {
            id,
            address,
            seed,
            aliases: Vec::new(),
            said: None,
            observed_at: None,
            failure: None,
            tried: false,
            answered: false,
            run_id: None,
            flavor: Flavor::default(),
            zone: None,
            version: None,
            greeting: None,
            role: Role::Unknown,
            role_since: now,
            parent_text: None,
            parent_at: None,
            parent_since: now,
            moved: false,
            succeeded: false,
            in_step_at: None,
            last: None,
            interruptions: 0,
            heard_of: now,
            round_trip: None,
            health: Health { judged: false, good: 0, readable: Err("it has not been asked yet".into()) },
        }
    }

    /// Whether its data may be older than what it had when it last answered: it was restarted, loads or copies a data
    /// set, counts from a smaller offset, or follows a history that does not continue the one before. A broken link
    /// alone is none of these: what a replica has it keeps.
    fn broke(&self, seen: &Observation) -> bool {
        let Some(last) = &self.last else { return false };
        let restarted = matches!((&self.run_id, &seen.run_id), (Some(old), Some(new)) if old != new);
        let loads = seen.loading == Some(true) || seen.syncing == Some(true);
        let fell = matches!((last.offset, seen.offset), (Some(old), Some(new)) if new < old);
        let departed = match (&last.replid, &seen.replid) {
            (Some(old), Some(new)) => old != new && seen.replid2.as_ref() != Some(old),
            _ => false,
        };
        restarted || loads || fell || departed
    }

    /// Takes in an answer; `places` says where the master that it names is dialled.
    pub(super) fn observe(&mut self, now: Instant, seen: Observation, round_trip: Duration, places: &Places) {
        if self.broke(&seen) {
            self.interruptions += 1;
        }
        self.last = Some(Point { replid: seen.replid.clone(), offset: seen.offset });
        if seen.role == Role::Replica {
            self.succeeded = false;
        }
        if seen.role != self.role {
            self.role = seen.role;
            self.role_since = now;
        }
        self.parent_at = seen.parent.as_deref().and_then(|parent| places.place(&self.address, parent));
        if seen.parent != self.parent_text {
            self.moved = self.answered;
            self.parent_since = now;
            self.parent_text.clone_from(&seen.parent);
        }
        // Partial answers (ROLE, HELLO) do not make earlier knowledge wrong.
        if seen.run_id.is_some() {
            self.run_id.clone_from(&seen.run_id);
        }
        if seen.version.is_some() {
            self.version = seen.version;
            self.flavor = seen.flavor;
            self.zone.clone_from(&seen.zone);
        }
        if seen.greeting.is_some() {
            self.greeting.clone_from(&seen.greeting);
        }
        // A moving average over about eight probes, as TCP does it: one late answer is no slow node.
        self.round_trip = Some(self.round_trip.map_or(round_trip, |old| (old * 7 + round_trip) / 8));
        self.tried = true;
        self.answered = true;
        self.failure = None;
        self.observed_at = Some(now);
        self.heard_of = now;
        self.said = Some(seen);
    }

    /// Takes in a failure.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.tried = true;
        if failure.kind != FailureKind::Busy {
            self.said = None;
            // Who does not tell its run id may have been restarted unseen.
            self.interruptions += u64::from(self.run_id.is_none());
        }
        self.failure = Some(failure);
    }

    /// FNV-1a, so that every process of every build comes to the same number.
    pub(super) fn run(&self) -> u32 {
        let hash = |bytes: &[u8], start: u32| {
            bytes.iter().fold(start, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        };
        match &self.run_id {
            Some(run_id) => hash(run_id.as_bytes(), 0x811c_9dc5),
            None => hash(&self.interruptions.to_le_bytes(), hash(self.address.as_bytes(), 0x811c_9dc5)),
        }
    }

    pub(super) fn says(&self, role: Role) -> bool {
        self.said.as_ref().is_some_and(|said| said.role == role)
    }

    /// It says it is a master that can serve: while it loads its data set it answers -LOADING, and what it has
    /// loaded so far proves nothing.
    pub(super) fn claims(&self) -> bool {
        self.says(Role::Master) && self.said.as_ref().is_some_and(|said| said.loading != Some(true))
    }

    pub(super) fn replid(&self) -> Option<&Arc<str>> {
        self.said.as_ref().and_then(|said| said.replid.as_ref())
    }

    pub(super) fn replid2(&self) -> Option<&Arc<str>> {
        self.said.as_ref().and_then(|said| said.replid2.as_ref())
    }

    pub(super) fn is_at(&self, address: &str) -> bool {
        &*self.address == address || self.aliases.iter().any(|(alias, _)| &**alias == address)
    }
}

/// The node that `member` replicates from, where that is known.
pub(super) fn parent_of<'a>(members: &'a [Member], member: &Member) -> Option<&'a Member> {
    member.said.as_ref()?;
    let at = member.parent_at.as_deref()?;
    members.iter().find(|other| other.is_at(at))
}

/// Where the chain of masters above a replica ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// At a node that says it is a master.
    Claim(NodeId),
    /// At a node that cannot be asked, or in a loop.
    Silent,
    /// At an address that Redan does not know as a node.
    Stranger,
}

fn root_of(members: &[Member], replica: &Member) -> Root {
    let mut at = replica;
    for _ in 0..CHAIN {
        let Some(parent) = parent_of(members, at) else { return Root::Stranger };
        match parent.said.as_ref().map(|said| said.role) {
            Some(Role::Master) => return Root::Claim(parent.id),
            Some(Role::Replica) => at = parent,
            _ => return Root::Silent,
        }
    }
    Root::Silent
}

/// Whether a replica's data come from `master`, by addresses or, where they lead nowhere, by the name of the
/// history.
pub(super) fn follows(members: &[Member], replica: &Member, master: &Member) -> bool {
    replica.says(Role::Replica)
        && match root_of(members, replica) {
            Root::Claim(id) => id == master.id,
            Root::Silent => false,
            Root::Stranger => replica.replid().is_some() && replica.replid() == master.replid(),
        }
}
