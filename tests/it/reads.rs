//! Where reads go when a node is slow, silent, behind or far away.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::fake::{Act, Fake};
use crate::support::redis::{Redis, eventually};
use crate::support::relay::Relay;

mod hedged;

/// A master and two replicas that pass every probe and do with commands what the test says.
struct Fakes([Fake; 3]);

impl Fakes {
    fn new() -> Self {
        let master = Fake::master();
        let replicas = [(); 2].map(|()| Fake::replica_of(&master));
        let [first, second] = replicas;
        Self([master, first, second])
    }

    fn addresses(&self) -> Vec<String> {
        self.0.iter().map(Fake::address).collect()
    }

    /// GETs of each node's own, as it counts them.
    fn served(&self) -> [usize; 3] {
        [0, 1, 2].map(|index| self.0[index].received().iter().filter(|command| command.name() == "GET").count())
    }
}

fn node(endpoint: &Endpoint, name: &str, node: &str) -> f64 {
    endpoint.metric(&format!("redan_node_{name}_total{{group=\"main\",node=\"{node}\"}}"))
}

/// Answers everything after so long, as a node with a slow network or a busy processor would.
fn slow(fake: &Fake, by: Duration) {
    let port = fake.port();
    fake.script(move |command| {
        let text = format!("{}@{port}", command.words.get(1).cloned().unwrap_or_default());
        Act::After(by, format!("${}\r\n{text}\r\n", text.len()).into_bytes())
    });
}

/// Reads until `end`, on connections of its own; the longest time that one took.
fn read_for(address: &str, clients: usize, time: Duration) -> Duration {
    let end = Instant::now() + time;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..clients)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut longest = Duration::ZERO;
                    while Instant::now() < end {
                        let asked = Instant::now();
                        let reply = client.ask(&["GET", &format!("key:{number}")]);
                        assert!(reply.starts_with('$'), "{reply}");
                        longest = longest.max(asked.elapsed());
                        thread::sleep(Duration::from_millis(2));
                    }
                    longest
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("no reader fails")).max().unwrap_or_default()
    })
}

/// One read each on so many connections.
fn read_once_each(endpoint: &Endpoint, clients: usize) {
    for _ in 0..clients {
        assert!(endpoint.client().ask(&["GET", "k"]).starts_with('$'));
    }
}

/// Probes are answered, commands never: before there was a read timeout such a node was waited for without end.
#[test]
fn a_read_that_a_node_never_answers_is_asked_elsewhere() {
    for consistency in ["session", "eventual"] {
        let nodes = Fakes::new();
        let endpoint = Endpoint::start(
            &nodes.addresses(),
            &format!("consistency = \"{consistency}\""),
            "read_timeout = \"300ms\"",
        );
        let mut clients: Vec<_> = (0..12).map(|_| endpoint.client()).collect();
        // Everybody has a place before the node falls silent.
        for client in &mut clients {
            assert!(client.ask(&["GET", "k"]).starts_with('$'));
        }
        let silent = &nodes.0[1];
        silent.script(|_| Act::Hold(b"$4\r\nlate\r\n".to_vec()));
        let asked = Instant::now();
        for (number, client) in clients.iter_mut().enumerate() {
            client.raw(&pipeline(&[&["GET", &format!("a{number}")], &["GET", &format!("b{number}")]]));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            for key in ["a", "b"] {
                let text = client.text_reply();
                assert!(text.starts_with(&format!("{key}{number}@")), "{text}");
            }
        }
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?} with {consistency}");
        assert!(node(&endpoint, "late_reads", &silent.address()) > 0.0, "it was asked, and others answered");
        assert_eq!(node(&endpoint, "ejections", &silent.address()), 1.0);
        // What it answers now, too late, reaches nobody.
        silent.release();
        for client in &mut clients {
            for round in 0..20 {
                let text = client.text(&["GET", &format!("c{round}")]).expect("a value");
                assert!(text.starts_with(&format!("c{round}@")), "{text}");
            }
        }
    }
}

