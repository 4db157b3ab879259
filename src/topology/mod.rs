//! What Redan knows of a group: an immutable [`Snapshot`] that control publishes and workers read.
//!
//! Pure data: no I/O, no clock. The tracker (in [`tracker`]) makes snapshots from observations;
//! `route` and `backend` read them. A snapshot is never changed after it was published.

pub(crate) mod address;
pub(crate) mod edition;
pub(crate) mod greeting;
pub(crate) mod fence;
mod health;
mod history;
pub(crate) mod member;
pub(crate) mod observe;
mod past;
mod proof;
pub(crate) mod rescue;
pub(crate) mod succession;
pub(crate) mod sentinel;
pub(crate) mod tracker;
mod votes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::greeting::Greeting;

/// Names a node for as long as the process lives; never reused, so a lane of a vanished node cannot
/// be mistaken for a lane of its successor at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// What a node said of itself when it was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It says `master`. Whether it is *the* master is `Snapshot::master`'s to say.
    Master,
    /// It says `slave` or `replica`.
    Replica,
    /// It has not answered, or answered something else (a Sentinel, for instance).
    Unknown,
}

/// A server's version as three numbers; Valkey's own number, not its `redis_version:7.2.4`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16, pub(crate) u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Which server program a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flavor {
    #[default]
    Redis,
    Valkey,
}

impl Flavor {
    /// The name HELLO gives in its `server` field.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        }
    }
}

/// One server of the group, as last seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Where Redan dials it: `host:port`, as configured or as discovered.
    pub(crate) address: Arc<str>,
    pub(crate) role: Role,
    /// May serve reads: `Ok`, or one short reason why not ("link to its master is down").
    /// The master is always `Ok` here. Unknown is never `Ok`.
    pub(crate) readable: Result<(), Arc<str>>,
    /// Grows whenever the node's data may have gone back in time: a restart, a full sync, another history. What a
    /// session saw on it before proves nothing then. A broken link alone does not count.
    pub(crate) interruptions: u64,
    /// Tells this run of the server from every other, of this node and of others, also to other Redans. Where the server
    /// does not tell its run id, only as far as its address and `interruptions` do.
    pub(crate) run: u32,
    /// How far behind the master in time, from sampled master offsets; `None` when unknown.
    pub(crate) lag: Option<Duration>,
    /// How far behind the master in bytes of the replication stream; `None` when unknown.
    pub(crate) lag_bytes: Option<u64>,
    /// Its offset can be compared with the master's (same history, one offset space).
    pub(crate) offsets_comparable: bool,
    /// Smoothed round trip of probes, for `reads = "nearest"`; `None` before the first answer.
    pub(crate) round_trip: Option<Duration>,
    /// Where it says that it runs.
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) flavor: Flavor,
    /// `None` when the server would not tell.
    pub(crate) version: Option<Version>,
    /// What it answers to HELLO; `None` when it would not tell, or knows no HELLO.
    pub(crate) greeting: Option<Arc<Greeting>>,
    /// Whom it replicates from, where that is known.
    pub(crate) parent: Option<NodeId>,
    /// The last probe's failure in words, when the last probe failed.
    pub(crate) trouble: Option<Arc<str>>,
    /// The last probe failed, and not because a script keeps the node busy: what it owes it may never answer.
    pub(crate) silent: bool,
    /// The last probe was answered -BUSY: a script runs there, and nothing but its end is listened to.
    pub(crate) busy: bool,
}

impl Node {
    /// The operator wants no reads there.
    pub(crate) fn is_drained(&self) -> bool {
        self.readable.as_ref().is_err_and(|why| **why == *DRAINED)
    }

    pub(crate) fn role_is_master(&self) -> bool {
        self.role == Role::Master
    }

    /// Healthy, with nothing known of it but that.
    #[cfg(test)]
    pub(crate) fn example(id: u32, role: Role) -> Self {
        Self {
            id: NodeId(id),
            address: format!("10.0.0.{id}:6379").into(),
            role,
            readable: Ok(()),
            interruptions: 0,
            run: id,
            lag: None,
            lag_bytes: None,
            offsets_comparable: true,
            round_trip: None,
            zone: None,
            flavor: Flavor::Redis,
            version: None,
            greeting: None,
            parent: None,
            trouble: None,
            silent: false,
            busy: false,
        }
    }

    /// RESP3 and HELLO exist since Redis 6.0; a server that hides its version is taken as current.
    pub(crate) fn speaks_resp3(&self) -> bool {
        self.version.is_none_or(|v| v >= Version(6, 0, 0))
    }
}

/// Why a node serves no reads that the operator has drained.
const DRAINED: &str = "it is drained: the operator wants no reads there";

/// One Sentinel of a group, for the operator.
#[derive(Clone, Debug)]
pub(crate) struct Testimony {
    pub(crate) address: Arc<str>,
    /// Whom it names as the master, as Redan dials it.
    pub(crate) names: Option<Arc<str>>,
    /// Why it could not be asked last.
    pub(crate) trouble: Option<Arc<str>>,
}

/// What the Sentinels of a group amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentinelState {
    /// Those that take part: configured ones that answered once, and whom they name.
    pub(crate) known: usize,
    /// Those of them that answer, know the group and are not in TILT.
    pub(crate) answering: usize,
    /// The newest configuration epoch that most of them agreed on; 0 before the first.
    pub(crate) epoch: u64,
    /// Most of the known ones answer and name the same master: they are able to make another one.
    pub(crate) in_charge: bool,
}

/// The group at one moment. Workers route by it; it is replaced as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    /// Grows by one at every change of the master (to another node, to none, or to another history
    /// of the same node). Offsets of two epochs must never be compared.
    pub(crate) epoch: u64,
    /// Index into `nodes` of the proven master; `None` holds writes.
    pub(crate) master: Option<usize>,
    pub(crate) nodes: Vec<Node>,
    /// One sentence: why this master, or why there is none. Shown to operators and in hold errors.
    pub(crate) reason: Arc<str>,
    /// `None` where none is configured. Where one is in charge, whoever else moves the master has to ask it.
    pub(crate) sentinels: Option<SentinelState>,
    /// There is no master because a script has kept the last one from answering for too long. It would refuse whatever it is
    /// sent, so there is nothing to wait for.
    pub(crate) busy: bool,
}

impl Snapshot {
    /// Before the first probe answered: no node, no master.
    pub(crate) fn unknown() -> Self {
        let reason = "no node has been asked yet".into();
        Self { epoch: 0, master: None, nodes: Vec::new(), reason, sentinels: None, busy: false }
    }

    pub(crate) fn master(&self) -> Option<&Node> {
        self.master.map(|index| &self.nodes[index])
    }

    /// Whose words Redan speaks in: the master's or, before one was found, those of any node.
    pub(crate) fn spokesman(&self) -> Option<&Node> {
        self.master().or_else(|| self.nodes.first())
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The master has changed since `before`, or a node has gone or fallen silent: who waits for one must look again.
    pub(crate) fn gives_up_more_than(&self, before: &Self) -> bool {
        let given_up = |node: &Node| self.node(node.id).is_none_or(|now| now.silent && !node.silent);
        self.epoch != before.epoch || before.nodes.iter().any(given_up)
    }
}
