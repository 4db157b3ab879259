//! Drills: a replication group with three Sentinels loses its master in every way that happens, under clients that
//! write and read; Redan and HAProxy stand in front of it in turn.
//!
//! Run by `make drill`. A complete run writes `docs/failover.md`; a partial one (words on the command line) only
//! prints. Reading order: `drills`, `group`, `clients`, `report`.

#[path = "../peers/machine.rs"]
#[allow(dead_code, reason = "the benchmark needs more of it")]
mod machine;
#[path = "../peers/template.rs"]
mod template;
#[path = "../peers/until.rs"]
mod until;

mod clients;
mod drills;
mod group;
mod hosts;
mod report;
mod resp;
mod watcher;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clients::Seen;
use drills::{DRILLS, Drill};
use group::{Contender, Group, PROXY};

const USAGE: &str = "\
words narrow the drills down: names of drills, redan, haproxy, 20, 200; without any all are run and docs/failover.md is
written; `log` prints what Redan logged";

/// Traffic before the event, so that every client has a past.
const BEFORE: Duration = Duration::from_secs(2);

/// Traffic after the group is whole again.
const AFTER: Duration = Duration::from_secs(2);

/// How one drill went for one proxy.
pub(crate) struct Outcome {
    drill: &'static Drill,
    contender: Contender,
    clients: usize,
    /// When a server first said that it is the new master, from the event.
    new_master: Option<Duration>,
    seen: Result<Seen, String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.iter().any(|word| word == "help") {
        println!("{USAGE}");
        for drill in DRILLS {
            println!("  {:<24} {}", drill.name, drill.what);
        }
        return ExitCode::SUCCESS;
    }
    match hosts::enter().and_then(|()| run(&words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("the drills stopped: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let has = |word: &str| words.iter().any(|given| given == word);
    let none_of = |names: &[&str]| !names.iter().any(|name| has(name));
    let names: Vec<&str> = DRILLS.iter().map(|drill| drill.name).collect();
    let known = |word: &&String| {
        names.contains(&word.as_str()) || ["redan", "haproxy", "20", "200", "log"].contains(&word.as_str())
    };
    if let Some(word) = words.iter().find(|word| !known(word)) {
        return Err(format!("no drill or word '{word}'\n{USAGE}"));
    }
    let began = Instant::now();
    let load = machine::load_average();
    let mut outcomes = Vec::new();
    for drill in DRILLS.iter().filter(|drill| none_of(&names) || has(drill.name)) {
        for clients in [20, 200] {
            for contender in [Contender::Redan, Contender::Haproxy] {
                let word = contender.name().to_lowercase();
                let wanted = (none_of(&["redan", "haproxy"]) || has(&word))
                    && (none_of(&["20", "200"]) || has(&clients.to_string()))
                    && (contender == Contender::Redan || !drill.redan_alone);
                if wanted {
                    eprintln!("[{:4.0} s] {}, {clients} clients, {word}", began.elapsed().as_secs_f64(), drill.name);
                    let outcome = perform(drill, contender, clients, has("log"));
                    eprintln!("         {}", report::line(&outcome));
                    outcomes.push(outcome);
                }
            }
        }
    }
    let text = report::write(&machine::describe(&load), &outcomes);
    if words.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/failover.md");
        std::fs::write(path, text).map_err(|error| format!("cannot write {path}: {error}"))?;
        println!("wrote {path} after {:.0} s", began.elapsed().as_secs_f64());
    } else {
        println!("{text}");
    }
    let failed = outcomes.iter().filter(|one| one.contender == Contender::Redan && report::verdict(one).is_err());
    match failed.count() {
        0 => Ok(()),
        count => Err(format!("{count} drills did not go as they should have for Redan")),
    }
}

fn perform(drill: &'static Drill, contender: Contender, clients: usize, log: bool) -> Outcome {
    let mut new_master = None;
    let seen = attempt(drill, contender, clients, log, &mut new_master);
    Outcome { drill, contender, clients, new_master, seen }
}

fn attempt(
    drill: &Drill,
    contender: Contender,
    count: usize,
    log: bool,
    new_master: &mut Option<Duration>,
) -> Result<Seen, String> {
    let mut group = Group::start(contender, drill.watch, drill.applications)?;
    let stop = Arc::new(AtomicBool::new(false));
    let event_at = Instant::now() + BEFORE;
    let watcher = watcher::Watcher::start(group.nodes.iter().map(group::Node::address).skip(1), event_at);
    let (disturbed, traffic) = thread::scope(|scope| {
        let traffic = scope.spawn(|| clients::run(PROXY, count, event_at, &stop));
        thread::sleep(BEFORE);
        let disturbed = (drill.disturb)(&mut group, contender);
        thread::sleep(AFTER);
        stop.store(true, Ordering::Relaxed);
        (disturbed, traffic.join())
    });
    *new_master = watcher.stop();
    if log {
        println!("{}", group.said());
    }
    disturbed?;
    let (mut seen, acknowledged) = traffic.map_err(|_| "the clients failed".to_owned())??;
    if !group.proxy_lives() {
        return Err(format!("the proxy ended; it printed: {}", group.said()));
    }
    let master = group.final_master().ok_or("no server says that it is the master")?;
    for (key, numbers) in acknowledged {
        let stored = master.ask(&["LRANGE", &key, "0", "-1"]).ok_or("the new master does not answer")?;
        let stored: Vec<u64> = stored.items().iter().map(clients::number_in).collect();
        seen.compare(&numbers, &stored);
    }
    Ok(seen)
}