/// It is asked again elsewhere once, and not for ever: who has waited twice waits for the answer.
#[test]
fn a_read_that_every_node_owes_is_answered_when_one_does() {
    let nodes = Fakes::new();
    let endpoint = Endpoint::start(&nodes.addresses(), "consistency = \"eventual\"", "read_timeout = \"100ms\"");
    nodes.0.iter().for_each(|fake| fake.script(|_| Act::Hold(b"$2\r\nok\r\n".to_vec())));
    let mut client = endpoint.client();
    client.send(&["GET", "k"]);
    eventually("two nodes have it", || nodes.served().iter().sum::<usize>() == 2);
    // As long as it takes to see that no third one gets it.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(nodes.served().iter().sum::<usize>(), 2);
    nodes.0.iter().for_each(Fake::release);
    assert_eq!(client.reply(), bulk("ok"));
}

#[test]
fn scripts_and_writes_are_waited_for() {
    let nodes = Fakes::new();
    let endpoint = Endpoint::start(&nodes.addresses(), "consistency = \"eventual\"", "read_timeout = \"50ms\"");
    nodes.0.iter().for_each(|fake| slow(fake, Duration::from_millis(600)));
    for words in [&["EVAL_RO", "return 1", "0"][..], &["KEYS", "*"], &["SET", "k", "v"]] {
        let received = || -> usize {
            let names = |fake: &Fake| fake.received().iter().filter(|command| command.name() == words[0]).count();
            nodes.0.iter().map(names).sum()
        };
        let asked = Instant::now();
        assert!(endpoint.client().ask(words).starts_with('$'));
        assert!(asked.elapsed() >= Duration::from_millis(600));
        assert_eq!(received(), 1, "{words:?} was sent once");
    }
}

#[test]
fn a_frozen_replica_delays_reads_by_no_more_than_the_read_timeout() {
    let master = Redis::start();
    let replicas = [(); 2].map(|()| Redis::options().replica_of(&master).start());
    replicas.iter().for_each(Redis::wait_for_link);
    let nodes: Vec<String> = [&master, &replicas[0], &replicas[1]].iter().map(|server| server.address()).collect();
    // So that the data path has to find it, and not a probe.
    let endpoint = Endpoint::start(&nodes, "", "read_timeout = \"400ms\"\nprobe_timeout = \"20s\"");
    for number in 0..8 {
        master.ok(&["SET", &format!("key:{number}"), "v"]);
    }
    let address = endpoint.address();
    let longest = thread::scope(|scope| {
        let readers = scope.spawn(|| read_for(&address, 8, Duration::from_secs(4)));
        thread::sleep(Duration::from_secs(1));
        replicas[0].freeze();
        readers.join().expect("no reader fails")
    });
    replicas[0].thaw();
    assert!(longest >= Duration::from_millis(400), "somebody was reading there: {longest:?}");
    // An eighth is the watch's, the rest the machine's.
    assert!(longest < Duration::from_millis(1500), "{longest:?}");
    assert!(node(&endpoint, "late_reads", &replicas[0].address()) > 0.0);
    let all = node(&endpoint, "reads", &replicas[0].address());
    eventually("it serves again, by and by", || {
        read_for(&endpoint.address(), 4, Duration::from_millis(200));
        node(&endpoint, "reads", &replicas[0].address()) > all
    });
}

#[test]
fn a_replica_that_is_far_slower_than_its_peers_is_taken_out() {
    let nodes = Fakes::new();
    // The master stays out of it: a median of one peer is enough.
    let endpoint = Endpoint::start(&nodes.addresses(), "consistency = \"eventual\"", "");
    slow(&nodes.0[2], Duration::from_millis(60));
    eventually("it is found", || {
        read_for(&endpoint.address(), 8, Duration::from_millis(500));
        node(&endpoint, "ejections", &nodes.0[2].address()) > 0.0
    });
    let (before, other) = (nodes.served()[2], nodes.served()[1]);
    read_for(&endpoint.address(), 8, Duration::from_secs(1));
    assert!(nodes.served()[2] <= before + 8, "it gets no more");
    assert!(nodes.served()[1] > other + 100);
    assert_eq!(node(&endpoint, "ejections", &nodes.0[1].address()), 0.0);
    assert!(endpoint.said().contains("its answers take far longer than those of its peers"));
}

