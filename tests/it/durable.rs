//! `durable`: a client is told of its write when replicas have it, whatever dies.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::{Redis, eventually};
use crate::support::relay::Relay;

mod failover;

const ASSURED: &str = "redan_durable_writes_total{outcome=\"assured\"}";
const LATE: &str = "redan_durable_writes_total{outcome=\"late\"}";
const UNKNOWN: &str = "redan_durable_writes_total{outcome=\"unknown\"}";
const REFUSED: &str = "redan_durable_writes_total{outcome=\"refused\"}";

/// Long enough for a test to see that nothing comes.
const A_WHILE: Duration = Duration::from_millis(150);

/// A master whose replicas hear it through relays.
struct Relayed {
    master: Redis,
    replicas: Vec<Redis>,
    relays: Vec<Relay>,
}

impl Relayed {
    fn start(replicas: usize) -> Self {
        let master = Redis::start();
        let relays: Vec<Relay> = (0..replicas).map(|_| Relay::to(&master)).collect();
        let follow = |relay: &Relay| Redis::options().line(&format!("replicaof 127.0.0.1 {}", relay.port())).start();
        let replicas: Vec<Redis> = relays.iter().map(follow).collect();
        replicas.iter().for_each(Redis::wait_for_link);
        Self { master, replicas, relays }
    }

    fn endpoint(&self, listener: &str) -> Endpoint {
        let nodes: Vec<String> = std::iter::once(&self.master).chain(&self.replicas).map(Redis::address).collect();
        // On a busy machine a server may be silent for a while, and is not to be missed for it.
        Endpoint::start(&nodes, listener, "probe_timeout = \"20s\"")
    }
}

