//! Subscriptions: what clients are told, who gets which message, and what a node sees of it.

use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::{Redis, eventually};
use crate::support::relay::Relay;

mod failover;

/// In front of one server, with two workers.
fn pair() -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::with_workers(2, &[redis.address()], "", "");
    endpoint.wait_for_readable(1);
    (redis, endpoint)
}

fn message(channel: &str, text: &str) -> String {
    format!("*3\r\n{}{}{}", bulk("message"), bulk(channel), bulk(text))
}

fn subscribe(client: &mut Client, channels: &[&str]) {
    let words: Vec<&str> = [&["SUBSCRIBE"], channels].concat();
    client.send(&words);
    for channel in channels {
        let reply = client.reply();
        assert!(reply[1..].starts_with(&format!("3\r\n{}{}", bulk("subscribe"), bulk(channel))), "{reply}");
    }
}

/// Subscribers of a channel as the node counts them.
fn at_node(redis: &Redis, channel: &str) -> i64 {
    let reply = redis.command(&["PUBSUB", "NUMSUB", channel]);
    reply.rsplit(':').next().and_then(|number| number.trim().parse().ok()).expect("a number")
}

/// Everything up to a reply in which `mark` stands.
fn until(client: &mut Client, mark: &str) -> Vec<String> {
    let mut replies = Vec::new();
    loop {
        let reply = client.reply();
        if reply.contains(mark) {
            return replies;
        }
        replies.push(reply);
    }
}

