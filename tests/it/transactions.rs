//! What changes the connection or speaks of clients, inside MULTI: it takes effect at EXEC, at its place in the reply.

use std::time::Duration;

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::{Redis, eventually, refusal_of_7_0};

mod messages;
mod users;

fn start() -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "");
    (redis, endpoint)
}

/// A server for itself, and one behind Redan.
fn beside(rules: &[&str], listener: &str) -> (Redis, Redis, Endpoint) {
    let [reference, redis] = [(); 2].map(|()| Redis::start());
    for rule in rules {
        let words = [&["ACL", "SETUSER"], &rule.split(' ').collect::<Vec<_>>()[..]].concat();
        [&reference, &redis].iter().for_each(|server| server.ok(&words));
    }
    let endpoint = Endpoint::of_two_workers(&[&redis], listener);
    (reference, redis, endpoint)
}

/// Lines of commands.
type Script = &'static [&'static str];

/// With whatever a client's id is in it left out.
fn masked(reply: &str) -> String {
    let id = bulk("id");
    match reply.split_once(&id) {
        None => reply.to_owned(),
        Some((before, after)) => {
            let rest = after.split_once("\r\n").map_or("", |(_, rest)| rest);
            format!("{before}{id}:?\r\n{}", masked(rest))
        }
    }
}

/// Everything said until the last PING is answered. CLIENT REPLY may leave holes in an array, so these are bytes.
fn said(address: &str, script: Script, at_once: bool) -> String {
    let mut client = Client::connect(address);
    let commands: Vec<Vec<&str>> = script.iter().map(|line| line.split(' ').collect()).collect();
    let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
    if at_once {
        client.raw(&pipeline(&commands));
    } else {
        for words in commands {
            client.send(words);
            // What is sent behind it comes later, as from a client that waits for its replies.
            let _ = client.is_silent_for(Duration::from_millis(3));
        }
    }
    client.send(&["PING", "the end"]);
    let said = masked(&client.until("the end\r\n"));
    said.split_inclusive("\r\n").map(refusal_of_7_0).collect()
}

fn compare(server: &Redis, redan: &Endpoint, scripts: &[Script]) {
    // Servers since 7.2 leave out what a wrong password is answered inside EXEC, and with it the shape of the reply.
    let tells = server.info("redis_version").is_some_and(|version| version.starts_with("7.0."));
    let mut asked = Client::connect(&server.address());
    asked.ok(&["MULTI"]);
    // Valkey 9.1 does not let this stand in MULTI.
    let silences = asked.ask(&["CLIENT", "REPLY", "ON"]) == "+QUEUED\r\n";
    let can = |script: &&Script| {
        let any = |is: fn(&str) -> bool| script.iter().any(|line| is(line));
        (tells || !any(|line| line.ends_with(" wrong"))) && (silences || !any(|line| line.starts_with("CLIENT REPLY")))
    };
    for script in scripts.iter().filter(can) {
        for at_once in [true, false] {
            let expected = said(&server.address(), script, at_once);
            let got = said(&redan.address(), script, at_once);
            assert_eq!(got, expected, "{script:?}, at once: {at_once}");
        }
    }
}

