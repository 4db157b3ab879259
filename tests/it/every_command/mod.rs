//! Every command of Redis 7.0.15 and what came after it, once straight to a server and once through Redan: the replies are the
//! same bytes, also those of a server that does not have the command.
//!
//! The cases are text (`cases/`), in the language of `script.rs`; what may differ is listed in `differences.rs`
//! and nowhere else. Each command that Redan calls a read must be seen served by a replica.

mod differences;
mod script;
mod sides;

use std::collections::HashSet;

use script::{Case, Step};
use sides::Side;

use crate::support::beside::{self, Group, Plain};
use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::redis::{DEADLINE, Redis};

const TABLE: &str = include_str!("../../../src/command/commands-7.0.15.tsv");
/// What came after it.
const ADDITIONS: &str = include_str!("../../../src/command/additions.tsv");
/// Decided by hand for every row; the unit tests of the table compare it with what the table says.
const KINDS: &str = include_str!("../../../src/command/expected.tsv");

/// Without a case: these would end the servers of all others. They have tests of their own.
const ELSEWHERE: &[(&str, &str)] = &[("shutdown", "a_shut_down_server_ends_the_connection")];

fn cases() -> Vec<Case> {
    let files = [
        include_str!("cases/strings.txt"),
        include_str!("cases/keys.txt"),
        include_str!("cases/collections.txt"),
        include_str!("cases/sorted_sets.txt"),
        include_str!("cases/streams.txt"),
        include_str!("cases/scripts.txt"),
        include_str!("cases/connections.txt"),
        include_str!("cases/servers.txt"),
        include_str!("cases/newer.txt"),
    ];
    files.iter().flat_map(|text| script::parse(text)).collect()
}

#[test]
fn every_row_has_a_case() {
    let cases = cases();
    let covered: HashSet<&str> = cases.iter().flat_map(|case| case.rows.iter().map(String::as_str)).collect();
    let of = |table: &'static str| table.lines().skip(1).filter_map(|line| line.split('\t').next());
    assert_eq!(of(TABLE).count(), 366);
    let rows: Vec<&str> = of(TABLE).chain(of(ADDITIONS)).collect();
    for row in &rows {
        let elsewhere = ELSEWHERE.iter().any(|(name, _)| name == row);
        assert!(covered.contains(row) != elsewhere, "{row} has no case, or a case in two places");
    }
    for case in &cases {
        for row in &case.rows {
            assert!(rows.contains(&row.as_str()), "a case for {row}, which is no command");
            assert!(case.steps.iter().any(|(_, step)| runs(step, row)), "no step of the case of {row} sends it");
        }
    }
}

#[test]
fn every_command_is_answered_as_by_a_server_in_resp2() {
    compare(false);
}

#[test]
fn every_command_is_answered_as_by_a_server_in_resp3() {
    compare(true);
}

/// Without leave of the operator nothing that acts on a server as a whole gets through.
#[test]
fn administrative_commands_are_refused_by_default() {
    let master = Redis::start();
    let endpoint = Endpoint::of(&[&master], "");
    let mut client = endpoint.client();
    let mut refused = 0;
    for row in kinds(&["Admin(Command)", "Admin(Monitor)", "Admin(Shutdown)"]) {
        let words: Vec<&str> = row.split('|').collect();
        let reply = client.ask(&words);
        assert!(reply.starts_with(&format!("-NOPERM '{row}' is an administrative command")), "{row}: {reply}");
        refused += 1;
    }
    assert!(refused > 60, "only {refused}");
    assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
}

#[test]
fn a_shut_down_server_ends_the_connection() {
    let (bare, behind) = (Redis::start(), Redis::start());
    let endpoint = Endpoint::of(&[&behind], "admin_commands = \"allow\"\nhold = \"1s\"");
    let (mut server, mut redan) = (Client::connect(&bare.address()), endpoint.client());
    for words in [vec!["SHUTDOWN", "ABORT"], vec!["SHUTDOWN", "NOSUCH"], vec!["SHUTDOWN", "SAVE", "NOSAVE"]] {
        assert_eq!(redan.ask(&words), server.ask(&words), "{words:?}");
    }
    server.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(server.next(), None);
    redan.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(redan.next().map(|reply| String::from_utf8_lossy(&reply).into_owned()), None);
}

