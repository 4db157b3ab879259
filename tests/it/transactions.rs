//! What changes the connection or speaks of clients, inside MULTI: it takes effect at EXEC, at its place in the reply.

use std::time::Duration;

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::{Redis, eventually, refusal_of_7_0};

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

#[test]
fn a_subscription_takes_its_place_and_comes_once() {
    let (reference, redis, endpoint) = beside(&[], "");
    compare(
        &reference,
        &endpoint,
        &[
            &["MULTI", "SUBSCRIBE a b", "PING", "PING x", "GET none", "EXEC", "PING", "UNSUBSCRIBE a b", "GET none"],
            &["HELLO 3", "MULTI", "SUBSCRIBE a b", "PING", "EXEC", "PING", "GET none"],
            &["HELLO 3", "SUBSCRIBE a", "MULTI", "SUBSCRIBE a", "UNSUBSCRIBE a", "PING", "EXEC", "UNSUBSCRIBE"],
            &["HELLO 3", "SUBSCRIBE a", "MULTI", "UNSUBSCRIBE a", "SUBSCRIBE a a", "EXEC", "UNSUBSCRIBE a"],
            &["MULTI", "SUBSCRIBE a", "UNSUBSCRIBE a", "SUBSCRIBE a", "UNSUBSCRIBE a", "GET none", "EXEC", "GET none"],
            &["MULTI", "CLIENT GETNAME", "SUBSCRIBE a", "CLIENT SETNAME x", "CLIENT GETNAME", "INCR n", "EXEC", "PING"],
            &["MULTI", "SUBSCRIBE a b c", "CLIENT LIST ID 9999", "PSUBSCRIBE p", "SSUBSCRIBE s", "ECHO x", "EXEC"],
            &["MULTI", "SUBSCRIBE a", "HELLO 3", "PING", "GET none", "EXEC", "PING", "GET none"],
            &["HELLO 3", "SUBSCRIBE a", "MULTI", "HELLO 2", "PING", "EXEC", "PING", "UNSUBSCRIBE", "PING"],
            &["MULTI", "UNSUBSCRIBE", "PUNSUBSCRIBE a", "EXEC", "PING"],
            &["MULTI", "SUBSCRIBE a", "NOSUCH", "EXEC", "GET none"],
            &["MULTI", "SUBSCRIBE a", "DISCARD", "GET none", "UNSUBSCRIBE"],
            &["WATCH w", "SET w 1", "MULTI", "SUBSCRIBE a", "EXEC", "GET none", "UNSUBSCRIBE"],
            &["MULTI", "SUBSCRIBE", "EXEC"],
            &["HELLO 3", "MULTI", "PING", "CLIENT REPLY OFF", "SUBSCRIBE a", "EXEC", "CLIENT REPLY ON"],
        ],
    );
    for resp3 in [false, true] {
        let mut client = if resp3 { endpoint.resp3() } else { endpoint.client() };
        // Topics that nobody had before.
        let topics = ["a", "b"].map(|topic| format!("{topic}-{resp3}"));
        let [one, other] = topics.each_ref().map(String::as_str);
        let count = |channel: &str| redis.command(&["PUBSUB", "NUMSUB", channel]);
        if resp3 {
            client.send(&["SUBSCRIBE", one]);
            client.reply();
        }
        client.raw(&pipeline(&[&["MULTI"], &["SUBSCRIBE", one, other], &["EXEC"]]));
        (0..4).for_each(|_| drop(client.reply()));
        // The array has two confirmations in the place of one.
        for channel in [one, other] {
            assert_eq!(count(channel), format!("*2\r\n{}:1\r\n", bulk(channel)), "RESP3: {resp3}");
            let first = if resp3 { '>' } else { '*' };
            let message = |text: &str| format!("{first}3\r\n{}{}{}", bulk("message"), bulk(channel), bulk(text));
            redis.command(&["PUBLISH", channel, "one"]);
            redis.command(&["PUBLISH", channel, "two"]);
            let mut told = client.reply();
            if channel == one && !told.contains("message") {
                told = client.reply();
            }
            assert_eq!(told, message("one"));
            assert_eq!(client.reply(), message("two"));
        }
    }
}

