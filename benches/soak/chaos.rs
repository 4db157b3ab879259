//! What happens to the group, one event after the other, and whether it was whole again after each.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::measure::Course;
use crate::resp::ask;
use crate::stage::{PATIENCE, RESUME, Stage};
use crate::tally::Tally;
use crate::until::wait;

/// Quiet time before each event; samples of it tell whether something grows.
const CALM: Duration = Duration::from_secs(6);

pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// A master is lost with what only it has.
    loses: bool,
    /// A Redan is replaced by another process, which ends some connections.
    replaces: bool,
    /// `turn` counts how often it has happened.
    happen: fn(&mut Stage, usize) -> Result<(), String>,
}

/// How it went: the name, when it began, how long it took until the group was whole, and what went wrong.
pub(crate) struct Happened {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) failed: Option<String>,
}

const fn event(name: &'static str, what: &'static str, happen: fn(&mut Stage, usize) -> Result<(), String>) -> Event {
    Event { name, what, loses: false, replaces: false, happen }
}

pub(crate) const EVENTS: &[Event] = &[
    event("promote", "`redan promote` of a replica", promote),
    event("reset-links", "every connection of every link is reset, three times", reset_links),
    Event {
        loses: true,
        ..event("kill-master", "`kill -9` of the master, which comes back 3 s after its successor", kill_master)
    },
    event("renew", "certificates are replaced, SIGHUP", renew),
    event("reload", "a listener and a limit of one Redan come with a reload and go with the next", reload),
    event("hold-links", "one way between two hosts carries nothing for 4 s", |stage, turn| {
        hold_links(stage, turn, Duration::from_secs(4))
    }),
    event("kill-replica", "`kill -9` of a replica, which comes back after 3 s", kill_replica),
    Event {
        loses: true,
        ..event("freeze-master", "SIGSTOP of the master, SIGCONT 3 s after it has a successor", freeze_master)
    },
    event("cut-links", "one way between two hosts carries nothing for longer than links outlive", |stage, turn| {
        hold_links(stage, turn, RESUME + Duration::from_secs(4))
    }),
    Event {
        replaces: true,
        ..event("upgrade", "SIGUSR2: another process takes the place of the second Redan, where it can", upgrade)
    },
    event("freeze-replica", "SIGSTOP of a replica for 5 s", freeze_replica),
];

