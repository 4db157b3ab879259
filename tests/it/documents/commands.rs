//! `docs/commands.md` is made from the command table: what becomes of every command that Redan knows.
//!
//! The test makes it anew in memory and compares; with `REDAN_WRITE_DOCS=1` it writes it. The rows come from the table's data
//! and from `expected.tsv`, which a unit test of the table holds to what the table decides.

use std::collections::HashMap;
use std::fmt::Write;

use super::document;

const SEVEN: &str = include_str!("../../../src/command/commands-7.0.15.tsv");
const LATER: &str = include_str!("../../../src/command/additions.tsv");
const KINDS: &str = include_str!("../../../src/command/expected.tsv");

/// Titles of the groups, with how a command of 7.0 is known to belong: an ACL category, or its container's name.
const GROUPS: &[(&str, &[&str])] = &[
    ("Strings and counters", &["@string"]),
    ("Bitmaps", &["@bitmap"]),
    ("HyperLogLogs", &["@hyperloglog"]),
    ("Hashes", &["@hash"]),
    ("Lists", &["@list"]),
    ("Sets", &["@set"]),
    ("Geographic sets", &["@geo"]),
    ("Sorted sets", &["@sortedset"]),
    ("Streams", &["@stream"]),
    ("Vector sets", &["vector"]),
    ("Publish and subscribe", &["@pubsub", "pubsub"]),
    ("Transactions", &["@transaction"]),
    ("Scripts and functions", &["@scripting", "script", "function"]),
    (
        "Connection",
        &["auth", "client", "echo", "hello", "ping", "quit", "reset", "select", "asking", "readonly", "readwrite"],
    ),
    ("Keys and databases", &["@keyspace", "object", "sort", "sort_ro", "wait", "waitaof", "clusterscan"]),
    ("Cluster", &["cluster", "sflush", "trimslots"]),
    ("Server", &[]),
];

/// Where later commands belong, and since when there are such.
const SINCE: &[(&[&str], &str, &str)] = &[
    (&["acl|delrole", "acl|getrole", "acl|roles", "acl|setrole"], "Server", "Valkey 9.2"),
    (&["client|capa"], "Connection", "Valkey 8.0"),
    (&["client|import-source"], "Connection", "Valkey 8.1"),
    (&["client|maint_notifications"], "Connection", "Redis Enterprise"),
    (&["client|no-touch", "client|setinfo"], "Connection", "7.2"),
    (&["cluster|myshardid"], "Cluster", "7.2"),
    (&["cluster|slot-stats"], "Cluster", "Redis 8.2, Valkey 8.0"),
    (
        &["cluster|cancelslotmigrations", "cluster|flushslot", "cluster|getslotmigrations", "cluster|migrateslots"],
        "Cluster",
        "Valkey 9.0",
    ),
    (&["cluster|syncslots"], "Cluster", "Redis 8.4, Valkey 9.0"),
    (&["cluster|migration", "trimslots"], "Cluster", "Redis 8.4"),
    (&["clusterscan"], "Keys and databases", "Valkey 9.1"),
    (
        &["commandlog", "commandlog|get", "commandlog|help", "commandlog|len", "commandlog|reset"],
        "Server",
        "Valkey 8.1",
    ),
    (&["delex", "digest"], "Strings and counters", "Redis 8.4"),
    (&["delifeq"], "Strings and counters", "Valkey 9.0"),
    (&["msetex"], "Strings and counters", "Redis 8.4, Valkey 9.1"),
    (&["stralgo"], "Strings and counters", "6.0 to 6.2"),
    (
        &["hexpire", "hexpireat", "hexpiretime", "hpersist", "hpexpire", "hpexpireat", "hpexpiretime", "hpttl", "httl"],
        "Hashes",
        "Redis 7.4, Valkey 9.0",
    ),
    (&["hgetex", "hsetex"], "Hashes", "Redis 8.0, Valkey 9.0"),
    (&["hgetdel"], "Hashes", "Redis 8.0, Valkey 9.1"),
    (
        &["hotkeys", "hotkeys|get", "hotkeys|help", "hotkeys|reset", "hotkeys|start", "hotkeys|stop"],
        "Server",
        "Redis 8.6",
    ),
    (&["host:", "post"], "Server", "3.2"),
    (&["script|show"], "Scripts and functions", "Valkey 8.0"),
    (&["sflush"], "Cluster", "Redis 8.0"),
    (
        &[
            "vadd",
            "vcard",
            "vdim",
            "vemb",
            "vgetattr",
            "vinfo",
            "vismember",
            "vlinks",
            "vrandmember",
            "vrange",
            "vrem",
            "vsetattr",
            "vsim",
        ],
        "Vector sets",
        "Redis 8.0",
    ),
    (&["waitaof"], "Keys and databases", "7.2"),
    (&["xackdel", "xdelex"], "Streams", "Redis 8.2"),
    (&["xcfgset"], "Streams", "Redis 8.6"),
];