#[test]
fn what_changes_the_connection_changes_it_at_exec() {
    let (reference, redis, endpoint) = beside(&[], "");
    compare(
        &reference,
        &endpoint,
        &[
            &["MULTI", "HELLO 3", "HGETALL none", "EXEC", "HGETALL none", "MULTI", "GET none", "EXEC"],
            &["MULTI", "HELLO 3", "GET none", "HELLO 2", "GET none", "EXEC", "GET none", "CONFIG GET maxmemory"],
            &["HELLO 3", "MULTI", "GET none", "HELLO 2", "GET none", "CLIENT TRACKINGINFO", "EXEC", "GET none"],
            &["MULTI", "HELLO 4", "HELLO x", "HELLO 3 FOO", "HELLO 3 AUTH a", "GET none", "EXEC", "GET none"],
            &["MULTI", "HELLO 3 SETNAME me", "CLIENT GETNAME", "HELLO", "EXEC", "CLIENT GETNAME"],
            &["MULTI", "HELLO 3 AUTH default any", "ACL WHOAMI", "EXEC"],
            &["MULTI", "HELLO 3 AUTH a wrong", "GET none", "EXEC", "GET none"],
            &["MULTI", "HELLO 3", "NOSUCH", "EXEC", "GET none"],
            &["MULTI", "HELLO 3", "DISCARD", "GET none"],
            &["MULTI", "AUTH x", "AUTH default x", "AUTH a b c", "EXEC"],
            &["MULTI", "AUTH a wrong", "GET none", "EXEC"],
            &["MULTI", "AUTH", "EXEC"],
            &["WATCH k", "SET k 1", "MULTI", "HELLO 3", "SELECT 3", "EXEC", "GET none", "CLIENT TRACKINGINFO"],
            &["MULTI", "SELECT 2", "SET only 2", "EXEC", "GET only", "MULTI", "SELECT 0", "EXEC", "GET only"],
            &["MULTI", "SELECT 99", "SELECT x", "SELECT 1", "SELECT -1", "EXEC", "SELECT 2", "GET only"],
            &["MULTI", "SELECT 2", "HELLO 3", "GET only", "EXEC", "GET only", "GET none"],
            &["MULTI", "PING", "CLIENT REPLY SKIP", "PING", "ECHO a", "EXEC", "ECHO b", "ECHO c"],
            &["MULTI", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "EXEC", "ECHO b", "ECHO c"],
            &["MULTI", "CLIENT REPLY OFF", "PING", "EXEC", "PING", "CLIENT REPLY ON", "PING"],
            &["MULTI", "CLIENT REPLY OFF", "PING", "CLIENT REPLY ON", "PING", "EXEC", "ECHO b"],
            &["CLIENT REPLY OFF", "MULTI", "PING", "CLIENT REPLY ON", "PING", "EXEC", "ECHO b"],
            &["MULTI", "CLIENT REPLY BLA", "CLIENT REPLY OFF", "CLIENT REPLY BLA", "CLIENT REPLY ON", "EXEC"],
            &["MULTI", "CLIENT REPLY", "EXEC"],
        ],
    );
    let other = said(&endpoint.address(), &["MULTI", "QUIT"], true);
    assert_eq!(other, "+OK\r\n+OK\r\n");
    drop(redis);
}

#[test]
fn what_speaks_of_clients_is_answered_at_its_place() {
    let (reference, redis, endpoint) = beside(&[], "");
    compare(
        &reference,
        &endpoint,
        &[
            &["MULTI", "CLIENT LIST ID 99999", "GET none", "CLIENT LIST TYPE foo", "CLIENT LIST FOO", "EXEC"],
            &["HELLO 3", "MULTI", "CLIENT LIST ID 99999", "HELLO 2", "CLIENT LIST ID 99999", "EXEC"],
            &["MULTI", "CLIENT KILL 1.2.3.4:5", "CLIENT KILL ID 99999", "CLIENT KILL FOO BAR", "SET k 1", "EXEC"],
            &["MULTI", "CLIENT KILL", "EXEC"],
            &["MULTI", "CLIENT UNBLOCK 99999", "CLIENT UNBLOCK x", "CLIENT NO-EVICT ON", "EXEC"],
            &["MULTI", "CLIENT PAUSE 1", "CLIENT PAUSE x", "CLIENT UNPAUSE", "EXEC"],
            &["MULTI", "CLIENT PAUSE 300000", "SET a 1", "PING", "CLIENT UNPAUSE", "EXEC", "PING"],
            &["MULTI", "CLIENT KILL TYPE normal", "GET none", "DISCARD", "GET none"],
            &["CLIENT REPLY OFF", "MULTI", "CLIENT LIST", "CLIENT KILL ID 9", "CLIENT REPLY ON", "EXEC"],
        ],
    );
    let (mut one, mut other) = (endpoint.client(), endpoint.client());
    one.ok(&["CLIENT", "SETNAME", "the-one"]);
    let id = other.integer(&["CLIENT", "ID"]);
    one.ok(&["MULTI"]);
    let kill = ["CLIENT", "KILL", "ID", &id.to_string()];
    for words in [&["INCR", "n"][..], &["CLIENT", "LIST"], &kill, &["CLIENT", "LIST"], &["INCR", "n"]] {
        assert_eq!(one.ask(words), "+QUEUED\r\n");
    }
    assert_eq!(other.ask(&["PING"]), "+PONG\r\n", "nothing has happened yet");
    let reply = one.ask(&["EXEC"]);
    assert!(reply.starts_with("*5\r\n:1\r\n$") && reply.ends_with("\r\n:2\r\n"), "{reply}");
    assert_eq!(reply.matches(&format!("id={id} ")).count(), 1, "in the first list alone: {reply}");
    assert_eq!(reply.matches("name=the-one ").count(), 2, "{reply}");
    assert_eq!(other.rest(), "");
    // Of itself: after the reply.
    one.raw(&pipeline(&[
        &["MULTI"],
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"],
        &["INCR", "n"],
        &["EXEC"],
        &["INCR", "n"],
    ]));
    assert_eq!(one.rest(), "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:3\r\n");
    assert_eq!(redis.command(&["GET", "n"]), bulk("3"));
}

