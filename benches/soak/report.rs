//! What came of a soak: the verdict, and `docs/soak.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::chaos::{EVENTS, Happened};
use crate::measure::{Course, Line, Sample};
use crate::tally::Counts;

/// What a line may rise by over a run without being called growth: allocators and a client more or less.
const MEMORY_KIB: f64 = 6.0 * 1024.0;
const FILES: f64 = 12.0;
const THREADS: f64 = 2.0;

pub(crate) struct Outcome {
    pub(crate) time: Duration,
    pub(crate) happened: Vec<Happened>,
    pub(crate) course: Course,
    pub(crate) tally: Counts,
    pub(crate) lived: Result<(), String>,
}

/// What is looked at of each process: its name, its unit, its value, and by how much it may rise.
type Quantity = (&'static str, fn(&Sample) -> f64, f64, usize);

const QUANTITIES: [Quantity; 3] = [
    ("memory, MiB", |sample| sample.rss_kib / 1024.0, MEMORY_KIB / 1024.0, 1),
    ("descriptors", |sample| sample.files, FILES, 0),
    ("threads", |sample| sample.threads, THREADS, 0),
];

pub(crate) fn verdict(outcome: &Outcome) -> Result<(), String> {
    let mut wrong = Vec::new();
    if let Err(why) = &outcome.lived {
        wrong.push(why.clone());
    }
    if outcome.tally.wrong > 0 {
        wrong.push(format!("{} wrong replies", outcome.tally.wrong));
    }
    if outcome.tally.cut_off > 0 {
        wrong.push(format!("clients were cut off {} times", outcome.tally.cut_off));
    }
    for event in &outcome.happened {
        if let Some(why) = &event.failed {
            wrong.push(format!("{}: {why}", event.name));
        }
    }
    for line in outcome.course.lines.iter().filter(|line| !line.replaced) {
        for (what, value, most, _) in QUANTITIES {
            let trend = line.trend(value);
            if trend.rise > most.max(2.0 * trend.scatter) {
                wrong.push(format!("{} of {} rose by {:.1}", what, line.name, trend.rise));
            }
        }
    }
    if outcome.tally.replies.values().sum::<u64>() == 0 {
        wrong.push("no reply came at all".to_owned());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

const HEAD: &str = "\
# Soak

Written by `make soak`; do not edit by hand. `SOAK=5m` makes a shorter run, which only prints. It needs root or user namespaces:
each server stands on a host of its own.

Three hosts, each with a server and a Redan; between the hosts there are links alone, through relays that can reset and hold them up. The
first Redan has `failover = \"auto\"`. On each Redan a listener with the defaults, one with `durable = 1`, one with TLS. About ninety clients
check every reply: counters and transactions that must go on without a gap or a repetition, values of which each names its owner, pipelines whose
answers must be in their places, lists and channels of which everything must come once and in order. Besides, clients that stop in the middle of
a command, never read, or vanish.
";

pub(crate) fn write(machine: &[String], outcome: &Outcome) -> String {
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "\n## Machine\n");
    for line in machine.iter().filter(|line| !line.contains("HAProxy") && !line.contains("twemproxy")) {
        let _ = writeln!(text, "- {line}");
    }
    let judged = verdict(outcome).err().unwrap_or_else(|| "as it should be".to_owned());
    let _ = writeln!(text, "\n## Result\n\n{:.0} minutes: **{judged}**.", outcome.time.as_secs_f64() / 60.0);
    events(&mut text, &outcome.happened);
    replies(&mut text, &outcome.tally);
    resources(&mut text, &outcome.course);
    text += LEGEND;
    text
}

fn events(text: &mut String, happened: &[Happened]) {
    *text += "\n## Events\n\n| event | | times | until the group was whole again: median | longest |\n|---|---|---|---|---|\n";
    for event in EVENTS {
        let mut took: Vec<f64> =
            happened.iter().filter(|one| one.name == event.name).map(|one| one.took.as_secs_f64()).collect();
        took.sort_by(f64::total_cmp);
        if let (Some(longest), Some(median)) = (took.last(), took.get(took.len() / 2)) {
            let row = format!("| {} | {} | {} | {median:.1} s | {longest:.1} s |", event.name, event.what, took.len());
            let _ = writeln!(text, "{row}");
        }
    }
}

fn replies(text: &mut String, tally: &Counts) {
    *text += "\n## Replies\n\n| client | replies |\n|---|---|\n";
    for (kind, count) in &tally.replies {
        let _ = writeln!(text, "| {kind} | {count} |");
    }
    let listed = |counts: &BTreeMap<String, u64>| {
        let listed: Vec<String> = counts.iter().map(|(code, count)| format!("{count} `{code}`")).collect();
        if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
    };
    let _ = writeln!(text, "\n- wrong replies: {}", tally.wrong);
    let _ = writeln!(text, "- errors: {}", listed(&tally.errors));
    let _ = writeln!(
        text,
        "- clients cut off: {}; with a process that was replaced, as it is promised: {}",
        tally.cut_off, tally.moved
    );
    let _ = writeln!(text, "- writes without `durable` that were lost with a master: {}", tally.lost);
    let _ = writeln!(text, "- messages that subscribers missed: {}", tally.missed);
    for sentence in &tally.sentences {
        let _ = writeln!(text, "- {sentence}");
    }
}

fn resources(text: &mut String, course: &Course) {
    *text += "\n## Resources\n\n| process | | after the warm-up | rise until the end | an hour | scatter | most |\n|---|---|---|---|---|---|---|\n";
    for line in &course.lines {
        for (what, value, _, digits) in QUANTITIES {
            let trend = line.trend(value);
            let row = format!(
                "| {} | {what} | {:.digits$} | {:+.1} | {:+.1} | {:.1} | {:.digits$} |",
                line.name, trend.first, trend.rise, trend.per_hour, trend.scatter, trend.most
            );
            let _ = writeln!(text, "{row}");
        }
    }
    *text += "\nMemory over time, MiB:\n\n| minute |";
    for line in &course.lines {
        let _ = write!(text, " {} |", line.name);
    }
    *text += "\n|---|";
    *text += &"---|".repeat(course.lines.len());
    *text += "\n";
    let end = course.lines.first().and_then(|line| line.samples.last()).map_or(0.0, |sample| sample.at);
    for step in 0..=10 {
        let at = end * f64::from(step) / 10.0;
        let _ = write!(text, "| {:.1} |", at / 60.0);
        for line in &course.lines {
            let _ = write!(text, " {:.1} |", near(line, at) / 1024.0);
        }
        *text += "\n";
    }
}

fn near(line: &Line, at: f64) -> f64 {
    let near = line.samples.iter().min_by(|one, other| (one.at - at).abs().total_cmp(&(other.at - at).abs()));
    near.map_or(0.0, |sample| sample.rss_kib)
}

const LEGEND: &str = "
## How to read it

- A reply is **wrong** when it is another session's, older than what the session knows, a number that was there before, an error
  that `docs/errors.md` does not promise in that situation, or does not come within a minute. `LOADING`, `INDOUBT`, `NOTDURABLE`, `NOREPLICAS` and
  `EXECABORT` are what a client is told while there is no master, or about a write that nobody can be sure of.
- Writes on the listener without `durable` may be lost with the master that alone had them, and only within a minute of that.
- A **rise** is that of the straight line with the least squares through the samples taken while nothing happened, after the first quarter
  of the run. More than 6 MiB, 12 descriptors or 2 threads over a run, and more than twice the scatter around the line, is a failure. A Redan that was replaced by another process is not judged. For this run
  glibc gives free memory back at once (`MALLOC_TRIM_THRESHOLD_`); as a rule it keeps some of what a peak took, see
  [operations](operations.md).
";
