//! The master moves, replicas and masters die: clients keep their connections and lose nothing that was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::eventually;
use crate::support::stop::StopOnDrop;

/// Ways to increment a counter: each returns how many increments were acknowledged, having checked every reply.
type Way = fn(&mut Client, &str, u64) -> u64;

fn plainly(client: &mut Client, key: &str, count: u64) -> u64 {
    assert_eq!(client.ask(&["INCR", key]), format!(":{}\r\n", count + 1));
    assert_eq!(client.ask(&["GET", key]), bulk(&(count + 1).to_string()));
    1
}

fn in_a_pipeline(client: &mut Client, key: &str, count: u64) -> u64 {
    client.raw(&pipeline(&[["INCR", key], ["GET", key]].repeat(8).iter().map(|words| &words[..]).collect::<Vec<_>>()));
    for number in count + 1..=count + 8 {
        assert_eq!(client.reply(), format!(":{number}\r\n"));
        assert_eq!(client.reply(), bulk(&number.to_string()));
    }
    8
}

fn in_a_transaction(client: &mut Client, key: &str, count: u64) -> u64 {
    client.ok(&["MULTI"]);
    assert_eq!(client.ask(&["INCR", key]), "+QUEUED\r\n");
    assert_eq!(client.ask(&["GET", key]), "+QUEUED\r\n");
    assert_eq!(client.ask(&["EXEC"]), format!("*2\r\n:{}\r\n{}", count + 1, bulk(&(count + 1).to_string())));
    1
}

fn in_a_transaction_at_once(client: &mut Client, key: &str, count: u64) -> u64 {
    client.raw(&pipeline(&[&["MULTI"], &["INCR", key], &["EXEC"], &["GET", key]]));
    for expected in ["+OK\r\n", "+QUEUED\r\n"] {
        assert_eq!(client.reply(), expected);
    }
    assert_eq!(client.reply(), format!("*1\r\n:{}\r\n", count + 1));
    assert_eq!(client.reply(), bulk(&(count + 1).to_string()));
    1
}

/// With WATCH, nil is an answer: the transaction was not executed and is tried again.
fn guarded(client: &mut Client, key: &str, count: u64) -> u64 {
    client.ok(&["WATCH", key]);
    client.ask(&["GET", key]);
    client.raw(&pipeline(&[&["MULTI"], &["INCR", key], &["EXEC"]]));
    let replies = [client.reply(), client.reply(), client.reply()];
    assert_eq!(replies[..2], ["+OK\r\n", "+QUEUED\r\n"]);
    if replies[2] == "*-1\r\n" {
        return 0;
    }
    assert_eq!(replies[2], format!("*1\r\n:{}\r\n", count + 1));
    1
}

fn with_a_script(client: &mut Client, key: &str, count: u64) -> u64 {
    let reply = client.ask(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", key]);
    assert_eq!(reply, format!(":{}\r\n", count + 1));
    1
}

const WAYS: [(&str, Way); 6] = [
    ("plainly", plainly),
    ("pipeline", in_a_pipeline),
    ("transaction", in_a_transaction),
    ("transaction at once", in_a_transaction_at_once),
    ("guarded", guarded),
    ("script", with_a_script),
];

/// 24 clients that increment and read their own counters until `event` has happened; what each was acknowledged. Several
/// endpoints share them.
pub(crate) fn count_through(endpoints: &[&Endpoint], event: impl FnOnce(&dyn Fn())) -> Vec<(String, u64)> {
    let stopped = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        let stop = StopOnDrop(&stopped);
        let clients: Vec<_> = (0..24)
            .map(|number| {
                let (stop, done) = (&stopped, &done);
                let endpoint = endpoints[number / WAYS.len() % endpoints.len()];
                let (name, way) = WAYS[number % WAYS.len()];
                let work = move || {
                    let key = format!("{name} {number}");
                    let mut client = if number < 12 { endpoint.client() } else { endpoint.resp3() };
                    // RESP3 says `_` for nil where `guarded` expects `*-1`.
                    if name == "guarded" {
                        client = endpoint.client();
                    }
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        count += way(&mut client, &key, count);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    (key, count)
                };
                thread::Builder::new().name(format!("{name} {number}")).spawn_scoped(scope, work).expect("a thread")
            })
            .collect();
        let progress = || {
            // Enough that every client had a turn in the new state.
            let before = done.load(Ordering::Relaxed);
            eventually("the clients go on", || done.load(Ordering::Relaxed) > before + 500);
        };
        event(&progress);
        drop(stop);
        clients.into_iter().map(|client| client.join().expect("a client that met no error")).collect()
    })
}

