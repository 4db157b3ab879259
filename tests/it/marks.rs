//! What a session has seen it sees again: its own writes, and never an older state, while replicas lag, die and return.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::fake::Fake;
use crate::support::lagging::{Lagging, gets};
use crate::support::redis::{Redis, eventually};
use crate::support::relay::Relay;

const FROM_REPLICAS: &str = "redan_reads_total{from=\"replica\"}";
const FROM_MASTER: &str = "redan_reads_total{from=\"master\"}";

#[test]
fn a_session_sees_its_own_writes_however_late_the_replica_is() {
    let group = Lagging::start();
    group.relay.set_delay(Duration::from_millis(50));
    let endpoint = group.endpoint("");
    thread::scope(|scope| {
        for number in 0..8 {
            let endpoint = &endpoint;
            scope.spawn(move || {
                let mut client = if number % 2 == 0 { endpoint.client() } else { endpoint.resp3() };
                let key = format!("own:{number}");
                for round in 0..150 {
                    let value = round.to_string();
                    client.ok(&["SET", &key, &value]);
                    // Reads from right behind the write to long after it, as replicas catch up.
                    for pause_ms in [0, 0, 1, round % 7] {
                        thread::sleep(Duration::from_millis(pause_ms));
                        assert_eq!(client.text(&["GET", &key]), Some(value.clone()), "client {number}");
                    }
                    client.raw(&pipeline(&[&["MULTI"], &["APPEND", &key, "x"], &["EXEC"]]));
                    (0..3).for_each(|_| drop(client.reply()));
                    assert_eq!(client.text(&["GET", &key]), Some(value + "x"), "client {number}, after a transaction");
                }
            });
        }
    });
}

#[test]
fn reads_go_to_the_replica_again_once_it_has_the_write() {
    let group = Lagging::start();
    let endpoint = group.endpoint("");
    let mut client = endpoint.client();
    group.relay.hold();
    client.ok(&["SET", "k", "new"]);
    let (at_replica, at_master) = (gets(&group.replica), gets(&group.master));
    for _ in 0..300 {
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("new"));
    }
    assert_eq!(gets(&group.replica), at_replica, "the replica cannot have the write and was asked");
    assert_eq!(gets(&group.master), at_master + 300);
    group.relay.release();
    eventually("the session reads from the replica again", || {
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("new"));
        gets(&group.replica) > at_replica
    });
    let at_master = gets(&group.master);
    for _ in 0..300 {
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("new"));
    }
    assert_eq!(gets(&group.master), at_master, "nothing was written since: all reads belong to the replica");
}

/// An application that opens a connection per request: what one wrote the next one sees.
#[test]
fn a_new_session_sees_what_was_acknowledged_before_it() {
    let group = Lagging::start();
    group.relay.set_delay(Duration::from_millis(30));
    let endpoint = group.endpoint("");
    for round in 0..100 {
        let value = round.to_string();
        endpoint.client().ok(&["SET", "k", &value]);
        thread::sleep(Duration::from_millis(round % 5));
        assert_eq!(endpoint.client().text(&["GET", "k"]), Some(value));
    }
}

