//! What must not remain of a command that was refused, lost or answered in pieces: nothing on a connection that others get
//! next, nothing in its session that the next command could take for its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, command, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::fake::{Act, Fake};
use crate::support::redis::{Redis, eventually};

fn single(listener: &str) -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], listener);
    (redis, endpoint)
}

fn kill_connections(redis: &Redis) {
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
}

fn blocked(redis: &Redis, number: usize) {
    let number = number.to_string();
    eventually("it is blocked at the node", || redis.info("blocked_clients").as_deref() == Some(&number));
}

fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n{}{}", bulk(key), bulk(element))
}

/// A DISCARD that the node refuses has discarded nothing, and so on: whoever gets the connection next must not be in the
/// transaction of another.
#[test]
fn transactions_with_a_wrong_number_of_arguments() {
    let (redis, endpoint) = single("");
    let scripts: &[&[&str]] = &[
        &["MULTI", "SET a 1", "DISCARD foo", "GET a", "DISCARD", "GET a"],
        &["MULTI", "SET a 1", "DISCARD foo", "GET a", "EXEC", "GET a"],
        &["MULTI", "SET a 1", "EXEC foo", "GET a", "EXEC", "GET a"],
        &["MULTI foo", "SET a 1", "CLIENT GETNAME", "EXEC", "GET a"],
        &["MULTI", "MULTI foo", "GET a", "EXEC"],
        &["MULTI", "WATCH", "GET a", "EXEC"],
        &["MULTI", "UNWATCH foo", "GET a", "EXEC"],
        &["WATCH a", "UNWATCH foo", "SET a 2", "MULTI", "GET a", "EXEC", "GET a"],
        &["WATCH", "MULTI", "GET a", "EXEC"],
        &[
            "MULTI",
            "SUBSCRIBE a",
            "NOSUCH",
            "EXEC",
            "CLIENT GETNAME",
            "SET a 1",
            "GET a",
            "UNSUBSCRIBE",
            "CLIENT GETNAME",
        ],
        &["MULTI", "SUBSCRIBE", "EXEC", "CLIENT GETNAME", "CLIENT REPLY ON"],
        &["EXEC foo", "DISCARD foo", "UNWATCH foo", "WATCH", "MULTI foo", "GET a"],
    ];
    for script in scripts {
        let said = [redis.address(), endpoint.address()].map(|address| {
            redis.ok(&["FLUSHALL"]);
            let mut client = Client::connect(&address);
            let words = script.iter().map(|line| line.split(' ').collect::<Vec<_>>());
            words.map(|words| client.ask(&words)).collect::<Vec<_>>()
        });
        assert_eq!(said[1], said[0], "{script:?}");
    }
    for line in [&["MULTI", "SET a 1", "DISCARD foo"][..], &["WATCH a", "UNWATCH foo"], &["MULTI", "EXEC foo"]] {
        let mut client = endpoint.client();
        for words in line {
            client.ask(&words.split(' ').collect::<Vec<_>>());
        }
        // It would be the same connection, had it been given back.
        let mut next = endpoint.client();
        assert_eq!(next.ask(&["BLPOP", "none", "0.01"]), "*-1\r\n", "behind {line:?}");
        next.ok(&["MULTI"]);
        redis.ok(&["SET", "a", "changed"]);
        assert_eq!(next.ask(&["GET", "k"]), "+QUEUED\r\n");
        assert_eq!(next.ask(&["EXEC"]), "*1\r\n$-1\r\n", "behind {line:?}");
    }
    eventually("no connection is kept", || endpoint.metric("redan_pins") == 0.0);
}