/// What each kind of write looks like to its client: what is sent, step by step, and the replies to each step. The last
/// reply is the one that waits.
type Form = (&'static str, &'static [&'static [&'static [&'static str]]], &'static [&'static str]);

const FORMS: [Form; 7] = [
    ("plain", &[&[&["SET", "plain", "v"]]], &["+OK\r\n"]),
    (
        "block",
        &[&[&["MULTI"], &["INCR", "block"], &["GET", "block"], &["EXEC"]]],
        &["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:1\r\n$1\r\n1\r\n"],
    ),
    ("script", &[&[&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "script"]]], &[":1\r\n"]),
    (
        "transaction",
        &[&[&["MULTI"]], &[&["INCR", "transaction"]], &[&["EXEC"]]],
        &["+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"],
    ),
    (
        "guarded",
        &[&[&["WATCH", "guarded"]], &[&["MULTI"]], &[&["INCR", "guarded"]], &[&["EXEC"]]],
        &["+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"],
    ),
    ("blocking", &[&[&["BLPOP", "queue", "0"]]], &["*2\r\n$5\r\nqueue\r\n$3\r\njob\r\n"]),
    ("moving", &[&[&["BLMOVE", "source", "moving", "LEFT", "LEFT", "0"]]], &["$3\r\njob\r\n"]),
];

/// Sends everything of a form, and takes all of its replies but the last.
fn begin(client: &mut Client, (name, steps, replies): &Form) {
    let mut replies = replies[..replies.len() - 1].iter();
    let last = steps.len() - 1;
    for (number, commands) in steps.iter().enumerate() {
        client.raw(&pipeline(commands));
        if number < last {
            for _ in *commands {
                assert_eq!(client.reply(), *replies.next().expect("another"), "{name}");
            }
        }
    }
    // The replies in front of EXEC in one piece wait with it.
    if steps[last].len() == 1 {
        assert_eq!(replies.next(), None);
    }
}

/// What is still to come after [`begin`].
fn rest_of((_, steps, replies): &Form) -> Vec<&'static str> {
    replies[replies.len() - steps[steps.len() - 1].len()..].to_vec()
}

#[test]
fn every_kind_of_write_waits_for_a_replica() {
    let group = Relayed::start(1);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"1m\"");
    group.master.ok(&["RPUSH", "queue", "job"]);
    group.master.ok(&["RPUSH", "source", "job"]);
    group.relays[0].hold();
    let mut clients: Vec<Client> =
        (0..FORMS.len()).map(|n| if n % 2 == 0 { endpoint.client() } else { endpoint.resp3() }).collect();
    for (client, form) in clients.iter_mut().zip(&FORMS) {
        begin(client, form);
    }
    let large = "x".repeat(1_000_000);
    let mut uploader = endpoint.client();
    uploader.send(&["SET", "large", &large]);
    for key in ["plain", "block", "script", "transaction", "guarded", "moving", "large"] {
        eventually("the master has it", || group.master.command(&["EXISTS", key]) == ":1\r\n");
    }
    eventually("the element is taken", || group.master.command(&["EXISTS", "queue"]) == ":0\r\n");
    for (client, form) in clients.iter_mut().zip(&FORMS) {
        assert!(client.is_silent_for(A_WHILE), "{} was told too early", form.0);
    }
    assert!(uploader.is_silent_for(A_WHILE));
    group.relays[0].release();
    for (client, form) in clients.iter_mut().zip(&FORMS) {
        for expected in rest_of(form) {
            assert_eq!(client.reply(), expected, "{}", form.0);
        }
        assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
    }
    assert_eq!(uploader.reply(), "+OK\r\n");
    assert_eq!(endpoint.metric(ASSURED), FORMS.len() as f64 + 1.0);
    assert!(endpoint.metric("redan_durable_wait_seconds_total") > 0.1);
}

/// Nor does anything behind it in the pipeline come first.
#[test]
fn replies_keep_their_order_behind_a_write_that_waits() {
    let group = Relayed::start(1);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"1m\"");
    let mut client = endpoint.client();
    group.relays[0].hold();
    client.raw(&pipeline(&[
        &["GET", "k"],
        &["SET", "k", "v"],
        &["GET", "k"],
        &["PING"],
        &["LPUSH", "k", "x"],
        &["MULTI"],
        &["GET", "k"],
        &["EXEC"],
        &["CLIENT", "GETNAME"],
        &["WATCH", "k"],
        &["UNWATCH"],
        &["INCR", "n"],
        &["QUIT"],
    ]));
    assert_eq!(client.reply(), "$-1\r\n");
    assert!(client.is_silent_for(A_WHILE));
    group.relays[0].release();
    let rest = client.rest();
    let expected = "+OK\r\n$1\r\nv\r\n+PONG\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n\
                    +OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n$-1\r\n+OK\r\n+OK\r\n:1\r\n+OK\r\n";
    assert_eq!(rest, expected);
    // A subscription is confirmed behind it, and messages come behind that.
    for mut client in [endpoint.client(), endpoint.resp3()] {
        group.relays[0].hold();
        client.raw(&pipeline(&[&["SET", "k", "w"], &["SUBSCRIBE", "c"]]));
        // It is counted before messages are let through, so this one may or may not reach it: not yet in any case.
        eventually("it is counted", || endpoint.client().ask(&["PUBLISH", "c", "m"]) == ":1\r\n");
        assert!(client.is_silent_for(A_WHILE));
        group.relays[0].release();
        assert_eq!(client.reply(), "+OK\r\n");
        assert!(client.reply().contains("subscribe"));
        endpoint.client().ask(&["PUBLISH", "c", "m"]);
        assert!(client.reply().contains("message"));
    }
}

