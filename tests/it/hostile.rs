//! Clients that break the protocol, flood, dawdle or vanish: they are told why, they are bounded, nobody else notices.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, binary, command, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::fake::{Act, Fake};
use crate::support::redis::{Redis, eventually};

fn single() -> (Redis, Endpoint) {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    (redis, endpoint)
}

/// A session that was there before and must not notice anything.
struct Bystander {
    client: Client,
    number: u64,
}

impl Bystander {
    fn new(endpoint: &Endpoint) -> Self {
        let mut client = endpoint.client();
        client.ok(&["SET", "bystander", "0"]);
        Self { client, number: 0 }
    }

    fn is_well(&mut self) {
        self.number += 1;
        let number = self.number.to_string();
        assert_eq!(self.client.integer(&["INCR", "bystander"]).to_string(), number);
        assert_eq!(self.client.text(&["GET", "bystander"]), Some(number));
    }
}

/// The words are Redis's own: where Redis 7.0 refuses too, it is asked.
#[test]
fn a_broken_protocol_is_answered_in_the_words_of_redis_and_closed() {
    let (redis, endpoint) = single();
    let mut bystander = Bystander::new(&endpoint);
    let long_line = "x".repeat(70_000);
    let long_count = format!("*{}", "1".repeat(70_000));
    let long_length = format!("*1\r\n${}", "1".repeat(70_000));
    let mut broken = vec![
        "*1\r\n:4\r\n",
        "*1\r\nPING\r\n",
        "*x\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$536870913\r\n",
        "*3000000000\r\n",
        "*+1\r\n$4\r\nPING\r\n",
        "*01\r\n$4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "SET \"a\r\n",
        "SET 'a\r\n",
        "SET k 1\r\nGET k\r\nSET 'a\r\n",
        "MULTI\r\nGET k\r\nSET 'a\r\n",
        "SET \"a\"b\r\n",
        &long_line,
        &long_count,
        &long_length,
    ];
    // Valkey 9 goes on with an argument behind its closing quote.
    broken.retain(|bytes| *bytes != "SET \"a\"b\r\n" || redis.valkey().is_none_or(|major| major < 9));
    for bytes in &broken {
        let shown = &bytes[..bytes.len().min(60)];
        let replies = [redis.address(), endpoint.address()].map(|address| {
            let mut client = Client::connect(&address);
            client.raw(format!("*2\r\n$4\r\nECHO\r\n$6\r\nbefore\r\n{bytes}").as_bytes());
            client.rest()
        });
        assert!(replies[0].contains("-ERR Protocol error: "), "{shown:?}: {}", replies[0]);
        assert_eq!(replies[1], replies[0], "{shown:?}");
        bystander.is_well();
    }
    let errors = endpoint.metric("redan_protocol_errors_total");
    assert_eq!(errors, broken.len() as f64);
}

/// Everything before the error is answered first, however long it takes, also on a connection of the session's own.
#[test]
fn a_broken_protocol_behind_large_replies() {
    let (_redis, endpoint) = single();
    endpoint.client().ok(&["SET", "big", &"x".repeat(3_000_000)]);
    for first in [&["ECHO", "first"][..], &["SOMETHING.NEW"], &["MULTI"]] {
        let mut client = endpoint.client();
        client.raw(&[command(first), command(&["GET", "big"]), command(&["GET", "big"]), b"*x\r\n".to_vec()].concat());
        let rest = client.rest();
        assert!(rest.ends_with("-ERR Protocol error: invalid multibulk length\r\n"), "after {first:?}");
        let expected = if first[0] == "MULTI" { 2 * "+QUEUED\r\n".len() } else { 2 * (3_000_000 + 12) };
        assert!(rest.len() > expected, "{} bytes came after {first:?}", rest.len());
    }
}

/// Servers up to 8.0 skip two bytes behind an argument unread; passed on to them, that would be smuggling.
#[test]
fn what_redis_would_read_differently_is_refused() {
    let (redis, endpoint) = single();
    for bytes in ["*1\r\n$4\r\nPINGxx*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nkX\n"] {
        let mut client = endpoint.client();
        client.raw(bytes.as_bytes());
        assert_eq!(client.rest(), "-ERR Protocol error: invalid CRLF in request\r\n");
    }
    assert!(!redis.command(&["INFO", "commandstats"]).contains("cmdstat_get:"), "nothing of it reached the node");
}

