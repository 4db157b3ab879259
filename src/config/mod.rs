//! The resolved configuration: what every other part reads. No option is left to re-check here.
//!
//! `read` reads the file, collects every error with its line and makes these types. Nothing else
//! may construct them, save tests. Secrets print as `***`.

mod account;
pub(crate) mod admin_socket;
mod bare;
mod changes;
pub(crate) mod diff;
pub(crate) mod effect;
mod export;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod group;
mod keys;
pub(crate) mod link;
mod listener;
mod machine;
mod observing;
mod output;
mod permissions;
mod read;
mod report;
mod section;
mod sentinel;
mod settings;
pub(crate) mod sheet;
mod token;
mod users;
mod values;
mod variables;
mod writes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use account::Account;
pub(crate) use admin_socket::AdminSocket;
pub(crate) use bare::load_environment;
pub(crate) use export::Collector;
pub(crate) use output::{ClientClass, OutputLimits};
pub(crate) use read::load;
pub(crate) use report::Errors;
pub(crate) use settings::{Setting, Settings};
pub(crate) use values::{duration, log_filter, peer, pin};
pub(crate) use writes::{HoldBudget, InDoubt, Retry, Writes};

use crate::command::permissions::Permissions;
use crate::insight;
use crate::reading::lag::LagLimit;
use crate::reading::tail::Percentile;
use crate::topology::address::linked;
use crate::topology::fence::FenceSettings;

/// A whole `proxy.toml`.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// Where `/metrics`, `/status`, `/healthz` and `/readyz` are served; `None` serves none.
    pub(crate) admin: Option<SocketAddr>,
    /// Where the operator's commands are taken, and what has to be said first.
    pub(crate) admin_socket: AdminSocket,
    pub(crate) admin_password: Option<Secret>,
    /// Who says it may give orders at `admin`, from a browser for instance; `None`: nobody may.
    pub(crate) admin_token: Option<Secret>,
    pub(crate) log: Log,
    /// How long SIGTERM lets sessions finish before they are closed.
    pub(crate) shutdown_timeout: Duration,
    /// How long another process may take to be ready to take the place of this one.
    pub(crate) upgrade_timeout: Duration,
    /// How long sessions that cannot be handed over may finish then.
    pub(crate) drain_timeout: Duration,
    /// Bytes that buffers of clients may hold in the whole process; `None` is no limit.
    pub(crate) max_memory: Option<u64>,
    /// What is remembered of single commands.
    pub(crate) insight: insight::Settings,
    /// Who is told of sampled commands; `None`: the log.
    pub(crate) trace_export: Option<Collector>,
    /// Whom Redan becomes once its listeners are bound; `None` stays who it is.
    pub(crate) user: Option<Account>,
    /// Files that it does not need are out of its reach from then on.
    pub(crate) sandbox: bool,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) links: Vec<Arc<link::Link>>,
    /// All settings as they stand in the file, or their defaults.
    pub(crate) settings: Settings,
    /// The file, for whoever reads it again; `None`: all stands in the environment.
    pub(crate) path: Option<PathBuf>,
    /// Every setting as it is written there.
    pub(crate) sheet: sheet::Sheet,
    /// What is allowed and probably not meant, `proxy.toml:12: …`, for whoever starts Redan.
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// A `tracing` filter: `info`, `debug`, `redan::control=debug,info`.
    pub(crate) filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where clients connect, with the policy that applies to them.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) bind: Bind,
    /// Index into `Config::groups`.
    pub(crate) group: usize,
    pub(crate) tls: Option<ListenerTls>,
    /// `None`: clients need no authentication.
    pub(crate) users: Option<Arc<Users>>,
    /// The nodes judge logins, and serve each client as its own user; without `users`.
    pub(crate) passthrough: bool,
    pub(crate) reads: Reads,
    pub(crate) consistency: Consistency,
    /// A replica further behind serves none of its reads.
    pub(crate) max_lag: LagLimit,
    /// Reads a second, of each worker, that go to the master because no replica can serve; `None`: as many as come.
    pub(crate) master_reads_limit: Option<u64>,
    /// How long a command waits for a master before it is answered with an error.
    pub(crate) hold: Duration,
    pub(crate) hold_budget: HoldBudget,
    pub(crate) writes: Writes,
    /// Administrative commands go to the master instead of being refused.
    pub(crate) allow_admin_commands: bool,
    /// `None`: no command is forbidden.
    pub(crate) permissions: Option<Arc<Permissions>>,
    pub(crate) max_clients: usize,
    /// Of one address; `None` is no limit but that of all.
    pub(crate) max_clients_per_source: Option<usize>,
    /// Close a session that sent nothing for so long; `None` never does.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) output_limit: OutputLimits,
    /// A silent client's machine is asked after so long whether it is still there; `None` never.
    pub(crate) tcp_keepalive: Option<Duration>,
}

