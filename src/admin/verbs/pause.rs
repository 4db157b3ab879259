//! PAUSE and RESUME: all clients of a group wait, and nothing is under way, until the operator says so or the time is over.
//!
//! A pause is whole or it is not: if what is under way is not answered in time, it is taken back.

use std::time::{Duration, Instant};

use super::sessions::STUCK;
use super::{Call, Doing, Verb, time};
use crate::admin::KnownGroup;
use crate::admin::table::seconds;
use crate::session::switchboard::{Answer, Ask};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "PAUSE",
        usage: "[group] [FOR time] [WITHIN time]",
        help: "clients of a group wait, and what is under way is answered first",
        arity: (0, 5),
        run: pause,
    },
    Verb { name: "RESUME", usage: "[group]", help: "ends a pause", arity: (0, 1), run: resume },
];

/// A pause that is forgotten ends by itself.
const USUAL: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// For what is under way to be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at what is under way.
const LOOKS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

fn pause(call: Call) -> Doing {
    Box::pin(async move {
        let named = call.words.len() % 2 == 1;
        let group = call.group(named.then(|| call.text(0)).as_deref())?;
        let [length, within] = call.options(usize::from(named), ["FOR", "WITHIN"])?;
        let length = length.map_or(Ok(USUAL), |text| time(&text, LONGEST))?;
        let within = within.map_or_else(|| Ok(PATIENCE.min(length)), |text| time(&text, length))?;
        let begun = Instant::now();
        let until = begun + length;
        let name = group.name();
        let was_paused = group.paused.left(call.state.started).is_some();
        group.paused.set(Some(until), call.state.started);
        tracing::warn!(group = name, "paused, as ordered, for {length:?} at most");
        if call.state.switchboard.ask(group.number, Ask::Suspend { until }).await.is_none() {
            take_back(&call, group).await;
            return Err(format!("{STUCK}; group '{name}' is not paused"));
        }
        match quiet(&call, group, begun + within).await {
            Ok(blocked) => {
                let waits = match blocked {
                    0 => String::new(),
                    n => format!("; {n} clients go on waiting at the master, in BLPOP and the like"),
                };
                let after = seconds(begun.elapsed().as_secs_f64());
                let left = seconds(until.saturating_duration_since(Instant::now()).as_secs_f64());
                call.said(format!(
                    "group '{name}' is paused: nothing is under way (after {after}), for {left} more{waits}"
                ))
            }
            Err(why) => {
                if !was_paused {
                    take_back(&call, group).await;
                    return Err(format!("{why}; group '{name}' is not paused"));
                }
                Err(format!("{why}; group '{name}' was paused before and still is"))
            }
        }
    })
}

/// Waits until nothing is under way; says how many clients wait at a node by design.
async fn quiet(call: &Call, group: &KnownGroup, deadline: Instant) -> Result<u64, String> {
    let mut wait = LOOKS[0];
    loop {
        let answers = call.state.switchboard.ask(group.number, Ask::Busy).await.ok_or(STUCK)?;
        let (mut under_way, mut waiting_at_node) = (0, 0);
        for answer in answers {
            if let Answer::Busy { unanswered, blocked } = answer {
                under_way += unanswered;
                waiting_at_node += blocked;
            }
        }
        if under_way == 0 {
            return Ok(waiting_at_node);
        }
        if Instant::now() >= deadline {
            return Err(format!("{under_way} commands are still not answered (REDAN NODES tells by whom)"));
        }
        call.tell(&format!("{under_way} commands are under way"));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOKS[1]);
    }
}

async fn take_back(call: &Call, group: &KnownGroup) {
    group.paused.set(None, call.state.started);
    // A worker that does not answer has ended the process's health; its pause ends by itself.
    let _ = call.state.switchboard.ask(group.number, Ask::Resume).await;
}

fn resume(call: Call) -> Doing {
    Box::pin(async move {
        let group = call.group((!call.words.is_empty()).then(|| call.text(0)).as_deref())?;
        let name = group.name();
        let was_paused = group.paused.left(call.state.started).is_some();
        group.paused.set(None, call.state.started);
        call.state.switchboard.ask(group.number, Ask::Resume).await.ok_or(STUCK)?;
        if !was_paused {
            return call.said(format!("group '{name}' was not paused"));
        }
        tracing::info!(group = name, "resumed, as ordered");
        call.said(format!("group '{name}' goes on"))
    })
}