/// What the columns do not say.
const NOTES: &[(&[&str], &str)] = &[
    (
        &["auth", "hello"],
        "as the listener's `auth` or `users` say; inside MULTI judged when queued, in force from EXEC on",
    ),
    (
        &["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin"],
        "inside MULTI it does not wait",
    ),
    (
        &["client|tracking"],
        "with REDIRECT not inside MULTI, since the connection for what is redirected must be there before: refused",
    ),
    (&["subscribe", "psubscribe"], "inside MULTI subscribed at EXEC, as outside; asked of the master when queued"),
    (&["ssubscribe"], "inside MULTI refused at EXEC, as servers do"),
    (&["client|maint_notifications"], "answered `unknown subcommand`, on which clients go on without"),
    (&["config|get"], "speaks of the master"),
    (&["eval_ro", "evalsha", "evalsha_ro", "script|load", "eval"], "a node that lacks the script is given it"),
    (
        &["georadius", "georadiusbymember", "sort", "bitfield"],
        "servers call it a write even where it only reads; its `_RO` form goes to replicas",
    ),
    (&["info"], "with a section of Redan's own"),
    (&["multi"], "a block that arrives up to its EXEC in one piece is shared; otherwise its own connection until EXEC"),
    (&["object|freq", "object|idletime", "touch"], "clocks of use differ from node to node"),
    (&["psync", "replconf", "sync"], "answered `NOMASTERLINK`: a replica belongs on a link or on the node itself"),
    (
        &["publish", "spublish"],
        "inside scripts the reply counts connections of Redan, not clients: nobody but the server sees it there",
    ),
    (&["scan", "hscan", "sscan", "zscan"], "a cursor of another server's begins again"),
    (&["shutdown"], "stops the master, not Redan"),
    (&["wait", "waitaof"], "behind a write of Redan's own that covers the session's earlier ones"),
    (&["watch"], "its own connection until EXEC, DISCARD or UNWATCH"),
    (&["xread", "xreadgroup"], "with BLOCK: to the master over its own connection"),
    (&["xinfo|consumers", "xinfo|groups", "xinfo|stream"], "replicas do not know consumers that have read nothing"),
    (&["host:", "post"], "no command: a browser; the connection is closed, as servers do"),
];

#[test]
fn the_list_of_commands_is_up_to_date() {
    let wanted = make();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    if std::env::var_os("REDAN_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("writable");
    }
    let same = document("docs/commands.md") == wanted;
    assert!(same, "docs/commands.md is stale; write it anew: REDAN_WRITE_DOCS=1 cargo test --test it documents");
}

