//! What a link keeps from replicas, and from masters: masters that came back empty, and too many full syncs at a time.

use std::time::{Duration, Instant};

use super::linked::{Linked, metric, wait_until_equal};
use crate::support::redis::{Redis, eventually, within};

/// For what several servers do one after the other.
const PATIENCE: Duration = Duration::from_secs(60);

const DENIED_EMPTY: &str = "redan_link_syncs_denied_total{link=\"there\",reason=\"empty-master\"}";
const DENIED_FULL: &str = "redan_link_syncs_denied_total{link=\"there\",reason=\"full-syncs\"}";

fn keys_of(server: &Redis) -> String {
    server.command(&["DBSIZE"])
}

/// A replica keeps what it has while its master is empty, and gets what the master has when that is allowed.
fn is_kept_until_allowed(master: &mut Redis, replica: &Redis, linked: &Linked) {
    replica.wait_for_link();
    eventually("the replica has it", || keys_of(replica) == ":100\r\n");
    master.restart();
    let denied = || metric(&linked.entry, DENIED_EMPTY).unwrap_or(0.0);
    eventually("it is refused", || denied() >= 1.0);
    // A key on the empty master does not open the way.
    master.ok(&["SET", "new", "life"]);
    let before = denied();
    eventually("it is refused again", || denied() > before);
    assert_eq!(keys_of(replica), ":100\r\n");
    assert_eq!(replica.info("master_link_status").as_deref(), Some("down"));
    assert_eq!(linked.entry.said().matches("keeps its data and is refused").count(), 1, "one line a minute");
    linked.allow("60s");
    replica.wait_for_link();
    eventually("the replica has what the master has", || keys_of(replica) == ":1\r\n");
    eventually("the log says so", || linked.entry.said().contains("is let through, as ordered"));
    wait_until_equal(master, replica);
}

#[test]
fn a_master_that_comes_back_empty_does_not_empty_its_replica() {
    let mut master = Redis::options().password("secret").start();
    master.ok(&["DEBUG", "POPULATE", "100", "key", "10"]);
    let linked = Linked::to(&master, "", "");
    let replica = linked.replica(Redis::options().master_auth("secret"));
    is_kept_until_allowed(&mut master, &replica, &linked);
    // Both ends watch, and one asks.
    let here = |series: &str| metric(&linked.exit, &series.replace("there", "here"));
    assert_eq!(here("redan_link_syncs_total{link=\"there\",kind=\"full\"}"), Some(2.0));
    assert_eq!(here(DENIED_EMPTY), Some(0.0));
}

#[test]
fn a_replica_that_restarted_without_its_history_is_known_again() {
    let mut master = Redis::start();
    master.ok(&["DEBUG", "POPULATE", "100", "key", "10"]);
    let linked = Linked::to(&master, "", "");
    // What it loads from an append-only file comes without the name of its master's history.
    let options = Redis::options().line("appendonly yes").line("aof-use-rdb-preamble no");
    let mut replica = linked.replica(options);
    replica.wait_for_link();
    eventually("its file is written", || {
        replica.info("aof_rewrite_in_progress").as_deref() == Some("0") && keys_of(&replica) == ":100\r\n"
    });
    replica.kill();
    master.restart();
    replica.restart();
    eventually("it is refused", || metric(&linked.entry, DENIED_EMPTY).unwrap_or(0.0) >= 1.0);
    assert_eq!(keys_of(&replica), ":100\r\n");
    linked.allow("60s");
    replica.wait_for_link();
    eventually("it is empty as ordered", || keys_of(&replica) == ":0\r\n");
}

#[test]
fn a_master_that_does_not_say_what_it_has_is_trusted_unless_told_otherwise() {
    for (policy, kept) in [("refuse", false), ("refuse-unsure", true)] {
        let user = "user copier on >secret +psync +replconf +ping";
        let mut master = Redis::options().line(user).start();
        master.ok(&["DEBUG", "POPULATE", "100", "key", "10"]);
        let linked = Linked::to(&master, &format!("empty_master = \"{policy}\""), "");
        let replica = linked.replica(Redis::options().master_auth("secret").line("masteruser copier"));
        replica.wait_for_link();
        eventually("the replica has it", || keys_of(&replica) == ":100\r\n");
        eventually("something of the stream came", || {
            replica.info("slave_repl_offset").and_then(|offset| offset.parse::<u64>().ok()) > Some(1)
        });
        master.restart();
        if kept {
            eventually("it is refused", || metric(&linked.entry, DENIED_EMPTY).unwrap_or(0.0) >= 1.0);
            assert_eq!(keys_of(&replica), ":100\r\n");
        } else {
            eventually("it was emptied", || keys_of(&replica) == ":0\r\n");
            assert_eq!(metric(&linked.entry, DENIED_EMPTY), Some(0.0));
        }
        eventually("the log says why", || linked.entry.said().contains("give the replica's user the right to INFO"));
    }
}

#[test]
fn the_exit_can_be_the_one_that_asks() {
    exit_asks("");
}

/// Every word goes by the policy first, and what the link itself asks does not confuse it.
#[test]
fn an_exit_for_replication_alone_asks_as_well() {
    exit_asks("commands = \"replication\"\nfull_syncs = 1");
}

