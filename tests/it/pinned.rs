//! Sessions with a connection of their own: transactions, blocking calls, subscriptions, WAIT.

use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

fn single(listener: &str) -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], listener);
    (redis, endpoint)
}

fn blocked(redis: &Redis) -> Option<String> {
    redis.info("blocked_clients")
}

#[test]
fn a_transaction_is_what_redis_makes_of_it() {
    let (redis, endpoint) = single("");
    let scripts: &[&[&[&str]]] = &[
        &[&["MULTI"], &["SET", "a", "1"], &["INCR", "a"], &["GET", "a"], &["EXEC"], &["GET", "a"]],
        &[&["MULTI"], &["SET", "a", "9"], &["DISCARD"], &["GET", "a"]],
        &[&["MULTI"], &["MULTI"], &["SET", "a", "1"], &["EXEC"]],
        &[&["MULTI"], &["NOSUCHCOMMAND"], &["SET", "a", "7"], &["EXEC"], &["GET", "a"]],
        &[&["MULTI"], &["SET"], &["EXEC"], &["GET", "a"]],
        &[&["MULTI"], &["INCR", "a"], &["LPUSH", "a", "x"], &["EXEC"]],
        &[&["MULTI"], &["PING"], &["ECHO", "x"], &["SELECT", "2"], &["SET", "b", "in two"], &["EXEC"], &["GET", "b"]],
        &[&["GET", "b"], &["MULTI"], &["EXEC"], &["EXEC"], &["DISCARD"]],
        &[&["WATCH", "a"], &["MULTI"], &["INCR", "a"], &["EXEC"], &["WATCH", "a"], &["UNWATCH"], &["GET", "a"]],
        &[&["MULTI"], &["WATCH", "a"], &["BLPOP", "none", "0"], &["EXEC"]],
        &[&["WATCH", "a"], &["SET", "a", "5"], &["MULTI"], &["INCR", "a"], &["EXEC"], &["GET", "a"]],
        &[&["MULTI"], &["SUBSCRIBE", "c"], &["DISCARD"], &["GET", "a"]],
    ];
    let reference = Redis::start();
    for resp3 in [false, true] {
        for at_once in [false, true] {
            for script in scripts {
                let connect = if resp3 { Client::resp3 } else { Client::connect };
                let replies = [&reference.address(), &endpoint.address()].map(|address| {
                    let mut client = connect(address);
                    if at_once {
                        client.raw(&pipeline(script));
                    }
                    let mut replies = Vec::new();
                    for words in *script {
                        if !at_once {
                            client.send(words);
                        }
                        replies.push(client.reply());
                    }
                    replies
                });
                assert_eq!(replies[1], replies[0], "{script:?}, at once: {at_once}, RESP3: {resp3}");
            }
        }
    }
    drop(redis);
}

#[test]
fn a_watched_key_that_changed_ends_the_transaction_with_nil() {
    let (_redis, endpoint) = single("");
    let mut other = endpoint.client();
    for (mut client, nil) in [(endpoint.client(), "*-1\r\n"), (endpoint.resp3(), "_\r\n")] {
        client.ok(&["WATCH", "k"]);
        client.ask(&["GET", "k"]);
        other.ok(&["SET", "k", "from the other"]);
        client.ok(&["MULTI"]);
        assert_eq!(client.ask(&["SET", "k", "mine"]), "+QUEUED\r\n");
        assert_eq!(client.ask(&["EXEC"]), nil);
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("from the other"));
        // The watch went with the transaction.
        other.ok(&["SET", "k", "again"]);
        client.raw(&pipeline(&[&["MULTI"], &["SET", "k", "mine"], &["EXEC"]]));
        for expected in ["+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n"] {
            assert_eq!(client.reply(), expected);
        }
    }
}

