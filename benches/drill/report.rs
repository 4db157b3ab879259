//! What came of the drills, as a line, as a verdict and as `docs/failover.md`.

use std::fmt::Write;
use std::time::Duration;

use crate::Outcome;
use crate::drills::Expect;
use crate::group::{Contender, DOWN_AFTER, Watch};

/// What Redan may add to the time that it takes until there is a new master.
const SLACK: Duration = Duration::from_millis(100);

/// Reads go on throughout; a node that dies with a read, and one that is slow to say so, cost this at most.
const READS: Duration = Duration::from_millis(500);

const HEAD: &str = "\
# Failover

Written by `make drill`; do not edit by hand. `make drill DRILL=help` lists the words that narrow it down. It needs root
or user namespaces: every server and Sentinel stands on a machine of its own (a network namespace).

A master and two replicas of Redis, three Sentinels, and Redan or HAProxy in front of them, all started anew for each
drill. Clients append numbers to a list of their own and read the last one back, a quarter of them only reads; 20 clients every
5 ms, 200 every 40 ms. In each drill something happens to the group after 2 s, and the clients go on until it is whole again.
";

const LEGEND: &str = "\
## How to read it

- **new master**: when a server first said that it is one, from the event. No proxy can accept a write before.
- **writes waited**: the longest time that a client waited from one acknowledged write to the next.
- **reads waited**: the same for the clients that only read.
- **errors**: error replies by code. `INDOUBT`: the connection to the master ended with a write under way, and nobody
  can know whether it was executed. **cut off**: connections that ended under their client, and attempts to connect that failed.
- **old reads**: a client read less than it had been acknowledged, and the master had more; or it read from an empty group.
- **lost**: acknowledged writes that the group does not have in the end. Replication is asynchronous: what a master acknowledged
  and no replica had when it was replaced is lost whatever stands in front. A proxy makes it worse by writing to a
  master that has been replaced.
- **as it should be**: for Redan: nobody is cut off, no old read, no error but writes in doubt, one a client at most, and
  no write executed twice, none lost that was acknowledged later than 100 ms after there was a new master, and writes wait at
  most 100 ms longer than until there is one, reads at most 500 ms. Where nothing dies: no error and nothing lost. `redan
  promote` and the loss of a replica: writes wait at most 200 ms.
";

/// One line for whoever watches.
pub(crate) fn line(outcome: &Outcome) -> String {
    match &outcome.seen {
        Err(why) => format!("failed: {why}"),
        Ok(seen) => format!(
            "new master {}, writes waited {}, reads {}, errors {}, cut off {}, old {}, lost {}: {}",
            moment(outcome),
            seconds(seen.write_pause),
            seconds(seen.read_pause),
            errors(outcome),
            seen.disconnects + seen.refused,
            seen.old,
            lost(outcome),
            verdict(outcome).err().unwrap_or_else(|| "as it should be".to_owned()),
        ),
    }
}

/// What went otherwise than an operator may expect of Redan.
pub(crate) fn verdict(outcome: &Outcome) -> Result<(), String> {
    let seen = outcome.seen.as_ref().map_err(|why| format!("failed: {why}"))?;
    let mut wrong = Vec::new();
    let mut unless = |fine: bool, what: String| {
        if !fine {
            wrong.push(what);
        }
    };
    unless(seen.disconnects + seen.refused == 0, "clients were cut off".to_owned());
    unless(seen.old == 0, format!("{} old reads", seen.old));
    unless(seen.twice == 0, format!("{} writes executed twice", seen.twice));
    let other = seen.errors.keys().filter(|code| *code != "INDOUBT").cloned().collect::<Vec<_>>();
    unless(other.is_empty(), format!("errors {}", other.join(", ")));
    unless(seen.doubts_of_one <= 1, format!("{} writes in doubt of one client", seen.doubts_of_one));
    // Where replicas can be reached, they serve. Cut off with the master alone there is nobody to read from.
    if outcome.drill.watch != Watch::Fenced {
        unless(seen.read_pause <= READS, format!("reads waited {}", seconds(seen.read_pause)));
    }
    if outcome.drill.expect == Expect::Nothing {
        unless(seen.errors.is_empty(), "errors although nothing died".to_owned());
        unless(seen.lost == 0, format!("{} writes lost", seen.lost));
    }
    // Behind a fence the master is written to until the fence falls, and what it had is lost then.
    if let (Some(until), Some(new_master)) = (seen.lost_until, outcome.new_master)
        && outcome.drill.watch != Watch::Fenced
    {
        unless(until <= new_master + SLACK, format!("a write acknowledged {} after the event is lost", seconds(until)));
    }
    if let Some(allowed) = outcome.drill.within.or_else(|| Some(outcome.new_master? + SLACK)) {
        let waited = format!("writes waited {}, {} allowed", seconds(seen.write_pause), seconds(allowed));
        unless(seen.write_pause <= allowed, waited);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

pub(crate) fn write(machine: &[String], outcomes: &[Outcome]) -> String {
    let mut text = HEAD.to_owned();
    text += "\n## Machine\n\n";
    for line in machine {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(text, "- Sentinel: `down-after-milliseconds {}`, quorum 2", DOWN_AFTER.as_millis());
    text += "\n## Drills\n";
    let mut before = "";
    for outcome in outcomes {
        if outcome.drill.name != before {
            before = outcome.drill.name;
            let _ = writeln!(text, "\n### {}\n\n{}.\n", before, capital(outcome.drill.what));
            text += "| | clients | new master | writes waited | reads waited | errors | cut off | old reads | lost | as it should be |\n";
            text += "|---|---|---|---|---|---|---|---|---|---|\n";
        }
        text += &row(outcome);
    }
    text += "\n";
    text += LEGEND;
    text
}

fn row(outcome: &Outcome) -> String {
    let (name, clients) = (outcome.contender.name(), outcome.clients);
    let seen = match &outcome.seen {
        Ok(seen) => seen,
        Err(why) => return format!("| {name} | {clients} | it failed: {} |||||||\n", why.replace(['\n', '|'], " ")),
    };
    let judged = match (outcome.contender, verdict(outcome)) {
        (Contender::Haproxy, _) => String::new(),
        (_, Ok(())) => "yes".to_owned(),
        (_, Err(why)) => format!("**no**: {why}"),
    };
    format!(
        "| {name} | {clients} | {} | {} | {} | {} | {} | {} | {} | {judged} |\n",
        moment(outcome),
        seconds(seen.write_pause),
        seconds(seen.read_pause),
        errors(outcome),
        seen.disconnects + seen.refused,
        seen.old,
        lost(outcome),
    )
}

fn errors(outcome: &Outcome) -> String {
    let Ok(seen) = &outcome.seen else { return String::new() };
    let listed: Vec<String> = seen.errors.iter().map(|(code, count)| format!("{count} {code}")).collect();
    if listed.is_empty() { "0".to_owned() } else { listed.join(", ") }
}

fn lost(outcome: &Outcome) -> String {
    let Ok(seen) = &outcome.seen else { return String::new() };
    match seen.lost_until {
        Some(until) => format!("{} (up to {} after the event)", seen.lost, seconds(until)),
        None => seen.lost.to_string(),
    }
}

fn moment(outcome: &Outcome) -> String {
    outcome.new_master.map_or_else(|| "–".to_owned(), seconds)
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
