//! What a node said of itself: the texts of INFO, ROLE and HELLO made into one [`Observation`].
//!
//! Pure. Probes call it; the tracker judges the result. It never guesses: what a server did not say stays
//! `None`. Servers from Redis 3.0 to 8 and Valkey to 9 use the same SLAVE-era names here.

use std::sync::Arc;

use super::address::join_host_port;
use super::greeting::Greeting;
use super::{Flavor, Role, Version};
use crate::resp::value::Value;

/// How many replicas of one node's list are looked at: a bound for hostile or broken lists.
const LISTED: usize = 64;

/// A node's answer to one probe.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observation {
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    /// Changes at every start of the server; equal at two addresses means one server.
    pub(crate) run_id: Option<Arc<str>>,
    pub(crate) flavor: Flavor,
    /// Where it runs (Valkey's `availability-zone`); `None` also where that is not set.
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) version: Option<Version>,
    /// What it answered to HELLO, if it was asked.
    pub(crate) greeting: Option<Arc<Greeting>>,
    /// The name of its replication history (since 4.0).
    pub(crate) replid: Option<Arc<str>>,
    /// The history it continued when it was promoted; `None` also where the server says all zeros.
    pub(crate) replid2: Option<Arc<str>>,
    /// The first offset that belongs to `replid` and not to `replid2`; `None` where the server says -1.
    pub(crate) second_offset: Option<u64>,
    /// A master's end of history; what a replica has applied.
    pub(crate) offset: Option<u64>,
    /// `host:port` of its master, as the node itself sees it.
    pub(crate) parent: Option<String>,
    pub(crate) link_up: Option<bool>,
    /// Seconds since its link broke; `None` while it is up, or when it never was.
    pub(crate) link_down_for: Option<u64>,
    pub(crate) syncing: Option<bool>,
    /// Seconds of silence on its link; `None` while there is no link.
    pub(crate) last_io: Option<u64>,
    /// Loading a data set, in the foreground or (7.0, `async_loading`) behind its old one.
    pub(crate) loading: Option<bool>,
    pub(crate) read_only: Option<bool>,
    pub(crate) announced: Option<bool>,
    pub(crate) priority: Option<u32>,
    /// `None` when it did not say whether it has any.
    pub(crate) replicas: Option<Vec<ListedReplica>>,
    /// Keys in all databases.
    pub(crate) keys: Option<u64>,
}

/// A line of a node's list of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedReplica {
    /// `host:port`, announced or as the node sees the peer.
    pub(crate) address: String,
    pub(crate) online: bool,
    pub(crate) offset: Option<u64>,
    /// Whole seconds since it last acknowledged what it has; `None` where that is not said (ROLE).
    pub(crate) lag: Option<u64>,
}

/// Which kind of server answered. Only `Standalone` can be a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Standalone,
    Sentinel,
    Cluster,
}

impl Observation {
    /// Nothing is known yet.
    pub(crate) fn empty() -> Self {
        Self {
            role: Role::Unknown,
            kind: Kind::Standalone,
            run_id: None,
            flavor: Flavor::Redis,
            zone: None,
            version: None,
            greeting: None,
            replid: None,
            replid2: None,
            second_offset: None,
            offset: None,
            parent: None,
            link_up: None,
            link_down_for: None,
            syncing: None,
            last_io: None,
            loading: None,
            read_only: None,
            announced: None,
            priority: None,
            replicas: None,
            keys: None,
        }
    }
}

