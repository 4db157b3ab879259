//! Verbs that show what the report knows: HELP, STATUS, GROUPS, NODES, SENTINELS, LISTENERS, LINKS, WORKERS, CONFIG.

use super::{Call, Doing, Verb, all};
use crate::admin::report::{GroupReport, LinkReport, ListenerReport, NodeReport, Report, WorkerReport, report};
use crate::admin::table::{bytes, known, seconds, table};
use crate::config::Setting;
use crate::config::effect::Effect;

pub(super) const VERBS: &[Verb] = &[
    Verb { name: "HELP", usage: "", help: "this list", arity: (0, 0), run: help },
    Verb {
        name: "STATUS",
        usage: "",
        help: "the process, its clients, and every group with its nodes",
        arity: (0, 0),
        run: status,
    },
    Verb {
        name: "GROUPS",
        usage: "",
        help: "each group's master, since when and why, and who waits",
        arity: (0, 0),
        run: groups,
    },
    Verb {
        name: "NODES",
        usage: "[group]",
        help: "each node: role, state, lag, load, and why it serves no reads",
        arity: (0, 1),
        run: nodes,
    },
    Verb {
        name: "SENTINELS",
        usage: "[group]",
        help: "each Sentinel that is asked, and whom it names",
        arity: (0, 1),
        run: sentinels,
    },
    Verb {
        name: "LISTENERS",
        usage: "",
        help: "where clients connect, how many are there, and by which policy",
        arity: (0, 0),
        run: listeners,
    },
    Verb {
        name: "LINKS",
        usage: "",
        help: "each link: connections, bytes, breaks, full syncs, lag",
        arity: (0, 0),
        run: links,
    },
    Verb {
        name: "WORKERS",
        usage: "",
        help: "each thread that serves clients, and whether it keeps up",
        arity: (0, 0),
        run: workers,
    },
    Verb {
        name: "CONFIG",
        usage: "[word]",
        help: "settings: value, line of the file or default, what a change needs",
        arity: (0, 1),
        run: config,
    },
];

fn help(call: Call) -> Doing {
    Box::pin(async move {
        let rows = all().map(|verb| vec![format!("REDAN {}", verb.line()), verb.help.to_owned()]);
        let text = table(&["command", "what it does"], &rows.collect::<Vec<_>>());
        let text = format!("{text}\nJSON as the last word gives JSON, save for NODE.");
        let data: Vec<_> = all()
            .map(|verb| serde_json::json!({ "name": verb.name, "usage": verb.usage, "help": verb.help }))
            .collect();
        call.shown(text, &data)
    })
}

fn status(call: Call) -> Doing {
    Box::pin(async move {
        let report = report(&call.state);
        call.shown(summary(&report), &report)
    })
}

fn summary(report: &Report) -> String {
    let Report { process, clients, holds, traffic, .. } = report;
    let resident = process.resident_bytes.map_or_else(|| "-".to_owned(), bytes);
    let limit = process.buffers_limit_bytes.map_or_else(|| "no limit".to_owned(), bytes);
    let mut lines = vec![
        format!(
            "redan {}, process {}, {} for {}",
            process.version,
            process.pid,
            process.state,
            seconds(process.uptime_seconds)
        ),
        format!("memory    {resident}; buffers of clients hold {} (max_memory: {limit})", bytes(process.buffers_bytes)),
        format!("clients   {} now, {} so far, {} turned away", clients.open, clients.total, clients.rejected),
        format!(
            "holds     {} clients wait for a master, the longest for {}; {} waited too long",
            holds.now,
            seconds(holds.longest_seconds),
            holds.expired
        ),
        format!(
            "commands  {} reads ({} by the master), {} writes, {} over pins, {} answered here",
            traffic.commands_read,
            traffic.reads_master,
            traffic.commands_write,
            traffic.commands_pinned,
            traffic.commands_local
        ),
    ];
    lines.extend(process.problems.iter().map(|problem| format!("PROBLEM   {problem}")));
    for group in &report.groups {
        let epoch = group.epoch;
        let since = seconds(group.since_seconds);
        lines.push(String::new());
        lines.push(match &group.master {
            Some(master) => format!("group '{}': {master} is the master for {since} (epoch {epoch})", group.name),
            None => format!("group '{}': NO MASTER for {since} (epoch {epoch}): {}", group.name, group.reason),
        });
        if let Some(left) = group.paused_seconds_left {
            lines.push(format!("PAUSED by the operator: its clients wait, for {} more at most", seconds(left)));
        }
        lines.extend(
            node_table(&group.nodes.iter().map(|node| (None, node)).collect::<Vec<_>>()).lines().map(str::to_owned),
        );
    }
    if !report.links.is_empty() {
        lines.push(String::new());
        lines.extend(link_table(&report.links).lines().map(str::to_owned));
    }
    lines.join("\n")
}