fn make() -> String {
    let kinds: HashMap<&str, &str> = KINDS
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once('\t'))
        .flat_map(|(kind, names)| names.split(' ').map(move |name| (name, kind)))
        .collect();
    let notes: HashMap<&str, &str> =
        NOTES.iter().flat_map(|(names, note)| names.iter().map(|name| (*name, *note))).collect();
    let mut groups: Vec<(&str, Vec<String>)> = GROUPS.iter().map(|(title, _)| (*title, Vec::new())).collect();
    for (name, title, since) in rows() {
        let kind = kinds.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no kind"));
        let (place, connection) = place(kind);
        let note = notes.get(name.as_str()).copied().unwrap_or_default();
        let shown = name.replace('|', " ").to_ascii_uppercase();
        let row = format!("| {shown} | {place} | {connection} | {since} | {note} |");
        let (_, rows) = groups.iter_mut().find(|(known, _)| *known == title).expect("a title of the list");
        rows.push(row);
    }
    let mut text = HEAD.to_owned();
    for (title, mut rows) in groups {
        rows.sort();
        let _ =
            write!(text, "\n## {title}\n\n| command | goes to | connection | since | note |\n|---|---|---|---|---|\n");
        text += &rows.join("\n");
        text += "\n";
    }
    text
}

/// Name, group and first server of every command.
fn rows() -> Vec<(String, &'static str, &'static str)> {
    let seven = SEVEN.lines().skip(1).map(|line| {
        let mut fields = line.split('\t');
        let (name, categories) = (fields.next().unwrap_or_default(), fields.next_back().unwrap_or_default());
        (name.to_owned(), group(name, categories), "")
    });
    let later = LATER.lines().skip(1).map(|line| {
        let name = line.split('\t').next().unwrap_or_default();
        let known = SINCE.iter().find(|(names, ..)| names.contains(&name));
        let (_, title, since) = known.unwrap_or_else(|| panic!("since when is there {name}? Tell SINCE"));
        (name.to_owned(), *title, *since)
    });
    seven.chain(later).collect()
}

fn group(name: &str, categories: &str) -> &'static str {
    let container = name.split('|').next().unwrap_or_default();
    let belongs = |marks: &[&str]| marks.contains(&container) || categories.split(',').any(|c| marks.contains(&c));
    GROUPS.iter().find(|(_, marks)| belongs(marks)).map_or("Server", |(title, _)| title)
}

/// In words for operators.
fn place(kind: &str) -> (&'static str, &'static str) {
    let (kind, inside) = kind.split_once('(').unwrap_or((kind, ""));
    match (kind, inside.trim_end_matches(')')) {
        ("Read" | "ReadUnlessBlock", _) => ("replica", "shared"),
        ("MasterRead" | "Write" | "WriteUnlessBlock", _) => ("master", "shared"),
        ("Local", _) => ("Redan", ""),
        ("Admin", _) => ("refused; master if allowed", "own"),
        ("Refused", _) => ("refused", ""),
        ("Pin", "Script") => ("every node", "shared"),
        ("Pin" | "Share", "Subscribe") => ("master", "shared by all subscribers"),
        ("Pin", "Stateful" | "Tracking") => ("master", "own, until the client leaves"),
        ("Pin", _) => ("master", "own"),
        other => panic!("no words for {other:?}"),
    }
}

const HEAD: &str = "# Commands

What becomes of every command. Made from the command table by a test, which fails when this page is stale; to write it anew:
`REDAN_WRITE_DOCS=1 cargo test --test it documents`.

- **master**, **replica**: where it is executed. With `reads = \"master\"`, and where no replica may serve it (none is healthy, or the
  session has written what none has yet), a replica's commands go to the master. **every node**: to each that can be reached.
  **Redan**: answered by Redan, because it speaks of the client's connection. **refused; master if allowed**: refused, unless
  the listener says `admin_commands = \"allow\"`.
- **shared**: over a connection that many clients share. **own**: over a connection lent to this client alone.
- **since**: the first server that has it, if that is not 7.0 or older.

A command that is not here is looked up in the master's own COMMAND, modules included: what only reads may go to a replica,
what writes to the master; anything else has a connection to the master of its own, and so has what Redis 8 calls by another name
(`rename-command`). What the master does not know it says itself, and of CLIENT's subcommands Redan says it in its words. Inside
MULTI everything goes where the transaction goes; what Redan answers stands at its place in EXEC's reply, and takes effect with
the transaction.
";