#[test]
fn a_replica_that_is_loading_is_out_at_once() {
    let nodes = Fakes::new();
    let endpoint = Endpoint::start(&nodes.addresses(), "consistency = \"eventual\"", "probe_interval = \"20s\"");
    nodes.0[1].script(|_| Act::reply("-LOADING Redis is loading the dataset in memory\r\n"));
    let mut client = endpoint.client();
    for round in 0..200 {
        let text = client.text(&["GET", &format!("k{round}")]).expect("a value, whoever has it");
        assert!(text.starts_with(&format!("k{round}@")), "{text}");
    }
    let refused = nodes.served()[1];
    assert!((1..=3).contains(&refused), "{refused} of 200 were refused");
    eventually("that is counted", || node(&endpoint, "ejections", &nodes.0[1].address()) == 1.0);
}

/// The first two are in zone a by their own word, the third by the operator's in zone b, and so is Redan in the second half.
#[test]
fn reads_stay_in_the_zone_while_it_can_serve() {
    let nodes = Fakes::new();
    nodes.0[0].set_zone("a");
    nodes.0[1].set_zone("a");
    nodes.0[2].set_zone("a");
    let [master, near, far] = [0, 1, 2].map(|index| nodes.0[index].address());
    let list = format!("[{master:?}, {near:?}, {{ address = {far:?}, zone = \"b\" }}]");
    for (zone, home, away) in [("a", 1, 2), ("b", 2, 1)] {
        let process = format!("workers = 1\nzone = \"{zone}\"");
        let endpoint = Endpoint::start_with_nodes(
            &process,
            &list,
            "reads = \"zone\"\nconsistency = \"eventual\"",
            "read_timeout = \"100ms\"",
        );
        endpoint.wait_for_readable(3);
        let before = nodes.served();
        read_once_each(&endpoint, 40);
        assert_eq!(nodes.served()[home] - before[home], 40, "all of them in zone {zone}");
        // It serves no more, and the next zone does.
        nodes.0[home].script(|_| Act::reply("-LOADING Redis is loading the dataset in memory\r\n"));
        read_once_each(&endpoint, 40);
        let after = nodes.served();
        assert!(after[away] - before[away] >= 30, "{before:?} {after:?}");
        slow(&nodes.0[home], Duration::ZERO);
    }
    // The master of zone a goes before the replica of zone b.
    let endpoint = Endpoint::start_with_nodes(
        "workers = 1\nzone = \"a\"",
        &list,
        "reads = \"zone-any\"\nconsistency = \"eventual\"",
        "probe_interval = \"20s\"",
    );
    endpoint.wait_for_readable(3);
    let before = nodes.served();
    nodes.0[1].script(|_| Act::reply("-LOADING Redis is loading the dataset in memory\r\n"));
    read_once_each(&endpoint, 40);
    let after = nodes.served();
    assert!(after[0] - before[0] >= 35 && after[2] == before[2], "{before:?} {after:?}");
}