fn exit_asks(more: &str) {
    let mut master = Redis::start();
    master.ok(&["DEBUG", "POPULATE", "100", "key", "10"]);
    let linked = Linked::to(
        &master,
        "empty_master = \"allow\"",
        &format!("empty_master = \"refuse\"\nempty_below = 10\n{more}"),
    );
    let replica = linked.replica(Redis::options());
    replica.wait_for_link();
    eventually("the replica has it", || keys_of(&replica) == ":100\r\n");
    eventually("something of the stream came", || {
        replica.info("slave_repl_offset").and_then(|offset| offset.parse::<u64>().ok()) > Some(1)
    });
    master.kill();
    master.restart();
    master.ok(&["DEBUG", "POPULATE", "9", "key", "10"]);
    eventually("it is refused", || metric(&linked.exit, &DENIED_EMPTY.replace("there", "here")).unwrap_or(0.0) >= 1.0);
    assert_eq!(keys_of(&replica), ":100\r\n");
    assert_eq!(metric(&linked.entry, DENIED_EMPTY), Some(0.0));
}

#[test]
fn a_storm_of_full_syncs_passes_one_by_one() {
    // The first takes some seconds, so that others meet it.
    let master = Redis::options().line("rdb-key-save-delay 1500").line("rdbcompression no").start();
    master.ok(&["DEBUG", "POPULATE", "3000", "key", "1000"]);
    let linked = Linked::to(&master, "full_syncs = 1", "");
    let read = |name: &str| metric(&linked.entry, &format!("redan_link_{name}")).expect("counted");
    let replicas: Vec<Redis> = (0..4).map(|_| linked.replica(Redis::options())).collect();
    let up = |replica: &Redis| replica.info("master_link_status").as_deref() == Some("up");
    eventually("somebody is told to wait", || metric(&linked.entry, DENIED_FULL).expect("counted") >= 1.0);
    master.ok(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    within(PATIENCE, "all have their data", || {
        let under_way = read("full_syncs{link=\"there\"}");
        assert!(under_way <= 1.0, "{under_way}");
        replicas.iter().all(up)
    });
    eventually("nobody waits", || read("full_syncs{link=\"there\"}") == 0.0);
    replicas.iter().for_each(|replica| wait_until_equal(&master, replica));
    // Replicas that wait at the master share a fork, and here none did.
    let full = read("syncs_total{link=\"there\",kind=\"full\"}");
    assert!(full >= 4.0, "{full}");
    assert_eq!(master.info("total_forks").and_then(|forks| forks.parse().ok()), Some(full));
    // A partial sync needs no turn: their connections are broken.
    master.ok(&["CLIENT", "KILL", "TYPE", "replica"]);
    within(PATIENCE, "all are back", || read("syncs_total{link=\"there\",kind=\"partial\"}") >= 4.0);
    assert_eq!(read("syncs_total{link=\"there\",kind=\"full\"}"), full);
}

/// Some 3 MB at 1 MB/s: three seconds, less the tenth of one that may pass at once.
fn data_is_paced_and_the_stream_is_not(entry: &str, exit: &str) {
    let master = Redis::options().line("rdbcompression no").start();
    master.ok(&["DEBUG", "POPULATE", "3000", "key", "1000"]);
    let linked = Linked::to(&master, entry, exit);
    let began = Instant::now();
    let replica = linked.replica(Redis::options());
    let mut largest = 0.0_f64;
    eventually("the replica has its data", || {
        largest = largest.max(metric(&linked.entry, "redan_link_rdb_bytes{link=\"there\"}").expect("counted"));
        replica.info("master_link_status").as_deref() == Some("up")
    });
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2500), "it took {took:?}");
    assert!(largest > 100_000.0, "progress is seen: {largest}");
    eventually("nothing is left of it", || metric(&linked.entry, "redan_link_rdb_bytes{link=\"there\"}") == Some(0.0));
    // Through the stream 50 MB, which at the rate would take 48 s.
    let before = Instant::now();
    master.ok(&["EVAL", "for i = 1, 500 do redis.call('SET', 'big:' .. i % 9, string.rep('x', 100000)) end", "0"]);
    wait_until_equal(&master, &replica);
    let took = before.elapsed();
    assert!(took < Duration::from_secs(30), "the stream took {took:?}");
    eventually("it acknowledges", || {
        metric(&linked.entry, "redan_link_lag_bytes{link=\"there\"}").is_some_and(|lag| lag < 1000.0)
    });
}

#[test]
fn data_is_paced_at_the_entry_and_the_stream_is_not() {
    data_is_paced_and_the_stream_is_not("rdb_rate = \"1mb\"\nreplay = \"1mb\"", "");
}

#[test]
fn data_is_paced_at_the_exit_and_the_stream_is_not() {
    data_is_paced_and_the_stream_is_not("", "rdb_rate = \"1mb\"");
}

#[test]
fn lag_and_headroom_are_seen_and_a_small_backlog_is_warned_of() {
    let master = Redis::options().line("repl-backlog-size 16kb").start();
    let linked = Linked::to(&master, "", "");
    let replica = linked.replica(Redis::options());
    replica.wait_for_link();
    let read = |name: &str| metric(&linked.entry, &format!("redan_link_{name}{{link=\"there\"}}"));
    // The master begins to send the stream when it has been acknowledged that the data has come.
    master.ok(&["SET", "key", "value"]);
    wait_until_equal(&master, &replica);
    eventually("it is level", || read("lag_bytes") == Some(0.0));
    replica.freeze();
    let mut seen = (0.0_f64, 0.0_f64);
    eventually("it is behind", || {
        master.ok(&["SET", "key", &"x".repeat(60_000)]);
        seen = (seen.0.max(read("lag_bytes").unwrap_or(0.0)), seen.1.max(read("lag_seconds").unwrap_or(0.0)));
        seen.0 > 100_000.0 && seen.1 > 1.0
    });
    replica.thaw();
    eventually("the log warns", || linked.entry.said().contains("raise repl-backlog-size"));
    assert!(read("backlog_headroom_seconds").is_some_and(|seconds| seconds < 30.0));
    wait_until_equal(&master, &replica);
    eventually("it is level again", || read("lag_bytes").is_some_and(|bytes| bytes < 1000.0));
}