#[test]
fn the_master_moves_and_nobody_notices() {
    let group = Group::start("");
    let acknowledged = count_through(&[&group.endpoint], |progress| {
        progress();
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1)] {
            group.move_master(from, to);
            group.wait_for_master(to);
            progress();
        }
    });
    for (key, count) in acknowledged {
        assert!(count > 0, "{key} did something");
        assert_eq!(group.servers[1].command(&["GET", &key]), bulk(&count.to_string()), "{key}");
    }
    assert_eq!(group.endpoint.metric("redan_in_doubt_total"), 0.0);
    assert_eq!(group.endpoint.metric("redan_panics_total"), 0.0);
}

/// FAILOVER, the servers' own way.
#[test]
fn a_coordinated_failover_loses_nothing() {
    let group = Group::start("");
    let acknowledged = count_through(&[&group.endpoint], |progress| {
        progress();
        for (from, to) in [(0, 1), (1, 0)] {
            let port = group.servers[to].port().to_string();
            group.servers[from].ok(&["FAILOVER", "TO", "127.0.0.1", &port]);
            group.wait_for_master(to);
            eventually("the old master follows", || {
                group.servers[from].info("master_link_status").as_deref() == Some("up")
            });
            group.servers[2].replica_of(Some(&group.servers[to]));
            progress();
        }
    });
    for (key, count) in acknowledged {
        assert_eq!(group.servers[0].command(&["GET", &key]), bulk(&count.to_string()), "{key}");
    }
}

/// Without a pause the old master acknowledges writes that the new one does not have. They are the operator's loss;
/// errors and closed connections are not part of it.
#[test]
fn an_abrupt_move_closes_no_connection_and_shows_no_error() {
    let group = Group::start("");
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = StopOnDrop(&stopped);
        for number in 0..20 {
            let (endpoint, stop) = (&group.endpoint, &stopped);
            scope.spawn(move || {
                let mut client = endpoint.client();
                let key = number.to_string();
                while !stop.load(Ordering::Relaxed) {
                    let replies = if number % 2 == 0 {
                        vec![client.ask(&["INCR", &key]), client.ask(&["GET", &key])]
                    } else {
                        client.raw(&pipeline(&[&["MULTI"], &["INCR", &key], &["EXEC"], &["GET", &key]]));
                        (0..4).map(|_| client.reply()).collect()
                    };
                    assert!(!replies.iter().any(|reply| reply.starts_with('-')), "{replies:?}");
                }
            });
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            group.promote(from, to);
            group.wait_for_master(to);
            let mut client = group.endpoint.client();
            for _ in 0..50 {
                client.ok(&["SET", "after", &to.to_string()]);
            }
        }
        drop(stop);
    });
}