impl Listener {
    /// With each worker's part of what is bounded for all of them.
    fn on(mut self, workers: usize) -> Self {
        self.master_reads_limit = self.master_reads_limit.map(|limit| limit.div_ceil(workers.max(1) as u64));
        self
    }

    /// Nobody needs to log in.
    pub(crate) fn lets_anyone_in(&self) -> bool {
        self.users.is_none() && !self.passthrough
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Tcp(SocketAddr),
    /// `mode` is the file's permission bits (0o700 …).
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

impl Bind {
    /// The permission bits of a socket file do not make it another.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => one == other,
            (Self::Unix { path: one, .. }, Self::Unix { path: other, .. }) => one == other,
            _ => false,
        }
    }

    /// Each such address is another one.
    pub(crate) fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerTls {
    /// At least one. The first is for clients that name no host, or one that no certificate carries.
    pub(crate) certificates: Vec<Identity>,
    /// TLS 1.2 is refused.
    pub(crate) only_tls13: bool,
    pub(crate) handshake_timeout: Duration,
    /// Clients must present a certificate that this CA signed.
    pub(crate) client_ca: Option<PathBuf>,
    /// And that none of these lists has revoked.
    pub(crate) client_crl: Vec<PathBuf>,
    /// Or may, and then log in otherwise.
    pub(crate) client_may_show_none: bool,
    /// The field of it that names one of the listener's users.
    pub(crate) user: Option<CertificateField>,
}

/// A certificate with those that lead to its CA, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Where a certificate names its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateField {
    /// Of the subject.
    CommonName,
    /// The DNS names among the subject's alternative names.
    Dns,
    /// The URIs among them.
    Uri,
}

/// Which nodes serve a listener's reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Replica,
    Master,
    Any,
    Nearest,
    /// Replicas of Redan's own zone, then other replicas; the master when there is none.
    Zone,
    /// Replicas of Redan's own zone, then the master if it is there, then all.
    ZoneAny,
}

impl Reads {
    /// As they are written in the configuration.
    const WORDS: [(&str, Self); 6] = [
        ("replica", Self::Replica),
        ("master", Self::Master),
        ("any", Self::Any),
        ("nearest", Self::Nearest),
        ("zone", Self::Zone),
        ("zone-any", Self::ZoneAny),
    ];

    pub(crate) fn word(self) -> &'static str {
        word(&Self::WORDS, self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// A client sees its own writes and never goes back in time.
    Session,
    /// Any healthy replica.
    Eventual,
    /// Every read goes to the master.
    Strong,
}

impl Consistency {
    /// As they are written in the configuration.
    const WORDS: [(&str, Self); 3] =
        [("session", Self::Session), ("eventual", Self::Eventual), ("strong", Self::Strong)];

    pub(crate) fn word(self) -> &'static str {
        word(&Self::WORDS, self)
    }
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

/// One replication group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) seeds: Vec<Seed>,
    /// For discovered nodes, and for seeds without their own.
    pub(crate) access: Arc<Access>,
    /// Who else is asked for the master; without it the nodes alone. Then there is at least one seed.
    pub(crate) sentinel: Option<Sentinel>,
    /// Addresses that nodes and Sentinels announce, and where they are dialled instead.
    pub(crate) map: Vec<Mapped>,
    pub(crate) probe_interval: Duration,
    /// A node that does not answer a probe for so long is taken as unreachable.
    pub(crate) probe_timeout: Duration,
    /// Time to connect, with TLS handshake and authentication.
    pub(crate) connect_timeout: Duration,
    /// A read that a node owes for so long is asked elsewhere; `None` waits for ever.
    pub(crate) read_timeout: Option<Duration>,
    /// A read that a node owes for so long is asked of another too; `None`: never.
    pub(crate) hedge: Option<Hedge>,
    /// The zone that Redan runs in.
    pub(crate) zone: Option<Arc<str>>,
    /// Redan puts another master in the place of one that is gone for so long; `None` never does.
    pub(crate) failover: Option<Duration>,
    pub(crate) fence: Option<FenceSettings>,
}

impl Group {
    /// The part of reads that the node at `address` gets, beside others'.
    pub(crate) fn weight_of(&self, address: &str) -> u32 {
        self.seed(address).map_or(WEIGHT, |seed| seed.weight)
    }

    /// The zone that the operator says the node at `address` runs in.
    pub(crate) fn zone_of(&self, address: &str) -> Option<&str> {
        self.seed(address)?.zone.as_deref()
    }

    fn seed(&self, address: &str) -> Option<&Seed> {
        self.seeds.iter().find(|seed| &*seed.address == address)
    }

    /// Whether Redan shows itself to any of its nodes otherwise than before, or believes them otherwise.
    pub(crate) fn reaches_otherwise(&self, before: &Self) -> bool {
        let otherwise = |seed: &Seed| before.access_to(&seed.address) != &seed.access;
        self.access != before.access || self.seeds.iter().any(otherwise)
    }

