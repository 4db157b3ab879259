//! The series of groups and of their nodes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Escaped, Labels, Numbers, Value, counter, gauge, histogram};
use crate::admin::KnownGroup;
use crate::admin::report::role;
use crate::metrics::{MasterEvent, NodeCounters, Times};
use crate::topology::{Node, Role, SentinelState, Snapshot};

/// A group, and what is known of it at this moment.
type Seen<'a> = (&'a KnownGroup, Arc<Snapshot>);

fn of(group: &KnownGroup) -> Labels<'_> {
    vec![("group", Escaped(group.name()))]
}

impl Numbers {
    pub(super) fn groups(&self, out: &mut DescriptorEncoder<'_>, groups: &[Seen<'_>]) -> fmt::Result {
        let each =
            |value: fn(&Snapshot) -> Value| groups.iter().map(move |(group, snapshot)| (of(group), value(snapshot)));
        gauge(out, "redan_group_has_master", each(|s| s.master.is_some().into()))?;
        let paused = groups.iter().map(|(group, _)| (of(group), group.paused.left(self.0.started).is_some().into()));
        gauge(out, "redan_group_paused", paused)?;
        gauge(out, "redan_group_epoch", each(|s| Value::Whole(s.epoch)))?;
        for (name, reading) in SENTINEL_GAUGES {
            let samples = groups
                .iter()
                .filter_map(|(group, snapshot)| Some((of(group), Value::Whole(reading(snapshot.sentinels?)))));
            gauge(out, name, samples)?;
        }
        // The slowest worker decides when a switch is complete.
        let seen = groups.iter().map(|(group, _)| {
            let slowest = self.0.workers.iter().map(|worker| worker.topology_epoch_seen.of(group.number).get()).min();
            (of(group), Value::Whole(slowest.unwrap_or(0)))
        });
        gauge(out, "redan_group_epoch_seen", seen)?;
        let changes = groups.iter().flat_map(|(group, _)| {
            MasterEvent::ALL.map(|event| {
                let labels = vec![("group", Escaped(group.name())), ("change", Escaped(event.name()))];
                (labels, Value::Whole(group.masters.of(event).get()))
            })
        });
        counter(out, "redan_group_master_changes", changes)
    }

    pub(super) fn nodes(&self, out: &mut DescriptorEncoder<'_>, groups: &[Seen<'_>]) -> fmt::Result {
        let mut places = Vec::new();
        for (group, snapshot) in groups {
            places.extend(snapshot.nodes.iter().map(|node| Place { group, snapshot, node }));
        }
        for (name, reading) in NODE_GAUGES {
            let samples = places.iter().filter_map(|place| Some((place.labels(), reading(place)?)));
            gauge(out, name, samples)?;
        }
        let roles = places.iter().map(|place| {
            let mut labels = place.labels();
            labels.push(("role", Escaped(role(place.node.role))));
            (labels, Value::Whole(1))
        });
        gauge(out, "redan_node_role", roles)?;
        for (name, reading) in NODE_COUNTERS {
            counter(
                out,
                name,
                places.iter().map(|place| (place.labels(), Value::Whole(self.of_workers(place, *reading)))),
            )?;
        }
        for (name, reading) in NODE_SUMS {
            gauge(
                out,
                name,
                places.iter().map(|place| (place.labels(), Value::Whole(self.of_workers(place, *reading)))),
            )?;
        }
        let latency = places.iter().map(|place| {
            let mut times = Times::default();
            let each = self.0.workers.iter().filter_map(|worker| worker.nodes.find(place.group.number, place.node.id));
            each.for_each(|node| node.latency.add_to(&mut times));
            (place.labels(), times)
        });
        histogram(out, "redan_node_latency_seconds", latency)
    }

    fn of_workers(&self, place: &Place<'_>, reading: fn(&NodeCounters) -> u64) -> u64 {
        let each = self.0.workers.iter().filter_map(|worker| worker.nodes.find(place.group.number, place.node.id));
        each.map(reading).fold(0, u64::wrapping_add)
    }
}

/// Of groups that have Sentinels.
type SentinelGauge = (&'static str, fn(SentinelState) -> u64);
const SENTINEL_GAUGES: &[SentinelGauge] = &[
    ("redan_group_sentinels_known", |s| s.known as u64),
    ("redan_group_sentinels_answering", |s| s.answering as u64),
    ("redan_group_sentinel_epoch", |s| s.epoch),
];

/// A node and where it stands.
struct Place<'a> {
    group: &'a KnownGroup,
    snapshot: &'a Snapshot,
    node: &'a Node,
}

impl<'a> Place<'a> {
    fn labels(&self) -> Labels<'a> {
        vec![("group", Escaped(self.group.name())), ("node", Escaped(&self.node.address))]
    }
}

/// Gauges of nodes. A reading that answers `None` is not known, and then there is no sample: a zero would lie.
type NodeGauge = (&'static str, fn(&Place<'_>) -> Option<Value>);
const NODE_GAUGES: &[NodeGauge] = &[
    ("redan_node_up", |p| Some((p.node.trouble.is_none() && p.node.role != Role::Unknown).into())),
    ("redan_node_master", |p| Some(p.snapshot.master().is_some_and(|master| master.id == p.node.id).into())),
    ("redan_node_readable", |p| Some(p.node.readable.is_ok().into())),
    ("redan_node_drained", |p| Some(p.node.is_drained().into())),
    ("redan_node_lag_bytes", |p| p.node.lag_bytes.map(Value::Whole)),
    ("redan_node_lag_seconds", |p| p.node.lag.map(Value::from)),
    ("redan_node_round_trip_seconds", |p| p.node.round_trip.map(Value::from)),
];

type NodeCounter = (&'static str, fn(&NodeCounters) -> u64);
const NODE_COUNTERS: &[NodeCounter] = &[
    ("redan_node_commands", |node| node.commands.get()),
    ("redan_node_failures", |node| node.failures.get()),
    ("redan_node_reads", |node| node.reads.get()),
    ("redan_node_late_reads", |node| node.late_reads.get()),
    ("redan_node_ejections", |node| node.ejections.get()),
    ("redan_node_errors", |node| node.errors.get()),
];

/// Gauges that workers keep.
const NODE_SUMS: &[NodeCounter] = &[
    ("redan_node_lanes", |node| node.lanes.get()),
    ("redan_node_pins", |node| node.pins.get()),
    ("redan_node_in_flight", |node| node.in_flight.get()),
];
