//! The series of links.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Escaped, Numbers, Value, counter, gauge};
use crate::link::{LinkNumbers, Watched};

type LinkReading = fn(&LinkNumbers) -> u64;
const LINK_GAUGES: &[(&str, &str, LinkReading)] = &[
    ("redan_link_connections", "Connections over the link open now", |link| link.open),
    ("redan_link_connections_detached", "Of these: without a network connection, waiting to be resumed", |link| {
        link.detached
    }),
    ("redan_link_unacknowledged_bytes", "Bytes kept to be sent again should the network break", |link| {
        link.unacknowledged
    }),
];
const LINK_COUNTERS: &[(&str, &str, LinkReading)] = &[
    ("redan_link_connections_opened", "Connections over the link since it started", |link| link.opened),
    ("redan_link_refusals", "Connections not carried: strangers, limits, other end or target unreachable", |link| {
        link.refused
    }),
    ("redan_link_breaks", "Network connections that broke under a connection", |link| link.broken),
    ("redan_link_resumes", "Connections that went on over a new network connection", |link| link.resumed),
    ("redan_link_untrusted_closed", "Connections closed because the other end is not believed any more", |link| {
        link.untrusted
    }),
    ("redan_link_commands_refused", "At an exit: commands that its `commands` did not let through", |link| {
        link.commands_refused
    }),
    ("redan_link_losses", "Connections reset because they were not resumed in time", |link| link.lost),
];

/// Of the replicas of a link; a reading that answers `None` is not known.
type ReplicaGauge = (&'static str, &'static str, fn(&Watched) -> Option<Value>);
const REPLICA_GAUGES: &[ReplicaGauge] = &[
    ("redan_link_full_syncs", "Full syncs that are under way or expected", |w| Some(Value::Whole(w.full_syncs))),
    ("redan_link_rdb_bytes", "Of the data of full syncs that are under way: bytes that have passed", |w| {
        Some(Value::Whole(w.rdb_bytes))
    }),
    ("redan_link_rdb_total_bytes", "Of the same: all bytes, where masters say how many", |w| {
        Some(Value::Whole(w.rdb_total))
    }),
    ("redan_link_lag_bytes", "Bytes that the replica furthest behind has not acknowledged", |w| {
        w.lag_bytes.map(Value::Whole)
    }),
    ("redan_link_lag_seconds", "Since the replica furthest behind had everything", |w| w.lag.map(Value::from)),
    ("redan_link_backlog_headroom_seconds", "How long a replica may be away before all data must be sent again", |w| {
        w.headroom.map(Value::from)
    }),
];

impl Numbers {
    pub(super) fn links(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.links.load();
        let links: Vec<(&str, LinkNumbers)> =
            known.iter().map(|(name, counters)| (name.as_str(), counters.numbers())).collect();
        // A family without samples is one that strict scrapers refuse.
        if links.is_empty() {
            return Ok(());
        }
        let each = |reading: LinkReading| {
            links.iter().map(move |(name, link)| (vec![("link", Escaped(name))], Value::Whole(reading(link))))
        };
        for (name, help, reading) in LINK_GAUGES {
            gauge(out, name, help, each(*reading))?;
        }
        for (name, help, reading) in LINK_COUNTERS {
            counter(out, name, help, each(*reading))?;
        }
        let syncs = links.iter().flat_map(|(name, link)| {
            [("full", link.full_syncs), ("partial", link.partial_syncs)]
                .map(|(kind, count)| (vec![("link", Escaped(name)), ("kind", Escaped(kind))], Value::Whole(count)))
        });
        counter(out, "redan_link_syncs", "Answers of masters to replicas that connected to the entry", syncs)?;
        let denied = links.iter().flat_map(|(name, link)| {
            [("empty-master", link.replicas.denied_empty), ("full-syncs", link.replicas.denied_full)]
                .map(|(why, count)| (vec![("link", Escaped(name)), ("reason", Escaped(why))], Value::Whole(count)))
        });
        counter(out, "redan_link_syncs_denied", "Syncs that replicas were told to try again later, by reason", denied)?;
        for (name, help, reading) in REPLICA_GAUGES {
            let samples: Vec<_> = links
                .iter()
                .filter_map(|(link, numbers)| Some((vec![("link", Escaped(link))], reading(&numbers.replicas)?)))
                .collect();
            if !samples.is_empty() {
                gauge(out, name, help, samples)?;
            }
        }
        let shrunk = links.iter().flat_map(|(name, link)| {
            ["out", "in"].into_iter().zip(link.shrunk).flat_map(move |(direction, counts)| {
                ["plain", "packed"].into_iter().zip(counts).map(move |(kind, bytes)| {
                    let labels = [("link", *name), ("direction", direction), ("kind", kind)];
                    (labels.map(|(label, value)| (label, Escaped(value))).into(), Value::Whole(bytes))
                })
            })
        });
        counter(out, "redan_link_compressed_bytes", "Bytes in compressed form: before it, and over the link", shrunk)?;
        let trips: Vec<_> = links
            .iter()
            .filter_map(|(name, link)| Some((vec![("link", Escaped(name))], link.round_trip?.into())))
            .collect();
        if !trips.is_empty() {
            gauge(out, "redan_link_round_trip_seconds", "Between the two ends, when the link was last idle", trips)?;
        }
        let bytes = links.iter().flat_map(|(name, link)| {
            [("in", link.received), ("out", link.sent)].map(|(direction, bytes)| {
                (vec![("link", Escaped(name)), ("direction", Escaped(direction))], Value::Whole(bytes))
            })
        });
        counter(out, "redan_link_bytes", "Bytes over the link, without encryption", bytes)
    }
}