#[test]
fn browsers_and_replicas_are_sent_away() {
    let (redis, endpoint) = single();
    let mut bystander = Bystander::new(&endpoint);
    for request in [
        "POST / HTTP/1.1\r\nHost: redis\r\n\r\nSET k hacked\r\n",
        "GET / HTTP/1.1\r\nHost: redis\r\n\r\nSET k hacked\r\n",
    ] {
        let mut client = endpoint.client();
        client.raw(request.as_bytes());
        assert!(!client.rest().contains("+OK"));
        bystander.is_well();
    }
    assert_eq!(redis.command(&["GET", "k"]), "$-1\r\n");
    for words in [&["PSYNC", "?", "-1"][..], &["SYNC"], &["REPLCONF", "listening-port", "1"]] {
        let mut client = endpoint.client();
        client.send(words);
        assert!(client.rest().starts_with("-NOMASTERLINK"), "{words:?}");
    }
    assert_eq!(redis.info("connected_slaves").as_deref(), Some("0"));
}

/// A replica that is told to follow Redan must not hammer it.
#[test]
fn a_real_replica_is_refused_gently() {
    let (_redis, endpoint) = single();
    let replica = Redis::start();
    let port = endpoint.address().rsplit_once(':').expect("host:port").1.to_owned();
    let before = endpoint.metric("redan_sessions_opened_total");
    let start = Instant::now();
    replica.ok(&["REPLICAOF", "127.0.0.1", &port]);
    let tries = || endpoint.metric("redan_sessions_opened_total") - before;
    eventually("it has tried twice", || tries() >= 2.0);
    // It tries once a second; hammering would be thousands.
    assert!(tries() <= start.elapsed().as_secs_f64() + 3.0, "{} tries in {:?}", tries(), start.elapsed());
}

#[test]
fn blank_lines_and_empty_commands_are_not_answered() {
    let (_redis, endpoint) = single();
    let mut client = endpoint.client();
    let mut flood = Vec::new();
    for _ in 0..100_000 {
        flood.extend_from_slice(b"\r\n*0\r\n*-1\r\n\n   \r\n");
    }
    client.raw(&flood);
    client.raw(&command(&["PING"]));
    assert_eq!(client.reply(), "+PONG\r\n");
}

/// Half a command, then nothing: others go on, and the connection's end costs nothing.
#[test]
fn half_commands_and_vanished_clients() {
    let (_redis, endpoint) = single();
    let mut bystander = Bystander::new(&endpoint);
    let set = command(&["SET", "k", "value"]);
    let whole =
        [&set, &b"SET k value\r\n"[..], &command(&["MULTI"]), &set, &command(&["SOMETHING.NEW"]), &set].concat();
    let mut halves = Vec::new();
    for end in 1..whole.len() {
        let mut client = endpoint.client();
        client.raw(&whole[..end]);
        halves.push(client);
    }
    bystander.is_well();
    drop(halves);
    bystander.is_well();
    eventually("their sessions are gone", || endpoint.metric("redan_sessions") == 1.0);
}

/// The client is gone in the middle of its reply, or with replies on their way: the shared connection goes on.
#[test]
fn clients_that_close_before_their_replies_came() {
    let (_redis, endpoint) = single();
    let mut bystander = Bystander::new(&endpoint);
    bystander.client.ok(&["SET", "big", &"x".repeat(1_000_000)]);
    for count in [1, 3, 50] {
        let mut client = endpoint.client();
        client.raw(&command(&["GET", "big"]).repeat(count));
        // One byte has come, the rest is on its way.
        client.stream().peek(&mut [0]).expect("the beginning of a reply");
        drop(client);
        bystander.is_well();
    }
    eventually("their sessions are gone", || endpoint.metric("redan_sessions") == 1.0);
    bystander.is_well();
}

#[test]
fn one_byte_at_a_time() {
    let (_redis, endpoint) = single();
    let mut client = endpoint.client();
    let commands = [
        command(&["SET", "k", "value"]),
        b"GET \"k\"\r\n".to_vec(),
        b"\r\n".to_vec(),
        command(&["MULTI"]),
        command(&["GET", "k"]),
        command(&["EXEC"]),
        b"PING\n".to_vec(),
        command(&["GET", "k"]),
    ];
    for byte in commands.concat() {
        client.raw(&[byte]);
    }
    for expected in [
        "+OK\r\n",
        "$5\r\nvalue\r\n",
        "+OK\r\n",
        "+QUEUED\r\n",
        "*1\r\n$5\r\nvalue\r\n",
        "+PONG\r\n",
        "$5\r\nvalue\r\n",
    ] {
        assert_eq!(client.reply(), expected);
    }
}

