//! Both ends of a link are replaced under replication: neither server notices.

use super::*;
use crate::support::link::Keys;

struct Scene {
    master: Redis,
    replica: Redis,
    entry: Proxy,
    exit: Proxy,
    _keys: Keys,
}

impl Scene {
    fn set(exit: &str, lines: &[&str]) -> Self {
        let options = |lines: &[&str]| lines.iter().fold(Options::default(), |options, line| options.line(line));
        let (master, replica) = (options(lines).start(), Redis::start());
        let keys = Keys::make();
        let (entry, exit) = keys.pair(&master.address(), "", exit);
        Self { master, replica, entry, exit, _keys: keys }
    }

    fn follow(&self) {
        let port = self.entry.address(0).rsplit_once(':').expect("a port").1.to_owned();
        self.replica.ok(&["REPLICAOF", "127.0.0.1", &port]);
    }

    fn is_up(&self) -> bool {
        self.replica.info("master_link_status").as_deref() == Some("up")
    }

    /// The replica has all of the master's data, and was sent it once.
    fn ends_well(&self) {
        within(UPGRADE, "the replica has everything", || {
            self.is_up() && self.master.info("master_repl_offset") == self.replica.info("slave_repl_offset")
        });
        let digest = |redis: &Redis| redis.command(&["DEBUG", "DIGEST"]);
        assert_eq!(digest(&self.master), digest(&self.replica));
        let syncs = ["sync_full", "sync_partial_ok"].map(|field| self.master.info(field));
        assert_eq!(syncs, [Some("1".to_owned()), Some("0".to_owned())], "{}\n{}", self.entry.said(), self.exit.said());
    }
}

fn replication_goes_on(exit: &str) {
    let scene = Scene::set(exit, &[]);
    scene.follow();
    within(UPGRADE, "the replica follows", || scene.is_up());
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let mut client = Client::connect(&scene.master.address());
            while !stop.load(Relaxed) {
                let number = written.fetch_add(1, Relaxed);
                client.ok(&["SET", &format!("key:{}", number % 500), &"x".repeat(number as usize % 3000)]);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let watcher = threads.spawn(|| {
            while !stop.load(Relaxed) {
                assert!(scene.is_up(), "{}\n{}", scene.entry.said(), scene.exit.said());
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        for round in 0..6 {
            let before = written.load(Relaxed);
            within(UPGRADE, "there is load", || written.load(Relaxed) > before + 100 || writer.is_finished());
            upgrade(if round % 2 == 0 { &scene.entry } else { &scene.exit });
        }
        // Both at once.
        let old = [begin(&scene.entry), begin(&scene.exit)];
        within(UPGRADE, "both have ended", || !old.iter().any(|id| is_running(*id)));
        stop.store(true, Relaxed);
        writer.join().expect("the master takes every write");
        watcher.join().expect("the replica is always connected");
    });
    scene.ends_well();
    for proxy in [&scene.entry, &scene.exit] {
        assert!(!proxy.said().contains("is reset"), "{}", proxy.said());
    }
}

#[test]
fn replication_goes_on_when_either_end_is_replaced() {
    replication_goes_on("");
}

#[test]
fn and_where_the_exit_lets_through_replicas_alone() {
    replication_goes_on("commands = \"replication\"");
}

#[test]
fn a_full_sync_goes_on_when_either_end_is_replaced() {
    // Each key takes the master 100 µs to send.
    let scene = Scene::set("", &["rdb-key-save-delay 100", "repl-diskless-sync yes", "rdbcompression no"]);
    scene.master.ok(&["DEBUG", "POPULATE", "100000", "key", "200"]);
    scene.follow();
    let loading = || {
        let in_progress = scene.replica.info("master_sync_in_progress");
        let read = scene.replica.info("master_sync_read_bytes").and_then(|bytes| bytes.parse::<u64>().ok());
        (in_progress.as_deref() == Some("1"), read.unwrap_or(0))
    };
    let mut upgraded_within = 0;
    for round in 0..4 {
        within(UPGRADE, "data comes", || !loading().0 || loading().1 > 1_000_000 * (round + 1));
        let before = loading().0;
        upgrade(if round % 2 == 0 { &scene.entry } else { &scene.exit });
        upgraded_within += u32::from(before && loading().0);
    }
    assert!(upgraded_within >= 2, "the full sync was over too soon to show anything: {upgraded_within}");
    scene.ends_well();
}

#[test]
fn clients_over_a_link_go_on_as_well() {
    let scene = Scene::set("", &[]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&scene.entry.address(0))).collect();
    // One that has said nothing yet.
    let mut silent = Client::connect(&scene.entry.address(0));
    let mut number = 0;
    for round in 0..4 {
        for client in &mut clients {
            number += 1;
            assert_eq!(client.ask(&["INCR", "key"]), format!(":{number}\r\n"));
        }
        upgrade(if round % 2 == 0 { &scene.exit } else { &scene.entry });
    }
    number += 1;
    assert_eq!(silent.ask(&["INCR", "key"]), format!(":{number}\r\n"));
    assert!(
        scene.entry.said().contains("handed over 0 clients and 21 connections over links"),
        "{}",
        scene.entry.said()
    );
}
