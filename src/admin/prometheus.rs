//! `/metrics`: what Redan exports, under which names, in OpenMetrics text.
//!
//! Called by the admin endpoint on each scrape. It sums the workers' counters and reads the newest snapshots; it
//! must never write a counter, and the number of series is bounded by workers, groups and known nodes.

mod links;
mod reloads;

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, LabelValueEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::AdminState;
use crate::metrics::{MemoryKind, NodeCounters, PinReason, WorkerCounters};
use crate::tls::validity;
use crate::topology::{Node, Role, SentinelState, Snapshot};

/// A registry whose every scrape reads `state`.
pub(super) fn registry(state: Arc<AdminState>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Numbers(state)));
    registry
}

#[derive(Debug)]
struct Numbers(Arc<AdminState>);

/// A label value between quotes. The library writes values as they are, and addresses come from servers.
struct Escaped<'a>(&'a str);

impl EncodeLabelValue for Escaped<'_> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => encoder.write_str("\\\\")?,
                '"' => encoder.write_str("\\\"")?,
                '\n' => encoder.write_str("\\n")?,
                other => encoder.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Whole(truth.into())
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        Self::Real(duration.as_secs_f64())
    }
}

type Labels<'a> = Vec<(&'static str, Escaped<'a>)>;
type Sample<'a> = (Labels<'a>, Value);
type Reading = fn(&WorkerCounters) -> u64;

/// Counters without labels: name (`_total` is added), help, reading of one worker.
const COUNTERS: &[(&str, &str, Reading)] = &[
    ("redan_sessions_opened", "Client connections given to workers", |w| w.sessions_total.get()),
    ("redan_holds", "Waits for a master that began", |w| w.holds_total.get()),
    ("redan_holds_expired", "Waits for a master that ended with an error to the client", |w| w.holds_expired.get()),
    ("redan_scripts_repaired", "Scripts sent with their text to a node that did not know their digest", |w| {
        w.scripts_repaired.get()
    }),
    ("redan_replays", "Commands sent again, because they were not executed or were reads", |w| w.replays.get()),
    ("redan_in_doubt", "Commands whose outcome is unknown", |w| w.in_doubt.get()),
    ("redan_in_doubt_clients_closed", "Clients disconnected because of such a command", |w| {
        w.doubtful_clients_closed.get()
    }),
    ("redan_bounces", "Replies not shown to clients because they said: not me, not now", |w| w.bounces.get()),
    ("redan_marks_asked", "Questions for a replication offset", |w| w.marks_asked.get()),
    ("redan_reads_fallback", "Reads sent to the master because no replica could serve", |w| w.reads_fallback.get()),
    ("redan_reads_capped", "Times a client waited because of master_reads_limit", |w| w.reads_capped.get()),
    ("redan_hedges", "Reads sent to a second node because the first took long", |w| w.hedges.get()),
    ("redan_hedges_won", "Times the second node answered first", |w| w.hedges_won.get()),
    ("redan_messages", "Messages of publishers handed to subscribed clients", |w| w.messages_delivered.get()),
    ("redan_resubscriptions", "Times all subscriptions were had again at a node", |w| w.resubscriptions.get()),
    ("redan_auth_failures", "Logins of clients with a wrong name or password", |w| w.auth_failures.get()),
    ("redan_protocol_errors", "Sessions closed for not speaking the Redis protocol", |w| w.protocol_errors.get()),
    ("redan_slow_clients_closed", "Sessions closed for reading too slowly", |w| w.slow_clients_closed.get()),
    ("redan_untrusted_clients_closed", "Sessions closed for a certificate that is not accepted any more", |w| {
        w.untrusted_clients_closed.get()
    }),
    ("redan_memory_clients_closed", "Sessions closed because of max_memory", |w| w.memory_clients_closed.get()),
    ("redan_panics", "Defects of Redan that ended a session", |w| w.panics.get()),
];

/// Gauges without labels.
const GAUGES: &[(&str, &str, Reading)] = &[
    ("redan_sessions", "Client connections open now", |w| w.sessions_open.get()),
    ("redan_holds_now", "Sessions that wait for a master now", |w| w.holds_now.get()),
    ("redan_lanes", "Shared connections to nodes open now", |w| w.lanes_open.get()),
    ("redan_subscriptions", "Channels and patterns that clients subscribe to now", |w| w.subscriptions.get()),
    ("redan_upstream_subscriptions", "Channels and patterns that Redan subscribes to at nodes now", |w| {
        w.upstream_subscriptions.get()
    }),
    ("redan_pins", "Connections to nodes lent to one session now", |w| w.pins_open.get()),
];

