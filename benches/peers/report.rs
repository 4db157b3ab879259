//! Writes what was measured as Markdown: `docs/benchmarks.md` after a complete run, else to the terminal.

use std::fmt::Write;

use crate::cases::SIZES;
use crate::goals::{self, Verdict};
use crate::idle::Idle;
use crate::measure::{Cell, Measured, Run};

pub(crate) struct Report<'a> {
    pub(crate) machine: &'a [String],
    pub(crate) rounds: usize,
    pub(crate) measured: &'a [Measured],
    /// `None`: they were not asked for.
    pub(crate) idle: Option<&'a [Idle]>,
    pub(crate) fanout: Option<&'a str>,
    pub(crate) spread: Option<&'a str>,
    /// Contenders that did not start, and why.
    pub(crate) absent: &'a [(&'static str, String)],
}

const HEAD: &str = "\
# Benchmarks

Written by `make bench`; do not edit by hand. How to repeat: `make bench` (everything, about a quarter of an hour),
`make bench BENCH=quick` (32 bytes, one round), `make bench BENCH=\"quick plain 50\"` (some cases; `make bench
BENCH=help` lists the words). It needs an otherwise idle machine with two cores or more.
";

const METHOD: &str = "\
## How it is measured

- One Redis without persistence serves everyone. **direct** is redis-benchmark connected to it (under TLS: Redis's own
  TLS port). **haproxy** is TCP mode with the usual `tcp-check` for `role:master`, one thread. **twemproxy** (nutcracker)
  has one pool; it knows no TLS. **redan-1** and **redan-2** are Redan with one and two workers. The configurations are in
  `benches/peers/templates/`. Under TLS the clients' side is encrypted (1.3, ECDSA P-256), the side towards Redis is not.
- The client is redis-benchmark, one thread, 1,000 random keys that all exist. Contenders take turns, round after round,
  so that a noisy minute hits all of them; a figure is the median of the rounds, a ratio the median of each round's ratio.
- CPU is time on a core of all threads of a process (`/proc/PID/task/*/schedstat`) from before to after a run, divided by
  the requests. Nothing is subtracted: accepting clients, TLS handshakes and probes are in it. redis-benchmark shakes hands
  inside the run, so with 500 TLS clients the handshakes are in every column, and in the p99 of short runs.
- Redis's own counters must show that every request was executed, otherwise the figure is thrown away.
";

/// The whole document.
pub(crate) fn write(report: &Report<'_>) -> String {
    let mut text = HEAD.to_owned();
    text += "\n## Machine\n\n";
    for line in report.machine {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(text, "- Rounds: {}", report.rounds);
    for (name, why) in report.absent {
        let _ = writeln!(text, "- **{name} was not run**: {}", one_line(why));
    }
    text += "\n## Goals\n\nA goal is judged by the figures of this run, for one worker and for two.\n";
    for redan in ["redan-1", "redan-2"] {
        let judged = goals::judge(redan, report.measured);
        if !judged.is_empty() {
            let _ = writeln!(text, "\n### {redan}\n");
            verdicts(&mut text, &judged);
        }
    }
    if let Some(measured) = report.idle {
        text += "\n### Idle clients\n\n";
        verdicts(&mut text, &goals::judge_idle(measured));
        idle(&mut text, measured);
    }
    text += report.fanout.unwrap_or_default();
    text += report.spread.unwrap_or_default();
    if !report.measured.is_empty() {
        text += "\n## Redan beside the others\n\nRatios of redan-1: CPU below 1 is cheaper, requests above 1 is faster.\n\n";
        ratios(&mut text, report.measured);
        text += "\n## All figures\n";
        figures(&mut text, report.measured);
    }
    text += "\n";
    text += METHOD;
    text
}

fn verdicts(text: &mut String, verdicts: &[Verdict]) {
    *text += "| | goal | measured | |\n|---|---|---|---|\n";
    for Verdict { what, goal, measured, met } in verdicts {
        let met = match met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None if measured.is_some() => "not judged",
            None => "not run",
        };
        let _ = writeln!(text, "| {what} | {goal} | {} | {met} |", number(*measured, 2));
    }
}

fn idle(text: &mut String, idle: &[Idle]) {
    *text += "\nKiB for each of 10,000 clients that connected, sent one PING and fell silent:\n\n";
    *text += "| | | resident | proportional | private |\n|---|---|---|---|---|\n";
    for Idle { who, tls, each } in idle {
        let wire = if *tls { "TLS" } else { "plain" };
        let _ = match each {
            Ok(each) => writeln!(
                text,
                "| {who} | {wire} | {:.1} | {:.1} | {:.1} |",
                each.resident_kib, each.proportional_kib, each.private_kib
            ),
            Err(_) => writeln!(text, "| {who} | {wire} | not run | not run | not run |"),
        };
    }
}

fn ratios(text: &mut String, measured: &[Measured]) {
    *text += "| | CPU ÷ haproxy | CPU ÷ twemproxy | req/s ÷ direct | req/s ÷ haproxy | Redis CPU ÷ direct | \
              p50 ÷ direct | p99 ÷ direct |\n|---|---|---|---|---|---|---|---|\n";
    for measured in measured {
        let ratio = |peer: &str, value: fn(&Run) -> Option<f64>| number(measured.ratio("redan-1", peer, value), 2);
        let twemproxy = if measured.case.tls { "–".to_owned() } else { ratio("twemproxy", |run| run.proxy_us) };
        let _ = writeln!(
            text,
            "| {} | {} | {twemproxy} | {} | {} | {} | {} | {} |",
            measured.case,
            ratio("haproxy", |run| run.proxy_us),
            ratio("direct", |run| Some(run.per_second)),
            ratio("haproxy", |run| Some(run.per_second)),
            ratio("direct", |run| Some(run.redis_us)),
            ratio("direct", |run| Some(run.p50_ms)),
            ratio("direct", |run| Some(run.p99_ms)),
        );
    }
}

fn figures(text: &mut String, measured: &[Measured]) {
    for (size, tls) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let mut here = measured.iter().filter(|one| one.case.size == size && one.case.tls == tls).peekable();
        if here.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "\n### {size} bytes, {}\n", if tls { "TLS" } else { "plain" });
        *text += "| clients | pipeline | | | req/s | p50 ms | p99 ms | proxy CPU µs/req | Redis CPU µs/req | \
                  req/s ÷ direct |\n|---|---|---|---|---|---|---|---|---|---|\n";
        for measured in here {
            for cell in &measured.cells {
                figure(text, measured, cell);
            }
        }
    }
}

fn figure(text: &mut String, measured: &Measured, Cell { contender, runs }: &Cell) {
    let case = measured.case;
    let _ = write!(text, "| {} | {} | {} | {contender} |", case.clients, case.pipeline, case.command.to_uppercase());
    if runs.is_err() {
        *text += " not run | not run | not run | not run | not run | not run |\n";
        return;
    }
    let median = |digits: usize, value: fn(&Run) -> Option<f64>| number(measured.median(contender, value), digits);
    let proxy = if *contender == "direct" { "–".to_owned() } else { median(2, |run| run.proxy_us) };
    let _ = writeln!(
        text,
        " {} | {} | {} | {proxy} | {} | {} |",
        median(0, |run| Some(run.per_second)),
        median(2, |run| Some(run.p50_ms)),
        median(2, |run| Some(run.p99_ms)),
        median(2, |run| Some(run.redis_us)),
        number(measured.ratio(contender, "direct", |run| Some(run.per_second)), 2),
    );
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "not run".to_owned(), |value| format!("{value:.digits$}"))
}

/// A reason may hold anything a server printed; a list entry must stay one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