/// The classical use of WATCH, by clients side by side: every increment that was acknowledged counts.
#[test]
fn optimistic_increments_are_never_lost() {
    let (_redis, endpoint) = single("");
    endpoint.client().ok(&["SET", "counter", "0"]);
    let increment = |client: &mut Client| loop {
        client.ok(&["WATCH", "counter"]);
        let value: i64 = client.text(&["GET", "counter"]).expect("a number").parse().expect("a number");
        client.raw(&pipeline(&[&["MULTI"], &["SET", "counter", &(value + 1).to_string()], &["EXEC"]]));
        let replies = [client.reply(), client.reply(), client.reply()];
        if replies[2] == "*1\r\n+OK\r\n" {
            return;
        }
        assert_eq!(replies[2], "*-1\r\n", "{replies:?}");
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = endpoint.client();
                (0..50).for_each(|_| increment(&mut client));
            });
        }
    });
    assert_eq!(endpoint.client().text(&["GET", "counter"]).as_deref(), Some("200"));
}

#[test]
fn a_blocked_client_is_released_by_another() {
    let (redis, endpoint) = single("");
    let (mut waiting, mut other) = (endpoint.client(), endpoint.client());
    waiting.raw(&pipeline(&[&["BLPOP", "queue", "0"], &["PING"], &["GET", "k"]]));
    eventually("it is blocked at the node", || blocked(&redis).as_deref() == Some("1"));
    assert_eq!(other.integer(&["RPUSH", "queue", "job"]), 1);
    assert_eq!(waiting.reply(), format!("*2\r\n{}{}", bulk("queue"), bulk("job")));
    assert_eq!(waiting.reply(), "+PONG\r\n");
    assert_eq!(waiting.reply(), "$-1\r\n");
    assert_eq!(other.integer(&["LLEN", "queue"]), 0);
}

/// Others are not held up by one that waits.
#[test]
fn a_blocked_client_stands_in_nobodys_way() {
    let (redis, endpoint) = single("");
    let mut waiting: Vec<Client> = (0..10).map(|_| endpoint.client()).collect();
    waiting.iter_mut().for_each(|client| client.send(&["BLPOP", "queue", "0"]));
    eventually("all are blocked at the node", || blocked(&redis).as_deref() == Some("10"));
    let mut other = endpoint.client();
    for _ in 0..100 {
        other.ok(&["SET", "k", "v"]);
        assert_eq!(other.text(&["GET", "k"]).as_deref(), Some("v"));
    }
}

/// Otherwise the node would give the next element to nobody.
#[test]
fn a_blocked_client_that_goes_away_takes_nothing_with_it() {
    let (redis, endpoint) = single("");
    for commands in [&[&["BLPOP", "queue", "0"][..]][..], &[&["GET", "k"], &["BLPOP", "queue", "0"], &["PING"]]] {
        let mut waiting = endpoint.client();
        waiting.raw(&pipeline(commands));
        eventually("it is blocked at the node", || blocked(&redis).as_deref() == Some("1"));
        drop(waiting);
        eventually("nobody is blocked at the node", || blocked(&redis).as_deref() == Some("0"));
        let mut other = endpoint.client();
        other.send(&["RPUSH", "queue", "job"]);
        other.reply();
        assert_eq!(other.integer(&["LLEN", "queue"]), 1);
        other.ok(&["LTRIM", "queue", "1", "0"]);
    }
}

#[test]
fn reading_a_stream_waits_for_its_next_entry() {
    let (redis, endpoint) = single("");
    let (mut waiting, mut other) = (endpoint.client(), endpoint.client());
    assert_eq!(waiting.ask(&["XREAD", "BLOCK", "10", "STREAMS", "s", "$"]), "*-1\r\n");
    waiting.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
    eventually("it is blocked at the node", || blocked(&redis).as_deref() == Some("1"));
    let id = other.text(&["XADD", "s", "*", "f", "v"]).expect("an id");
    let entry = waiting.reply();
    assert!(entry.contains(&id) && entry.contains("$1\r\nf\r\n$1\r\nv\r\n"), "{entry}");
    assert_eq!(waiting.ask(&["XREAD", "COUNT", "1", "STREAMS", "s", "0"]), entry, "without BLOCK over a lane");
}

