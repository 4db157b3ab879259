//! A soak: three servers and three Redans with links between them, under clients that check every reply, while the master
//! dies and freezes, links are cut, files are renewed and rude clients come and go.
//!
//! Run by `make soak` (`SOAK=5m` for a shorter one). A run of half an hour or more writes `docs/soak.md`; any run ends with a
//! failure when a reply was wrong, a client was cut off, the group did not recover, or a Redan grew. Reading order: `stage`,
//! `connection`, `tally`, `clients`, `streams`, `rude`, `chaos`, `measure`, `report`.

#[path = "../drill/hosts.rs"]
#[allow(dead_code, reason = "the drills need more of it")]
mod hosts;
#[path = "../peers/machine.rs"]
#[allow(dead_code, reason = "the benchmark needs more of it")]
mod machine;
#[path = "../peers/template.rs"]
mod template;
#[path = "../peers/until.rs"]
mod until;
#[path = "../drill/resp.rs"]
#[allow(dead_code, reason = "the drills need more of it")]
mod resp;

mod chaos;
mod clients;
mod connection;
mod measure;
mod relay;
mod report;
mod rude;
mod stage;
mod streams;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stage::Stage;
use tally::Tally;

const USAGE: &str = "\
the time as 30m, 90s or 2h, 30m without it; names of events narrow them down; `log` prints what the Redans logged";

/// A run as long as this is worth a document.
const WHOLE: Duration = Duration::from_secs(30 * 60);

/// Sets the program's own end apart from the group's: whoever has had no answer for so long is forgotten.
const ENDING: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.iter().any(|word| word == "help") {
        println!("{USAGE}");
        for event in chaos::EVENTS {
            println!("  {:<16} {}", event.name, event.what);
        }
        return ExitCode::SUCCESS;
    }
    machine::raise_open_files();
    match hosts::enter().and_then(|()| run(&words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("the soak failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let mut time = WHOLE;
    let mut events: Vec<&'static chaos::Event> = Vec::new();
    let mut log = false;
    for word in words {
        if let Some(given) = duration(word) {
            time = given;
        } else if let Some(event) = chaos::EVENTS.iter().find(|event| event.name == word) {
            events.push(event);
        } else if word == "log" {
            log = true;
        } else {
            return Err(format!("no event or word '{word}'\n{USAGE}"));
        }
    }
    let complete = events.is_empty();
    if complete {
        events.extend(chaos::EVENTS);
    }
    let load = machine::load_average();
    let began = Instant::now();
    let mut stage = Stage::start()?;
    let tally = Arc::new(Tally::new());
    let stop = Arc::new(AtomicBool::new(false));
    eprintln!("[{:5.0} s] everything runs; {:.0} s of soak", began.elapsed().as_secs_f64(), time.as_secs_f64());
    let started = Instant::now();
    let applications = {
        let (targets, tally, stop) = (stage.targets()?, Arc::clone(&tally), Arc::clone(&stop));
        thread::spawn(move || clients::run(&targets, &tally, &stop))
    };
    let mut course = measure::Course::new(stage.redans(), started);
    let happened = chaos::play(&mut stage, &events, &tally, &mut course, started + time);
    stop.store(true, Ordering::Relaxed);
    let deadline = Instant::now() + ENDING;
    while !applications.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let ended = applications.is_finished();
    if !ended {
        tally.wrong("clients did not come to an end".to_owned());
    }
    if log {
        stage.print_logs();
    }
    let lived = stage.alive();
    let outcome = report::Outcome { time: started.elapsed(), happened, course, tally: tally.take(), lived };
    let text = report::write(&machine::describe(&load), &outcome);
    println!("{text}");
    if complete && time >= WHOLE {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/soak.md");
        std::fs::write(path, text).map_err(|error| format!("cannot write {path}: {error}"))?;
        println!("wrote {path}");
    }
    let verdict = report::verdict(&outcome);
    if verdict.is_err() {
        stage.keep_logs();
    }
    verdict
}

/// `90s`, `30m`, `2h`.
fn duration(word: &str) -> Option<Duration> {
    let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok().map(|number| Duration::from_secs(number * factor))
}