/// Reads the text of INFO: any sections, in any order, joined together.
pub(crate) fn from_info(text: &str) -> Observation {
    let mut seen = Observation::empty();
    let mut raw = Raw::default();
    for line in text.lines().map(str::trim_end) {
        if line == "# Keyspace" {
            seen.keys = Some(0);
        } else if let Some((key, value)) = line.split_once(':') {
            take_server(&mut seen, &mut raw, key, value);
            take_replication(&mut seen, &mut raw, key, value);
        }
    }
    seen.version = raw.valkey_version.or(raw.redis_version);
    seen.offset = match seen.role {
        Role::Master => raw.master_offset,
        _ => raw.applied_offset,
    };
    if let (Some(host), Some(port)) = (raw.master_host, raw.master_port) {
        seen.parent = Some(join_host_port(&host, port));
    }
    // `connected_slaves` proves that the section was there; without it an empty list would mean "none".
    if raw.has_replica_list {
        seen.replicas = Some(raw.replicas);
    }
    // Two fields, one question; unknown only when neither was said.
    seen.loading = match (raw.loading, raw.async_loading) {
        (None, None) => None,
        (a, b) => Some(a == Some(true) || b == Some(true)),
    };
    seen
}

/// Fields whose meaning depends on others.
#[derive(Default)]
struct Raw {
    redis_version: Option<Version>,
    valkey_version: Option<Version>,
    master_host: Option<String>,
    master_port: Option<u16>,
    master_offset: Option<u64>,
    applied_offset: Option<u64>,
    has_replica_list: bool,
    replicas: Vec<ListedReplica>,
    loading: Option<bool>,
    async_loading: Option<bool>,
}

/// INFO server, persistence and keyspace.
fn take_server(seen: &mut Observation, raw: &mut Raw, key: &str, value: &str) {
    match key {
        "redis_version" => raw.redis_version = version(value),
        "valkey_version" => {
            raw.valkey_version = version(value);
            seen.flavor = Flavor::Valkey;
        }
        "server_name" if value == "valkey" => seen.flavor = Flavor::Valkey,
        "redis_mode" | "server_mode" => {
            seen.kind = match value {
                "sentinel" => Kind::Sentinel,
                "cluster" => Kind::Cluster,
                _ => Kind::Standalone,
            }
        }
        "run_id" => seen.run_id = Some(value.into()),
        "availability_zone" if !value.is_empty() => seen.zone = Some(value.into()),
        "loading" => raw.loading = flag(value),
        "async_loading" => raw.async_loading = flag(value),
        _ if key.strip_prefix("db").is_some_and(|n| n.parse::<u32>().is_ok()) => {
            let keys = value.split(',').find_map(|part| part.strip_prefix("keys="));
            if let Some(keys) = keys.and_then(|text| text.parse::<u64>().ok()) {
                seen.keys = Some(seen.keys.unwrap_or(0).saturating_add(keys));
            }
        }
        _ => {}
    }
}

/// INFO replication.
fn take_replication(seen: &mut Observation, raw: &mut Raw, key: &str, value: &str) {
    match key {
        "role" => seen.role = role(value),
        "master_replid" => seen.replid = Some(value.into()),
        "master_replid2" => seen.replid2 = value.bytes().any(|byte| byte != b'0').then(|| value.into()),
        "second_repl_offset" => seen.second_offset = value.parse().ok(),
        "master_repl_offset" => raw.master_offset = value.parse().ok(),
        "slave_repl_offset" => raw.applied_offset = value.parse().ok(),
        "master_host" => raw.master_host = Some(value.to_owned()),
        "master_port" => raw.master_port = value.parse().ok().filter(|&port| port != 0),
        "master_link_status" => seen.link_up = Some(value == "up"),
        "master_link_down_since_seconds" => seen.link_down_for = value.parse().ok(),
        "master_sync_in_progress" => seen.syncing = flag(value),
        "master_last_io_seconds_ago" => seen.last_io = value.parse().ok(),
        "slave_read_only" => seen.read_only = flag(value),
        "slave_priority" => seen.priority = value.parse().ok(),
        "replica_announced" => seen.announced = flag(value),
        "connected_slaves" => raw.has_replica_list = true,
        _ if raw.replicas.len() < LISTED && key.strip_prefix("slave").is_some_and(|n| n.parse::<u32>().is_ok()) => {
            raw.replicas.extend(listed(value));
        }
        _ => {}
    }
}

