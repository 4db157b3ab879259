//! Verbs about nodes: DRAIN, UNDRAIN, RECONNECT, PROMOTE, NODE.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::sessions::STUCK;
use super::{ANY, Call, Doing, Outcome, Shown, Verb, time};
use crate::admin::Ask as Wish;
use crate::session::switchboard::{Answer, Ask};

/// Takes every word as it is.
pub(super) const NODE: &str = "NODE";

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "DRAIN",
        usage: "node [GROUP group]",
        help: "no more reads go to a replica; what is under way there ends",
        arity: (1, 3),
        run: drain,
    },
    Verb { name: "UNDRAIN", usage: "node [GROUP group]", help: "it serves reads again", arity: (1, 3), run: undrain },
    Verb {
        name: "RECONNECT",
        usage: "[node | group]",
        help: "replaces connections to nodes, each when it owes nothing",
        arity: (0, 1),
        run: reconnect,
    },
    Verb {
        name: "PROMOTE",
        usage: "node [GROUP group] [TIMEOUT time]",
        help: "makes a replica the master; no write is lost and no client is told",
        arity: (1, 5),
        run: promote,
    },
    Verb {
        name: NODE,
        usage: "node command [argument ...]",
        help: "sends a command to one node, as the group's user, and gives its answer",
        arity: (2, ANY),
        run: node,
    },
];

/// Control takes an order within a turn of its loop.
const CONTROL: Duration = Duration::from_secs(5);
/// Connections end when the slowest command is answered; who gives the order need not wait for it.
const ENDING: Duration = Duration::from_secs(2);

fn drain(call: Call) -> Doing {
    Box::pin(steer(call, true))
}

fn undrain(call: Call) -> Doing {
    Box::pin(steer(call, false))
}

async fn steer(call: Call, on: bool) -> Outcome {
    let [group] = call.options(1, ["GROUP"])?;
    let found = call.node(&call.text(0), group.as_deref())?;
    let (done, told) = oneshot::channel();
    if !(found.group.orders.steer)(found.address.to_string(), on, done) {
        return Err("other orders have to be carried out first; ask again".to_owned());
    }
    let told = tokio::time::timeout(CONTROL, told).await;
    told.map_err(|_| "the group's watch has not answered; look at the log".to_owned())?
        .map_err(|_| "Redan is ending".to_owned())??;
    let name = &found.address;
    if !on {
        return call.said(format!("{name} may serve reads again, once it is found to be well"));
    }
    // What was sent there is answered by it; nothing new takes these connections.
    let ask = Ask::Reconnect { node: Some(found.id) };
    call.state.switchboard.ask(found.group.number, ask).await.ok_or(STUCK)?;
    let under_way = left_at(&call, found.group.number, found.id).await;
    call.said(match under_way {
        0 => format!("{name} is drained: no reads go there, and nothing is under way"),
        n => format!("{name} is drained: no reads go there; {n} commands are still under way"),
    })
}

/// Commands that the node owes, after a moment in which they may be answered.
async fn left_at(call: &Call, group: usize, id: crate::topology::NodeId) -> u64 {
    let owed = || {
        let of_workers = call.state.workers.iter().filter_map(|worker| worker.nodes.find(group, id));
        of_workers.map(|node| node.in_flight.get()).sum::<u64>()
    };
    let begun = std::time::Instant::now();
    while owed() > 0 && begun.elapsed() < ENDING {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    owed()
}

fn reconnect(call: Call) -> Doing {
    Box::pin(async move {
        let name = (!call.words.is_empty()).then(|| call.text(0));
        let (groups, node) = match &name {
            None => (call.groups(None)?, None),
            Some(name) => match call.group(Some(name)) {
                Ok(group) => (vec![group], None),
                Err(_) => {
                    let found = call.node(name, None).map_err(|error| format!("{error}; and no group is called so"))?;
                    (vec![found.group], Some(found.id))
                }
            },
        };
        let mut replaced = 0;
        for group in groups {
            let answers = call.state.switchboard.ask(group.number, Ask::Reconnect { node }).await.ok_or(STUCK)?;
            replaced += answers.iter().map(|answer| if let Answer::Count(n) = answer { *n } else { 0 }).sum::<u64>();
        }
        tracing::info!("{replaced} connections to {} are replaced, as ordered", name.as_deref().unwrap_or("all nodes"));
        call.said(format!("{replaced} connections are replaced, each when it owes nothing"))
    })
}

/// Without a word of whoever asks, and the most that may be asked for.
const SWITCH: Duration = Duration::from_secs(10);
const LONGEST_SWITCH: Duration = Duration::from_secs(300);

fn promote(call: Call) -> Doing {
    Box::pin(async move {
        let [group, timeout] = call.options(1, ["GROUP", "TIMEOUT"])?;
        let node = call.text(0);
        // The group's watch says best what is wrong with a node.
        let group = match group {
            Some(name) => call.group(Some(&name))?,
            None if call.now.groups.len() == 1 => call.group(None)?,
            None => call.node(&node, None)?.group,
        };
        let timeout = timeout.map_or(Ok(SWITCH), |text| time(&text, LONGEST_SWITCH))?;
        let (progress, mut lines) = mpsc::unbounded_channel();
        if !(group.orders.promote)(Wish { node, timeout, progress }) {
            return Err("Redan has other switches to carry out first; ask again".to_owned());
        }
        let mut last: Option<String> = None;
        while let Some(line) = lines.recv().await {
            if let Some(step) = last.replace(line) {
                call.tell(&step);
            }
        }
        match last {
            Some(last) if last.starts_with("done: ") => call.said(last),
            Some(last) => Err(last),
            None => Err("failed: Redan is ending".to_owned()),
        }
    })
}

fn node(call: Call) -> Doing {
    Box::pin(async move {
        let found = call.node(&call.text(0), None)?;
        let command = call.words[1..].to_vec();
        let word = String::from_utf8_lossy(&command[0]).into_owned();
        tracing::info!("{} is sent {word}, as ordered", found.address);
        (found.group.orders.speak)(found.address, command).await.map(Shown::Raw)
    })
}