#[test]
fn what_is_no_write_does_not_wait() {
    let group = Relayed::start(1);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"1m\"");
    endpoint.client().ok(&["SET", "text", "v"]);
    group.relays[0].hold();
    let commands: [(&[&[&str]], &[&str]); 8] = [
        (&[&["GET", "text"]], &["$1\r\nv\r\n"]),
        (&[&["LPUSH", "text", "x"]], &["-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"]),
        (&[&["PUBLISH", "c", "m"]], &[":0\r\n"]),
        (&[&["MULTI"], &["GET", "text"], &["EXEC"]], &["+OK\r\n", "+QUEUED\r\n", "*1\r\n$1\r\nv\r\n"]),
        (
            &[&["MULTI"], &["NOT.KNOWN"], &["SET", "a", "b"], &["EXEC"]],
            &[
                "+OK\r\n",
                "-ERR unknown command 'NOT.KNOWN', with args beginning with: \r\n",
                "+QUEUED\r\n",
                "-EXECABORT Transaction discarded because of previous errors.\r\n",
            ],
        ),
        (&[&["BLPOP", "nothing", "0.1"]], &["*-1\r\n"]),
        (&[&["WATCH", "text"], &["GET", "text"], &["UNWATCH"]], &["+OK\r\n", "$1\r\nv\r\n", "+OK\r\n"]),
        (&[&["MULTI"], &["DISCARD"], &["SELECT", "1"]], &["+OK\r\n", "+OK\r\n", "+OK\r\n"]),
    ];
    for (sent, expected) in commands {
        let mut client = endpoint.client();
        client.raw(&pipeline(sent));
        for expected in expected {
            assert_eq!(client.reply(), *expected, "{sent:?}");
        }
    }
    let mut client = endpoint.client();
    client.ok(&["WATCH", "text"]);
    group.master.ok(&["SET", "text", "w"]);
    client.raw(&pipeline(&[&["MULTI"], &["SET", "text", "x"], &["EXEC"]]));
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK\r\n", "+QUEUED\r\n", "*-1\r\n"]);
    // CLIENT REPLY OFF: nobody is told, so nobody waits.
    client.send(&["CLIENT", "REPLY", "OFF"]);
    client.send(&["SET", "muted", "v"]);
    client.ok(&["CLIENT", "REPLY", "ON"]);
    group.relays[0].release();
}

#[test]
fn a_write_that_no_replica_confirms_is_not_called_durable() {
    let group = Relayed::start(1);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"300ms\"");
    group.master.ok(&["RPUSH", "queue", "job"]);
    group.master.ok(&["RPUSH", "source", "job"]);
    group.relays[0].hold();
    let words = format!(
        "-NOTDURABLE written on {}, but only 0 of 1 replicas confirmed it within 0.3 s\r\n",
        group.master.address()
    );
    for form in &FORMS {
        let mut client = endpoint.client();
        let begun = Instant::now();
        begin(&mut client, form);
        let mut expected: Vec<&str> = rest_of(form);
        let last = expected.len() - 1;
        expected[last] = &words;
        for expected in expected {
            assert_eq!(client.reply(), expected, "{}", form.0);
        }
        assert!(begun.elapsed() >= Duration::from_millis(300), "{}: after {:?}", form.0, begun.elapsed());
        // It is executed, and the client goes on.
        client.raw(&pipeline(&[&["GET", "plain"], &["PING"]]));
        assert_eq!([client.reply(), client.reply()], [bulk("v"), "+PONG\r\n".to_owned()]);
    }
    assert_eq!(endpoint.metric(LATE), FORMS.len() as f64);
    assert_eq!(endpoint.metric(ASSURED), 0.0);
    group.relays[0].release();
    endpoint.client().ok(&["SET", "k", "v"]);
}