/// `ip=10.0.0.2,port=6379,state=online,offset=123,lag=0[,type=replica]`. The helper connections of a
/// dual-channel sync (Valkey 8) show one replica twice and are left out.
fn listed(text: &str) -> Option<ListedReplica> {
    let field = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    if matches!(field("type"), Some("rdb-channel" | "main-channel")) {
        return None;
    }
    let port = field("port")?.parse().ok().filter(|&port: &u16| port != 0)?;
    let host = field("ip").filter(|host| !host.is_empty())?;
    Some(ListedReplica {
        address: join_host_port(host, port),
        online: field("state") == Some("online"),
        offset: field("offset").and_then(|text| text.parse().ok()),
        lag: field("lag").and_then(|text| text.parse().ok()),
    })
}

/// Reads the reply of ROLE. `None` when it is not one.
pub(crate) fn from_role(value: &Value) -> Option<Observation> {
    let items = value.items()?;
    let mut seen = Observation { role: role(items.first()?.text()?), ..Observation::empty() };
    match seen.role {
        Role::Master => {
            seen.offset = items.get(1).and_then(offset);
            let list = items.get(2)?.items()?;
            seen.replicas = Some(list.iter().take(LISTED).filter_map(listed_by_role).collect());
        }
        Role::Replica => {
            let port = u16::try_from(items.get(2)?.integer()?).ok()?;
            seen.parent = Some(join_host_port(items.get(1)?.text()?, port));
            let state = items.get(3)?.text()?;
            seen.link_up = Some(state == "connected");
            seen.syncing = Some(state == "sync");
            // A replica is connected only after it has loaded what it was sent.
            seen.loading = (state == "connected").then_some(false);
            seen.offset = items.get(4).and_then(offset);
        }
        Role::Unknown if items[0].text() == Some("sentinel") => seen.kind = Kind::Sentinel,
        Role::Unknown => return None,
    }
    Some(seen)
}

fn listed_by_role(item: &Value) -> Option<ListedReplica> {
    let parts = item.items()?;
    let port = u16::try_from(parts.get(1)?.integer()?).ok().filter(|&port| port != 0)?;
    let address = join_host_port(parts.first()?.text()?, port);
    // ROLE lists only replicas that are online.
    Some(ListedReplica { address, online: true, offset: parts.get(2).and_then(offset), lag: None })
}

impl Observation {
    /// The same with what the node answered to HELLO as well.
    pub(crate) fn greeted(mut self, hello: &Value) -> Self {
        if let Some(said) = from_hello(hello) {
            self.greeting = said.greeting;
            if self.version.is_none() {
                (self.flavor, self.version) = (said.flavor, said.version);
            }
        }
        self
    }
}

/// Reads the reply of HELLO, which tells the role and the version even to users who may ask nothing else.
pub(crate) fn from_hello(value: &Value) -> Option<Observation> {
    let text = |key: &str| value.field(key).and_then(Value::text);
    Some(Observation {
        role: role(text("role")?),
        kind: match text("mode") {
            Some("sentinel") => Kind::Sentinel,
            Some("cluster") => Kind::Cluster,
            _ => Kind::Standalone,
        },
        flavor: if text("server") == Some("valkey") { Flavor::Valkey } else { Flavor::Redis },
        version: text("version").and_then(version),
        greeting: Greeting::of(value).map(Arc::new),
        ..Observation::empty()
    })
}

fn role(text: &str) -> Role {
    match text {
        "master" | "primary" => Role::Master,
        "slave" | "replica" => Role::Replica,
        _ => Role::Unknown,
    }
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// ROLE says -1 for an offset it does not have.
fn offset(value: &Value) -> Option<u64> {
    value.integer().and_then(|number| u64::try_from(number).ok())
}

/// `7.0.15`, also `7.2.241` of forks and `255.255.255` of development builds.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.split(['.', '-']).map(|part| part.parse::<u16>().ok());
    Some(Version(parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests;