/// From the command behind it on, and no sooner.
#[test]
fn tracking_begins_and_ends_at_exec() {
    let (reference, redis, endpoint) = beside(&[], "");
    compare(
        &reference,
        &endpoint,
        &[
            &["MULTI", "CLIENT TRACKING ON", "CLIENT TRACKINGINFO", "CLIENT GETREDIR", "EXEC", "CLIENT TRACKINGINFO"],
            &["HELLO 3", "MULTI", "CLIENT TRACKING ON", "GET a", "EXEC", "GET b", "SET a 1", "SET b 1", "SET c 1"],
            &["HELLO 3", "MULTI", "GET a", "CLIENT TRACKING ON", "EXEC", "SET a 1", "CLIENT TRACKINGINFO"],
            &["HELLO 3", "CLIENT TRACKING ON", "MULTI", "GET a", "CLIENT TRACKING OFF", "EXEC", "CLIENT TRACKINGINFO"],
            &[
                "HELLO 3",
                "MULTI",
                "CLIENT TRACKING ON BCAST",
                "CLIENT TRACKING ON OPTIN",
                "EXEC",
                "CLIENT TRACKINGINFO",
            ],
            &["HELLO 3", "MULTI", "CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", "EXEC", "CLIENT TRACKINGINFO"],
            &["MULTI", "CLIENT TRACKING FOO", "CLIENT TRACKING ON FOO", "CLIENT CACHING YES", "EXEC"],
            &["MULTI", "CLIENT TRACKING", "EXEC", "CLIENT TRACKINGINFO"],
            &["MULTI", "CLIENT TRACKING ON", "NOSUCH", "EXEC", "CLIENT TRACKINGINFO"],
            &["MULTI", "CLIENT TRACKING ON", "DISCARD", "CLIENT TRACKINGINFO"],
        ],
    );
    let mut client = endpoint.client();
    client.ok(&["MULTI"]);
    let refused = client.ask(&["CLIENT", "TRACKING", "ON", "REDIRECT", "1"]);
    assert!(refused.starts_with("-ERR Redan does not carry CLIENT TRACKING with REDIRECT"), "{refused}");
    assert!(client.ask(&["EXEC"]).starts_with("-EXECABORT"));
    let mut client = endpoint.resp3();
    client.raw(&pipeline(&[
        &["MULTI"],
        &["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a"],
        &["EXEC"],
        &["SET", "a1", "v"],
    ]));
    let told = format!(">2\r\n{}*1\r\n{}", bulk("invalidate"), bulk("a1"));
    while client.reply() != told {}
    drop(client);
    // No connection that tracks is lent to others.
    eventually("nobody tracks any more", || !redis.command(&["CLIENT", "LIST"]).contains(" flags=t"));
}