/// Counters with one label: name, help, the label, and its values with their readings.
type Split = (&'static str, &'static str, &'static str, &'static [(&'static str, Reading)]);
const SPLITS: &[Split] = &[
    (
        "redan_commands",
        "Commands of clients, by how they were served",
        "kind",
        &[
            ("read", |w| w.commands_read.get()),
            ("write", |w| w.commands_write.get()),
            ("local", |w| w.commands_local.get()),
            ("pinned", |w| w.commands_pinned.get()),
        ],
    ),
    (
        "redan_reads",
        "Reads, by the role of the node they were sent to",
        "from",
        &[("replica", |w| w.reads_replica.get()), ("master", |w| w.reads_master.get())],
    ),
    (
        "redan_client_bytes",
        "Bytes exchanged with clients, without encryption",
        "direction",
        &[("in", |w| w.bytes_in.get()), ("out", |w| w.bytes_out.get())],
    ),
    (
        "redan_holds_refused",
        "Commands answered at once because no more clients may wait for a master, by the budget that is used up",
        "budget",
        &[("sessions", |w| w.holds_refused_sessions.get()), ("bytes", |w| w.holds_refused_bytes.get())],
    ),
    (
        "redan_durable_writes",
        "Writes on listeners with `durable`, by what came of them",
        "outcome",
        &[
            ("assured", |w| w.writes_assured.get()),
            ("late", |w| w.writes_not_durable.get()),
            ("unknown", |w| w.writes_lost.get()),
            ("refused", |w| w.writes_refused.get()),
        ],
    ),
    (
        "redan_tls_handshakes",
        "TLS handshakes with clients",
        "outcome",
        &[("succeeded", |w| w.tls_handshakes.get()), ("failed", |w| w.tls_failures.get())],
    ),
];

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.process(out)?;
        self.workers(out)?;
        self.certificates(out)?;
        self.reloads(out)?;
        let known = self.0.groups.load_full();
        let groups: Vec<_> =
            known.iter().map(|group| (group.number, group.name.as_str(), group.snapshot.load_full())).collect();
        self.groups(out, &groups)?;
        self.nodes(out, &groups)?;
        self.links(out)
    }
}

impl Numbers {
    fn sum(&self, reading: Reading) -> Value {
        Value::Whole(self.0.workers.iter().map(|worker| reading(worker)).fold(0, u64::wrapping_add))
    }

    fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The running version of Redan";
        out.encode_descriptor("redan_build", help, None, MetricType::Info)?.encode_info(&version)?;
        let started = self.0.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the process started, in seconds since 1970";
        gauge(out, "process_start_time_seconds", help, [(vec![], started.into())])
    }

    fn workers(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, reading) in COUNTERS {
            counter(out, name, help, [(vec![], self.sum(*reading))])?;
        }
        for (name, help, reading) in GAUGES {
            gauge(out, name, help, [(vec![], self.sum(*reading))])?;
        }
        for (name, help, label, values) in SPLITS {
            let samples = values.iter().map(|(value, reading)| (vec![(*label, Escaped(value))], self.sum(*reading)));
            counter(out, name, help, samples)?;
        }
        let pins = PinReason::ALL.into_iter().map(|reason| {
            let taken = self.0.workers.iter().map(|worker| worker.pins.of(reason).get()).fold(0, u64::wrapping_add);
            (vec![("reason", Escaped(reason.name()))], Value::Whole(taken))
        });
        counter(out, "redan_pins_taken", "Connections to nodes lent to a session, by reason", pins)?;

        let memory = MemoryKind::ALL.into_iter().map(|kind| {
            let held = self.0.workers.iter().map(|worker| worker.memory.of(kind).get()).sum();
            (vec![("kind", Escaped(kind.name()))], Value::Whole(held))
        });
        gauge(out, "redan_memory_bytes", "What buffers of clients hold now, by kind", memory)?;
        let bound = self.0.memory.bound().map(|bound| (vec![], Value::Whole(bound)));
        gauge(out, "redan_memory_limit_bytes", "What they may hold together", bound)?;
        let longest = self.0.workers.iter().map(|worker| worker.longest_hold_ms.get()).max().unwrap_or(0);
        let help = "How long the client that has waited longest for a master has waited";
        gauge(out, "redan_hold_longest_seconds", help, [(vec![], Duration::from_millis(longest).into())])?;
        let gap = self.0.workers.iter().map(|worker| worker.subscription_gap_us.get()).fold(0, u64::wrapping_add);
        let help = "Seconds without all subscriptions after a node was lost or moved away from";
        counter(out, "redan_subscription_gap_seconds", help, [(vec![], Duration::from_micros(gap).into())])?;

        let waited = self.0.workers.iter().map(|worker| worker.assurance_wait_us.get()).fold(0, u64::wrapping_add);
        let help = "Seconds that replies to writes were kept back until replicas had them";
        counter(out, "redan_durable_wait_seconds", help, [(vec![], Duration::from_micros(waited).into())])?;

        let rejected = self.0.workers.iter().map(|worker| worker.sessions_rejected.get()).fold(0, u64::wrapping_add);
        let rejected = rejected.wrapping_add(self.0.acceptor.rejected.get());
        let help = "Client connections closed because of a limit";
        counter(out, "redan_sessions_rejected", help, [(vec![], Value::Whole(rejected))])?;
        let failed = self.0.acceptor.accept_errors.get();
        counter(out, "redan_accept_errors", "Failures to accept a connection", [(vec![], Value::Whole(failed))])?;

        let numbers: Vec<String> = (0..self.0.workers.len()).map(|index| index.to_string()).collect();
        let ages = numbers
            .iter()
            .enumerate()
            .map(|(index, number)| (vec![("worker", Escaped(number))], self.0.heartbeat_age(index).into()));
        gauge(out, "redan_worker_heartbeat_age_seconds", "How long ago the worker's timer last ran", ages)?;
        let sessions = numbers
            .iter()
            .zip(&self.0.workers)
            .map(|(number, worker)| (vec![("worker", Escaped(number))], Value::Whole(worker.sessions_open.get())));
        gauge(out, "redan_worker_sessions", "Client connections open now, by worker", sessions)
    }

    fn certificates(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let renewals = &self.0.renewals;
        let expiries = renewals.expiries.load();
        let now = validity::now();
        let files: Vec<String> = expiries.iter().map(|(_, expiry)| expiry.file.display().to_string()).collect();
        let left = expiries.iter().zip(&files).map(|((owner, expiry), file)| {
            let labels = vec![("of", Escaped(owner.kind)), ("name", Escaped(&owner.name)), ("file", Escaped(file))];
            // Negative after the end, and exact far beyond any certificate.
            (labels, Value::Real(expiry.left(now) as f64))
        });
        let help = "Seconds until the first certificate or list in the file ends; negative after it";
        gauge(out, "redan_certificate_expires_in_seconds", help, left)?;
        let outcomes = [("succeeded", renewals.succeeded.get()), ("failed", renewals.failed.get())];
        let outcomes = outcomes.into_iter().map(|(word, n)| (vec![("outcome", Escaped(word))], Value::Whole(n)));
        counter(out, "redan_tls_renewals", "Settings of TLS whose files have changed", outcomes)
    }

    fn groups(&self, out: &mut DescriptorEncoder<'_>, groups: &[(usize, &str, Arc<Snapshot>)]) -> fmt::Result {
        let each = |value: fn(&Snapshot) -> Value| {
            groups.iter().map(move |(_, name, snapshot)| (vec![("group", Escaped(name))], value(snapshot)))
        };
        gauge(
            out,
            "redan_group_has_master",
            "1 while the group has a proven master",
            each(|s| s.master.is_some().into()),
        )?;
        gauge(out, "redan_group_epoch", "Grows at each change of the master", each(|s| Value::Whole(s.epoch)))?;
        for (name, help, reading) in SENTINEL_GAUGES {
            let samples = groups.iter().filter_map(|(_, name, snapshot)| {
                Some((vec![("group", Escaped(name))], Value::Whole(reading(snapshot.sentinels?))))
            });
            gauge(out, name, help, samples)?;
        }
        // The slowest worker decides when a switch is complete.
        let seen = groups.iter().map(|(number, name, _)| {
            let slowest = self.0.workers.iter().map(|worker| worker.topology_epoch_seen.of(*number).get()).min();
            (vec![("group", Escaped(name))], Value::Whole(slowest.unwrap_or(0)))
        });
        gauge(out, "redan_group_epoch_seen", "The epoch that every worker has reached", seen)
    }

    fn nodes(&self, out: &mut DescriptorEncoder<'_>, groups: &[(usize, &str, Arc<Snapshot>)]) -> fmt::Result {
        let mut places = Vec::new();
        for (number, group, snapshot) in groups {
            places.extend(snapshot.nodes.iter().map(|node| Place { number: *number, group, snapshot, node }));
        }
        for (name, help, reading) in NODE_GAUGES {
            let samples = places.iter().filter_map(|place| Some((place.labels(), reading(place)?)));
            gauge(out, name, help, samples)?;
        }
        let roles = places.iter().map(|place| {
            let mut labels = place.labels();
            labels.push(("role", Escaped(role(place.node.role))));
            (labels, Value::Whole(1))
        });
        gauge(out, "redan_node_role", "What the node says it is", roles)?;
        for (name, help, reading) in NODE_COUNTERS {
            let samples = places.iter().map(|place| {
                let of_workers = self.0.workers.iter().filter_map(|w| w.nodes.find(place.number, place.node.id));
                (place.labels(), Value::Whole(of_workers.map(reading).fold(0, u64::wrapping_add)))
            });
            counter(out, name, help, samples)?;
        }
        Ok(())
    }
}

