//! The catalog of metrics, what a running Redan exports, the dashboard and the rules say the same.
//!
//! `docs/metrics.md` is made from the catalog by a unit test beside it (`src/admin/prometheus/catalog.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{document, literals, sources};
use crate::clients::installed;
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};

/// Labels that Prometheus adds, and the one of a histogram's buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// Every series with its labels: `redan_reads_total` has `from`.
fn catalog() -> BTreeMap<String, BTreeSet<String>> {
    let text = document("src/admin/prometheus/catalog.tsv");
    let mut all = BTreeMap::new();
    for line in text.lines().skip(1).filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let suffixes: &[&str] = match columns[1] {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let labels: BTreeSet<String> =
            columns[2].split(',').filter(|label| !label.is_empty()).map(ToOwned::to_owned).collect();
        for suffix in suffixes {
            all.insert(format!("{}{suffix}", columns[0]), labels.clone());
        }
    }
    assert!(all.len() > 100, "{all:?}");
    all
}

#[test]
fn the_catalog_has_what_the_source_exports_and_nothing_else() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/prometheus");
    let mut exported = BTreeSet::new();
    for path in sources(&source).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let names = literals(super::without_tests(&text)).into_iter();
        exported.extend(names.filter(|name| {
            let begins = name.starts_with("redan_") || name.starts_with("process_");
            begins && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        }));
    }
    let described: BTreeSet<String> = document("src/admin/prometheus/catalog.tsv")
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(exported, described);
}

#[test]
fn a_running_redan_exports_the_labels_of_the_catalog() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let proxy = Proxy::start(&format!(
        "[redan]\nadmin = \"127.0.0.1:0\"\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n\
         [[group]]\nname = \"main\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n",
        a.address()
    ));
    let mut client = crate::support::client::Client::connect(&proxy.address(1));
    eventually("both nodes serve", || metrics(&proxy).matches("redan_node_readable{").count() == 2);
    client.ok(&["SET", "k", "v"]);
    assert!(client.ask(&["LPUSH", "k", "v"]).starts_with('-'));
    let known = catalog();
    let mut seen = BTreeSet::new();
    for line in metrics(&proxy).lines().filter(|line| line.starts_with("redan_") || line.starts_with("process_")) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels: BTreeSet<String> = label_names(labels).into_iter().filter(|label| label != "le").collect();
        assert_eq!(Some(&labels), known.get(name), "{line}");
        seen.insert(name.to_owned());
    }
    // What is missing belongs to links, Sentinels, and what did not happen.
    assert!(seen.len() > 80, "only {seen:?}");
    assert!(seen.contains("redan_listener_latency_seconds_bucket") && seen.contains("redan_command_errors_total"));
}

fn metrics(proxy: &Proxy) -> String {
    let mut stream = std::net::TcpStream::connect(proxy.address(0)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nHost: redan\r\n\r\n").unwrap();
    std::io::read_to_string(stream).unwrap()
}

/// Of `a="1",b="x y"}`.
fn label_names(labels: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = labels;
    while let Some((name, behind)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(',').to_owned());
        rest = behind.split_once('"').map_or("", |(_, rest)| rest);
    }
    names
}

/// Every place in an expression where a metric stands, with the labels that its selector names.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("redan_").chain(expression.match_indices("process_")) {
        if expression[..at].ends_with(is_letter) {
            continue;
        }
        let end = expression[at..].find(|c| !is_letter(c)).map_or(expression.len(), |length| at + length);
        let selector = expression[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(s, _)| s);
        let labels = selector
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| part.trim().chars().take_while(|c| is_letter(*c)).collect());
        found.push((expression[at..end].to_owned(), labels.collect()));
    }
    found
}

/// Labels that are named outside selectors: in `by (…)`, `on (…)`, and in what is shown.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for mark in ["by (", "on ("] {
        for (at, _) in text.match_indices(mark) {
            let list = text[at + mark.len()..].split(')').next().unwrap_or_default();
            found.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    found
}

fn judge(known: &BTreeMap<String, BTreeSet<String>>, expression: &str, shown: &[String]) {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "no metric in: {expression}");
    let mut possible: BTreeSet<&str> = ADDED.into_iter().collect();
    for (name, labels) in &selectors {
        let has = known.get(name).unwrap_or_else(|| panic!("there is no {name}: {expression}"));
        possible.extend(has.iter().map(String::as_str));
        for label in labels {
            assert!(has.contains(label) || ADDED.contains(&label.as_str()), "{name} has no {label}: {expression}");
        }
    }
    for label in named(expression).iter().chain(shown) {
        assert!(possible.contains(label.as_str()), "nothing here has the label {label}: {expression}");
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let known = catalog();
    let dashboard: Value = serde_json::from_str(&document("docs/grafana/redan.json")).unwrap();
    assert_eq!(dashboard["uid"], "redan");
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().filter_map(|var| var["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "group"]);
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().skip(1) {
        let query = variable["definition"].as_str().unwrap();
        let wanted = query.trim_end_matches(')').rsplit(", ").next().unwrap().to_owned();
        judge(&known, query, &[wanted]);
    }
    let mut expressions = 0;
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64()) && titles.insert(panel["title"].as_str()), "{}", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let legend = target["legendFormat"].as_str().unwrap();
            let shown: Vec<String> =
                legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned()).collect();
            judge(&known, target["expr"].as_str().unwrap(), &shown);
            expressions += 1;
        }
    }
    assert!(expressions > 60, "{expressions}");
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        judge(&known, annotation["expr"].as_str().unwrap(), &["group".to_owned()]);
    }
}

#[test]
fn the_rules_ask_for_what_there_is() {
    let (known, rules) = (catalog(), document("docs/alerts.yml"));
    let mut expressions = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let (expression, _) = rule.split_once("expr: ").unwrap().1.split_once('\n').unwrap();
        let shown = rule.split("$labels.").skip(1);
        let shown: Vec<String> =
            shown.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase()).collect()).collect();
        judge(&known, expression, &shown);
        for part in ["severity: ", "summary: ", "description: "] {
            assert_eq!(rule.matches(part).count(), 1, "{part} of {rule}");
        }
        expressions += 1;
    }
    assert!(expressions > 20, "{expressions}");
}

#[test]
fn prometheus_takes_the_rules_and_they_fire_when_they_shall() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for arguments in [["check", "rules", "docs/alerts.yml"], ["test", "rules", "tests/it/documents/alerts.test.yml"]] {
        let output = Command::new(installed("promtool")).args(arguments).current_dir(root).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
}