/// Lets them happen in turn until `end`.
pub(crate) fn play(
    stage: &mut Stage,
    events: &[&'static Event],
    tally: &Tally,
    course: &mut Course,
    end: Instant,
) -> Vec<Happened> {
    let mut happened = Vec::new();
    for turn in 0.. {
        let calm = (Instant::now() + CALM).min(end);
        while Instant::now() < calm {
            sleep(Duration::from_secs(1));
            course.sample(true);
        }
        if Instant::now() >= end {
            break;
        }
        let event = events[turn % events.len()];
        let began = Instant::now();
        if event.loses {
            tally.master_is_lost();
        }
        tally.is_replacing(event.replaces);
        let outcome = (event.happen)(stage, turn / events.len()).and_then(|()| stage.wait_until_whole());
        if event.loses {
            // What it had alone is found missing only when somebody asks for it.
            tally.master_is_lost();
        }
        tally.is_replacing(false);
        course.follow(&stage.redans());
        course.sample(false);
        let took = began.elapsed();
        eprintln!(
            "[{:5.0} s] {}: {:.1} s{}",
            course.elapsed(),
            event.name,
            took.as_secs_f64(),
            match &outcome {
                Ok(()) => String::new(),
                Err(why) => format!(", {why}"),
            }
        );
        let failed = outcome.err();
        let broken = failed.is_some();
        happened.push(Happened { name: event.name, took, failed });
        if broken {
            break;
        }
    }
    happened
}

/// Until another than this one is the master.
fn successor(stage: &Stage, old: usize) -> Result<(), String> {
    wait("another server is the master", PATIENCE, || {
        stage.sites.iter().enumerate().any(|(place, site)| place != old && site.is_master())
    })
}

fn kill_master(stage: &mut Stage, _: usize) -> Result<(), String> {
    let master = stage.master()?;
    stage.sites[master].kill_server();
    successor(stage, master)?;
    sleep(Duration::from_secs(3));
    stage.sites[master].run_server()
}

fn freeze_master(stage: &mut Stage, _: usize) -> Result<(), String> {
    let master = stage.master()?;
    stage.sites[master].signal_server("STOP")?;
    let seen = successor(stage, master);
    sleep(Duration::from_secs(3));
    stage.sites[master].signal_server("CONT")?;
    seen
}

/// A replica, another one each time.
fn a_replica(stage: &Stage, turn: usize) -> Result<usize, String> {
    let master = stage.master()?;
    Ok((master + 1 + turn % 2) % 3)
}

fn kill_replica(stage: &mut Stage, turn: usize) -> Result<(), String> {
    let replica = a_replica(stage, turn)?;
    stage.sites[replica].kill_server();
    sleep(Duration::from_secs(3));
    stage.sites[replica].run_server()
}

fn freeze_replica(stage: &mut Stage, turn: usize) -> Result<(), String> {
    let replica = a_replica(stage, turn)?;
    stage.sites[replica].signal_server("STOP")?;
    sleep(Duration::from_secs(5));
    stage.sites[replica].signal_server("CONT")
}

fn promote(stage: &mut Stage, turn: usize) -> Result<(), String> {
    let heir = stage.sites[a_replica(stage, turn)?].server_address();
    let asked = turn % 3;
    let mut said = Err(String::new());
    // It refuses while a replica has not caught up, and says so.
    for _ in 0..20 {
        said = stage.sites[asked].redan(&["promote", "main", &heir]).map(drop);
        if said.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_secs(1));
    }
    said.map_err(|said| format!("redan promote: {}", said.trim().replace('\n', "; ")))
}

/// Always the same one, so that memory over time can be read from the others.
fn upgrade(stage: &mut Stage, _: usize) -> Result<(), String> {
    if !stage.sites[1].upgrade_redan()? {
        eprintln!("         this Redan cannot be replaced while it runs");
    }
    Ok(())
}

fn renew(stage: &mut Stage, _: usize) -> Result<(), String> {
    stage.renew()?;
    sleep(Duration::from_secs(5));
    Ok(())
}

fn reload(stage: &mut Stage, turn: usize) -> Result<(), String> {
    let site = &stage.sites[turn % 3];
    let before = site.config()?;
    let at = format!("10.77.0.{}:6383", turn % 3 + 1);
    let more = format!(
        "{}\n[[listener]]\nname = \"passing\"\nbind = \"{at}\"\nplaintext = \"allow\"\nauthentication = \"none\"\n",
        before.replace("name = \"session\"", "name = \"session\"\nmax_clients = 5000")
    );
    site.reload(&more)?;
    let asked = ask(&at, &["PING"], Duration::from_secs(2)).map_err(|error| format!("the new listener: {error}"));
    site.reload(&before)?;
    asked.map(drop)
}

fn reset_links(stage: &mut Stage, _: usize) -> Result<(), String> {
    for _ in 0..3 {
        stage.ways.iter().for_each(crate::relay::Relay::reset);
        sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Both directions between two hosts.
fn hold_links(stage: &mut Stage, turn: usize, time: Duration) -> Result<(), String> {
    let pair = [(1, 2), (1, 3), (2, 3)][turn % 3];
    let ways = || stage.ways.iter().filter(|way| way.ends == pair || way.ends == (pair.1, pair.0));
    ways().for_each(crate::relay::Relay::hold);
    sleep(time);
    ways().for_each(crate::relay::Relay::release);
    Ok(())
}