#[test]
fn messages_and_replies_of_a_subscriber() {
    let (_redis, endpoint) = single("");
    for (mut client, kind) in [(endpoint.client(), '*'), (endpoint.resp3(), '>')] {
        let mut other = endpoint.client();
        client.raw(&pipeline(&[&["SET", "k", "v"], &["SUBSCRIBE", "news", "sport"], &["PSUBSCRIBE", "w*"]]));
        assert_eq!(client.reply(), "+OK\r\n");
        for (number, (verb, channel)) in
            [("subscribe", "news"), ("subscribe", "sport"), ("psubscribe", "w*")].into_iter().enumerate()
        {
            assert_eq!(client.reply(), format!("{kind}3\r\n{}{}:{}\r\n", bulk(verb), bulk(channel), number + 1));
        }
        assert_eq!(other.integer(&["PUBLISH", "news", "hello"]), 1);
        assert_eq!(client.reply(), format!("{kind}3\r\n{}{}{}", bulk("message"), bulk("news"), bulk("hello")));
        assert_eq!(other.integer(&["PUBLISH", "weather", "rain"]), 1);
        let expected = format!("{kind}4\r\n{}{}{}{}", bulk("pmessage"), bulk("w*"), bulk("weather"), bulk("rain"));
        assert_eq!(client.reply(), expected);
        if kind == '*' {
            assert_eq!(client.ask(&["PING"]), format!("*2\r\n{}{}", bulk("pong"), bulk("")));
            assert!(client.ask(&["GET", "k"]).starts_with("-ERR Can't execute 'get'"));
        } else {
            assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
            assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("v"));
        }
        client.send(&["UNSUBSCRIBE"]);
        assert!(client.reply().contains("unsubscribe"));
        assert!(client.reply().ends_with(":1\r\n"));
        assert_eq!(
            client.ask(&["PUNSUBSCRIBE", "w*"]),
            format!("{kind}3\r\n{}{}:0\r\n", bulk("punsubscribe"), bulk("w*"))
        );
        // An ordinary session again.
        assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("v"));
        client.raw(&pipeline(&[&["MULTI"], &["INCR", "n"], &["EXEC"]]));
        for expected in ["+OK\r\n", "+QUEUED\r\n"] {
            assert_eq!(client.reply(), expected);
        }
        assert!(client.reply().starts_with("*1\r\n:"));
    }
}

#[test]
fn a_subscriber_that_quits_or_resets() {
    let (redis, endpoint) = single("");
    let mut client = endpoint.client();
    client.send(&["SUBSCRIBE", "news"]);
    client.reply();
    assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
    assert_eq!(client.ask(&["GET", "k"]), "$-1\r\n");
    eventually("the subscription is gone", || redis.command(&["PUBSUB", "NUMSUB", "news"]).ends_with(":0\r\n"));
    client.send(&["SUBSCRIBE", "news"]);
    client.reply();
    client.send(&["QUIT"]);
    assert_eq!(client.rest(), "+OK\r\n");
    eventually("the subscription is gone", || redis.command(&["PUBSUB", "NUMSUB", "news"]).ends_with(":0\r\n"));
}

#[test]
fn a_subscription_that_is_refused_changes_nothing() {
    let (_redis, endpoint) = single("");
    let mut client = endpoint.client();
    assert!(client.ask(&["SUBSCRIBE"]).starts_with("-ERR wrong number"));
    client.ok(&["SET", "k", "v"]);
    assert_eq!(client.integer(&["WAIT", "0", "0"]), 0);
    client.ok(&["CLIENT", "SETNAME", "me"]);
    assert_eq!(client.text(&["CLIENT", "GETNAME"]).as_deref(), Some("me"));
}