#[test]
fn a_replica_that_is_killed_is_not_missed() {
    let mut group = Group::start("");
    let mut writer = group.endpoint.client();
    for number in 0..100 {
        writer.ok(&["SET", &number.to_string(), "value"]);
    }
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = StopOnDrop(&stopped);
        for number in 0..20 {
            let (endpoint, stop) = (&group.endpoint, &stopped);
            scope.spawn(move || {
                let mut client = if number % 2 == 0 { endpoint.client() } else { endpoint.resp3() };
                let mut reads = 0;
                while !stop.load(Ordering::Relaxed) {
                    let batch = 1 + reads % 20;
                    let keys: Vec<String> = (0..batch).map(|index| ((reads + index) % 100).to_string()).collect();
                    keys.iter().for_each(|key| client.send(&["GET", key]));
                    for _ in &keys {
                        assert_eq!(client.reply(), bulk("value"), "reader {number} after {reads} reads");
                    }
                    reads += batch;
                }
            });
        }
        for index in [1, 2, 1] {
            let address = group.servers[index].address();
            let reads = group.endpoint.commands_to(&address);
            eventually("it serves reads", || group.endpoint.commands_to(&address) > reads + 100.0);
            group.servers[index].kill();
            eventually("the dead replica is out", || !group.endpoint.is_readable(&address));
            group.servers[index].restart();
            group.servers[index].replica_of(Some(&group.servers[0]));
            eventually("it is back", || group.endpoint.is_readable(&address));
        }
        drop(stop);
    });
    assert_eq!(group.endpoint.metric("redan_panics_total"), 0.0);
}

/// What is said to a writer while there is no master: nothing until the hold is over, or that its write is in doubt.
#[test]
fn a_master_that_is_killed_leaves_connections_and_readers_alone() {
    let mut group = Group::start("hold = \"700ms\"\nadmin_commands = \"allow\"");
    let mut writers: Vec<Client> = (0..10).map(|_| group.endpoint.client()).collect();
    let mut readers: Vec<Client> = (0..10).map(|_| group.endpoint.client()).collect();
    // Nothing was written before the readers came, so replicas serve them from the beginning.
    readers.iter_mut().for_each(|reader| assert_eq!(reader.ask(&["GET", "k"]), "$-1\r\n"));
    writers.iter_mut().for_each(|writer| writer.ok(&["SET", "k", "v"]));
    let killed = Instant::now();
    writers.iter_mut().for_each(|writer| writer.send(&["INCR", "counter"]));
    group.servers[0].kill();
    for writer in &mut writers {
        let reply = writer.reply();
        assert!(
            reply.starts_with(':') || reply.starts_with("-INDOUBT 127.0.0.1:") || reply.starts_with("-LOADING Redan "),
            "{reply}"
        );
    }
    // From now on nothing can be in doubt, because nothing is sent.
    writers.iter_mut().for_each(|writer| writer.send(&["SET", "k", "v"]));
    for _ in 0..20 {
        for reader in &mut readers {
            let asked = Instant::now();
            let reply = reader.ask(&["GET", "k"]);
            assert!(reply == "$-1\r\n" || reply == bulk("v"), "{reply}");
            assert!(asked.elapsed() < Duration::from_millis(500), "a read waited {:?}", asked.elapsed());
        }
    }
    for writer in &mut writers {
        let reply = writer.reply();
        assert!(reply.starts_with("-LOADING Redan has"), "{reply}");
        assert!(reply.contains("group 'main'"), "{reply}");
        assert_eq!(writer.ask(&["PING"]), "+PONG\r\n", "the connection is as good as before");
    }
    assert!(killed.elapsed() >= Duration::from_millis(600), "nobody waited for a master");
    let transaction: &[&[&str]] = &[&["MULTI"], &["INCR", "k"], &["EXEC"]];
    writers[0].raw(&pipeline(transaction));
    // Sent in one piece or command by command, it is refused at EXEC: a client that pipelines has sent what belongs into
    // the transaction before it can know, and none of that may be executed outside of one.
    let replies = [writers[0].reply(), writers[0].reply(), writers[0].reply()];
    assert_eq!(replies[..2], ["+OK\r\n", "+QUEUED\r\n"]);
    assert!(replies[2].starts_with("-LOADING Redan has"), "{replies:?}");
    let replies = [&transaction[0], &transaction[1], &transaction[2]].map(|words| writers[0].ask(words));
    assert_eq!(replies[..2], ["+OK\r\n", "+QUEUED\r\n"]);
    assert!(replies[2].starts_with("-EXECABORT "), "{replies:?}");
    // Whatever takes a connection of its own is answered too.
    for words in [&["BLPOP", "queue", "1"][..], &["SELECT", "9"], &["CONFIG", "SET", "hz", "10"]] {
        let reply = writers[0].ask(words);
        assert!(reply.starts_with("-LOADING Redan has"), "{words:?}: {reply}");
    }
    // But not subscriptions, which any node can carry until there is a master.
    let confirmed = group.endpoint.client().ask(&["SUBSCRIBE", "c"]);
    assert_eq!(confirmed, format!("*3\r\n{}{}:1\r\n", bulk("subscribe"), bulk("c")));

    group.servers[1].replica_of(None);
    group.servers[2].replica_of(Some(&group.servers[1]));
    group.wait_for_master(1);
    for client in writers.iter_mut().chain(&mut readers) {
        client.ok(&["SET", "k", "again"]);
        assert_eq!(client.ask(&["GET", "k"]), bulk("again"));
    }
}