/// Runs every case on both sides, then says all that was wrong.
fn compare(resp3: bool) {
    let (bare, behind, other) = (Group::start(), Group::start(), Redis::start());
    let proxy = beside::redan(&behind);
    let server = [bare.master.address(), bare.master.address()];
    let server = Side { group: &bare, addresses: server, resp3, other: &other };
    let redan = Side { group: &behind, addresses: [proxy.address(1), proxy.address(2)], resp3, other: &other };
    let reads = kinds(&["Read", "ReadUnlessBlock"]);
    let only = std::env::var("REDAN_TEST_COMMAND").ok();
    let mut wrong = Vec::new();
    for case in cases() {
        if only.as_ref().is_some_and(|only| !case.rows.contains(only)) {
            continue;
        }
        let mut found = Vec::new();
        server.clear();
        redan.clear();
        let wanted = server.run(&case);
        other.ok(&["FLUSHALL"]);
        let got = redan.run(&case);
        other.ok(&["FLUSHALL"]);
        for (at, (line, _)) in case.steps.iter().enumerate() {
            match (wanted.get(at), got.get(at)) {
                (Some(Ok(Some(wanted))), Some(Ok(Some(got)))) => {
                    let difference = differences::between(differences::of(line), wanted, got);
                    found.extend(difference.map(|difference| format!("{line}\n      {difference}")));
                }
                (Some(Ok(None)), Some(Ok(None))) | (None, None) => {}
                (wanted, got) => {
                    let said = |outcome: Option<&sides::Outcome>| match outcome {
                        Some(Ok(Some(reply))) => format!("{:?}", String::from_utf8_lossy(reply)),
                        other => format!("{other:?}"),
                    };
                    found.push(format!("{line}\n      a server: {}\n      Redan:    {}", said(wanted), said(got)));
                }
            }
        }
        let there = |row: &&String| reads.contains(&row.as_str()) && bare.has(row);
        for row in case.rows.iter().filter(there) {
            found.extend(never_on_a_replica(&redan, &case, row));
        }
        wrong.extend(found.into_iter().map(|what| format!("{}: {what}", case.rows.join(" "))));
    }
    assert!(wrong.is_empty(), "{} differences:\n  {}", wrong.len(), wrong.join("\n  "));
}

/// Repeats the case's read until a replica has served it, which takes a mark behind the case's writes.
fn never_on_a_replica(redan: &Side<'_>, case: &Case, row: &str) -> Option<String> {
    let read = case.steps.iter().find_map(|(_, step)| match step {
        Step::Ask { words, .. } if runs(step, row) => Some(words),
        _ => None,
    })?;
    let mut client = Plain::speaking(&redan.addresses[0], redan.resp3);
    let before = redan.group.calls_on_replicas(row);
    let start = std::time::Instant::now();
    while start.elapsed() < DEADLINE {
        if let Err(why) = client.ask(read) {
            return Some(format!("as a read: {why}"));
        }
        if redan.group.calls_on_replicas(row) > before {
            return None;
        }
    }
    Some(format!("{row} was never served by a replica"))
}

/// The names of all rows of these kinds.
fn kinds(kinds: &[&str]) -> Vec<&'static str> {
    let lines = KINDS.lines().skip(1).filter_map(|line| line.split_once('\t'));
    lines.filter(|(kind, _)| kinds.contains(kind)).flat_map(|(_, names)| names.split(' ')).collect()
}

/// Whether the step sends the command of this row.
fn runs(step: &Step, row: &str) -> bool {
    let (Step::Ask { words, .. } | Step::Send { words, .. }) = step else {
        return false;
    };
    let word = |at: usize| words.get(at).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    match row.split_once('|') {
        Some((container, sub)) => word(0).as_deref() == Some(container) && word(1).as_deref() == Some(sub),
        None => word(0).as_deref() == Some(row),
    }
}
