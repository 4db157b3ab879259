//! Writes that must be assured while the master changes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::support::stop::StopOnDrop;

/// One of the two has it, and becomes the master: then the other gets it from there.
#[test]
fn a_write_that_the_next_master_has_is_assured_there() {
    let mut group = Relayed::start(2);
    let endpoint = group.endpoint("durable = 2\ndurable_timeout = \"1m\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "1"]);
    group.relays[1].hold();
    client.send(&["SET", "k", "2"]);
    eventually("one replica has it", || group.replicas[0].command(&["GET", "k"]) == bulk("2"));
    assert!(client.is_silent_for(A_WHILE));
    group.master.kill();
    group.replicas[0].replica_of(None);
    assert!(client.is_silent_for(A_WHILE));
    group.replicas[1].replica_of(Some(&group.replicas[0]));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(group.replicas[1].command(&["GET", "k"]), bulk("2"));
    assert_eq!(endpoint.metric(ASSURED), 2.0);
}

/// With one to be had it is assured as soon as the new master is proven: that has it.
#[test]
fn one_copy_is_enough_if_it_is_the_new_masters() {
    let mut group = Relayed::start(2);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"1m\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "1"]);
    // No answer of a replica comes through to Redan, so nothing is proven while the master lives.
    group.relays.iter().for_each(Relay::hold);
    client.send(&["SET", "k", "2"]);
    assert!(client.is_silent_for(A_WHILE));
    group.relays.iter().for_each(Relay::release);
    assert_eq!(client.reply(), "+OK\r\n");
    group.relays[1].hold();
    client.ok(&["SET", "k", "3"]);
    group.master.kill();
    group.replicas[0].replica_of(None);
    eventually("the promoted one serves writes, and too few replicas follow it", || {
        client.ask(&["SET", "k", "4"]).starts_with("-NOREPLICAS ")
    });
    assert_eq!(client.ask(&["GET", "k"]), bulk("3"));
}

#[test]
fn a_write_that_the_next_master_lacks_is_not_called_durable() {
    let mut group = Relayed::start(2);
    let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"1m\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "1"]);
    group.relays.iter().for_each(Relay::hold);
    client.raw(&pipeline(&[&["SET", "k", "2"], &["GET", "k"]]));
    eventually("the master has it", || group.master.command(&["GET", "k"]) == bulk("2"));
    assert!(client.is_silent_for(A_WHILE));
    let address = group.master.address();
    group.master.kill();
    group.replicas[0].replica_of(None);
    group.replicas[1].replica_of(Some(&group.replicas[0]));
    let words = format!(
        "-NOTDURABLE written on {address}, but the master changed before 1 replicas confirmed it: nobody can say whether \
         the new one has it\r\n"
    );
    assert_eq!(client.reply(), words);
    assert_eq!(client.reply(), bulk("2"), "it was read before");
    assert_eq!(endpoint.metric(UNKNOWN), 1.0);
    endpoint.wait_for_readable(2);
    client.ok(&["SET", "k", "3"]);
    assert_eq!(group.replicas[1].command(&["GET", "k"]), bulk("3"));
}

#[test]
fn a_transaction_that_begins_again_where_replicas_are_missing_keeps_its_replies_in_step() {
    let mut group = Group::start("durable = 1\nhold = \"60s\"");
    let mut client = group.endpoint.client();
    client.ok(&["MULTI"]);
    for words in [&["INCR", "counter"], &["INCR", "another"]] {
        assert_eq!(client.ask(words), "+QUEUED\r\n");
    }
    // The next master has no replica, so that its writes are refused where the client has read that they are queued.
    let [first, second, third] = &mut group.servers;
    third.kill();
    second.replica_of(None);
    first.kill();
    group.wait_for_master(1);
    let executed = client.ask(&["EXEC"]);
    assert!(executed.starts_with("-EXECABORT"), "{executed}");
    assert_eq!(client.text(&["ECHO", "in step"]).as_deref(), Some("in step"));
    assert_eq!(group.servers[1].command(&["EXISTS", "counter", "another"]), ":0\r\n");
}

/// Writes keys of its own until it is stopped, in pipelines and one by one; what was acknowledged.
fn write_on(endpoint: &Endpoint, number: usize, stopped: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let mut client = endpoint.client();
    let mut acknowledged = Vec::new();
    let mut next = 0;
    while !stopped.load(Ordering::Relaxed) {
        let batch = [1, 1, 5, 20][number % 4];
        let keys: Vec<String> = (next..next + batch).map(|key| format!("{number}:{key}")).collect();
        next += batch;
        if number % 3 == 2 {
            let mut commands: Vec<Vec<&str>> = vec![vec!["MULTI"]];
            commands.extend(keys.iter().map(|key| vec!["SET", key, "v"]));
            commands.push(vec!["EXEC"]);
            client.raw(&pipeline(&commands.iter().map(|words| &words[..]).collect::<Vec<_>>()));
            let replies: Vec<String> = commands.iter().map(|_| client.reply()).collect();
            if replies.last().is_some_and(|reply| reply.starts_with('*')) {
                acknowledged.extend(keys);
            }
        } else {
            let commands: Vec<[&str; 3]> = keys.iter().map(|key| ["SET", key, "v"]).collect();
            client.raw(&pipeline(&commands.iter().map(|words| &words[..]).collect::<Vec<_>>()));
            for key in keys {
                match client.reply().as_str() {
                    "+OK\r\n" => acknowledged.push(key),
                    error => assert!(error.starts_with('-'), "{error}"),
                }
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// The property that the setting is there for: kill the master under load, promote the replica that is furthest, and
/// whatever was acknowledged is there. Replicas hear the master late, so without assurance much would be missing.
#[test]
fn whatever_was_acknowledged_survives_the_master() {
    for round in 0..4 {
        let mut group = Relayed::start(2);
        let (first, second) = if round % 2 == 0 { (10, 60) } else { (60, 10) };
        group.relays[0].set_delay(Duration::from_millis(first));
        group.relays[1].set_delay(Duration::from_millis(second));
        let endpoint = group.endpoint("durable = 1\ndurable_timeout = \"5s\"\nhold = \"5s\"");
        let (stopped, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let acknowledged = Mutex::new(Vec::new());
        let mut promoted = 0;
        thread::scope(|scope| {
            let stop = StopOnDrop(&stopped);
            for number in 0..8 {
                let (endpoint, stopped, done, acknowledged) = (&endpoint, &stopped, &done, &acknowledged);
                scope.spawn(move || {
                    let keys = write_on(endpoint, number, stopped, done);
                    acknowledged.lock().expect("no panic").extend(keys);
                });
            }
            let progress = |batches| {
                let before = done.load(Ordering::Relaxed);
                eventually("they write", || done.load(Ordering::Relaxed) > before + batches);
            };
            progress(200);
            group.master.kill();
            group.relays.iter().for_each(Relay::cut);
            let down = |redis: &Redis| redis.info("master_link_status").as_deref() == Some("down");
            eventually("the replicas know", || group.replicas.iter().all(down));
            let offset = |redis: &Redis| -> u64 {
                redis.info("slave_repl_offset").and_then(|offset| offset.parse().ok()).expect("an offset")
            };
            promoted = usize::from(offset(&group.replicas[1]) > offset(&group.replicas[0]));
            group.replicas[promoted].replica_of(None);
            group.replicas[1 - promoted].replica_of(Some(&group.replicas[promoted]));
            endpoint.wait_for_readable(2);
            progress(200);
            drop(stop);
        });
        let acknowledged = acknowledged.into_inner().expect("no panic");
        assert!(acknowledged.len() > 300, "{}", acknowledged.len());
        let mut client = Client::connect(&group.replicas[promoted].address());
        let mut lost = Vec::new();
        for key in &acknowledged {
            if client.ask(&["EXISTS", key]) != ":1\r\n" {
                lost.push(key);
            }
        }
        assert!(lost.is_empty(), "round {round}: {} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
        assert_eq!(endpoint.metric("redan_panics_total"), 0.0);
    }
}