/// A promotion within the hold: writers wait and then succeed.
#[test]
fn writes_wait_for_the_next_master() {
    let mut group = Group::start("");
    let mut clients: Vec<Client> = (0..20).map(|_| group.endpoint.client()).collect();
    clients.iter_mut().for_each(|client| client.ok(&["SET", "k", "v"]));
    group.servers[0].kill();
    eventually("Redan knows that the master is gone", || {
        group.endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0
    });
    for (number, client) in clients.iter_mut().enumerate() {
        match number % 3 {
            0 => client.send(&["INCR", "counter"]),
            1 => client.raw(&pipeline(&[&["MULTI"], &["INCR", "counter"], &["EXEC"]])),
            _ => client.raw(&pipeline(&[&["INCR", "counter"], &["GET", "counter"], &["PING"]])),
        }
    }
    eventually("all of them wait", || group.endpoint.metric("redan_holds_now") == 20.0);
    group.servers[1].replica_of(None);
    group.servers[2].replica_of(Some(&group.servers[1]));
    for (number, client) in clients.iter_mut().enumerate() {
        let replies: Vec<String> = (0..[1, 3, 3][number % 3]).map(|_| client.reply()).collect();
        assert!(!replies.iter().any(|reply| reply.starts_with('-')), "{replies:?}");
    }
    assert_eq!(group.servers[1].command(&["GET", "counter"]), bulk("20"));
    assert_eq!(group.endpoint.metric("redan_holds_now"), 0.0);
}

/// A master that freezes, is replaced, and wakes up believing that it is the master: nothing may go there any more.
#[test]
fn a_frozen_master_that_wakes_up_gets_no_writes() {
    let group = Group::start("");
    let mut clients: Vec<Client> = (0..10).map(|_| group.endpoint.client()).collect();
    clients.iter_mut().for_each(|client| client.ok(&["SET", "k", "v"]));
    group.servers[0].freeze();
    clients.iter_mut().for_each(|client| client.send(&["INCR", "doubtful"]));
    group.servers[1].replica_of(None);
    group.servers[2].replica_of(Some(&group.servers[1]));
    group.wait_for_master(1);
    for client in &mut clients {
        let reply = client.reply();
        assert!(reply.starts_with(':') || reply.starts_with("-INDOUBT"), "{reply}");
    }
    for client in &mut clients {
        client.integer(&["INCR", "certain"]);
    }
    group.servers[0].thaw();
    for _ in 0..50 {
        for client in &mut clients {
            client.integer(&["INCR", "certain"]);
        }
    }
    assert_eq!(group.servers[0].command(&["GET", "certain"]), "$-1\r\n");
    assert_eq!(group.servers[1].command(&["GET", "certain"]), bulk("510"));
    assert_eq!(clients[0].text(&["GET", "certain"]).as_deref(), Some("510"));
}

