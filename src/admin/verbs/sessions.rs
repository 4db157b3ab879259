//! Verbs about what workers serve: SESSIONS, LANES, KILL. Workers are asked, each for no more than is shown.

use super::{Call, Doing, Verb, number};
use crate::admin::table::{bytes, known, seconds, table};
use crate::session::clients::filter::Filter;
use crate::session::rows::{LaneRow, STATES, SessionRow, Wanted};
use crate::session::switchboard::{Answer, Ask};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "SESSIONS",
        usage: "[option value ...]",
        help: "clients, and what each is doing; ID, GROUP, LISTENER, USER, NAME, ADDRESS, STATE, NODE, DB, IDLE choose",
        arity: (0, 22),
        run: sessions,
    },
    Verb {
        name: "LANES",
        usage: "[node] [LIMIT n]",
        help: "connections to nodes that clients share",
        arity: (0, 3),
        run: lanes,
    },
    Verb { name: "KILL", usage: "id", help: "closes a client's connection", arity: (1, 1), run: kill },
];

/// Rows, where nobody says how many.
const ROWS: u64 = 100;
/// Each worker makes them between two turns of its clients.
const MOST_ROWS: u64 = 10_000;

pub(super) const STUCK: &str = "a worker has not answered within 5 s: look at the log, and at REDAN WORKERS";

fn limit(text: Option<&String>) -> Result<usize, String> {
    let limit = text.map_or(Ok(ROWS), |text| number("LIMIT", text))?;
    Ok(limit.min(MOST_ROWS) as usize)
}

fn sessions(call: Call) -> Doing {
    Box::pin(async move {
        let known_options =
            ["ID", "GROUP", "LISTENER", "USER", "NAME", "ADDRESS", "STATE", "NODE", "DB", "IDLE", "LIMIT"];
        let [id, group, listener, user, name, address, state, node, db, idle, most] = call.options(0, known_options)?;
        let state = state.map(|state| state.to_lowercase());
        if let Some(state) = state.as_ref().filter(|state| !STATES.contains(&state.as_str())) {
            return Err(format!("no session is ever '{state}'; there is {}", STATES.join(", ")));
        }
        let limit = limit(most.as_ref())?;
        let wanted = Wanted {
            id: id.map(|id| number("ID", &id)).transpose()?,
            address,
            listener,
            user,
            name,
            state,
            node,
            db: db.map(|db| number("DB", &db)).transpose()?.map(|db| u32::try_from(db).unwrap_or(u32::MAX)),
            idle: idle.map(|idle| number("IDLE", &idle)).transpose()?,
            limit,
        };
        let groups = call.groups(group.as_deref())?;
        let (mut all, mut rows) = (0, Vec::new());
        for group in groups {
            let answers = call.state.switchboard.ask(group.number, Ask::Sessions(wanted.clone())).await.ok_or(STUCK)?;
            for answer in answers {
                if let Answer::Sessions(meant, some) = answer {
                    all += meant;
                    rows.extend(some);
                }
            }
        }
        rows.sort_unstable_by_key(|row: &SessionRow| row.id);
        rows.truncate(limit);
        let data = serde_json::json!({ "total": all, "sessions": rows });
        call.shown(with_rest(session_table(&rows), rows.len(), all), &data)
    })
}

fn session_table(rows: &[SessionRow]) -> String {
    let row = |row: &SessionRow| {
        vec![
            row.id.to_string(),
            row.address.clone(),
            row.listener.clone(),
            row.user.clone(),
            if row.name.is_empty() { "-".to_owned() } else { row.name.clone() },
            match (row.state, row.pinned_for) {
                ("pinned", Some(reason)) => format!("pinned ({reason})"),
                (state, _) => state.to_owned(),
            },
            known(row.node.as_ref()),
            row.unanswered.to_string(),
            known(row.command),
            row.db.to_string(),
            seconds(row.age_seconds as f64),
            seconds(row.idle_seconds as f64),
            bytes(row.input_bytes as u64),
            bytes(row.output_bytes as u64),
            row.worker.to_string(),
        ]
    };
    let names = [
        "id",
        "address",
        "listener",
        "user",
        "name",
        "state",
        "node",
        "unanswered",
        "command",
        "db",
        "age",
        "idle",
        "input",
        "output",
        "worker",
    ];
    table(&names, &rows.iter().map(row).collect::<Vec<_>>())
}

fn with_rest(text: String, shown: usize, all: u64) -> String {
    if all > shown as u64 { format!("{text}\n{shown} of {all} are shown; LIMIT shows more") } else { text }
}

fn lanes(call: Call) -> Doing {
    Box::pin(async move {
        let starts_with_option = call.text(0).eq_ignore_ascii_case("LIMIT");
        let node =
            (!call.words.is_empty() && !starts_with_option).then(|| call.node(&call.text(0), None)).transpose()?;
        let [most] = call.options(usize::from(node.is_some()), ["LIMIT"])?;
        let limit = limit(most.as_ref())?;
        let groups = match &node {
            Some(found) => vec![found.group],
            None => call.groups(None)?,
        };
        let (mut all, mut rows) = (0, Vec::new());
        for group in groups {
            let ask = Ask::Lanes { node: node.as_ref().map(|found| found.id), limit };
            for answer in call.state.switchboard.ask(group.number, ask).await.ok_or(STUCK)? {
                if let Answer::Lanes(meant, some) = answer {
                    all += meant;
                    rows.extend(some);
                }
            }
        }
        rows.sort_by(|a: &LaneRow, b| (&a.group, &a.node, a.worker).cmp(&(&b.group, &b.node, b.worker)));
        rows.truncate(limit);
        let data = serde_json::json!({ "total": all, "lanes": rows });
        call.shown(with_rest(lane_table(&rows), rows.len(), all), &data)
    })
}

fn lane_table(rows: &[LaneRow]) -> String {
    let row = |row: &LaneRow| {
        vec![
            row.group.clone(),
            row.node.clone(),
            row.worker.to_string(),
            row.purpose.to_owned(),
            row.state.to_owned(),
            if row.own_user { "client's" } else { "group's" }.to_owned(),
            row.db.to_string(),
            row.resp.to_string(),
            row.in_flight.to_string(),
            row.commands.to_string(),
            seconds(row.idle_seconds as f64),
            bytes(row.buffer_bytes),
        ]
    };
    let names = [
        "group",
        "node",
        "worker",
        "purpose",
        "state",
        "user",
        "db",
        "resp",
        "unanswered",
        "commands",
        "idle",
        "buffers",
    ];
    table(&names, &rows.iter().map(row).collect::<Vec<_>>())
}

fn kill(call: Call) -> Doing {
    Box::pin(async move {
        let id = number("the id", &call.text(0))?;
        for group in &call.now.groups {
            // Sessions begin with 1.
            let ask = Ask::Kill { filter: Filter::of_ids(vec![id]), by: 0 };
            let answers = call.state.switchboard.ask(group.number, ask).await.ok_or(STUCK)?;
            if answers.iter().any(|answer| matches!(answer, Answer::Count(1..))) {
                tracing::info!("closed client {id}, as ordered");
                return call.said(format!("client {id} is closed"));
            }
        }
        Err(format!("no client has the id {id}; REDAN SESSIONS lists them"))
    })
}
