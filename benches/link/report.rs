//! Writes what was measured as Markdown.

use std::fmt::Write;

/// What one measurement came to.
pub(crate) struct Figures(pub(crate) Vec<(&'static str, f64)>);

/// One contender in one case: figures of all rounds, by their unit.
pub(crate) struct Row {
    contender: String,
    case: String,
    figures: Vec<(&'static str, Vec<f64>)>,
}

const HEAD: &str = "\
# Benchmarks of links

Written by `make bench-link`; do not edit by hand. `make bench-link BENCH=\"quick bulk redan stunnel\"` measures a part and only
prints. It needs an otherwise idle machine.
";

const METHOD: &str = "\
## How it is measured

- Each contender is a pair: a process to which the client connects, and one that connects to the target; everything on one
  machine, over loopback. **redan** is a `[[link]]` as it comes. **stunnel** is Debian's, with both keys pinned
  (`verifyPeer`), TLS 1.3 and the cipher that Redan takes (AES-128-GCM). **spiped** is Debian's as it comes. **direct** has
  nothing in between. **plaintext** is a pair of HAProxys that encrypt nothing: what passing bytes on takes without that.
  **redis-tls** is Redis's own `tls-replication`, where that can be compared.
- Bulk: 2 GiB from a thread that writes to a thread that reads, 256 KiB at a time. Client, target and pair share the cores.
- Small requests: 64 bytes there and back, one after the other in each connection, 40,000 in all.
- Full sync: a million keys of 1 KiB, 1.04 GB on the wire, diskless and not compressed, from `REPLICAOF` to
  `master_link_status:up`. The CPU of the servers is that of master, replica and the process that the master saves in.
- CPU is user and system time of both processes of a pair (`/proc/PID/stat`), in ticks of 10 ms.
- Contenders take turns, round after round; a figure is the median of the rounds.
";

pub(crate) fn add(rows: &mut Vec<Row>, contender: &str, case: &str, figures: Figures) {
    let found = rows.iter().position(|row| row.contender == contender && row.case == case);
    let at = found.unwrap_or_else(|| {
        rows.push(Row { contender: contender.to_owned(), case: case.to_owned(), figures: Vec::new() });
        rows.len() - 1
    });
    for (unit, value) in figures.0 {
        match rows[at].figures.iter_mut().find(|(known, _)| *known == unit) {
            Some((_, values)) => values.push(value),
            None => rows[at].figures.push((unit, vec![value])),
        }
    }
}

impl Row {
    fn figure(&self, unit: &str) -> Option<f64> {
        let (_, values) = self.figures.iter().find(|(known, _)| *known == unit)?;
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Goal, unit, case (its beginning), the other contender, and how Redan's figure relates to that one's.
type Goal = (&'static str, &'static str, &'static str, &'static str, fn(f64) -> bool);
const GOALS: &[Goal] = &[
    ("≥ 2 × stunnel", "MB/s", "bulk", "stunnel", |ratio| ratio >= 2.0),
    ("≥ 5 × spiped", "MB/s", "bulk", "spiped", |ratio| ratio >= 5.0),
    ("≤ 0.55 × stunnel", "CPU s/GB", "bulk", "stunnel", |ratio| ratio <= 0.55),
    ("< spiped", "p50 µs", "small requests, connections: 1", "spiped", |ratio| ratio < 1.0),
];

fn goals(rows: &[Row]) -> String {
    let mut text = String::new();
    for (goal, unit, case, other, holds) in GOALS {
        for redan in rows.iter().filter(|row| row.contender == "redan" && row.case.starts_with(case)) {
            let peer = rows.iter().find(|row| row.contender == *other && row.case == redan.case);
            let (Some(mine), Some(theirs)) = (redan.figure(unit), peer.and_then(|peer| peer.figure(unit))) else {
                continue;
            };
            let ratio = mine / theirs;
            let verdict = if holds(ratio) { "met" } else { "**not met**" };
            let _ = writeln!(text, "| {}: {unit} | {goal} | {ratio:.2} | {verdict} |", redan.case);
        }
    }
    text
}

pub(crate) fn write(machine: &[String], rounds: usize, rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    text += "\n## Machine\n\n";
    for line in machine {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(text, "- Rounds: {rounds}");
    let goals = goals(rows);
    if !goals.is_empty() {
        let _ = write!(text, "\n## Goals\n\n| | goal | measured | |\n|---|---|---|---|\n{goals}");
    }
    let mut cases: Vec<&str> = Vec::new();
    for row in rows {
        if !cases.contains(&row.case.as_str()) {
            cases.push(&row.case);
        }
    }
    for case in cases {
        let of_case: Vec<&Row> = rows.iter().filter(|row| row.case == case).collect();
        let units: Vec<&str> = of_case[0].figures.iter().map(|(unit, _)| *unit).collect();
        let mut letters = case.chars();
        let title: String =
            letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter().chain(letters).collect();
        let _ = writeln!(text, "\n## {title}\n\n| | {} |\n|---|{}", units.join(" | "), "---|".repeat(units.len()));
        for row in of_case {
            let shown = units.iter().map(|unit| row.figure(unit).map_or_else(|| "–".to_owned(), show));
            let _ = writeln!(text, "| {} | {} |", row.contender, shown.collect::<Vec<_>>().join(" | "));
        }
    }
    text + "\n" + METHOD
}

fn show(value: f64) -> String {
    match value {
        0.0 => "–".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
