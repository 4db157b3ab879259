//! What `redan top` reads of `/live`: the part of the report that it shows. Whatever another version leaves out is empty.

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Seconds since 1970.
    pub(super) at: f64,
    pub(super) process: Process,
    pub(super) clients: Clients,
    pub(super) holds: Holds,
    pub(super) traffic: Traffic,
    pub(super) latency: Latency,
    pub(super) groups: Vec<Group>,
    pub(super) links: Vec<Link>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) version: String,
    pub(super) uptime_seconds: f64,
    pub(super) state: String,
    pub(super) problems: Vec<String>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) buffers_bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Clients {
    pub(super) open: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Holds {
    pub(super) now: u64,
    pub(super) longest_seconds: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Traffic {
    pub(super) commands_read: u64,
    pub(super) commands_write: u64,
    pub(super) commands_local: u64,
    pub(super) commands_pinned: u64,
    pub(super) in_doubt: u64,
}

/// How many commands took how long, since the start, as clients saw it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub(super) bounds: Vec<f64>,
    pub(super) client: Vec<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) master: Option<String>,
    pub(super) since_seconds: f64,
    pub(super) reason: String,
    pub(super) held: u64,
    pub(super) sentinels: Option<Sentinels>,
    pub(super) nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sentinels {
    pub(super) known: u64,
    pub(super) answering: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) address: String,
    pub(super) role: String,
    pub(super) is_master: bool,
    /// `master`, `ok`, `unreadable` or `down`.
    pub(super) state: String,
    pub(super) problem: Option<String>,
    pub(super) replicates: Option<String>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) round_trip_seconds: Option<f64>,
    pub(super) commands: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) end: String,
    pub(super) to: String,
    pub(super) connections: u64,
    pub(super) detached: u64,
    pub(super) resumes: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) round_trip_seconds: Option<f64>,
}

/// One event in words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) at: f64,
    pub(super) level: String,
    pub(super) about: Option<String>,
    pub(super) words: String,
    pub(super) times: u64,
    pub(super) replaces: Option<String>,
    /// Beside the data.
    #[serde(skip)]
    pub(super) id: String,
}