/// An element that comes in pieces ends the wait like any other: the next one has its own time.
#[test]
fn a_long_element_ends_the_wait() {
    let (redis, endpoint) = single("");
    let mut client = endpoint.client();
    let long = "x".repeat(200_000);
    redis.command(&["RPUSH", "queue", &long]);
    let begin = Instant::now();
    assert_eq!(client.ask(&["BLPOP", "queue", "1"]), popped("queue", &long));
    eventually("its time is over", || begin.elapsed() > Duration::from_millis(1100));
    client.send(&["BLPOP", "queue", "10"]);
    blocked(&redis, 1);
    redis.command(&["RPUSH", "queue", "short"]);
    assert_eq!(client.reply(), popped("queue", "short"));
}

/// A wait that cannot go on elsewhere leaves neither its time nor its form to the next.
#[test]
fn a_lost_wait_is_over() {
    let (redis, endpoint) = single("");
    let mut client = endpoint.client();
    client.ok(&["WATCH", "k"]);
    client.send(&["BLMPOP", "1", "1", "none", "LEFT"]);
    blocked(&redis, 1);
    let begin = Instant::now();
    kill_connections(&redis);
    assert!(client.reply().starts_with("-INDOUBT"));
    client.ok(&["UNWATCH"]);
    eventually("its time is over", || begin.elapsed() > Duration::from_millis(1100));
    client.send(&["BLPOP", "a", "b", "20"]);
    blocked(&redis, 1);
    // This one goes on, as what it is.
    kill_connections(&redis);
    blocked(&redis, 1);
    redis.command(&["RPUSH", "a", "element"]);
    assert_eq!(client.reply(), popped("a", "element"));
}

/// One that is too long to be gathered is sent on as it comes, and is a wait all the same.
#[test]
fn a_long_blocking_command_ends_with_its_client_and_by_unblock() {
    let (redis, endpoint) = single("");
    let keys: Vec<String> = (0..30_000).map(|number| format!("key:{number:08}")).collect();
    let mut words = vec!["BLPOP"];
    words.extend(keys.iter().map(String::as_str));
    words.push("0");
    let mut client = endpoint.client();
    let id = client.integer(&["CLIENT", "ID"]).to_string();
    client.send(&words);
    blocked(&redis, 1);
    let mut other = endpoint.client();
    assert_eq!(other.integer(&["CLIENT", "UNBLOCK", &id]), 1);
    assert_eq!(client.reply(), "*-1\r\n");
    client.send(&words);
    blocked(&redis, 1);
    drop(client);
    blocked(&redis, 0);
    assert_eq!(other.integer(&["RPUSH", &keys[0], "element"]), 1);
    assert_eq!(other.integer(&["LLEN", &keys[0]]), 1, "nobody takes it");
}

/// Half an answer says that an element was popped. Another must not be popped for the same command.
#[test]
fn a_wait_whose_answer_was_cut_is_not_begun_again() {
    let master = Fake::master();
    master.script(|command| match command.name().as_str() {
        "BLPOP" => Act::Close(b"*2\r\n$5\r\nqueue\r\n$7\r\nele".to_vec()),
        _ => Act::reply("+OK\r\n"),
    });
    let endpoint = Endpoint::start(&[master.address()], "", "");
    let mut client = endpoint.client();
    let reply = client.ask(&["BLPOP", "queue", "0"]);
    assert!(reply.starts_with("-INDOUBT"), "{reply}");
    let received = master.received();
    assert_eq!(received.iter().filter(|command| command.name() == "BLPOP").count(), 1);
}

/// What the client was told before a transaction began again it is not told a second time, also when that is lost.
#[test]
fn a_transaction_that_begins_again_and_is_lost_is_answered_once() {
    let master = Fake::master();
    let begun = AtomicUsize::new(0);
    master.script(move |command| match command.name().as_str() {
        // The second time it dies over it.
        "MULTI" if begun.fetch_add(1, Ordering::SeqCst) > 0 => Act::Close(Vec::new()),
        "MULTI" => Act::reply("+OK\r\n"),
        "EXEC" => Act::reply("-EXECABORT Transaction discarded because of: LOADING Redis is loading the dataset\r\n"),
        _ => Act::reply("+QUEUED\r\n"),
    });
    let endpoint = Endpoint::start(&[master.address()], "", "");
    let mut client = endpoint.client();
    client.ok(&["MULTI"]);
    assert_eq!(client.ask(&["SET", "k", "v"]), "+QUEUED\r\n");
    let reply = client.ask(&["EXEC"]);
    assert!(reply.starts_with("-INDOUBT"), "{reply}");
    assert_eq!(client.ask(&["PING", "next"]), bulk("next"));
}