    /// How to reach and authenticate to the node at `address`.
    pub(crate) fn access_to(&self, address: &str) -> &Arc<Access> {
        let seed = self.seed(address).map(|seed| &seed.access);
        let mapped = || self.map.iter().find(|mapped| &*mapped.dialled == address).map(|mapped| &mapped.access);
        seed.or_else(mapped).unwrap_or(&self.access)
    }

    /// Whether a node or a Sentinel is reached through the link with this name.
    pub(crate) fn goes_over(&self, link: &str) -> bool {
        self.dialled().any(|address| linked(address) == Some(link))
    }

    /// Whether a node or a Sentinel is reached through a link of this process.
    pub(crate) fn uses_links(&self) -> bool {
        self.dialled().any(|address| linked(address).is_some())
    }

    /// Every address that the configuration says to dial.
    fn dialled(&self) -> impl Iterator<Item = &Arc<str>> {
        let nodes = self.seeds.iter().map(|seed| &seed.address).chain(self.map.iter().map(|mapped| &mapped.dialled));
        nodes.chain(self.sentinel.iter().flat_map(|sentinel| &sentinel.addresses))
    }

    /// Every way in which Redan presents itself to nodes.
    pub(crate) fn accesses(&self) -> impl Iterator<Item = &Arc<Access>> {
        let seeds = self.seeds.iter().map(|seed| &seed.access);
        seeds.chain(self.map.iter().map(|mapped| &mapped.access)).chain([&self.access])
    }
}

/// The Sentinels that watch a group.
#[derive(Debug)]
pub(crate) struct Sentinel {
    /// What they call the group's master: the name in their `sentinel monitor`.
    pub(crate) master: String,
    /// Some of them, at least one; they name the others.
    pub(crate) addresses: Vec<Arc<str>>,
    /// Their own, not the nodes'.
    pub(crate) access: Arc<Access>,
}

/// A line of a group's `map`.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) announced: Arc<str>,
    pub(crate) dialled: Arc<str>,
    /// The group's; its certificate still names the announced host.
    pub(crate) access: Arc<Access>,
}

impl Access {
    /// For a peer that announces `host` and is reached elsewhere: its certificate names what it announces.
    pub(crate) fn announced_as(self: &Arc<Self>, host: &str) -> Arc<Self> {
        match &self.tls {
            Some(tls) if tls.server_name.is_none() => {
                let tls = Some(NodeTls { server_name: Some(host.to_owned()), ..tls.clone() });
                Arc::new(Self { user: self.user.clone(), password: self.password.clone(), tls })
            }
            _ => Arc::clone(self),
        }
    }
}

/// When a read is asked of a second node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hedge {
    After(Duration),
    /// After as long as so many of a hundred reads take at the quickest node.
    SlowerThan(Percentile),
}

/// The weight of a node that says none.
const WEIGHT: u32 = 10;

#[derive(Debug)]
pub(crate) struct Seed {
    /// `host:port`.
    pub(crate) address: Arc<str>,
    pub(crate) access: Arc<Access>,
    /// Of reads, beside other nodes'; 0: none while another can serve.
    pub(crate) weight: u32,
    /// `None`: what the node says.
    pub(crate) zone: Option<Arc<str>>,
}

impl Seed {
    pub(crate) const fn new(address: Arc<str>, access: Arc<Access>) -> Self {
        Self { address, access, weight: WEIGHT, zone: None }
    }
}

/// How Redan presents itself to a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// `None` is the `default` user, and the only form servers before 6.0 know.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<NodeTls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeTls {
    pub(crate) trust: NodeTrust,
    /// The name to verify; the address's host when `None`. Pins need none.
    pub(crate) server_name: Option<String>,
    /// What Redan presents.
    pub(crate) identity: Option<Identity>,
}

/// By what a node's certificate is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeTrust {
    /// This CA signed it, and none of the lists has revoked it.
    Ca { ca: PathBuf, crl: Vec<PathBuf> },
    /// Its key is one of these, or one of those in the file.
    Pins { pins: Vec<Pin>, file: Option<PathBuf> },
}

/// SHA-256 of a public key, as its certificate holds it (SubjectPublicKeyInfo).
pub(crate) type Pin = [u8; 32];

/// A password. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<str>);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the AUTH that needs it and nothing else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The users of a listener, from its users file.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) users: Vec<User>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    /// SHA-256 of each accepted password (several, so that passwords rotate without a gap).
    pub(crate) password_hashes: Vec<[u8; 32]>,
    /// Names in certificates that are this user's, beside its own.
    pub(crate) certificates: Vec<String>,
    pub(crate) enabled: bool,
    /// Beside the listener's; `None`: no command is forbidden.
    pub(crate) permissions: Option<Arc<Permissions>>,
}