/// A cursor of a transaction belongs to the node like any other.
#[test]
fn a_cursor_of_a_transaction_can_be_gone_on_with() {
    let (redis, endpoint) = start();
    for n in 0..300 {
        redis.ok(&["SET", &format!("k{n}"), "v"]);
    }
    let mut client = endpoint.client();
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = "0".to_owned();
    for page in 0.. {
        assert!(page < 1000, "an end");
        let scan: &[&str] = &["SCAN", &cursor];
        let reply = if page % 2 == 0 {
            client.raw(&pipeline(&[&["MULTI"], scan, &["EXEC"]]));
            (0..2).for_each(|_| drop(client.reply()));
            client.reply()
        } else {
            client.ask(scan)
        };
        let lines: Vec<&str> = reply.split("\r\n").collect();
        found.extend(lines.iter().filter(|line| line.starts_with('k')).map(|line| (*line).to_owned()));
        let at = if page % 2 == 0 { 3 } else { 2 };
        lines[at].clone_into(&mut cursor);
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 300);
}

/// What a refused transaction had asked for is asked for again on the next master, once.
#[test]
fn it_begins_again_on_another_master() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    client.ok(&["MULTI"]);
    for words in [&["HELLO", "3"][..], &["SELECT", "3"], &["SET", "k", "v"], &["SUBSCRIBE", "news"]] {
        assert_eq!(client.ask(words), "+QUEUED\r\n");
    }
    group.move_master(0, 1);
    client.send(&["EXEC"]);
    let reply = masked(&client.reply());
    assert!(reply.starts_with("*4\r\n%7\r\n") && reply.contains("+OK\r\n+OK\r\n>3\r\n"), "{reply}");
    assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("v"));
    eventually("the topic is at the new master", || {
        group.servers[1].command(&["PUBSUB", "NUMSUB", "news"]).ends_with(":1\r\n")
    });
    group.servers[1].command(&["PUBLISH", "news", "once"]);
    assert_eq!(client.reply(), format!(">3\r\n{}{}{}", bulk("message"), bulk("news"), bulk("once")));
    assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
}

/// Scripts that came between SCRIPT FLUSH and its EXEC are gone as well.
#[test]
fn a_flush_of_scripts_takes_effect_at_exec() {
    let (_redis, endpoint) = start();
    let (mut one, mut other) = (endpoint.client(), endpoint.client());
    one.ok(&["MULTI"]);
    assert_eq!(one.ask(&["SCRIPT", "FLUSH"]), "+QUEUED\r\n");
    let digest = other.text(&["SCRIPT", "LOAD", "return 7"]).expect("a digest");
    assert_eq!(other.integer(&["EVALSHA", &digest, "0"]), 7);
    assert_eq!(one.ask(&["EXEC"]), "*1\r\n+OK\r\n");
    assert!(other.ask(&["EVALSHA", &digest, "0"]).starts_with("-NOSCRIPT"));
}

/// A command that is sent on as it comes has a place like any other.
#[test]
fn places_are_counted_with_large_commands() {
    let (_redis, endpoint) = start();
    let mut client = endpoint.client();
    let value = "v".repeat(300_000);
    client.raw(&pipeline(&[
        &["MULTI"],
        &["SET", "k", &value],
        &["CLIENT", "SETNAME", "x"],
        &["STRLEN", "k"],
        &["CLIENT", "GETNAME"],
        &["EXEC"],
    ]));
    (0..5).for_each(|_| drop(client.reply()));
    assert_eq!(client.reply(), format!("*4\r\n+OK\r\n+OK\r\n:300000\r\n{}", bulk("x")));
}