#[test]
fn reads_are_shared_out_by_weight() {
    let nodes = Fakes::new();
    let [master, light, heavy] = [0, 1, 2].map(|index| nodes.0[index].address());
    let list = |light_weight: u32| {
        format!(
            "[{master:?}, {{ address = {light:?}, weight = {light_weight} }}, {{ address = {heavy:?}, weight = 30 }}]"
        )
    };
    for (weight, least, most) in [(10, 60, 140), (0, 0, 0)] {
        let endpoint = Endpoint::start_with_nodes("workers = 1", &list(weight), "consistency = \"eventual\"", "");
        endpoint.wait_for_readable(3);
        let before = nodes.served();
        let mut client = endpoint.client();
        for _ in 0..400 {
            assert!(client.ask(&["GET", "k"]).starts_with('$'));
        }
        let got = nodes.served()[1] - before[1];
        assert!((least..=most).contains(&got), "weight {weight}: {got} of 400");
        if weight == 0 {
            nodes.0[2].script(|_| Act::reply("-LOADING Redis is loading the dataset in memory\r\n"));
            for _ in 0..20 {
                assert!(client.ask(&["GET", "k"]).starts_with('$'));
            }
            assert!(nodes.served()[1] - before[1] >= 15, "it is the last replica, and goes before the master");
        }
    }
}

/// A replica behind a link that holds back what the master writes.
#[test]
fn a_replica_that_is_too_far_behind_serves_nobody() {
    for (limit, writes) in [("max_lag = \"500ms\"", 1), ("max_lag_bytes = \"64kb\"", 200)] {
        let master = Redis::start();
        let relay = Relay::to(&master);
        let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {}", relay.port())).start();
        replica.wait_for_link();
        master.ok(&["SET", "k", "old"]);
        eventually("the replica has it", || replica.command(&["GET", "k"]).contains("old"));
        let endpoint = Endpoint::of(&[&master, &replica], limit);
        let reads = || node(&endpoint, "reads", &replica.address());
        read_once_each(&endpoint, 10);
        assert!(reads() > 0.0, "it is near enough");
        relay.hold();
        for _ in 0..writes {
            master.ok(&["SET", "k", &"new".repeat(300)]);
        }
        // Whoever connects now must see what others have written before it looks, once that much is too old.
        eventually("nobody is sent there", || {
            master.ok(&["SET", "more", "x"]);
            let before = reads();
            read_once_each(&endpoint, 10);
            reads() == before
        });
        assert!(endpoint.is_readable(&replica.address()), "what is too far is this listener's to say");
        assert!(endpoint.client().text(&["GET", "k"]).is_some_and(|text| text.starts_with("new")));
        relay.release();
        eventually("it serves again", || {
            let before = reads();
            read_once_each(&endpoint, 10);
            reads() > before
        });
    }
}

/// Without replicas every read falls back. The burst and what a second allows pass; the rest waits, and what waits too long fails.
#[test]
fn the_master_takes_over_only_so_many_reads() {
    let nodes = Fakes::new();
    let listener = "consistency = \"eventual\"\nmax_lag_bytes = \"100b\"\nmaster_reads_limit = 100\nhold = \"700ms\"";
    let endpoint = Endpoint::start(&nodes.addresses(), listener, "");
    // While replicas serve there is nothing to bound.
    read_once_each(&endpoint, 60);
    let before = nodes.served();
    assert_eq!(before[0], 0);
    assert_eq!(endpoint.metric("redan_reads_fallback_total"), 0.0);
    // No replica has what the master has written since.
    nodes.0[0].set_offset(5000);
    eventually("reads fall back", || {
        read_once_each(&endpoint, 1);
        endpoint.metric("redan_reads_fallback_total") > 0.0
    });
    let before = nodes.served();
    let (start, mut refused) = (Instant::now(), 0);
    let mut clients: Vec<_> = (0..30).map(|_| endpoint.client()).collect();
    for _ in 0..10 {
        clients.iter_mut().for_each(|client| client.send(&["GET", "k"]));
        for client in &mut clients {
            let reply = client.reply();
            assert!(reply.starts_with('$') || reply.starts_with("-LOADING Redan sends the master"), "{reply}");
            refused += u32::from(reply.starts_with('-'));
        }
    }
    let took = start.elapsed();
    let served = (nodes.served()[0] - before[0]) as f64;
    assert_eq!(served as u32 + refused, 300);
    assert!(served <= took.as_secs_f64() * 100.0 + 45.0, "{served} within {took:?}");
    assert!(took > Duration::from_millis(1500), "{took:?}: nobody had to wait");
    assert!(endpoint.metric("redan_reads_capped_total") > 0.0);
    // What a session reads there for its own write's sake is not bounded.
    let mut writer = endpoint.client();
    let asked = Instant::now();
    writer.ok(&["SET", "k", "v"]);
    assert!(asked.elapsed() < Duration::from_millis(500), "writes do not wait");
}