#[test]
fn administration_is_refused_by_default() {
    let (redis, endpoint) = single("");
    let mut client = endpoint.client();
    for words in [
        &["CONFIG", "SET", "maxclients", "100"][..],
        &["DEBUG", "SLEEP", "0"],
        &["SHUTDOWN", "NOSAVE"],
        &["REPLICAOF", "NO", "ONE"],
        &["ACL", "SETUSER", "x"],
        &["MONITOR"],
    ] {
        let reply = client.ask(words);
        assert!(reply.starts_with("-NOPERM '"), "{words:?}: {reply}");
    }
    assert!(client.ask(&["CONFIG", "GET", "maxclients"]).contains("10000"));
    // In a transaction it fails as a whole, as with a command that the server refuses.
    client.raw(&pipeline(&[&["MULTI"], &["SET", "k", "v"], &["CONFIG", "SET", "maxclients", "100"], &["EXEC"]]));
    let replies = [client.reply(), client.reply(), client.reply(), client.reply()];
    assert_eq!(replies[1], "+QUEUED\r\n");
    assert!(replies[2].starts_with("-NOPERM"), "{replies:?}");
    assert!(replies[3].starts_with("-EXECABORT"), "{replies:?}");
    assert_eq!(client.ask(&["GET", "k"]), "$-1\r\n");
    assert_eq!(redis.command(&["CONFIG", "GET", "maxclients"]), "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n");
}

#[test]
fn administration_where_it_is_allowed() {
    let (redis, endpoint) = single("admin_commands = \"allow\"");
    let mut client = endpoint.client();
    client.ok(&["CONFIG", "SET", "maxclients", "100"]);
    client.ok(&["DEBUG", "SLEEP", "0"]);
    assert!(redis.command(&["CONFIG", "GET", "maxclients"]).contains("$3\r\n100"));
    let mut monitor = endpoint.client();
    monitor.ok(&["MONITOR"]);
    client.ok(&["SET", "seen", "by the monitor"]);
    while !monitor.reply().contains(r#""SET" "seen" "by the monitor""#) {}
    // It leaves no trace when it goes.
    drop(monitor);
    eventually("nobody monitors", || !redis.command(&["CLIENT", "LIST"]).contains(" flags=O "));
    client.ok(&["SET", "k", "v"]);
}

/// WAIT must count the session's own write, which went over another connection.
#[test]
fn wait_waits_for_the_sessions_own_write() {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    let endpoint = Endpoint::of(&[&master, &replica], "");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "1"]);
    assert_eq!(client.integer(&["WAIT", "1", "10000"]), 1);
    replica.freeze();
    let start = Instant::now();
    client.ok(&["SET", "k", "2"]);
    assert_eq!(client.integer(&["WAIT", "1", "300"]), 0, "the frozen replica cannot have the write");
    assert!(start.elapsed() >= Duration::from_millis(300));
    client.raw(&pipeline(&[&["SET", "k", "3"], &["WAIT", "1", "10000"], &["PING"]]));
    assert_eq!(client.reply(), "+OK\r\n");
    assert!(client.is_silent_for(Duration::from_millis(200)), "WAIT was answered while the replica was frozen");
    replica.thaw();
    assert_eq!(client.reply(), ":1\r\n");
    assert_eq!(client.reply(), "+PONG\r\n");
    assert!(client.ask(&["WAIT", "x", "0"]).starts_with("-ERR"));
}