/// What was asked for with a transaction that does not come to its end is given back.
#[test]
fn a_transaction_that_is_given_up_leaves_no_subscription() {
    let (redis, endpoint) = start();
    let at_node = || redis.command(&["PUBSUB", "NUMSUB", "topic"]).ends_with(":1\r\n");
    for end in [&["DISCARD"][..], &["NOSUCH"], &["RESET"], &[]] {
        let mut client = endpoint.client();
        client.ok(&["MULTI"]);
        assert_eq!(client.ask(&["SUBSCRIBE", "topic"]), "+QUEUED\r\n");
        assert!(at_node(), "{end:?}");
        assert_eq!(redis.command(&["PUBLISH", "topic", "unseen"]), ":1\r\n");
        if end.is_empty() {
            drop(client);
        } else {
            client.ask(end);
            client.ask(&["EXEC"]);
            assert_eq!(client.ask(&["PING"]), "+PONG\r\n", "{end:?}: a listener would be answered otherwise");
        }
        eventually("nobody subscribes", || !at_node());
    }
}

/// Nobody knows whether it was executed: then nothing of it holds.
#[test]
fn an_exec_in_doubt_changes_nothing() {
    let (redis, endpoint) = start();
    let mut client = endpoint.client();
    client.ok(&["MULTI"]);
    for words in [&["HELLO", "3"][..], &["SELECT", "5"], &["SET", "k", "v"], &["SUBSCRIBE", "topic"]] {
        assert_eq!(client.ask(words), "+QUEUED\r\n");
    }
    redis.ok(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    client.send(&["EXEC"]);
    eventually("it waits at the node", || redis.info("blocked_clients").as_deref() == Some("1"));
    let list = redis.command(&["CLIENT", "LIST"]);
    let waits = list.lines().find(|line| line.contains(" flags=xb ") || line.contains(" flags=bx "));
    let id =
        waits.and_then(|line| line.split(' ').find_map(|field| field.strip_prefix("id="))).expect("the transaction");
    assert_eq!(redis.command(&["CLIENT", "KILL", "ID", id]), ":1\r\n");
    assert!(client.reply().starts_with("-INDOUBT"));
    redis.ok(&["CLIENT", "UNPAUSE"]);
    assert_eq!(client.ask(&["GET", "none"]), "$-1\r\n", "RESP2");
    assert!(client.ask(&["CLIENT", "INFO"]).contains(" db=0 sub=0 "));
    eventually("nobody subscribes", || redis.command(&["PUBSUB", "NUMSUB", "topic"]).ends_with(":0\r\n"));
}

/// A reply that is otherwise passed on as it comes.
#[test]
fn a_large_reply_changes_the_connection_too() {
    let (redis, endpoint) = start();
    let mut client = Client::connect(&redis.address());
    client.ok(&["SELECT", "3"]);
    client.integer(&["SETRANGE", "big", "5999999", "x"]);
    let scripts: [&[&[&str]]; 2] = [
        &[&["MULTI"], &["SELECT", "3"], &["GET", "big"], &["CLIENT", "GETNAME"], &["HELLO", "3"], &["EXEC"]],
        &[&["MULTI"], &["SELECT", "3"], &["GET", "big"], &["EXEC"]],
    ];
    for script in scripts {
        let resp3 = script.len() > 4;
        let mut client = endpoint.client();
        client.raw(&pipeline(script));
        (1..script.len()).for_each(|_| drop(client.reply()));
        let reply = client.reply_bytes();
        assert!(reply.len() > 6_000_000, "{} bytes", reply.len());
        assert_eq!(reply.windows(5).any(|five| five == b"%7\r\n$"), resp3);
        assert_eq!(client.ask(&["GET", "none"]), if resp3 { "_\r\n" } else { "$-1\r\n" });
        assert_eq!(client.integer(&["STRLEN", "big"]), 6_000_000, "it is in database 3");
        // What is behind it is not read with another's eyes.
        client.ok(&["SELECT", "0"]);
        assert_eq!(client.integer(&["EXISTS", "big"]), 0);
    }
}