type Script = &'static [&'static [&'static str]];

const SCRIPTS: &[Script] = &[
    &[&["SUBSCRIBE", "a", "b", "a"], &["PING"], &["PING", "x"], &["PING", "x", "y"], &["UNSUBSCRIBE", "a"]],
    &[&["UNSUBSCRIBE"], &["UNSUBSCRIBE", "q", "r"], &["PUNSUBSCRIBE"], &["SUNSUBSCRIBE"], &["SUNSUBSCRIBE", "q"]],
    &[&["SSUBSCRIBE", "s"], &["SUBSCRIBE", "a"], &["PSUBSCRIBE", "p*"], &["SUNSUBSCRIBE"], &["SUNSUBSCRIBE"]],
    &[&["SUBSCRIBE", "a"], &["PSUBSCRIBE", "p*"], &["UNSUBSCRIBE"], &["UNSUBSCRIBE"], &["PUNSUBSCRIBE"], &["GET", "k"]],
    &[
        &["SSUBSCRIBE", "s", "t"],
        &["PING"],
        &["GET", "k"],
        &["UNSUBSCRIBE"],
        &["SUNSUBSCRIBE", "s", "t"],
        &["GET", "k"],
    ],
    &[&["SUBSCRIBE"], &["PSUBSCRIBE"], &["SSUBSCRIBE"], &["SUBSCRIBE", "a"], &["SUBSCRIBE"], &["GET"], &["CLIENT"]],
    &[&["SUBSCRIBE", "a"], &["GET", "k"], &["SET", "k", "v"], &["SELECT", "1"], &["AUTH", "x"], &["NOSUCH"]],
    &[&["SUBSCRIBE", "a"], &["CLIENT", "ID", "x"], &["CLIENT", "NOSUCH"], &["EXEC"], &["DISCARD"], &["CONFIG", "GET"]],
    &[&["SUBSCRIBE", "a"], &["UNSUBSCRIBE", "a", "a"], &["SUBSCRIBE", ""], &["UNSUBSCRIBE", ""], &["GET", "k"]],
    &[&["SUBSCRIBE", "a"], &["RESET"], &["GET", "k"], &["UNSUBSCRIBE"]],
    &[&["CLIENT", "REPLY", "SKIP"], &["SUBSCRIBE", "a", "b"], &["PING"]],
    &[&["SET", "k", "v"], &["SUBSCRIBE", "a"], &["UNSUBSCRIBE", "a"], &["SET", "k", "w"], &["GET", "k"]],
    &[&["MULTI"], &["SUBSCRIBE", "a"], &["EXEC"], &["UNSUBSCRIBE", "a"], &["GET", "k"]],
    &[&["MULTI"], &["UNSUBSCRIBE"], &["EXEC"]],
    &[&["WATCH", "k"], &["SUBSCRIBE", "a"], &["UNSUBSCRIBE"], &["MULTI"], &["GET", "k"], &["EXEC"]],
];

/// What only RESP3 clients may do.
const PUSHED: &[Script] = &[
    &[&["SUBSCRIBE", "a"], &["MULTI"], &["GET", "k"], &["EXEC"], &["SELECT", "1"], &["ECHO", "x"]],
    &[&["SUBSCRIBE", "a"], &["WATCH", "k"], &["PSUBSCRIBE", "p"], &["MULTI"], &["PING"], &["EXEC"], &["UNSUBSCRIBE"]],
    &[&["CLIENT", "REPLY", "OFF"], &["SUBSCRIBE", "a"], &["PING"], &["UNSUBSCRIBE"], &["CLIENT", "REPLY", "ON"]],
    &[&["CLIENT", "REPLY", "OFF"], &["SUBSCRIBE"], &["CLIENT", "REPLY", "ON"], &["SUBSCRIBE", "a"]],
];

#[test]
fn clients_are_told_what_a_server_tells_them() {
    let (_redis, endpoint) = pair();
    let reference = Redis::start();
    let addresses = [reference.address(), endpoint.address()];
    for resp3 in [false, true] {
        let connect = if resp3 { Client::resp3 } else { Client::connect };
        for script in SCRIPTS.iter().chain(PUSHED.iter().filter(|_| resp3)) {
            let at_once = [0, 1].map(|side| {
                let mut client = connect(&addresses[side]);
                client.raw(&pipeline(script));
                client.send(&["PING", "the end"]);
                until(&mut client, "the end")
            });
            assert_eq!(at_once[1], at_once[0], "{script:?}, RESP3: {resp3}");
            let multi = script.iter().any(|words| ["MULTI", "CLIENT"].contains(&words[0]));
            let [expected, got] = [0, 1].map(|side| {
                let mut client = connect(&addresses[side]);
                let mut replies = Vec::new();
                for words in script.iter().filter(|_| !multi) {
                    client.send(words);
                    client.send(&["PING", "the end"]);
                    replies.push((words, until(&mut client, "the end")));
                }
                replies
            });
            assert_eq!(got, expected, "one by one: {script:?}, RESP3: {resp3}");
        }
    }
    let quits = addresses.map(|address| {
        let mut client = Client::connect(&address);
        client.raw(&pipeline(&[&["SUBSCRIBE", "a"], &["HELLO", "3"], &["QUIT"]]));
        client.rest()
    });
    assert_eq!(quits[1], quits[0]);
}

#[test]
fn two_hundred_clients_cost_the_node_one_subscription_per_worker() {
    let (redis, endpoint) = pair();
    let mut clients: Vec<Client> = (0..200)
        .map(|number| {
            let mut client = if number % 3 == 0 { endpoint.resp3() } else { endpoint.client() };
            subscribe(&mut client, &["news"]);
            client
        })
        .collect();
    assert_eq!(at_node(&redis, "news"), 2);
    assert!((endpoint.metric("redan_subscriptions"), endpoint.metric("redan_upstream_subscriptions")) == (200.0, 2.0));
    let mut other = endpoint.client();
    assert_eq!(
        other.ask(&["PUBSUB", "NUMSUB", "news", "none"]),
        format!("*4\r\n{}:200\r\n{}:0\r\n", bulk("news"), bulk("none"))
    );
    for text in ["one", "two"] {
        assert_eq!(other.integer(&["PUBLISH", "news", text]), 200);
        for (number, client) in clients.iter_mut().enumerate() {
            let kind = if number % 3 == 0 { '>' } else { '*' };
            assert_eq!(client.reply(), format!("{kind}{}", &message("news", text)[1..]));
        }
    }
    // Half of them leave, some of them without a word.
    for mut client in clients.drain(..100) {
        if client.stream().local_addr().expect("bound").port() % 2 == 0 {
            client.send(&["UNSUBSCRIBE"]);
            client.reply();
        }
    }
    eventually("they are counted no more", || other.integer(&["PUBLISH", "news", "three"]) == 100);
    drop(clients);
    eventually("the node is rid of it", || at_node(&redis, "news") == 0);
    eventually("and Redan", || {
        endpoint.metric("redan_subscriptions") + endpoint.metric("redan_upstream_subscriptions") < 1.0
    });
    assert_eq!(other.integer(&["PUBLISH", "news", "nobody"]), 0);
    eventually("the connection is closed after a while", || {
        // Only a hub sends these.
        let hub =
            |line: &str| line.contains(" name=redan ") && (line.contains("cmd=ping") || line.contains("cmd=unsub"));
        !redis.command(&["CLIENT", "LIST"]).lines().any(hub)
    });
}

#[test]
fn publishers_learn_how_many_clients_got_it() {
    let (redis, endpoint) = pair();
    let mut clients: Vec<Client> = (0..6).map(|_| endpoint.client()).collect();
    clients.iter_mut().take(4).for_each(|client| subscribe(client, &["news"]));
    for client in &mut clients[3..] {
        client.send(&["PSUBSCRIBE", "n[a-e]*"]);
        client.reply();
    }
    clients[0].send(&["SSUBSCRIBE", "news"]);
    clients[0].reply();
    let mut foreign = Client::connect(&redis.address());
    foreign.send(&["PSUBSCRIBE", "*"]);
    foreign.reply();
    let mut other = endpoint.resp3();
    // Four by the channel, three by the pattern (one of them by both), and the foreign one.
    assert_eq!(other.integer(&["PUBLISH", "news", "x"]), 8);
    assert_eq!(other.integer(&["PUBLISH", "nb", "x"]), 4);
    assert_eq!(other.integer(&["PUBLISH", "nz", "x"]), 1);
    assert_eq!(other.integer(&["SPUBLISH", "news", "x"]), 1);
    assert_eq!(other.ask(&["PUBSUB", "SHARDNUMSUB", "news"]), format!("*2\r\n{}:1\r\n", bulk("news")));
    assert_eq!(other.ask(&["PUBSUB", "NUMPAT"]), ":2\r\n");
    other.raw(&pipeline(&[&["SET", "k", "v"], &["PUBLISH", "news", "x"], &["GET", "k"], &["PUBLISH", "nb", "x"]]));
    let replies: String = (0..4).map(|_| other.reply()).collect();
    assert_eq!(replies, "+OK\r\n:8\r\n$1\r\nv\r\n:4\r\n");
    assert!(other.ask(&["PUBLISH", "news"]).starts_with("-ERR wrong number"));
    // The client with both gets it twice.
    assert_eq!(clients[3].reply(), message("news", "x"));
    assert!(clients[3].reply().starts_with("*4\r\n$8\r\npmessage"));
}

/// Whoever was told that it is no subscriber any more is counted by nobody who publishes then, and strangers are counted still.
#[test]
fn nobody_is_counted_after_its_end_was_confirmed() {
    let (redis, endpoint) = pair();
    let mut foreign = Client::connect(&redis.address());
    foreign.send(&["PSUBSCRIBE", "news:*"]);
    foreign.reply();
    let mut subscribers = [endpoint.client(), endpoint.resp3()];
    let mut publisher = endpoint.client();
    for n in 0..150 {
        let (channel, pattern) = (format!("news:{n}"), format!("*:{n}"));
        for subscriber in &mut subscribers {
            subscribe(subscriber, &[&channel]);
            subscriber.send(&["PSUBSCRIBE", &pattern]);
            subscriber.reply();
        }
        assert_eq!(publisher.integer(&["PUBLISH", &channel, "x"]), 5);
        for (left, subscriber) in subscribers.iter_mut().enumerate() {
            // The second one also got what was published when the first had left.
            (0..2 + 2 * left).for_each(|_| assert!(subscriber.reply().contains(&channel)));
            if n % 3 == 0 {
                assert_eq!(subscriber.ask(&["RESET"]), "+RESET\r\n");
            } else {
                subscriber.raw(&pipeline(&[&["UNSUBSCRIBE", &channel], &["PUNSUBSCRIBE"]]));
                assert!(subscriber.reply().contains("unsubscribe"));
                assert!(subscriber.reply().contains("punsubscribe"));
            }
            assert_eq!(publisher.integer(&["PUBLISH", &channel, "y"]), [3, 1][left], "round {n}, {left}");
        }
    }
}

#[test]
fn a_client_of_resp3_goes_on_working_between_its_messages() {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    let endpoint = Endpoint::of(&[&master, &replica], "");
    let (mut client, mut other) = (endpoint.resp3(), endpoint.client());
    subscribe(&mut client, &["news"]);
    let large = "x".repeat(300_000);
    client.ok(&["SET", "large", &large]);
    for n in 0..200 {
        let n = n.to_string();
        client.raw(&pipeline(&[&["SET", "k", &n], &["GET", "k"], &["GET", "large"]]));
        assert_eq!(other.integer(&["PUBLISH", "news", &n]), 1);
        let mut messages = 0;
        let mut replies = Vec::new();
        while messages < 1 || replies.len() < 3 {
            let reply = client.reply();
            if let Some(pushed) = reply.strip_prefix('>') {
                assert_eq!(pushed, &message("news", &n)[1..]);
                messages += 1;
            } else {
                replies.push(reply);
            }
        }
        assert_eq!(replies, ["+OK\r\n".to_owned(), bulk(&n), bulk(&large)]);
    }
}

/// Keyspace notifications are used like this: told that a key has changed, the client reads it.
#[test]
fn what_was_written_before_a_message_is_read_after_it() {
    let master = Redis::start();
    let relay = Relay::to(&master);
    let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {}", relay.port())).start();
    replica.wait_for_link();
    relay.set_delay(Duration::from_millis(30));
    let endpoint = Endpoint::of(&[&master, &replica], "");
    let (mut client, mut other) = (endpoint.resp3(), endpoint.client());
    subscribe(&mut client, &["changed"]);
    for n in 0..30 {
        let n = n.to_string();
        other.ok(&["SET", "key", &n]);
        assert_eq!(other.integer(&["PUBLISH", "changed", "key"]), 1);
        assert!(client.reply().starts_with(">3\r\n$7\r\nmessage"));
        assert_eq!(client.text(&["GET", "key"]).as_deref(), Some(n.as_str()));
        // Once the replica has it, it serves this client again.
        eventually("the replica has it", || replica.command(&["GET", "key"]).ends_with(&format!("\r\n{n}\r\n")));
        let reads = endpoint.metric("redan_reads_total{from=\"replica\"}");
        eventually("it serves", || {
            assert_eq!(client.text(&["GET", "key"]).as_deref(), Some(n.as_str()));
            endpoint.metric("redan_reads_total{from=\"replica\"}") > reads
        });
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_holds_nobody_up() {
    let (_redis, endpoint) = pair();
    let (mut slow, mut fast, mut other) = (endpoint.client(), endpoint.client(), endpoint.client());
    subscribe(&mut slow, &["big"]);
    subscribe(&mut fast, &["big"]);
    let text = "x".repeat(1024 * 1024);
    let mut longest = Duration::ZERO;
    let mut published = 0;
    eventually("the slow one is closed", || {
        let start = Instant::now();
        let reached = other.integer(&["PUBLISH", "big", &text]);
        assert!((1..=2).contains(&reached), "{reached}");
        assert_eq!(fast.reply(), message("big", &text));
        longest = longest.max(start.elapsed());
        published += 1;
        endpoint.metric("redan_slow_clients_closed_total") > 0.0
    });
    // 32 MiB of waiting messages, and what the sockets between held.
    assert!((32..80).contains(&published), "closed after {published} MiB");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert!(endpoint.said().contains("bytes of messages wait for it"), "{}", endpoint.said());
    eventually("it is counted no more", || {
        let reached = other.integer(&["PUBLISH", "big", "small"]);
        assert_eq!(fast.reply(), message("big", "small"));
        reached == 1
    });
}

#[test]
fn keyspace_notifications_come_from_the_master() {
    let master = Redis::options().line("notify-keyspace-events KEA").line("hz 100").start();
    let replica = Redis::options().line("notify-keyspace-events KEA").replica_of(&master).start();
    replica.wait_for_link();
    let endpoint = Endpoint::of(&[&master, &replica], "");
    let (mut client, mut other) = (endpoint.client(), endpoint.client());
    subscribe(&mut client, &["__keyevent@0__:expired"]);
    other.ok(&["SET", "short", "v", "PX", "20"]);
    assert_eq!(client.reply(), message("__keyevent@0__:expired", "short"));
}

#[test]
fn the_node_decides_what_may_be_subscribed() {
    let redis = Redis::options().line("user redan on >secret ~* +@all resetchannels &ok*").start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").expect("writable");
    let user = format!("user = \"redan\"\npassword_file = \"{}\"", file.display());
    let endpoint = Endpoint::start(&[redis.address()], "", &user);
    let mut direct = Client::connect(&redis.address());
    direct.ok(&["AUTH", "redan", "secret"]);
    for mut client in [endpoint.client(), endpoint.resp3()] {
        for words in [&["SUBSCRIBE", "ok1", "secret"][..], &["PSUBSCRIBE", "*"], &["SSUBSCRIBE", "x"]] {
            assert_eq!(client.ask(words), direct.ask(words), "{words:?}");
        }
        client.ok(&["SET", "k", "v"]);
        subscribe(&mut client, &["ok1", "ok2"]);
        let refused = client.ask(&["SUBSCRIBE", "secret"]);
        assert!(refused.starts_with("-NOPERM"), "{refused}");
    }
    let mut other = endpoint.client();
    eventually("the others are gone", || other.integer(&["PUBLISH", "ok1", "x"]) == 0);
}

#[test]
fn a_drain_ends_subscribers_that_are_owed_nothing() {
    let (_redis, endpoint) = pair();
    let mut clients = [endpoint.client(), endpoint.resp3()];
    clients.iter_mut().for_each(|client| subscribe(client, &["news"]));
    endpoint.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.rest(), "");
    }
    eventually("it was no force", || endpoint.said().contains("drain") || endpoint.said().contains("ended"));
    assert!(!endpoint.said().contains("cut off"), "{}", endpoint.said());
}