/// A client that reads a state and subscribes to its changes in one transaction misses none of them.
#[test]
fn nothing_published_behind_exec_is_missed() {
    let (redis, endpoint) = start();
    let mut publisher = Client::connect(&redis.address());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.raw(&pipeline(&[&["EVAL", COUNT, "1", "n"]]));
                publisher.reply();
            }
        });
        for round in 0..60 {
            let mut client = endpoint.resp3();
            client.raw(&pipeline(&[&["MULTI"], &["GET", "n"], &["SUBSCRIBE", "changes"], &["GET", "n"], &["EXEC"]]));
            (0..4).for_each(|_| drop(client.reply()));
            let exec = client.reply();
            let number = |text: &str| text.trim_end().rsplit("\r\n").next().and_then(|n| n.parse::<i64>().ok());
            let state = number(&exec).unwrap_or(0);
            let first = (0..).map(|_| number(&client.reply()).expect("a message")).find(|n| *n > state);
            assert_eq!(first, Some(state + 1), "round {round}: {exec}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

const COUNT: &str = "local n = redis.call('INCR', KEYS[1]) redis.call('PUBLISH', 'changes', n) return n";

/// PUBLISH says how many clients got it, whether the transaction comes in one piece or in several.
#[test]
fn publishers_in_a_transaction_learn_how_many_clients_got_it() {
    let (redis, endpoint) = start();
    let mut subscribers: Vec<Client> = (0..6).map(|_| endpoint.client()).collect();
    for client in &mut subscribers {
        client.send(&["SUBSCRIBE", "news"]);
        client.reply();
    }
    let mut foreign = Client::connect(&redis.address());
    foreign.send(&["PSUBSCRIBE", "n*"]);
    foreign.reply();
    let block: &[&[&str]] = &[
        &["MULTI"],
        &["SET", "k", "v"],
        &["PUBLISH", "news", "x"],
        &["GET", "k"],
        &["PUBLISH", "nobody", "x"],
        &["PUBSUB", "NUMSUB", "news"],
        &["EXEC"],
    ];
    let exec = format!("*5\r\n+OK\r\n:7\r\n{}:1\r\n*2\r\n{}:6\r\n", bulk("v"), bulk("news"));
    let mut client = endpoint.client();
    client.raw(&pipeline(block));
    (0..6).for_each(|_| drop(client.reply()));
    assert_eq!(client.reply(), exec, "in one piece");
    for words in &block[..6] {
        client.ask(words);
    }
    assert_eq!(client.ask(&["EXEC"]), exec, "one by one");
    let refused = pipeline(&[&["MULTI"], &["PUBLISH", "news", "x"], &["NOSUCH"], &["EXEC"], &["PUBLISH", "news", "x"]]);
    client.raw(&refused);
    (0..3).for_each(|_| drop(client.reply()));
    assert!(client.reply().starts_with("-EXECABORT"));
    assert_eq!(client.reply(), ":7\r\n");
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

const FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// The listener's users: who the client is changes at EXEC, and with it what the commands behind it may do.
#[test]
fn a_user_of_the_listener_takes_over_in_the_transaction() {
    let users = format!(
        "[[user]]\nname = \"all\"\npasswords = [\"{FOO}\"]\n[[user]]\nname = \"reader\"\npasswords = [\"{FOO}\"]\n\
         deny = [\"@write\"]\n"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("users.toml");
    std::fs::write(&file, users).expect("writable");
    let rules = ["all on >foo ~* &* +@all", "reader on >foo ~* &* +@all -@write"];
    let (reference, _redis, endpoint) = beside(&rules, &format!("users = {file:?}"));
    compare(
        &reference,
        &endpoint,
        &[
            &[
                "AUTH all foo",
                "MULTI",
                "SET k 1",
                "AUTH reader foo",
                "SET k 2",
                "GET k",
                "ACL WHOAMI",
                "EXEC",
                "SET k 3",
            ],
            &["AUTH all foo", "MULTI", "AUTH reader wrong", "SET k 2", "ACL WHOAMI", "EXEC", "SET k 3"],
            &["AUTH all foo", "MULTI", "HELLO 3 AUTH reader foo", "GET none", "EXEC", "GET none", "ACL WHOAMI"],
            &["AUTH reader foo", "MULTI", "AUTH all foo", "SET k 1", "EXEC", "SET k 9"],
            &["AUTH all foo", "MULTI", "AUTH reader foo", "NOSUCH", "EXEC", "ACL WHOAMI", "SET k 5"],
        ],
    );
}

/// The servers' users: the connection becomes another user's with its client.
#[test]
fn a_user_of_the_servers_takes_over_in_the_transaction() {
    let rules = ["a on >pass-a ~a:* &a:* &both +@all", "b on >pass-b ~b:* &b:* &both +@all"];
    let (reference, redis, endpoint) = beside(&rules, "auth = \"passthrough\"");
    compare(
        &reference,
        &endpoint,
        &[
            &["AUTH a pass-a", "MULTI", "SET a:k 1", "AUTH b pass-b", "SET b:k 1", "ACL WHOAMI", "EXEC", "GET b:k"],
            &["AUTH a pass-a", "MULTI", "SET b:k 1", "AUTH b pass-b", "EXEC", "ACL WHOAMI"],
            &["AUTH a pass-a", "MULTI", "AUTH b pass-b", "SET a:k 2", "EXEC", "GET a:k", "ACL WHOAMI"],
            &["AUTH a pass-a", "MULTI", "HELLO 3 AUTH b pass-b SETNAME x", "EXEC", "GET b:none", "GET a:k"],
            &["AUTH a pass-a", "MULTI", "AUTH b wrong", "ACL WHOAMI", "EXEC", "GET a:k", "GET b:k"],
            &["AUTH a pass-a", "MULTI", "AUTH b pass-b", "DISCARD", "GET a:k"],
            &["AUTH a pass-a", "HELLO 3", "MULTI", "AUTH b pass-b", "SUBSCRIBE both", "EXEC", "ACL WHOAMI", "GET b:k"],
            &["AUTH a pass-a", "MULTI", "SUBSCRIBE b:c", "EXEC", "GET a:k"],
        ],
    );
    // Each with connections of its own, after all of that.
    let mut a = endpoint.client();
    a.ok(&["AUTH", "a", "pass-a"]);
    for n in 0..20 {
        a.raw(&pipeline(&[&["MULTI"], &["CLIENT", "ID"], &["SET", "a:k", "1"], &["EXEC"]]));
        (0..3).for_each(|_| drop(a.reply()));
        assert!(a.reply().ends_with("+OK\r\n"), "round {n}");
    }
    drop(redis);
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