/// 1,000 replies of 1 MB that nobody takes: a gigabyte that must not be kept, nor stop the others, whether they share
/// the greedy one's connection for reads or, because it wrote first, the one for writes.
#[test]
fn a_client_that_never_reads_is_bounded_and_closed() {
    // On the way of reads the others are led past it, so they have many turns before it is closed. On the way of writes
    // they must keep their places until then: it may take nothing for 2 s, which is looked at once a second.
    for (first, least_turns) in [(&b""[..], 20), (&command(&["SET", "k", "v"]), 0)] {
        let (_redis, endpoint) = single();
        let mut writing = Bystander::new(&endpoint);
        writing.client.ok(&["SET", "big", &"x".repeat(1_000_000)]);
        let mut reading = endpoint.client();
        let mut greedy = endpoint.client();
        greedy.raw(&[first, &command(&["GET", "big"]).repeat(1000)].concat());
        let start = Instant::now();
        let (mut slowest, mut turns) = (Duration::ZERO, 0);
        while endpoint.metric("redan_slow_clients_closed_total") == 0.0 {
            turns += 1;
            let asked = Instant::now();
            writing.is_well();
            assert_eq!(reading.integer(&["STRLEN", "big"]), 1_000_000);
            slowest = slowest.max(asked.elapsed());
            assert!(start.elapsed() < Duration::from_secs(60), "it is still connected");
            thread::sleep(Duration::from_millis(10));
        }
        writing.is_well();
        assert!(turns >= least_turns, "others had {turns} turns while it took nothing");
        // 3.5 s on a quiet machine.
        assert!(slowest < Duration::from_secs(10), "another client waited for {slowest:?}");
        let peak = endpoint.peak_memory();
        assert!(peak < 64 << 20, "{} MiB were resident", peak >> 20);
        eventually("its session is gone", || endpoint.metric("redan_sessions") == 2.0);
    }
}

/// The same with many small replies, which do not clog the lane but pile up.
#[test]
fn a_client_that_takes_no_small_replies_is_bounded() {
    let (_redis, endpoint) = single();
    let mut bystander = Bystander::new(&endpoint);
    bystander.client.ok(&["SET", "small", &"x".repeat(20_000)]);
    let mut stream = TcpStream::connect(endpoint.address()).expect("it listens");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let asked = command(&["GET", "small"]).repeat(1000);
    // The replies would be 20 GB. What the kernel keeps of the commands, 33 MB, is less than all of them.
    let stopped = (0..1000).any(|_| stream.write_all(&asked).is_err());
    assert!(stopped, "a million commands were read from a client that takes no replies");
    bystander.is_well();
    let peak = endpoint.peak_memory();
    assert!(peak < 128 << 20, "{} MiB were resident", peak >> 20);
}

#[test]
fn before_authentication_little_is_allowed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users.toml");
    std::fs::write(&users, super::auth::FOO_USER).expect("writable");
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], &format!("users = {:?}", users));
    let ask = |bytes: &[u8]| {
        let mut client = endpoint.client();
        client.raw(bytes);
        client.rest()
    };
    assert_eq!(ask(b"*11\r\n"), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    assert_eq!(ask(b"*2\r\n$3\r\nGET\r\n$16385\r\n"), "-ERR Protocol error: unauthenticated bulk length\r\n");
    let mut client = endpoint.client();
    client.raw(&binary(&[b"GET", &[b'x'; 16384]]));
    assert_eq!(client.reply(), "-NOAUTH Authentication required.\r\n");
    client.ok(&["AUTH", "app", "foo"]);
    client.raw(&binary(&[b"SET", b"k", &[b'x'; 16385]]));
    assert_eq!(client.reply(), "+OK\r\n");
}

/// Nonsense from a node costs its connection, not the sessions: what can be asked again is asked elsewhere.
#[test]
fn a_node_that_talks_nonsense_is_left() {
    for nonsense in ["HTTP/1.1 400 Bad Request\r\n", "$-7\r\n", "*1\r\n", "$5\r\nhal", "", ":1\r\n:2\r\n"] {
        let master = Fake::master();
        let replica = Fake::replica_of(&master);
        let said = nonsense.as_bytes().to_vec();
        replica.script(move |_| Act::Close(said.clone()));
        let endpoint = Endpoint::start(&[master.address(), replica.address()], "", "");
        let mut client = endpoint.client();
        let reply = client.ask(&["GET", "a"]);
        // The extra reply answers nothing; the first one is a reply like any other.
        let expected = if nonsense.starts_with(":1") {
            ":1\r\n".to_owned()
        } else {
            crate::support::client::bulk(&format!("a@{}", master.port()))
        };
        assert_eq!(reply, expected, "after {nonsense:?}");
        assert!(!replica.received().is_empty(), "the replica was asked");
    }
}