fn groups(call: Call) -> Doing {
    Box::pin(async move {
        let groups = report(&call.state).groups;
        call.shown(group_table(&groups), &groups)
    })
}

fn group_table(groups: &[GroupReport]) -> String {
    let row = |group: &GroupReport| {
        let sentinels = group.sentinels.as_ref().map(|s| format!("{}/{}", s.answering, s.known));
        vec![
            group.name.clone(),
            known(group.master.as_ref()),
            seconds(group.since_seconds),
            group.epoch.to_string(),
            group.nodes.len().to_string(),
            known(sentinels),
            group.clients.to_string(),
            group.held.to_string(),
            known(group.paused_seconds_left.map(seconds)),
            group.reason.clone(),
        ]
    };
    let names = ["group", "master", "since", "epoch", "nodes", "sentinels", "clients", "held", "paused", "reason"];
    table(&names, &groups.iter().map(row).collect::<Vec<_>>())
}

fn nodes(call: Call) -> Doing {
    Box::pin(async move {
        let groups = chosen(&call)?;
        let rows: Vec<(Option<&str>, &NodeReport)> =
            groups.iter().flat_map(|group| group.nodes.iter().map(|node| (Some(group.name.as_str()), node))).collect();
        let data: Vec<_> =
            groups.iter().map(|group| serde_json::json!({ "group": group.name, "nodes": group.nodes })).collect();
        call.shown(node_table(&rows), &data)
    })
}

/// The group that is named, or all.
fn chosen(call: &Call) -> Result<Vec<GroupReport>, String> {
    let wanted = (!call.words.is_empty()).then(|| call.text(0));
    let wanted = wanted.map(|name| call.group(Some(&name))).transpose()?;
    let mut groups = report(&call.state).groups;
    groups.retain(|group| wanted.is_none_or(|wanted| wanted.name() == group.name));
    Ok(groups)
}

fn sentinels(call: Call) -> Doing {
    Box::pin(async move {
        let groups = chosen(&call)?;
        let mut rows = Vec::new();
        for group in &groups {
            let Some(sentinels) = &group.sentinels else { continue };
            rows.extend(sentinels.each.iter().map(|sentinel| {
                let problem = sentinel.problem.clone().unwrap_or_default();
                let (master, names) = (sentinels.master_name.clone(), known(sentinel.names.as_ref()));
                vec![group.name.clone(), master, sentinel.address.clone(), names, problem]
            }));
        }
        let text = match rows.is_empty() {
            true => "no Sentinel is asked".to_owned(),
            false => table(&["group", "calls it", "sentinel", "names", "problem"], &rows),
        };
        let data: Vec<_> = groups
            .iter()
            .map(|group| serde_json::json!({ "group": group.name, "sentinels": group.sentinels }))
            .collect();
        call.shown(text, &data)
    })
}

/// With the group's name where several are shown.
fn node_table(nodes: &[(Option<&str>, &NodeReport)]) -> String {
    let grouped = nodes.first().is_some_and(|(group, _)| group.is_some());
    let row = |(group, node): &(Option<&str>, &NodeReport)| {
        let mut cells = vec![
            node.address.clone(),
            node.role.to_owned(),
            node.state.to_owned(),
            known(node.replicates.as_ref()),
            known(node.lag_bytes.map(bytes)),
            known(node.lag_seconds.map(seconds)),
            known(node.round_trip_seconds.map(seconds)),
            node.in_flight.to_string(),
            node.lanes.to_string(),
            node.pins.to_string(),
            node.commands.to_string(),
            node.failures.to_string(),
            known(node.zone.as_ref()),
            node.weight.to_string(),
            node.problem.clone().unwrap_or_default(),
        ];
        cells.splice(0..0, group.map(ToOwned::to_owned));
        cells
    };
    let mut names = vec![
        "node",
        "role",
        "state",
        "follows",
        "behind",
        "lag",
        "trip",
        "unanswered",
        "lanes",
        "pins",
        "commands",
        "failures",
        "zone",
        "weight",
        "problem",
    ];
    if grouped {
        names.insert(0, "group");
    }
    table(&names, &nodes.iter().map(row).collect::<Vec<_>>())
}