/// Of groups that have Sentinels.
type SentinelGauge = (&'static str, &'static str, fn(SentinelState) -> u64);
const SENTINEL_GAUGES: &[SentinelGauge] = &[
    ("redan_group_sentinels_known", "Sentinels that take part in votes", |s| s.known as u64),
    ("redan_group_sentinels_answering", "Sentinels that answer, know the group and are not in TILT", |s| {
        s.answering as u64
    }),
    ("redan_group_sentinel_epoch", "The configuration epoch that most Sentinels agreed on last", |s| s.epoch),
];

/// A node and where it stands.
struct Place<'a> {
    /// Of the group, as in `Config::groups`.
    number: usize,
    group: &'a str,
    snapshot: &'a Snapshot,
    node: &'a Node,
}

impl<'a> Place<'a> {
    fn labels(&self) -> Labels<'a> {
        vec![("group", Escaped(self.group)), ("node", Escaped(&self.node.address))]
    }
}

/// Gauges of nodes. A reading that answers `None` is not known, and then there is no sample: a zero would lie.
type NodeGauge = (&'static str, &'static str, fn(&Place<'_>) -> Option<Value>);
const NODE_GAUGES: &[NodeGauge] = &[
    ("redan_node_up", "1 if the node's last probe succeeded", |p| {
        Some((p.node.trouble.is_none() && p.node.role != Role::Unknown).into())
    }),
    ("redan_node_master", "1 for the proven master of the group", |p| {
        Some(p.snapshot.master().is_some_and(|master| master.id == p.node.id).into())
    }),
    ("redan_node_readable", "1 if the node may serve reads", |p| Some(p.node.readable.is_ok().into())),
    ("redan_node_lag_bytes", "Bytes of replication behind the master", |p| p.node.lag_bytes.map(Value::Whole)),
    ("redan_node_lag_seconds", "Seconds behind the master", |p| p.node.lag.map(Value::from)),
    ("redan_node_round_trip_seconds", "Smoothed round trip of probes", |p| p.node.round_trip.map(Value::from)),
];

type NodeCounter = (&'static str, &'static str, fn(&NodeCounters) -> u64);
const NODE_COUNTERS: &[NodeCounter] = &[
    ("redan_node_commands", "Commands sent to the node", |node| node.commands.get()),
    ("redan_node_failures", "Connections to the node that failed or broke", |node| node.failures.get()),
    ("redan_node_reads", "Reads of clients sent to the node", |node| node.reads.get()),
    ("redan_node_late_reads", "Reads that the node did not answer in time", |node| node.late_reads.get()),
    ("redan_node_ejections", "Times a worker took the node out of reads", |node| node.ejections.get()),
];

fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Replica => "replica",
        Role::Unknown => "unknown",
    }
}

fn gauge<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<'a>>,
) -> fmt::Result {
    family(out, name, help, MetricType::Gauge, samples, |metric, value| match value {
        // The library's whole numbers are signed, and one that does not fit would fail the whole scrape.
        Value::Whole(whole) => metric.encode_gauge(&i64::try_from(whole).unwrap_or(i64::MAX)),
        Value::Real(real) => metric.encode_gauge(&real),
    })
}

fn counter<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<'a>>,
) -> fmt::Result {
    family(out, name, help, MetricType::Counter, samples, |metric, value| match value {
        Value::Whole(whole) => metric.encode_counter::<NoLabelSet, _, u64>(&whole, None),
        Value::Real(real) => metric.encode_counter::<NoLabelSet, _, u64>(&real, None),
    })
}

fn family<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = Sample<'a>>,
    write: impl Fn(&mut MetricEncoder<'_>, Value) -> fmt::Result,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        // Strict readers take no family without one.
        return Ok(());
    }
    let mut family = out.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        // With an empty set the library writes `name{} 1`, which not every scraper takes.
        if labels.is_empty() {
            write(&mut family, value)?;
        } else {
            write(&mut family.encode_family(&labels)?, value)?;
        }
    }
    Ok(())
}