/// Whatever brought a session to the master, and however fast it reads, it does not stay there.
#[test]
fn a_session_that_only_reads_soon_reads_from_replicas() {
    let group = Lagging::start();
    let endpoint = group.endpoint("");
    for round in 0..5 {
        endpoint.client().ok(&["SET", "k", &round.to_string()]);
        let mut client = endpoint.client();
        // On a busy machine the replica may be too far behind for a while, and the session's patience doubles.
        eventually("most of 500 reads in a row are served by the replica", || {
            let before = gets(&group.replica);
            for _ in 0..500 {
                assert_eq!(client.text(&["GET", "k"]), Some(round.to_string()));
            }
            gets(&group.replica) - before >= 300
        });
    }
    // Nor does it wait for a replica that does not come.
    group.relay.hold();
    endpoint.client().ok(&["SET", "k", "held"]);
    let mut client = endpoint.client();
    let start = Instant::now();
    for _ in 0..500 {
        assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("held"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "500 reads took {:?}", start.elapsed());
    group.relay.release();
}

/// Two replicas of different age: a session that has seen the newer must not be shown the older.
#[test]
fn a_reader_never_goes_back_in_time() {
    let master = Redis::start();
    let relays = [Relay::to(&master), Relay::to(&master)];
    let mut replicas = relays.each_ref().map(|relay| {
        let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {}", relay.port())).start();
        replica.wait_for_link();
        replica
    });
    relays[1].set_delay(Duration::from_millis(40));
    let endpoint = Endpoint::of(&[&master, &replicas[0], &replicas[1]], "");
    let stop = AtomicBool::new(false);
    let read = |number: usize| {
        let mut client = endpoint.client();
        let mut last = 0;
        let mut reads = 0;
        while !stop.load(Ordering::Relaxed) {
            // In pipelines and one by one.
            let batch = if reads % 3 == 0 { 5 } else { 1 };
            client.raw(&pipeline(&vec![&["GET", "counter"][..]; batch]));
            for _ in 0..batch {
                let reply = client.reply();
                let value: u64 = match reply.split("\r\n").nth(1) {
                    Some(text) if reply.starts_with('$') && reply != "$-1\r\n" => text.parse().expect("a number"),
                    _ => {
                        assert_eq!(reply, "$-1\r\n");
                        0
                    }
                };
                assert!(value >= last, "reader {number} saw {value} after {last}");
                last = value;
                reads += 1;
            }
        }
        assert!(last > 0, "it read something");
        reads
    };
    let reads: u64 = thread::scope(|scope| {
        let readers: Vec<_> = (0..6).map(|number| scope.spawn(move || read(number))).collect();
        let counting = scope.spawn(|| {
            let mut client = endpoint.client();
            while !stop.load(Ordering::Relaxed) {
                client.integer(&["INCR", "counter"]);
                thread::sleep(Duration::from_micros(300));
            }
        });
        // Each replica dies once and comes back empty, synchronises, and serves again.
        for index in [0, 1] {
            thread::sleep(Duration::from_millis(500));
            replicas[index].kill();
            let address = replicas[index].address();
            eventually("the dead replica is out", || !endpoint.is_readable(&address));
            replicas[index].restart();
            eventually("the replica serves again", || endpoint.is_readable(&address));
        }
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        counting.join().expect("the writer");
        readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
    });
    assert!(endpoint.metric(FROM_REPLICAS) > reads as f64 / 2.0, "most reads belong to replicas");
}

#[test]
fn eventual_reads_go_to_replicas_that_are_not_too_late() {
    let group = Lagging::start();
    let endpoint = group.endpoint("consistency = \"eventual\"\nmax_lag = \"1s\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "old"]);
    eventually("the replica has it", || group.replica.command(&["GET", "k"]) == bulk("old"));
    // A short lag is accepted, stale data with it.
    group.relay.hold();
    client.ok(&["SET", "k", "new"]);
    assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("old"));
    let held = Instant::now();
    let mut writer = endpoint.client();
    eventually("the replica is too late", || {
        // The lag is measured by the master's progress.
        writer.ok(&["SET", "progress", "x"]);
        client.text(&["GET", "k"]).as_deref() == Some("new")
    });
    assert!(held.elapsed() > Duration::from_millis(900), "it was abandoned after {:?}", held.elapsed());
    group.relay.release();
    let before = gets(&group.replica);
    eventually("the replica is used again", || {
        client.text(&["GET", "k"]);
        gets(&group.replica) > before
    });
}

#[test]
fn strong_reads_go_to_the_master() {
    let group = Lagging::start();
    let endpoint = group.endpoint("reads = \"master\"\nconsistency = \"strong\"");
    let mut clients = [endpoint.client(), endpoint.client()];
    group.relay.hold();
    for number in 0..100 {
        let number = number.to_string();
        clients[0].ok(&["SET", "k", &number]);
        assert_eq!(clients[1].text(&["GET", "k"]), Some(number));
    }
    assert_eq!(endpoint.metric(FROM_REPLICAS), 0.0);
    assert_eq!(endpoint.metric(FROM_MASTER), 100.0);
    group.relay.release();
}

/// A master and two replicas that answer reads with their own port.
fn fakes() -> [Fake; 3] {
    let master = Fake::master();
    let replicas = [Fake::replica_of(&master), Fake::replica_of(&master)];
    let [first, second] = replicas;
    [master, first, second]
}

/// Which of the nodes served a read.
fn who_serves(client: &mut Client, nodes: &[Fake; 3]) -> usize {
    let text = client.text(&["GET", "k"]).expect("a string");
    nodes.iter().position(|node| text == format!("k@{}", node.port())).expect("one of the nodes")
}

fn addresses(nodes: &[Fake; 3]) -> Vec<String> {
    nodes.iter().map(Fake::address).collect()
}

#[test]
fn reads_are_spread_over_the_nodes_that_the_policy_names() {
    let nodes = fakes();
    let table = [("any", [true, true, true]), ("replica", [false, true, true]), ("master", [true, false, false])];
    for (reads, serving) in table {
        let endpoint = Endpoint::start(&addresses(&nodes), &format!("reads = \"{reads}\""), "");
        let mut served = [0; 3];
        // A session stays where it is, so the spread is over sessions.
        for _ in 0..120 {
            let mut client = endpoint.client();
            let node = who_serves(&mut client, &nodes);
            served[node] += 1;
            assert_eq!(who_serves(&mut client, &nodes), node);
        }
        for (count, serves) in served.iter().zip(serving) {
            assert!(if serves { *count > 15 } else { *count == 0 }, "reads = {reads}: {served:?}");
        }
    }
}

#[test]
fn nearest_reads_go_where_the_round_trip_is_shortest() {
    let nodes = fakes();
    nodes[0].set_distance(Duration::from_millis(15));
    nodes[2].set_distance(Duration::from_millis(10));
    let endpoint = Endpoint::start(&addresses(&nodes), "reads = \"nearest\"", "");
    for _ in 0..30 {
        assert_eq!(who_serves(&mut endpoint.client(), &nodes), 1);
    }
}

/// A write takes a session to the master; it must not stay there for good.
#[test]
fn a_session_that_wrote_comes_back_from_the_master() {
    let nodes = fakes();
    nodes[0].set_distance(Duration::from_millis(15));
    for reads in ["replica", "any", "nearest"] {
        let endpoint = Endpoint::start(&addresses(&nodes), &format!("reads = \"{reads}\""), "");
        let mut client = endpoint.client();
        client.ok(&["SET", "k", "v"]);
        assert_eq!(who_serves(&mut client, &nodes), 0, "reads = {reads}: no replica can be proven yet");
        eventually(&format!("it reads from a replica again with reads = {reads}"), || {
            who_serves(&mut client, &nodes) != 0
        });
    }
}

/// Whoever would choose among more replicas asks the master for a proof. A master that answers nothing must not keep it from
/// the replica that it has.
#[test]
fn a_frozen_master_does_not_keep_readers_waiting() {
    let master = Redis::start();
    let replicas = [(); 2].map(|()| Redis::options().replica_of(&master).start());
    replicas.iter().for_each(Redis::wait_for_link);
    let endpoint = Endpoint::of(&[&master, &replicas[0], &replicas[1]], "");
    let mut writer = endpoint.client();
    writer.ok(&["SET", "k", "v"]);
    let mut readers: Vec<Client> = (0..4).map(|_| endpoint.client()).collect();
    let mut read_for = |time: Duration| {
        let (start, mut longest) = (Instant::now(), Duration::ZERO);
        while start.elapsed() < time {
            for reader in &mut readers {
                let asked = Instant::now();
                assert_eq!(reader.ask(&["GET", "k"]), bulk("v"));
                longest = longest.max(asked.elapsed());
            }
            thread::sleep(Duration::from_millis(2));
        }
        longest
    };
    // Sessions choose again every 2 s.
    read_for(Duration::from_millis(1500));
    master.freeze();
    let longest = read_for(Duration::from_millis(2500));
    assert!(longest < Duration::from_millis(700), "a read waited {longest:?}");
}