fn listeners(call: Call) -> Doing {
    Box::pin(async move {
        let listeners = report(&call.state).listeners;
        let row = |listener: &ListenerReport| {
            vec![
                listener.name.clone(),
                listener.bind.clone(),
                listener.group.clone(),
                if listener.tls { "yes" } else { "no" }.to_owned(),
                listener.auth.to_owned(),
                listener.reads.to_owned(),
                listener.consistency.to_owned(),
                listener.clients.to_string(),
                listener.max_clients.to_string(),
                listener.held.to_string(),
                listener.accepted.to_string(),
                listener.rejected.to_string(),
            ]
        };
        let names = [
            "listener",
            "bind",
            "group",
            "tls",
            "auth",
            "reads",
            "consistency",
            "clients",
            "max",
            "held",
            "so far",
            "refused",
        ];
        call.shown(table(&names, &listeners.iter().map(row).collect::<Vec<_>>()), &listeners)
    })
}

fn links(call: Call) -> Doing {
    Box::pin(async move {
        let links = report(&call.state).links;
        let text = if links.is_empty() { "this Redan has no links".to_owned() } else { link_table(&links) };
        call.shown(text, &links)
    })
}

fn link_table(links: &[LinkReport]) -> String {
    let row = |link: &LinkReport| {
        let progress = match (link.syncs_now, link.rdb_total_bytes) {
            (0, _) => "-".to_owned(),
            (_, 0) => bytes(link.rdb_bytes),
            (_, total) => format!("{}/{}", bytes(link.rdb_bytes), bytes(total)),
        };
        vec![
            link.name.clone(),
            link.end.to_owned(),
            link.bind.clone().unwrap_or_else(|| "inside".to_owned()),
            link.to.clone(),
            link.connections.to_string(),
            link.detached.to_string(),
            bytes(link.bytes_in),
            bytes(link.bytes_out),
            known(link.round_trip_seconds.map(seconds)),
            link.breaks.to_string(),
            link.resumes.to_string(),
            link.losses.to_string(),
            link.refused.to_string(),
            format!("{}+{}", link.syncs_full, link.syncs_partial),
            progress,
            known(link.lag_bytes.map(bytes)),
            known(link.lag_seconds.map(seconds)),
        ]
    };
    let names = [
        "link",
        "end",
        "bind",
        "to",
        "connections",
        "detached",
        "in",
        "out",
        "trip",
        "breaks",
        "resumes",
        "losses",
        "refused",
        "syncs",
        "syncing",
        "behind",
        "lag",
    ];
    table(&names, &links.iter().map(row).collect::<Vec<_>>())
}

fn workers(call: Call) -> Doing {
    Box::pin(async move {
        let workers = report(&call.state).workers;
        let row = |worker: &WorkerReport| {
            vec![
                worker.number.to_string(),
                worker.clients.to_string(),
                worker.held.to_string(),
                worker.lanes.to_string(),
                worker.pins.to_string(),
                bytes(worker.buffers_bytes),
                seconds(worker.heartbeat_age_seconds),
            ]
        };
        let names = ["worker", "clients", "held", "lanes", "pins", "buffers", "heartbeat"];
        call.shown(table(&names, &workers.iter().map(row).collect::<Vec<_>>()), &workers)
    })
}

fn config(call: Call) -> Doing {
    Box::pin(async move {
        let word = call.text(0).to_lowercase();
        let fits = |setting: &&Setting| setting.name.contains(&word) || setting.section.to_lowercase().contains(&word);
        let settings: Vec<&Setting> = call.now.config.settings.0.iter().filter(fits).collect();
        let row = |setting: &&Setting| {
            let reach = match setting.reload {
                Effect::Live => "everybody",
                Effect::New => "new connections",
                Effect::Ends => "nobody: clients are closed",
                Effect::Restart => "nobody: it takes a restart",
            };
            vec![
                setting.section.clone(),
                setting.name.to_owned(),
                setting.value.clone(),
                setting.line.map_or_else(|| "default".to_owned(), |line| format!("line {line}")),
                reach.to_owned(),
            ]
        };
        let names = ["section", "setting", "value", "from", "a reload reaches"];
        call.shown(table(&names, &settings.iter().map(row).collect::<Vec<_>>()), &settings)
    })
}
