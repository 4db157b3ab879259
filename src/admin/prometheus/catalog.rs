//! Every metric with its meaning: `catalog.tsv`, the one place where metrics are described.
//!
//! The endpoint takes its help from here, `docs/metrics.md` is made from it, and tests hold what is exported to it. A metric that
//! is not in it has no help, and fails a test.

use std::collections::HashMap;
use std::sync::LazyLock;

use prometheus_client::metrics::MetricType;

const ROWS: &str = include_str!("catalog.tsv");

#[derive(Debug)]
pub(super) struct Metric {
    /// Without the `_total` of counters.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) help: String,
}

static ALL: LazyLock<HashMap<&'static str, Metric>> = LazyLock::new(|| {
    let metric = |columns: [&'static str; 6]| {
        let [name, kind, _, _, meaning, _] = columns;
        let kind = match kind {
            "counter" => MetricType::Counter,
            "histogram" => MetricType::Histogram,
            "info" => MetricType::Info,
            _ => MetricType::Gauge,
        };
        (name, Metric { name, kind, help: meaning.replace('`', "") })
    };
    rows().map(metric).collect()
});

fn rows() -> impl Iterator<Item = [&'static str; 6]> {
    let lines = ROWS.lines().skip(1).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split('\t').collect::<Vec<_>>().try_into().ok())
}

/// What the catalog says of a metric, `_total` left out.
pub(super) fn find(name: &str) -> &'static Metric {
    static UNKNOWN: Metric = Metric { name: "unknown", kind: MetricType::Unknown, help: String::new() };
    let found = ALL.get(name);
    debug_assert!(found.is_some(), "src/admin/prometheus/catalog.tsv does not have {name}");
    found.unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    const HEAD: &str = "\
# Metrics

<!-- Made from src/admin/prometheus/catalog.tsv: `REDAN_WRITE_DOCS=1 cargo test --lib catalog` -->

`GET /metrics` on the `admin` address, in OpenMetrics text for those who ask for it, as Prometheus does, else in the older text
format. What to look at, and what to be woken by, stands in [operations](operations.md#metrics);
[grafana/redan.json](grafana/redan.json) and [alerts.yml](alerts.yml) are made for these metrics.

Counters grow until the process ends. Histograms have the series `_bucket`, `_sum` and `_count`, with buckets of 32 \u{b5}s,
doubled up to 8.4 s. A value that is not known has no series.

## How many series

The number is bounded, whatever clients and nodes do: `command` has the names of the [command table](commands.md) that were
used, and `other`; `code` the known codes, and `other`; `group`, `link`, `listener` and `worker` what is configured, at most 64
each with counters of its own; `node` what a group has now, of which a worker counts at most 63. Addresses of clients, users and
keys are never labels. A group of three nodes with one listener has some 300 series.

A scrape reads counters that workers write without locks, each its own. It asks no worker and no node, so it delays neither a
command nor a probe.
";

    fn markdown() -> String {
        let mut out = HEAD.to_owned();
        for line in ROWS.lines().skip(1) {
            if let Some(title) = line.strip_prefix("# ") {
                let _ = write!(
                    out,
                    "\n## {title}\n\n| metric | type | unit | meaning | when it is high, or changes |\n|---|---|---|---|---|\n"
                );
                continue;
            }
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, kind, labels, unit, meaning, action] = columns[..] else { panic!("six columns: {line}") };
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                "gauge" | "histogram" => "",
                other => panic!("no type: {other}"),
            };
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let dash = |text: &str| if text.is_empty() { "\u{2013}".to_owned() } else { text.to_owned() };
            let (unit, action) = (dash(unit), dash(action));
            let _ = writeln!(out, "| `{name}{suffix}{labels}` | {kind} | {unit} | {meaning} | {action} |");
        }
        out
    }

    #[test]
    fn the_page_of_metrics_is_made_from_the_catalog() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let made = markdown();
        if std::env::var_os("REDAN_WRITE_DOCS").is_some() {
            std::fs::write(&page, &made).expect("writable");
        }
        let written = std::fs::read_to_string(&page).expect("docs/metrics.md");
        assert!(written == made, "docs/metrics.md is out of date: REDAN_WRITE_DOCS=1 cargo test --lib catalog");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::HashSet::new();
        for [name, kind, labels, unit, meaning, _] in rows() {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("redan_") || name.starts_with("process_"), "{name}");
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}: the endpoint adds that");
            assert!(!meaning.is_empty() && meaning.is_ascii(), "{name}");
            assert!(matches!(unit, "" | "seconds" | "bytes"), "{name}");
            assert!(unit.is_empty() || name.contains(unit), "{name} is in {unit}");
            assert!(kind != "histogram" || unit == "seconds", "{name}");
            assert!(labels.split(',').all(|label| label.bytes().all(|byte| byte.is_ascii_lowercase())), "{name}");
        }
        let lines = ROWS.lines().skip(1).filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, rows().count(), "each line has six columns");
        assert!(seen.len() > 100);
    }
}
