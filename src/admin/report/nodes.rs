//! The report as a whole, and its groups, nodes and links.

use super::{GroupReport, LinkReport, ListenerReport, NodeReport, Report, SentinelReport, SentinelsReport};
use crate::admin::{AdminState, KnownGroup};
use crate::config::Group;
use crate::config::link::{End, Link};
use crate::link::LinkNumbers;
use crate::metrics::NodeCounters;
use crate::topology::{Node, Role, Snapshot, Testimony};

/// The process as it is now.
pub(crate) fn report(state: &AdminState) -> Report {
    let now = state.now.load_full();
    let listeners: Vec<ListenerReport> = now.listeners.iter().map(|listener| state.listener(listener)).collect();
    let groups = now.groups.iter();
    let groups = groups
        .map(|known| {
            let mut group = group(state, known, &known.snapshot.load());
            for listener in listeners.iter().filter(|listener| listener.group == group.name) {
                group.clients += listener.clients;
                group.held += listener.held;
            }
            group
        })
        .collect();
    Report {
        process: state.process(),
        clients: state.clients(),
        holds: state.holds(),
        traffic: state.traffic(),
        groups,
        links: now.links.iter().map(|known| link(&known.config, &known.counters.numbers())).collect(),
        workers: state.worker_reports(),
        listeners,
    }
}

fn group(state: &AdminState, known: &KnownGroup, snapshot: &Snapshot) -> GroupReport {
    let config = &*known.config;
    let slowest = state.workers.iter().map(|worker| worker.topology_epoch_seen.of(known.number).get()).min();
    let sentinels = config.sentinel.as_ref().zip(snapshot.sentinels).map(|(sentinel, now)| SentinelsReport {
        master_name: sentinel.master.clone(),
        known: now.known as u64,
        answering: now.answering as u64,
        epoch: now.epoch,
        in_charge: now.in_charge,
        each: known.witnesses.load().iter().map(self::sentinel).collect(),
    });
    GroupReport {
        name: config.name.clone(),
        master: snapshot.master().map(|node| node.address.to_string()),
        epoch: snapshot.epoch,
        epoch_seen: slowest.unwrap_or(0),
        since_seconds: known.since.age(state.started).as_secs_f64(),
        reason: snapshot.reason.to_string(),
        clients: 0,
        held: 0,
        paused_seconds_left: known.paused.left(state.started).map(|left| left.as_secs_f64()),
        sentinels,
        nodes: snapshot.nodes.iter().map(|node| self::node(state, known.number, config, snapshot, node)).collect(),
    }
}

fn sentinel(witness: &Testimony) -> SentinelReport {
    SentinelReport {
        address: witness.address.to_string(),
        names: witness.names.as_ref().map(ToString::to_string),
        problem: witness.trouble.as_ref().map(ToString::to_string),
    }
}

fn node(state: &AdminState, group: usize, config: &Group, snapshot: &Snapshot, node: &Node) -> NodeReport {
    let sum = |reading: fn(&NodeCounters) -> u64| {
        let of_workers = state.workers.iter().filter_map(|worker| worker.nodes.find(group, node.id));
        of_workers.map(reading).fold(0, u64::wrapping_add)
    };
    let is_master = snapshot.master().is_some_and(|master| master.id == node.id);
    let (state, problem) = match (&node.trouble, &node.readable) {
        (Some(trouble), _) => ("down", Some(trouble.to_string())),
        (None, _) if node.role == Role::Unknown => ("down", node.readable.as_ref().err().map(ToString::to_string)),
        (None, _) if is_master => ("master", None),
        (None, Ok(())) => ("ok", None),
        (None, Err(why)) if node.is_drained() => ("drained", Some(why.to_string())),
        (None, Err(why)) => ("unreadable", Some(why.to_string())),
    };
    NodeReport {
        address: node.address.to_string(),
        role: role(node.role),
        is_master,
        drained: node.is_drained(),
        state,
        problem,
        replicates: node.parent.and_then(|id| snapshot.node(id)).map(|parent| parent.address.to_string()),
        lag_bytes: node.lag_bytes,
        lag_seconds: node.lag.map(|lag| lag.as_secs_f64()),
        round_trip_seconds: node.round_trip.map(|trip| trip.as_secs_f64()),
        server: node.flavor.name(),
        version: node.version.map(|version| version.to_string()),
        zone: config.zone_of(&node.address).or(node.zone.as_deref()).map(ToOwned::to_owned),
        weight: config.weight_of(&node.address),
        commands: sum(|node| node.commands.get()),
        reads: sum(|node| node.reads.get()),
        failures: sum(|node| node.failures.get()),
        late_reads: sum(|node| node.late_reads.get()),
        ejections: sum(|node| node.ejections.get()),
        lanes: sum(|node| node.lanes.get()),
        pins: sum(|node| node.pins.get()),
        in_flight: sum(|node| node.in_flight.get()),
    }
}

pub(in crate::admin) fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Replica => "replica",
        Role::Unknown => "unknown",
    }
}

fn link(config: &Link, numbers: &LinkNumbers) -> LinkReport {
    let (end, to) = match &config.end {
        End::Entry { to, service, .. } => ("entry", format!("{to} ({service})")),
        End::Exit { services, .. } => {
            let services = services.iter().map(|(name, targets)| {
                let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
                format!("{name}={}", targets.join("|"))
            });
            ("exit", services.collect::<Vec<_>>().join(", "))
        }
    };
    let replicas = &numbers.replicas;
    LinkReport {
        name: config.name.clone(),
        end,
        bind: config.bind.as_ref().map(ToString::to_string),
        to,
        connections: numbers.open,
        connections_total: numbers.opened,
        detached: numbers.detached,
        refused: numbers.refused,
        breaks: numbers.broken,
        resumes: numbers.resumed,
        losses: numbers.lost,
        bytes_in: numbers.received,
        bytes_out: numbers.sent,
        unacknowledged_bytes: numbers.unacknowledged,
        round_trip_seconds: numbers.round_trip.map(|trip| trip.as_secs_f64()),
        commands_refused: numbers.commands_refused,
        syncs_full: numbers.full_syncs,
        syncs_partial: numbers.partial_syncs,
        syncs_denied: replicas.denied_empty.wrapping_add(replicas.denied_full),
        syncs_now: replicas.full_syncs,
        rdb_bytes: replicas.rdb_bytes,
        rdb_total_bytes: replicas.rdb_total,
        lag_bytes: replicas.lag_bytes,
        lag_seconds: replicas.lag.map(|lag| lag.as_secs_f64()),
        backlog_headroom_seconds: replicas.headroom.map(|time| time.as_secs_f64()),
    }
}