const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

/// The names and first arguments of the commands a fake received.
fn received(fake: &Fake) -> Vec<String> {
    fake.received().iter().map(|command| command.words[..2].join(" ")).collect()
}

/// Words that prove a command was not executed are not shown: it is sent again, to whoever can execute it.
#[test]
fn refusals_are_not_shown() {
    let master = Fake::master();
    let replica = Fake::replica_of(&master);
    replica.script(|_| Act::reply(LOADING));
    let refused = AtomicUsize::new(0);
    master.script(move |command| {
        // Whatever is in the pipeline is refused once, as by a node that has just been demoted and promoted again.
        let write = command.name() == "SET";
        if write && refused.fetch_add(1, Ordering::SeqCst) < 2 {
            return Act::reply(READONLY);
        }
        Act::Reply(format!("+{}\r\n", command.words.join(" ")).into_bytes())
    });
    let endpoint = Endpoint::start(&[master.address(), replica.address()], "", "");
    let mut client = endpoint.client();
    assert_eq!(client.ask(&["GET", "x"]), "+GET x\r\n", "the replica is loading and the master answers");
    client.raw(&pipeline(&[&["GET", "before"], &["SET", "a", "1"], &["GET", "a"], &["SET", "b", "2"], &["GET", "b"]]));
    for expected in ["+GET before\r\n", "+SET a 1\r\n", "+GET a\r\n", "+SET b 2\r\n", "+GET b\r\n"] {
        assert_eq!(client.reply(), expected);
    }
    // What stood behind the refused write was asked again, in order: it had been answered without the write.
    let sent = received(&master);
    assert_eq!(sent[sent.len() - 4..], ["SET a", "GET a", "SET b", "GET b"], "{sent:?}");
}

/// A node that goes on refusing what it should execute: the client is told so, and not for ever later.
#[test]
fn a_master_that_refuses_for_ever() {
    let master = Fake::master();
    master.script(|command| Act::reply(if command.name() == "SET" { READONLY } else { LOADING }));
    let endpoint = Endpoint::start(&[master.address()], "", "");
    let mut client = endpoint.client();
    for words in [&["SET", "a", "1"][..], &["GET", "a"]] {
        let reply = client.ask(words);
        assert!(reply.starts_with("-LOADING Redan: "), "{reply}");
    }
    client.raw(&pipeline(&[&["SET", "a", "1"], &["PING"], &["SET", "b", "1"], &["GET", "b"]]));
    for expected in ["-LOADING Redan: ", "+PONG", "-LOADING Redan: ", "-LOADING Redan: "] {
        let reply = client.reply();
        assert!(reply.starts_with(expected), "{reply}");
    }
}

/// A write must not be executed after one that the client sent behind it.
#[test]
fn a_refused_write_is_not_executed_behind_a_later_one() {
    let master = Fake::master();
    master.script(|command| match command.words[1].as_str() {
        "refused" => Act::reply(READONLY),
        _ => Act::reply("+OK\r\n"),
    });
    let endpoint = Endpoint::start(&[master.address()], "", "");
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["SET", "refused", "1"], &["SET", "executed", "2"], &["PING"]]));
    assert!(client.reply().starts_with("-TRYAGAIN Redan did not execute this command"));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+PONG\r\n");
    assert_eq!(received(&master), ["SET refused", "SET executed"]);
}

/// Reads whose connection broke are asked again; a write may have been executed, and that is said.
#[test]
fn what_a_broken_connection_leaves_is_told_in_order() {
    let master = Fake::master();
    master.script(|command| Act::Hold(format!("+{}\r\n", command.words.join(" ")).into_bytes()));
    let endpoint = Endpoint::start(&[master.address()], "", "");
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["GET", "a"], &["SET", "a", "1"], &["PING"], &["GET", "b"]]));
    eventually("the commands are at the node", || !master.received().is_empty());
    master.close_connections();
    master.release();
    assert_eq!(client.reply(), "+GET a\r\n");
    let doubt = client.reply();
    assert!(doubt.starts_with(&format!("-INDOUBT {} closed the connection", master.address())), "{doubt}");
    assert_eq!(client.reply(), "+PONG\r\n");
    assert_eq!(client.reply(), "+GET b\r\n");
    assert_eq!(endpoint.metric("redan_in_doubt_total"), 1.0);
    let writes = received(&master).iter().filter(|command| *command == "SET a").count();
    assert!(writes <= 1, "a write was sent twice");
}
