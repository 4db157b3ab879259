//! The resolved configuration: what every other part reads. No option is left to re-check here.
//!
//! `read` reads the file, collects every error with its line and makes these types. Nothing else
//! may construct them, save tests. Secrets print as `***`.

mod files;
mod group;
mod keys;
pub(crate) mod link;
mod listener;
mod machine;
mod output;
mod permissions;
mod read;
mod report;
mod section;
mod users;
mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use output::{ClientClass, OutputLimits};
pub(crate) use read::load;

use crate::command::permissions::Permissions;

/// A whole `proxy.toml`.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None` serves none.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) log: Log,
    /// How long SIGTERM lets sessions finish before they are closed.
    pub(crate) shutdown_timeout: Duration,
    /// Bytes that buffers of clients may hold in the whole process; `None` is no limit.
    pub(crate) max_memory: Option<u64>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) links: Vec<Arc<link::Link>>,
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
#[derive(Debug)]
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
    /// How long a command waits for a master before it is answered with an error.
    pub(crate) hold: Duration,
    /// Administrative commands go to the master instead of being refused.
    pub(crate) allow_admin_commands: bool,
    /// `None`: no command is forbidden.
    pub(crate) permissions: Option<Arc<Permissions>>,
    pub(crate) max_clients: usize,
    /// Close a session that sent nothing for so long; `None` never does.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) output_limit: OutputLimits,
    /// A silent client's machine is asked after so long whether it is still there; `None` never.
    pub(crate) tcp_keepalive: Option<Duration>,
}

impl Listener {
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

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ListenerTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients must present a certificate that this CA signed.
    pub(crate) client_ca: Option<PathBuf>,
    /// Or may, and then log in otherwise.
    pub(crate) client_may_show_none: bool,
    /// The field of it that names one of the listener's users.
    pub(crate) user: Option<CertificateField>,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// A client sees its own writes and never goes back in time.
    Session,
    /// Any healthy replica at most `max_lag` behind (`None`: however far).
    Eventual { max_lag: Option<Duration> },
    /// Every read goes to the master.
    Strong,
}

/// One replication group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) seeds: Vec<Seed>,
    /// For discovered nodes, and for seeds without their own.
    pub(crate) access: Arc<Access>,
    pub(crate) probe_interval: Duration,
    /// A node that does not answer a probe for so long is taken as unreachable.
    pub(crate) probe_timeout: Duration,
    /// Time to connect, with TLS handshake and authentication.
    pub(crate) connect_timeout: Duration,
}

impl Group {
    /// How to reach and authenticate to the node at `address`.
    pub(crate) fn access_to(&self, address: &str) -> &Arc<Access> {
        self.seeds.iter().find(|seed| &*seed.address == address).map_or(&self.access, |seed| &seed.access)
    }
}

#[derive(Debug)]
pub(crate) struct Seed {
    /// `host:port`.
    pub(crate) address: Arc<str>,
    pub(crate) access: Arc<Access>,
}

/// How Redan presents itself to a node.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// `None` is the `default` user, and the only form servers before 6.0 know.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<NodeTls>,
}

#[derive(Clone, Debug)]
pub(crate) struct NodeTls {
    pub(crate) ca: PathBuf,
    /// The name to verify; the address's host when `None`.
    pub(crate) server_name: Option<String>,
    /// Certificate and key that Redan presents.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

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

#[derive(Debug)]
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
