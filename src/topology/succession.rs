//! Whether a node may become the master in a planned switch, and what has to be told to whom.
//!
//! Pure. The tracker asks, `control` performs the [`Plan`]. Everything that speaks against the switch is said at once.

use std::sync::Arc;
use std::time::Duration;

use super::address::{Places, join_host_port, split_host_port};
use super::health::distance;
use super::member::{Member, parent_of};
use super::observe::Observation;
use super::past::Past;
use super::{NodeId, Role, Version};

/// What is missing while writes are held has to arrive then: 4 MiB take some 40 ms at a gigabit.
const FAR_BEHIND: u64 = 4 * 1024 * 1024;

/// How long a server may keep writes waiting by itself when Redan, which would end the pause, has died meanwhile.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

/// A node that will be told to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Station {
    pub(crate) address: Arc<str>,
    /// Before 5.0 the command is called SLAVEOF.
    pub(crate) follow_word: &'static str,
}

impl Station {
    pub(super) fn of(member: &Member) -> Self {
        let old = member.version.is_some_and(|version| version < Version(5, 0, 0));
        Self { address: member.address.clone(), follow_word: if old { "SLAVEOF" } else { "REPLICAOF" } }
    }
}

/// Where the nodes, as opposed to Redan, reach one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) host: String,
    pub(crate) port: String,
}

/// A switch that nothing speaks against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) master: Station,
    pub(crate) heir: Station,
    pub(crate) heir_id: NodeId,
    pub(crate) heir_at: Whereabouts,
    /// The master, as the heir calls it.
    pub(crate) heir_follows: Option<String>,
    /// Direct replicas of the master that can be asked, beside the heir: they will follow the heir.
    pub(crate) others: Vec<Station>,
    /// Replicas that follow another replica, with which they stay.
    pub(crate) chained: Vec<Arc<str>>,
    /// Replicas that cannot be asked now, and so cannot be told either.
    pub(crate) absent: Vec<Arc<str>>,
    /// The master can hold writes back itself (CLIENT PAUSE … WRITE, since 6.2), also those that come past Redan.
    pub(crate) pauses_writes: bool,
}

/// Plans to make the node at `address` the master. An error says everything that speaks against it.
pub(super) fn plan(members: &[Member], past: &Past, places: &Places, address: &str) -> Result<Plan, Vec<String>> {
    let Some(heir) = members.iter().find(|member| member.is_at(address)) else {
        let known = members.iter().map(|member| &*member.address).collect::<Vec<_>>().join(", ");
        return Err(vec![format!("{address} is no node of the group; it has {known}")]);
    };
    let Some(master) = members.iter().find(|member| member.id == past.node) else {
        return Err(vec!["the master has left the group".to_owned()]);
    };
    let mut against = unfit(members, heir, past);
    let heir_at = whereabouts(places, master, heir);
    if heir_at.is_none() {
        against.push(format!(
            "{} is reached at an address of this host or through a link, and {} does not say how it reaches it: set \
             replica-announce-ip and replica-announce-port there, or say in `map` what it is called",
            heir.address, master.address
        ));
    }
    let Some(heir_at) = heir_at.filter(|_| against.is_empty()) else { return Err(against) };
    let (mut others, mut chained, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for member in members.iter().filter(|member| member.id != heir.id && member.id != master.id) {
        match parent_of(members, member) {
            Some(parent) if parent.id == master.id => others.push(Station::of(member)),
            _ if member.says(Role::Replica) => chained.push(member.address.clone()),
            _ if member.said.is_none() && member.answered => absent.push(member.address.clone()),
            _ => {}
        }
    }
    Ok(Plan {
        master: Station::of(master),
        heir: Station::of(heir),
        heir_id: heir.id,
        heir_at,
        heir_follows: heir.said.as_ref().and_then(|said| said.parent.clone()),
        others,
        chained,
        absent,
        pauses_writes: master.version.is_none_or(|version| version >= Version(6, 2, 0)),
    })
}

/// How the other nodes reach `node`: as the one that lists it as its replica does, else as Redan does.
pub(super) fn whereabouts(places: &Places, speaker: &Member, node: &Member) -> Option<Whereabouts> {
    let listed = speaker.said.iter().flat_map(|said| said.replicas.iter().flatten());
    let named = listed.map(|replica| &*replica.address).find(|address| {
        // An alias is as good: it is the same server, by its run id.
        places.place(&speaker.address, address).is_some_and(|at| node.is_at(&at))
    });
    let usable = named.or_else(|| places.name(&speaker.address, &node.address))?;
    let (host, port) = split_host_port(usable)?;
    Some(Whereabouts { host: host.to_owned(), port: port.to_string() })
}

impl std::fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&join_host_port(&self.host, self.port.parse().unwrap_or_default()))
    }
}

/// Everything that keeps `heir` from taking over from the present master.
fn unfit(members: &[Member], heir: &Member, past: &Past) -> Vec<String> {
    let address = &heir.address;
    let Some(said) = &heir.said else {
        let why = heir.failure.as_ref().map_or("it has not answered yet", |failure| &failure.text);
        return vec![format!("{address} cannot be asked: {why}")];
    };
    if said.role != Role::Replica {
        return vec![format!("{address} says it is a master itself, but {} is the group's", past.address)];
    }
    let mut against = Vec::new();
    if parent_of(members, heir).is_none_or(|parent| parent.id != past.node) {
        let parent = said.parent.as_deref().unwrap_or("nobody known");
        against.push(format!("{address} follows {parent} and not the master {}: attach it there first", past.address));
    }
    against.extend(unfit_itself(address, said));
    let behind = distance(members, heir, Some(past));
    match behind.bytes {
        _ if !behind.comparable => against.push(format!("{address} has another history than the master")),
        None => against.push(format!("{address} does not tell how far it is behind")),
        Some(bytes) if bytes > FAR_BEHIND => {
            against.push(format!("{address} is {bytes} bytes behind the master, more than {FAR_BEHIND}: wait for it"));
        }
        Some(_) => {}
    }
    against
}

/// What a replica says of itself that keeps it from becoming the master.
pub(crate) fn unfit_itself(address: &str, said: &Observation) -> Vec<String> {
    let mut against = Vec::new();
    if said.priority.is_none() {
        return vec![format!("{address} does not tell its state: grant the group's user +info there")];
    }
    if said.link_up != Some(true) {
        against.push(format!("the link of {address} to its master is down"));
    }
    if said.loading == Some(true) || said.syncing != Some(false) {
        against.push(format!("{address} is still taking over the master's data"));
    }
    if said.priority == Some(0) {
        against.push(format!("{address} asks never to become the master (replica-priority 0)"));
    }
    if said.read_only == Some(false) {
        against.push(format!("{address} is writable (replica-read-only no), so its data may differ"));
    }
    against
}
