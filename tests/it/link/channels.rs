//! Replicas whose data comes over a connection of its own, where the server has that; over the one connection where not.

use std::time::Duration;

use super::linked::{Linked, metric, wait_until_equal};
use crate::support::redis::{Redis, eventually, within};

/// What makes such replicas of the server that is tested. Redis has it from 8.0 on, Valkey from 8.0 on.
fn lines() -> Vec<&'static str> {
    let server = Redis::start();
    let version = server.info("redis_version").expect("a version");
    let redis = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).expect("a number");
    match server.valkey() {
        Some(8..) => vec!["dual-channel-replication-enabled yes"],
        None if redis >= 8 => vec!["repl-rdb-channel yes", "repl-diskless-load swapdb"],
        _ => vec![],
    }
}

#[test]
fn a_replica_is_announced_and_counted_once_however_many_connections_it_has() {
    let lines = lines();
    let options = || lines.iter().fold(Redis::options(), |options, line| options.line(line));
    // Long enough that two replicas meet.
    let slow = options().line("rdb-key-save-delay 500").line("rdbcompression no");
    let master = slow.start();
    master.ok(&["DEBUG", "POPULATE", "3000", "key", "1000"]);
    let linked = Linked::to(&master, "announce = \"10.9.8.7:7777\"\nfull_syncs = 1", "");
    let replicas = [(); 2].map(|()| linked.replica(options()));
    let (mut named, mut second) = (0, false);
    let read = |name: &str| metric(&linked.entry, &format!("redan_link_{name}"));
    within(Duration::from_secs(60), "both have their data", || {
        let info = master.command(&["INFO", "replication"]);
        // Valkey shows the second connection, Redis that the stream comes over the first one meanwhile.
        second |= info.contains("type=rdb-channel") || info.contains("state=send_bulk_and_stream");
        let slaves = info.lines().filter(|line| line.starts_with("slave") && line.contains("ip="));
        for line in slaves {
            assert!(line.contains("ip=10.9.8.7,port=7777"), "{line}");
            named += 1;
        }
        assert!(read("full_syncs{link=\"there\"}") <= Some(1.0));
        replicas.iter().all(|replica| replica.info("master_link_status").as_deref() == Some("up"))
    });
    assert!(named > 0);
    assert_eq!(read("syncs_total{link=\"there\",kind=\"full\"}"), Some(2.0));
    assert_eq!(read("syncs_total{link=\"there\",kind=\"partial\"}"), Some(0.0));
    master.ok(&["SET", "behind", "it"]);
    replicas.iter().for_each(|replica| wait_until_equal(&master, replica));
    eventually("both are level", || read("lag_bytes{link=\"there\"}").is_some_and(|bytes| bytes < 100.0));
    assert_eq!(second, !lines.is_empty(), "the data came over a second connection where the server has that");
}