/// Blocked and subscribed sessions follow the master too, or are told by the end of their connection.
#[test]
fn blocked_clients_and_subscribers_when_the_master_moves() {
    let group = Group::start("");
    let (mut blocked, mut subscriber) = (group.endpoint.client(), group.endpoint.client());
    blocked.send(&["BLPOP", "queue", "0"]);
    subscriber.send(&["SUBSCRIBE", "news"]);
    subscriber.reply();
    eventually("it is blocked at the node", || group.servers[0].info("blocked_clients").as_deref() == Some("1"));
    group.move_master(0, 1);
    group.wait_for_master(1);
    eventually("it is blocked at the new master", || group.servers[1].info("blocked_clients").as_deref() == Some("1"));
    let mut other = group.endpoint.client();
    other.integer(&["RPUSH", "queue", "job"]);
    assert_eq!(blocked.reply(), format!("*2\r\n{}{}", bulk("queue"), bulk("job")));
    // The subscription moves to the new master without the client's doing.
    eventually("a message reaches the subscriber", || other.integer(&["PUBLISH", "news", "hello"]) == 1);
    assert_eq!(subscriber.reply(), format!("*3\r\n{}{}{}", bulk("message"), bulk("news"), bulk("hello")));
}

/// The old master falls silent after it was replaced: who waits for its answer must learn that.
#[test]
fn nobody_waits_for_a_replaced_master_that_is_frozen() {
    let group = Group::start("");
    let [mut open, mut watching] = [(); 2].map(|()| group.endpoint.client());
    let mut tracking = group.endpoint.resp3();
    open.ok(&["SET", "k", "v"]);
    assert_eq!(open.integer(&["WAIT", "2", "5000"]), 2);
    open.ok(&["MULTI"]);
    watching.ok(&["WATCH", "k"]);
    tracking.ok(&["CLIENT", "TRACKING", "ON"]);
    group.servers[0].freeze();
    for client in [&mut open, &mut watching, &mut tracking] {
        client.send(&["GET", "k"]);
    }
    group.servers[1].replica_of(None);
    group.servers[2].replica_of(Some(&group.servers[1]));
    assert_eq!(open.reply(), "+QUEUED\r\n");
    assert_eq!(open.ask(&["EXEC"]), format!("*1\r\n{}", bulk("v")));
    assert!(watching.reply().starts_with("-INDOUBT"));
    watching.ok(&["MULTI"]);
    assert_eq!(watching.ask(&["EXEC"]), "*-1\r\n");
    assert!(tracking.reply().contains("invalidate"));
    assert_eq!(tracking.reply(), bulk("v"));
    group.servers[0].thaw();
}

/// The new master may not have the write that WAIT is asked about.
#[test]
fn wait_does_not_speak_of_a_write_to_another_master() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    client.ok(&["SET", "k", "v"]);
    assert_eq!(client.ask(&["WAIT", "2", "5000"]), ":2\r\n");
    group.move_master(0, 1);
    group.wait_for_master(1);
    let reply = client.ask(&["WAIT", "1", "100"]);
    assert!(reply.starts_with("-INDOUBT the master has changed"), "{reply}");
    client.ok(&["SET", "k", "again"]);
    assert!(client.integer(&["WAIT", "1", "5000"]) >= 1, "a write to the new master counts again");
}

/// A replaced master that was told nothing goes on saying that it is one. What it has not answered soon is in doubt;
/// nothing new goes there.
#[test]
fn a_replaced_master_that_does_not_know_it_gets_nothing_new() {
    let group = Group::start("");
    let (mut waiting, mut other) = (group.endpoint.client(), group.endpoint.client());
    waiting.ok(&["SET", "k", "v"]);
    group.servers[0].ok(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    waiting.send(&["INCR", "doubtful"]);
    eventually("the write waits at the old master", || {
        group.servers[0].command(&["CLIENT", "LIST"]).lines().any(|line| line.contains("flags=b"))
    });
    group.servers[1].replica_of(None);
    group.servers[2].replica_of(Some(&group.servers[1]));
    group.wait_for_master(1);
    for number in 1..=100 {
        assert_eq!(other.integer(&["INCR", "certain"]), number);
    }
    let reply = waiting.reply();
    assert!(reply.starts_with(&format!("-INDOUBT {}", group.servers[0].address())), "{reply}");
    assert_eq!(waiting.text(&["GET", "certain"]).as_deref(), Some("100"));
    group.servers[0].ok(&["CLIENT", "UNPAUSE"]);
    assert_eq!(group.servers[0].command(&["GET", "certain"]), "$-1\r\n");
}
