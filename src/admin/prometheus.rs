//! `/metrics`: what Redan exports, under which names, in OpenMetrics text.
//!
//! Called by the admin endpoint on each scrape. It sums the workers' counters and reads the newest snapshots; it
//! must never write a counter, ask a worker or wait for one: so a scrape costs nobody but this thread. The number of series is
//! bounded by workers, listeners, groups, known nodes, rows of the command table and known codes of errors.

mod catalog;
mod commands;
mod links;
mod nodes;
mod process;
mod reloads;
mod workers;

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, LabelValueEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::AdminState;
use crate::metrics::{BUCKETS, Histogram, Times, WorkerCounters};

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

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.process(out)?;
        self.reloads(out)?;
        let now = self.0.now.load_full();
        self.listeners(out, &now.listeners)?;
        self.workers(out)?;
        self.traces(out)?;
        self.commands(out)?;
        self.certificates(out)?;
        let groups: Vec<_> = now.groups.iter().map(|group| (group, group.snapshot.load_full())).collect();
        self.groups(out, &groups)?;
        self.nodes(out, &groups)?;
        self.links(out, &now.links)
    }
}

fn gauge<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    samples: impl IntoIterator<Item = Sample<'a>>,
) -> fmt::Result {
    family(out, name, MetricType::Gauge, samples, |metric, value| match value {
        // The library's whole numbers are signed, and one that does not fit would fail the whole scrape.
        Value::Whole(whole) => metric.encode_gauge(&i64::try_from(whole).unwrap_or(i64::MAX)),
        Value::Real(real) => metric.encode_gauge(&real),
    })
}

fn counter<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    samples: impl IntoIterator<Item = Sample<'a>>,
) -> fmt::Result {
    family(out, name, MetricType::Counter, samples, |metric, value| match value {
        Value::Whole(whole) => metric.encode_counter::<NoLabelSet, _, u64>(&whole, None),
        Value::Real(real) => metric.encode_counter::<NoLabelSet, _, u64>(&real, None),
    })
}

fn histogram<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    samples: impl IntoIterator<Item = (Labels<'a>, Times)>,
) -> fmt::Result {
    family(out, name, MetricType::Histogram, samples, |metric, times| {
        let buckets: [(f64, u64); BUCKETS] = std::array::from_fn(|at| (Histogram::bound(at), times.buckets[at]));
        let count = times.buckets.iter().sum();
        metric.encode_histogram::<NoLabelSet>(times.micros as f64 / 1e6, count, &buckets, None)
    })
}

fn family<'a, V>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        // Strict readers take no family without one.
        return Ok(());
    }
    let mut family = out.encode_descriptor(name, &catalog::find(name).help, None, kind)?;
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
