//! What the running process is doing, as plain data: for `GET /status`, and for whoever else shows it.
//!
//! Made from what other threads publish, whenever somebody asks: no worker is asked for it, and nothing is locked on the
//! path of a command. Numbers that only grow begin at the start of the process. What is not known is `null`, never zero.
//! It must never hold a secret.

mod nodes;
mod process;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use nodes::report;
pub(super) use nodes::role;
pub(crate) use process::{Crowd, Resident};

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) process: Process,
    pub(crate) clients: Clients,
    pub(crate) holds: Holds,
    pub(crate) traffic: Traffic,
    pub(crate) listeners: Vec<ListenerReport>,
    pub(crate) groups: Vec<GroupReport>,
    pub(crate) links: Vec<LinkReport>,
    pub(crate) workers: Vec<WorkerReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) version: &'static str,
    pub(crate) pid: u32,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    pub(crate) uptime_seconds: f64,
    /// `starting`, `serving` or `draining`.
    pub(crate) state: &'static str,
    /// What keeps it from being ready, one sentence each.
    pub(crate) problems: Vec<String>,
    /// Of the whole process, as the system counts it.
    pub(crate) resident_bytes: Option<u64>,
    /// What buffers of clients hold, which `max_memory` limits.
    pub(crate) buffers_bytes: u64,
    pub(crate) buffers_limit_bytes: Option<u64>,
    /// The same by kind.
    pub(crate) buffers: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Clients {
    pub(crate) open: u64,
    pub(crate) total: u64,
    /// Turned away because of a limit.
    pub(crate) rejected: u64,
    pub(crate) auth_failures: u64,
    pub(crate) closed_slow: u64,
    pub(crate) closed_memory: u64,
    pub(crate) subscriptions: u64,
}

/// Clients that wait for a master.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Holds {
    pub(crate) now: u64,
    pub(crate) longest_seconds: f64,
    pub(crate) total: u64,
    /// Of the total: ended with an error for the client.
    pub(crate) expired: u64,
}

/// Sums over all workers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Traffic {
    pub(crate) commands_read: u64,
    pub(crate) commands_write: u64,
    pub(crate) commands_local: u64,
    pub(crate) commands_pinned: u64,
    pub(crate) reads_replica: u64,
    pub(crate) reads_master: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) replays: u64,
    pub(crate) in_doubt: u64,
    pub(crate) messages: u64,
    /// Connections to nodes that clients share, and those lent to one client.
    pub(crate) lanes: u64,
    pub(crate) pins: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ListenerReport {
    pub(crate) name: String,
    pub(crate) bind: String,
    pub(crate) group: String,
    pub(crate) tls: bool,
    /// `none`, `users` or `passthrough`.
    pub(crate) auth: &'static str,
    pub(crate) reads: &'static str,
    pub(crate) consistency: &'static str,
    pub(crate) clients: u64,
    pub(crate) max_clients: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    /// Clients that wait for a master.
    pub(crate) held: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct GroupReport {
    pub(crate) name: String,
    /// The proven master's address; `null` while there is none.
    pub(crate) master: Option<String>,
    /// Grows at every change of the master.
    pub(crate) epoch: u64,
    /// The epoch that every worker has reached.
    pub(crate) epoch_seen: u64,
    /// How long the master, or its absence, has been the same.
    pub(crate) since_seconds: f64,
    /// Why this master, or why there is none.
    pub(crate) reason: String,
    pub(crate) clients: u64,
    pub(crate) held: u64,
    /// The operator has paused it, for so long yet at most.
    pub(crate) paused_seconds_left: Option<f64>,
    pub(crate) sentinels: Option<SentinelsReport>,
    pub(crate) nodes: Vec<NodeReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SentinelsReport {
    pub(crate) master_name: String,
    /// Those that take part in votes, and how many of them answer.
    pub(crate) known: u64,
    pub(crate) answering: u64,
    pub(crate) epoch: u64,
    /// Most of them answer and name the same master.
    pub(crate) in_charge: bool,
    /// Each that is asked.
    pub(crate) each: Vec<SentinelReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SentinelReport {
    pub(crate) address: String,
    /// Whom it names as the master.
    pub(crate) names: Option<String>,
    /// Why it could not be asked last.
    pub(crate) problem: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) address: String,
    /// What it says it is: `master`, `replica`, `unknown`.
    pub(crate) role: &'static str,
    /// It is the group's proven master.
    pub(crate) is_master: bool,
    /// The operator wants no reads there.
    pub(crate) drained: bool,
    /// `master`, `ok`, `drained`, `unreadable` (it answers, and serves no reads) or `down`.
    pub(crate) state: &'static str,
    /// Why it is not well.
    pub(crate) problem: Option<String>,
    /// The address of the node that it replicates from.
    pub(crate) replicates: Option<String>,
    pub(crate) lag_bytes: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) server: &'static str,
    pub(crate) version: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) weight: u32,
    pub(crate) commands: u64,
    pub(crate) reads: u64,
    pub(crate) failures: u64,
    pub(crate) late_reads: u64,
    pub(crate) ejections: u64,
    pub(crate) lanes: u64,
    pub(crate) pins: u64,
    /// Commands over lanes that it has not answered yet.
    pub(crate) in_flight: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct LinkReport {
    pub(crate) name: String,
    /// `entry` or `exit`.
    pub(crate) end: &'static str,
    /// Where it listens; an entry may be for groups of this process alone.
    pub(crate) bind: Option<String>,
    /// The exit, or the targets.
    pub(crate) to: String,
    pub(crate) connections: u64,
    pub(crate) connections_total: u64,
    /// Of the connections: without a network connection, waiting to be resumed.
    pub(crate) detached: u64,
    pub(crate) refused: u64,
    pub(crate) breaks: u64,
    pub(crate) resumes: u64,
    pub(crate) losses: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) unacknowledged_bytes: u64,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) commands_refused: u64,
    pub(crate) syncs_full: u64,
    pub(crate) syncs_partial: u64,
    pub(crate) syncs_denied: u64,
    /// Full syncs that are under way, and how far their data have come.
    pub(crate) syncs_now: u64,
    pub(crate) rdb_bytes: u64,
    pub(crate) rdb_total_bytes: u64,
    pub(crate) lag_bytes: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) backlog_headroom_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct WorkerReport {
    pub(crate) number: usize,
    pub(crate) clients: u64,
    pub(crate) lanes: u64,
    pub(crate) pins: u64,
    pub(crate) held: u64,
    pub(crate) buffers_bytes: u64,
    /// How long ago its timer last ran; it does so once a second.
    pub(crate) heartbeat_age_seconds: f64,
}