#[test]
fn replicas_that_are_frozen_do_not_count() {
    let group = Group::start("durable = 2\ndurable_timeout = \"400ms\"");
    let mut client = group.endpoint.client();
    // A replica fresh from its full sync is sent the stream only when it has said that it is there, up to 1 s later.
    eventually("both replicas follow", || client.ask(&["SET", "k", "1"]) == "+OK\r\n");
    group.servers[1].freeze();
    let reply = client.ask(&["SET", "k", "2"]);
    let words = format!("-NOTDURABLE written on {}, but only 1 of 2 replicas", group.servers[0].address());
    assert!(reply.starts_with(&words), "{reply}");
    // Once that is known nothing is written any more.
    eventually("it is known", || !group.endpoint.is_readable(&group.servers[1].address()));
    for _ in 0..3 {
        assert_eq!(client.ask(&["SET", "k", "3"]), "-NOREPLICAS Not enough good replicas to write.\r\n");
    }
    assert_eq!(client.ask(&["GET", "k"]), bulk("2"));
    client.raw(&pipeline(&[&["MULTI"], &["SET", "k", "3"], &["EXEC"], &["GET", "k"], &["EVAL", "return 1", "0"]]));
    assert_eq!([client.reply(), client.reply()], ["+OK\r\n", "+QUEUED\r\n"]);
    assert!(client.reply().starts_with("-NOREPLICAS "));
    assert_eq!(client.reply(), bulk("2"));
    assert!(client.reply().starts_with("-NOREPLICAS "));
    // Over a connection of its own, as servers do it.
    client.ok(&["MULTI"]);
    assert!(client.ask(&["SET", "k", "3"]).starts_with("-NOREPLICAS "));
    assert_eq!(client.ask(&["GET", "k"]), "+QUEUED\r\n");
    assert!(client.ask(&["EXEC"]).starts_with("-EXECABORT "));
    group.servers[0].ok(&["RPUSH", "queue", "job"]);
    assert!(client.ask(&["BLPOP", "queue", "1"]).starts_with("-NOREPLICAS "));
    assert!(client.ask(&["PUBLISH", "c", "m"]).starts_with(':'));
    let large = "x".repeat(1_000_000);
    assert!(client.ask(&["SET", "large", &large]).starts_with("-NOREPLICAS "));
    assert_eq!(client.ask(&["EXISTS", "large"]), ":0\r\n");
    assert_eq!(client.ask(&["LLEN", "queue"]), ":1\r\n");
    assert!(group.endpoint.metric(REFUSED) >= 8.0);
    group.servers[1].thaw();
    group.endpoint.wait_for_readable(3);
    client.ok(&["SET", "k", "4"]);
    assert_eq!(client.ask(&["BLPOP", "queue", "1"]), format!("*2\r\n{}{}", bulk("queue"), bulk("job")));
}

/// A chained replica counts like a direct one.
#[test]
fn a_replica_of_a_replica_counts() {
    let master = Redis::start();
    let first = Redis::options().replica_of(&master).start();
    first.wait_for_link();
    let second = Redis::options().replica_of(&first).start();
    second.wait_for_link();
    let endpoint = Endpoint::of(&[&master, &first, &second], "durable = 2\ndurable_timeout = \"20s\"");
    let mut client = endpoint.client();
    for number in 0..100 {
        let number = number.to_string();
        client.ok(&["SET", "k", &number]);
        assert_eq!(second.command(&["GET", "k"]), bulk(&number));
    }
}

/// Pipelines share their proofs: there is no round trip for each command.
#[test]
fn proofs_are_made_for_all_together() {
    let group = Relayed::start(2);
    let endpoint = group.endpoint("durable = 2\ndurable_timeout = \"20s\"");
    thread::scope(|scope| {
        for number in 0..8 {
            let endpoint = &endpoint;
            scope.spawn(move || {
                let mut client = if number % 2 == 0 { endpoint.client() } else { endpoint.resp3() };
                let key = number.to_string();
                for round in 0..5 {
                    client.raw(&pipeline(&[&["INCR", key.as_str()][..]].repeat(3000)));
                    for count in 1..=3000 {
                        assert_eq!(client.reply(), format!(":{}\r\n", round * 3000 + count));
                    }
                }
            });
        }
    });
    assert_eq!(endpoint.metric(ASSURED), 120_000.0);
    let asked = endpoint.metric("redan_marks_asked_total");
    assert!(asked < 40_000.0, "{asked} questions for 120,000 writes");
    for number in 0..8 {
        assert_eq!(group.replicas[0].command(&["GET", &number.to_string()]), bulk("15000"));
    }
    eventually("all memory is given back", || endpoint.held_memory() < 2_000_000.0);
}

/// A drain waits for the assurance, as for any other reply.
#[test]
fn the_end_of_the_process_waits_for_it() {
    let group = Relayed::start(1);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"1m\"");
    let mut client = endpoint.client();
    group.relays[0].hold();
    client.send(&["SET", "k", "v"]);
    eventually("the master has it", || group.master.command(&["EXISTS", "k"]) == ":1\r\n");
    endpoint.signal("TERM");
    assert!(client.is_silent_for(A_WHILE));
    group.relays[0].release();
    assert_eq!(client.rest(), "+OK\r\n");
}