/// CLIENT REPLY SKIP skips what answers CLIENT TRACKING and CACHING, and not what stands behind.
#[test]
fn tracking_is_skipped_like_any_command() {
    let (redis, endpoint) = single("");
    let skip: &[&str] = &["CLIENT", "REPLY", "SKIP"];
    for options in [&["CLIENT", "TRACKING", "ON"][..], &["CLIENT", "TRACKING", "ON", "OPTIN"]] {
        let script: &[&[&str]] = &[
            skip,
            options,
            &["PING", "1"],
            skip,
            &["CLIENT", "CACHING", "YES"],
            &["PING", "2"],
            skip,
            &["CLIENT", "TRACKING", "FOO"],
            &["PING", "3"],
            skip,
            &["CLIENT", "TRACKING", "OFF"],
            &["PING", "4"],
            skip,
            &["CLIENT", "TRACKING", "OFF"],
            &["PING", "5"],
        ];
        for at_once in [true, false] {
            let said = [redis.address(), endpoint.address()].map(|address| {
                let mut client = Client::resp3(&address);
                if at_once {
                    client.raw(&pipeline(script));
                } else {
                    script.iter().for_each(|words| client.raw(&command(words)));
                }
                (0..5).map(|_| client.reply()).collect::<Vec<_>>()
            });
            assert_eq!(said[1], said[0], "{options:?}");
        }
    }
}

/// Who waited for something is idle from the end of that on, not from its last command.
#[test]
fn a_client_that_has_waited_is_not_idle_yet() {
    let (redis, endpoint) = single("idle_timeout = \"2s\"");
    let mut client = endpoint.client();
    client.send(&["BLPOP", "queue", "0"]);
    blocked(&redis, 1);
    let begin = Instant::now();
    eventually("it waits longer than it may be silent", || begin.elapsed() > Duration::from_millis(3500));
    redis.command(&["RPUSH", "queue", "job"]);
    assert_eq!(client.reply(), popped("queue", "job"));
    // As long as the worker needs to look at its clients.
    assert!(client.is_silent_for(Duration::from_millis(1050)), "the end came");
    assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
    let begin = Instant::now();
    assert_eq!(client.rest(), "", "now it is closed");
    assert!(begin.elapsed() >= Duration::from_millis(1900));
}

/// What Redan keeps of a transaction counts as its client's, and is bounded.
#[test]
fn a_transaction_of_commands_that_redan_answers_is_bounded() {
    let (_redis, endpoint) = single("");
    let mut client = endpoint.client();
    client.ok(&["MULTI"]);
    let name = "n".repeat(100_000);
    for _ in 0..10 {
        assert_eq!(client.ask(&["CLIENT", "SETNAME", &name]), "+QUEUED\r\n");
    }
    eventually("they are counted", || endpoint.metric("redan_memory_bytes{kind=\"pins\"}") >= 1_000_000.0);
    let refused = client.ask(&["CLIENT", "SETNAME", &name]);
    assert!(
        refused.starts_with("-ERR Redan: one transaction may hold 1 MiB of CLIENT and SUBSCRIBE commands"),
        "{refused}"
    );
    assert!(client.ask(&["EXEC"]).starts_with("-EXECABORT"));
    assert_eq!(client.text(&["CLIENT", "GETNAME"]), None);
    eventually("they are given back", || endpoint.metric("redan_memory_bytes{kind=\"pins\"}") == 0.0);
}