/// WAIT for nobody tells how many there are.
#[test]
fn wait_for_nobody_counts_who_is_there() {
    let master = Redis::start();
    let replicas = [(); 2].map(|()| Redis::options().replica_of(&master).start());
    replicas.iter().for_each(Redis::wait_for_link);
    let endpoint = Endpoint::of(&[&master, &replicas[0], &replicas[1]], "");
    let mut client = endpoint.client();
    let asked: [&[&str]; 3] = [&["WAIT", "0", "0"], &["WAIT", "-1", "0"], &["WAIT", "0", "1000"]];
    for words in asked {
        // A replica counts if it is not slower than 50 ms, so on a busy machine not always.
        eventually("both are there", || client.integer(words) == 2);
        eventually("both are there behind a write", || {
            client.ok(&["SET", "k", "v"]);
            client.integer(words) == 2
        });
    }
    for line in ["WAIT 0", "WAIT 0 x", "WAIT x 0", "WAIT 0 -1", "WAIT -1 -1", "WAIT 0 0 0"] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(client.ask(&words), Client::connect(&master.address()).ask(&words), "{line}");
    }
    replicas[0].freeze();
    client.ok(&["SET", "k", "w"]);
    let start = Instant::now();
    assert!(client.integer(&["WAIT", "0", "0"]) <= 1);
    assert!(start.elapsed() < Duration::from_secs(5), "it was no wait for the frozen one: {:?}", start.elapsed());
    replicas[0].thaw();
}

#[test]
fn a_thousand_transactions_use_a_handful_of_connections() {
    let (redis, endpoint) = single("");
    let before: u64 = redis.info("total_connections_received").and_then(|text| text.parse().ok()).expect("a number");
    let mut watching = endpoint.client();
    for number in 1..=500 {
        // Each on a connection of its own to Redan, as short-lived processes have it.
        let mut client = endpoint.client();
        client.ok(&["MULTI"]);
        assert_eq!(client.ask(&["INCR", "counter"]), "+QUEUED\r\n");
        assert_eq!(client.ask(&["EXEC"]), format!("*1\r\n:{number}\r\n"));
        watching.ok(&["WATCH", "counter"]);
        watching.ok(&["UNWATCH"]);
    }
    let after: u64 = redis.info("total_connections_received").and_then(|text| text.parse().ok()).expect("a number");
    // The two INFO above, and some lanes, pins and probes.
    assert!(after - before < 20, "{} connections for a thousand transactions", after - before);
    assert!(endpoint.metric("redan_pins_taken_total{reason=\"multi\"}") >= 500.0);
    assert!(endpoint.metric("redan_pins_taken_total{reason=\"watch\"}") >= 500.0);
    assert_eq!(endpoint.metric("redan_pins"), 0.0);
}

/// What a session leaves open on its connection must not meet the next one.
#[test]
fn an_abandoned_transaction_does_not_meet_the_next_session() {
    let (redis, endpoint) = single("");
    for words in [&["MULTI"][..], &["WATCH", "k"], &["SUBSCRIBE", "c"], &["CLIENT", "TRACKING", "ON"]] {
        let mut client = endpoint.client();
        client.send(words);
        client.reply();
        client.send(&["SET", "k", "abandoned"]);
        client.reply();
        drop(client);
        eventually("its connection is closed", || endpoint.metric("redan_pins") == 0.0);
        let mut next = endpoint.client();
        next.ok(&["MULTI"]);
        assert_eq!(next.ask(&["SET", "k", "next"]), "+QUEUED\r\n");
        assert_eq!(next.ask(&["EXEC"]), "*1\r\n+OK\r\n");
    }
    assert_eq!(redis.command(&["GET", "k"]), bulk("next"));
}

/// The database of a session goes with it onto its own connections and back.
#[test]
fn pins_know_the_database() {
    let (redis, endpoint) = single("");
    let mut client = endpoint.client();
    client.ok(&["SELECT", "5"]);
    client.raw(&pipeline(&[&["MULTI"], &["SET", "k", "five"], &["EXEC"], &["GET", "k"]]));
    for expected in ["+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n", "$4\r\nfive\r\n"] {
        assert_eq!(client.reply(), expected);
    }
    let mut other = endpoint.client();
    other.raw(&pipeline(&[&["MULTI"], &["GET", "k"], &["EXEC"]]));
    for expected in ["+OK\r\n", "+QUEUED\r\n", "*1\r\n$-1\r\n"] {
        assert_eq!(other.reply(), expected);
    }
    assert_eq!(redis.command(&["GET", "k"]), "$-1\r\n");
}