/// All are equally far by their probes. One whose answers take 5 ms is not slow enough to be taken out, but not the nearest.
#[test]
fn the_nearest_is_so_by_its_answers_too() {
    let nodes = Fakes::new();
    let endpoint = Endpoint::start(
        &nodes.addresses(),
        "reads = \"nearest\"\nconsistency = \"eventual\"",
        "probe_interval = \"20s\"",
    );
    slow(&nodes.0[1], Duration::from_millis(5));
    read_for(&endpoint.address(), 4, Duration::from_secs(2));
    let before = nodes.served();
    read_for(&endpoint.address(), 4, Duration::from_secs(1));
    let after = nodes.served();
    let [master, slow_one, other] = [0, 1, 2].map(|index| after[index] - before[index]);
    assert!(slow_one * 20 < master + other, "{before:?} {after:?}");
    assert_eq!(node(&endpoint, "ejections", &nodes.0[1].address()), 0.0);
}

/// Replicas stall again and again for longer than reads may take, so that reads are given up, race and are asked again all the
/// time: every session goes on seeing its own writes, and nobody goes back in time or gets another's answer.
#[test]
fn sessions_see_what_they_must_while_replicas_stall() {
    let master = Redis::start();
    let replicas = [(); 2].map(|()| Redis::options().replica_of(&master).start());
    replicas.iter().for_each(Redis::wait_for_link);
    let nodes: Vec<String> = [&master, &replicas[0], &replicas[1]].iter().map(|server| server.address()).collect();
    let endpoint = Endpoint::start(&nodes, "", "read_timeout = \"30ms\"\nhedge = \"5ms\"");
    let address = endpoint.address();
    // Through the endpoint: a replica that is frozen before it has the first value must serve no session that came later.
    Client::connect(&address).ok(&["SET", "count", "0"]);
    let end = Instant::now() + Duration::from_secs(5);
    thread::scope(|scope| {
        scope.spawn(|| {
            for replica in replicas.iter().cycle().take_while(|_| Instant::now() < end) {
                replica.freeze();
                thread::sleep(Duration::from_millis(60));
                replica.thaw();
                thread::sleep(Duration::from_millis(40));
            }
        });
        for _ in 0..6 {
            let address = &address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut count = 0;
                while Instant::now() < end {
                    client.raw(&pipeline(&[&["GET", "count"], &["GET", "count"]]));
                    for _ in 0..2 {
                        let now: u64 = client.text_reply().parse().expect("a number");
                        assert!(now >= count, "{now} after {count}");
                        count = now;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        for number in 0..4 {
            let address = &address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let key = format!("own:{number}");
                let (mut round, mut count) = (0u64, 0);
                while Instant::now() < end {
                    round += 1;
                    client.raw(&pipeline(&[&["SET", &key, &round.to_string()], &["INCR", "count"]]));
                    assert_eq!(client.reply(), "+OK\r\n");
                    assert!(client.reply().starts_with(':'));
                    for _ in 0..4 {
                        client.raw(&pipeline(&[&["GET", &key], &["GET", "count"], &["ECHO", &key]]));
                        assert_eq!(client.text_reply(), round.to_string(), "its own write");
                        let now: u64 = client.text_reply().parse().expect("a number");
                        assert!(now >= count && now >= round, "{now} after {count}");
                        count = now;
                        assert_eq!(client.text_reply(), key);
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    let late: f64 = nodes.iter().map(|address| node(&endpoint, "late_reads", address)).sum();
    assert!(late > 0.0 || endpoint.metric("redan_hedges_total") > 0.0, "nothing was ever late");
}
