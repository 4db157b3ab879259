//! Networks that are cut under replication: neither server notices.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::link::{Far, Keys};
use crate::support::network::{Host, Network, Server, inside};
use crate::support::redis::eventually;

const QUIET: &str = "repl-timeout 60";

/// A master and a replica on two hosts, replicating through a link.
struct Scene {
    _here: Host,
    there: Host,
    master: Server,
    replica: Server,
    entry: Far,
    exit: Far,
    _keys: Keys,
}

impl Scene {
    fn set(network: &Network, master_lines: &[&str], link: &str) -> Self {
        let [here, there] = [1, 2].map(|number| network.host(number));
        let lines: Vec<&str> =
            [QUIET, "rdbcompression no", "enable-debug-command yes"].iter().chain(master_lines).copied().collect();
        let master = here.redis(&lines);
        let keys = Keys::make();
        let exit = Far::start(&here, &keys.exit_to("127.0.0.1:6379", "0.0.0.0:7443", link));
        eventually("the exit listens", || exit.said().contains("exit on"));
        let entry = Far::start(&there, &keys.entry_to("10.77.0.1:7443", "127.0.0.1:8000", link));
        eventually("the entry listens", || entry.said().contains("entry on"));
        let replica = there.redis(&[QUIET, "rdbcompression no", "enable-debug-command yes"]);
        Self { _here: here, there, master, replica, entry, exit, _keys: keys }
    }

    fn follow(&self) {
        self.replica.client().ok(&["REPLICAOF", "127.0.0.1", "8000"]);
    }

    /// What the replica says of itself, asked on its own host: it may be cut off.
    fn replication_of_replica(&self) -> String {
        let output = self.there.command("redis-cli").args(["INFO", "replication"]).output().expect("redis-cli runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Sends writes for so long, and sees that the replica believes itself connected.
    fn write_for(&self, time: Duration, writer: &mut Client, number: &mut u64) {
        let until = Instant::now() + time;
        let mut watched = Instant::now();
        while Instant::now() < until {
            let (key, value) = (format!("key:{}", *number % 1000), format!("{number}:{}", "x".repeat(200)));
            writer.ok(&["SET", &key, &value]);
            writer.ask(&["APPEND", "log", &format!("{number},")]);
            *number += 1;
            if watched.elapsed() > Duration::from_millis(250) {
                watched = Instant::now();
                let info = self.replication_of_replica();
                assert!(info.contains("master_link_status:up"), "{info}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn until_equal(&self) {
        let (mut master, mut replica) = (self.master.client(), self.replica.client());
        let field = |client: &mut Client, name: &str| {
            let info = client.ask(&["INFO", "replication"]);
            info.split_once(&format!("{name}:")).map(|(_, rest)| rest.lines().next().unwrap_or_default().to_owned())
        };
        eventually("the replica has everything", || {
            field(&mut master, "master_repl_offset") == field(&mut replica, "slave_repl_offset")
        });
        let digests = [&mut master, &mut replica].map(|client| client.ask(&["DEBUG", "DIGEST"]));
        assert_eq!(digests[0], digests[1]);
        assert_ne!(digests[0].trim_matches(['+', '\r', '\n', '0']), "", "there is data");
        let stats = master.ask(&["INFO", "stats"]);
        assert!(stats.contains("sync_full:1\r\n") && stats.contains("sync_partial_ok:0\r\n"), "{stats}");
    }
}

fn cut_during_steady_replication(network: &Network, cut: Duration) {
    let scene = Scene::set(network, &[], "");
    scene.master.client().ok(&["DEBUG", "POPULATE", "10000", "old", "100"]);
    scene.follow();
    scene.replica.wait_for_link();
    let mut writer = scene.master.client();
    let mut number = 0;
    scene.write_for(Duration::from_millis(500), &mut writer, &mut number);
    scene.there.unplug();
    scene.write_for(cut, &mut writer, &mut number);
    scene.there.plug();
    scene.write_for(Duration::from_secs(2), &mut writer, &mut number);
    scene.until_equal();
    if cut > Duration::from_secs(6) {
        for far in [&scene.entry, &scene.exit] {
            assert!(far.said().contains("both sides are kept"), "it was noticed");
        }
        assert!(scene.entry.said().contains("goes on after"));
    }
}

#[test]
fn a_second_without_network_passes_unnoticed() {
    inside("link::breaks::a_second_without_network_passes_unnoticed", |network| {
        cut_during_steady_replication(network, Duration::from_secs(1));
    });
}

#[test]
fn five_seconds_without_network_pass_unnoticed() {
    inside("link::breaks::five_seconds_without_network_pass_unnoticed", |network| {
        cut_during_steady_replication(network, Duration::from_secs(5));
    });
}

#[test]
fn twenty_five_seconds_without_network_pass_unnoticed() {
    inside("link::breaks::twenty_five_seconds_without_network_pass_unnoticed", |network| {
        cut_during_steady_replication(network, Duration::from_secs(25));
    });
}

/// The master takes some 8 s to say its data, so that there is time to cut it off in the middle.
fn cut_during_a_full_sync(network: &Network, cut: Duration) {
    let scene = Scene::set(network, &["rdb-key-save-delay 100"], "");
    scene.master.client().ok(&["DEBUG", "POPULATE", "40000", "key", "1000"]);
    scene.follow();
    let read = || {
        let info = scene.replication_of_replica();
        let bytes = info.split_once("master_sync_read_bytes:").map(|(_, rest)| rest.lines().next().unwrap_or_default());
        bytes.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    eventually("the data is on its way", || read() > 2_000_000);
    scene.there.unplug();
    std::thread::sleep(cut);
    let info = scene.replication_of_replica();
    assert!(info.contains("master_sync_in_progress:1"), "{info}");
    scene.there.plug();
    scene.replica.wait_for_link();
    scene.until_equal();
}

#[test]
fn a_full_sync_goes_on_after_a_second() {
    inside("link::breaks::a_full_sync_goes_on_after_a_second", |network| {
        cut_during_a_full_sync(network, Duration::from_secs(1));
    });
}

#[test]
fn a_full_sync_goes_on_after_five_seconds() {
    inside("link::breaks::a_full_sync_goes_on_after_five_seconds", |network| {
        cut_during_a_full_sync(network, Duration::from_secs(5));
    });
}

#[test]
fn a_full_sync_goes_on_after_twenty_five_seconds() {
    inside("link::breaks::a_full_sync_goes_on_after_twenty_five_seconds", |network| {
        cut_during_a_full_sync(network, Duration::from_secs(25));
    });
}

#[test]
fn what_is_not_resumed_in_time_is_reset_at_both_ends_and_replication_begins_again() {
    inside("link::breaks::what_is_not_resumed_in_time_is_reset_at_both_ends_and_replication_begins_again", |network| {
        let scene = Scene::set(network, &["repl-backlog-size 10mb"], "resume = \"1s\"");
        scene.follow();
        scene.replica.wait_for_link();
        scene.there.unplug();
        for far in [&scene.entry, &scene.exit] {
            eventually("it gives up", || far.said().contains("is reset: the link broke"));
        }
        eventually("the replica knows", || scene.replication_of_replica().contains("master_link_status:down"));
        scene.there.plug();
        scene.replica.wait_for_link();
    });
}
