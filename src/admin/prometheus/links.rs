//! The series of links.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Escaped, Numbers, Value, counter, gauge};
use crate::admin::KnownLink;
use crate::link::{LinkNumbers, Watched};

type LinkReading = fn(&LinkNumbers) -> u64;
const LINK_GAUGES: &[(&str, LinkReading)] = &[
    ("redan_link_connections", |link| link.open),
    ("redan_link_connections_detached", |link| link.detached),
    ("redan_link_unacknowledged_bytes", |link| link.unacknowledged),
];
const LINK_COUNTERS: &[(&str, LinkReading)] = &[
    ("redan_link_connections_opened", |link| link.opened),
    ("redan_link_refusals", |link| link.refused),
    ("redan_link_breaks", |link| link.broken),
    ("redan_link_resumes", |link| link.resumed),
    ("redan_link_untrusted_closed", |link| link.untrusted),
    ("redan_link_commands_refused", |link| link.commands_refused),
    ("redan_link_losses", |link| link.lost),
];

/// Of the replicas of a link; a reading that answers `None` is not known.
type ReplicaGauge = (&'static str, fn(&Watched) -> Option<Value>);
const REPLICA_GAUGES: &[ReplicaGauge] = &[
    ("redan_link_full_syncs", |w| Some(Value::Whole(w.full_syncs))),
    ("redan_link_rdb_bytes", |w| Some(Value::Whole(w.rdb_bytes))),
    ("redan_link_rdb_total_bytes", |w| Some(Value::Whole(w.rdb_total))),
    ("redan_link_lag_bytes", |w| w.lag_bytes.map(Value::Whole)),
    ("redan_link_lag_seconds", |w| w.lag.map(Value::from)),
    ("redan_link_backlog_headroom_seconds", |w| w.headroom.map(Value::from)),
];

impl Numbers {
    pub(super) fn links(&self, out: &mut DescriptorEncoder<'_>, known: &[KnownLink]) -> fmt::Result {
        let links: Vec<(&str, LinkNumbers)> =
            known.iter().map(|link| (link.config.name.as_str(), link.counters.numbers())).collect();
        // A family without samples is one that strict scrapers refuse.
        if links.is_empty() {
            return Ok(());
        }
        let each = |reading: LinkReading| {
            links.iter().map(move |(name, link)| (vec![("link", Escaped(name))], Value::Whole(reading(link))))
        };
        for (name, reading) in LINK_GAUGES {
            gauge(out, name, each(*reading))?;
        }
        for (name, reading) in LINK_COUNTERS {
            counter(out, name, each(*reading))?;
        }
        let syncs = links.iter().flat_map(|(name, link)| {
            [("full", link.full_syncs), ("partial", link.partial_syncs)]
                .map(|(kind, count)| (vec![("link", Escaped(name)), ("kind", Escaped(kind))], Value::Whole(count)))
        });
        counter(out, "redan_link_syncs", syncs)?;
        let denied = links.iter().flat_map(|(name, link)| {
            [("empty-master", link.replicas.denied_empty), ("full-syncs", link.replicas.denied_full)]
                .map(|(why, count)| (vec![("link", Escaped(name)), ("reason", Escaped(why))], Value::Whole(count)))
        });
        counter(out, "redan_link_syncs_denied", denied)?;
        for (name, reading) in REPLICA_GAUGES {
            let samples: Vec<_> = links
                .iter()
                .filter_map(|(link, numbers)| Some((vec![("link", Escaped(link))], reading(&numbers.replicas)?)))
                .collect();
            if !samples.is_empty() {
                gauge(out, name, samples)?;
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
        counter(out, "redan_link_compressed_bytes", shrunk)?;
        let trips: Vec<_> = links
            .iter()
            .filter_map(|(name, link)| Some((vec![("link", Escaped(name))], link.round_trip?.into())))
            .collect();
        if !trips.is_empty() {
            gauge(out, "redan_link_round_trip_seconds", trips)?;
        }
        let bytes = links.iter().flat_map(|(name, link)| {
            [("in", link.received), ("out", link.sent)].map(|(direction, bytes)| {
                (vec![("link", Escaped(name)), ("direction", Escaped(direction))], Value::Whole(bytes))
            })
        });
        counter(out, "redan_link_bytes", bytes)
    }
}
