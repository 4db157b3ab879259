//! The rules of the proof and of health as situations, in the words of people who switch masters by hand.

use super::*;
use crate::topology::Version;
use crate::topology::observe::ListedReplica;

const MS: Duration = Duration::from_millis(1);

/// A node's answer, built like a sentence.
#[derive(Clone)]
struct Says(Observation);

fn master(run: &str, replid: &str, offset: u64) -> Says {
    Says(Observation {
        role: Role::Master,
        run_id: Some(run.into()),
        version: Some(Version(7, 0, 15)),
        replid: Some(replid.into()),
        offset: Some(offset),
        loading: Some(false),
        replicas: Some(Vec::new()),
        keys: Some(7),
        ..Observation::empty()
    })
}

fn replica(run: &str, of: &str, replid: &str, offset: u64) -> Says {
    Says(Observation {
        role: Role::Replica,
        parent: Some(of.into()),
        link_up: Some(true),
        syncing: Some(false),
        last_io: Some(0),
        read_only: Some(true),
        announced: Some(true),
        ..master(run, replid, offset).0
    })
}

impl Says {
    fn with(mut self, change: impl FnOnce(&mut Observation)) -> Self {
        change(&mut self.0);
        self
    }

    fn continuing(self, replid2: &str, second: u64) -> Self {
        self.with(|seen| {
            seen.replid2 = Some(replid2.into());
            seen.second_offset = Some(second);
        })
    }

    fn link_down(self, seconds: Option<u64>) -> Self {
        self.with(|seen| {
            seen.link_up = Some(false);
            seen.link_down_for = seconds;
            seen.last_io = None;
        })
    }

    fn listing(self, addresses: &[&str]) -> Self {
        let list = addresses.iter().map(|address| ListedReplica {
            address: (*address).to_owned(),
            online: true,
            offset: None,
        });
        self.with(|seen| seen.replicas = Some(list.collect()))
    }

    fn old(self) -> Self {
        self.with(|seen| {
            (seen.replid, seen.replid2, seen.second_offset) = (None, None, None);
            seen.version = Some(Version(3, 2, 13));
            seen.announced = None;
        })
    }
}

struct World {
    tracker: Tracker,
    now: Instant,
    said: Vec<(Level, String)>,
    probes: Vec<String>,
    forgotten: Vec<String>,
    snapshot: Arc<Snapshot>,
}

impl World {
    fn new(seeds: &[&str]) -> Self {
        let now = Instant::now();
        let tracker = Tracker::new(seeds.iter().map(|&seed| Arc::from(seed)), now);
        let snapshot = Arc::new(Snapshot::unknown());
        Self { tracker, now, said: Vec::new(), probes: Vec::new(), forgotten: Vec::new(), snapshot }
    }

    fn event(&mut self, event: Event) {
        self.now += 100 * MS;
        for action in self.tracker.handle(self.now, event) {
            match action {
                Action::Probe(address) => self.probes.push(address.to_string()),
                Action::Forget(address) => self.forgotten.push(address.to_string()),
                Action::Publish(snapshot) => self.snapshot = snapshot,
                Action::Say(level, text) => self.said.push((level, text)),
            }
        }
    }

    fn hears(&mut self, address: &str, says: &Says) {
        let observation = Box::new(says.0.clone());
        self.event(Event::Observed { address: address.into(), observation, round_trip: MS });
    }

    fn loses(&mut self, address: &str, kind: FailureKind) {
        let failure = Failure { kind, text: "no answer".to_owned() };
        self.event(Event::Failed { address: address.into(), failure });
    }

    fn master(&self) -> Option<&str> {
        self.snapshot.master().map(|node| &*node.address)
    }

    fn node(&self, address: &str) -> &Node {
        self.snapshot.nodes.iter().find(|node| &*node.address == address).expect("a known node")
    }

    fn readable(&self, address: &str) -> bool {
        self.node(address).readable.is_ok()
    }

    fn unreadable_because(&self, address: &str, words: &str) {
        let why = self.node(address).readable.clone().expect_err("unreadable");
        assert!(why.contains(words), "'{why}' does not say '{words}'");
    }

    fn holds_because(&self, words: &str) {
        assert_eq!(self.master(), None);
        assert!(self.snapshot.reason.contains(words), "'{}' does not say '{words}'", self.snapshot.reason);
    }

    fn was_told(&self, words: &str) -> bool {
        self.said.iter().any(|(_, text)| text.contains(words))
    }
}

/// `a:1` is the master, `b:1` and `c:1` follow it.
fn group() -> World {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1", "c:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    world
}

fn pair() -> World {
    let mut world = World::new(&["a:1", "b:1"]);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    world
}

#[test]
fn at_start_a_claim_alone_is_no_proof() {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.holds_because("waiting for the first answer of b:1");
    world.hears("b:1", &replica("rb", "a:1", "A", 90));
    assert_eq!(world.master(), None, "one of two others");
    world.hears("c:1", &replica("rc", "b:1", "A", 90));
    assert_eq!(world.master(), Some("a:1"), "the chain c, b, a counts");
    assert_eq!(world.snapshot.epoch, 1);
}

#[test]
fn at_start_unreachable_witnesses_are_not_waited_for_but_one_is_needed() {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.loses("b:1", FailureKind::Refused);
    world.loses("c:1", FailureKind::Timeout);
    world.hears("a:1", &master("ra", "A", 100));
    world.holds_because("no other configured node can be reached");
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn a_lone_configured_node_is_accepted_and_the_rest_discovered() {
    let mut world = World::new(&["a:1"]);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1"]));
    assert_eq!(world.probes, ["b:1"]);
    world.holds_because("waiting for the first answer of b:1");
    world.hears("b:1", &replica("rb", "a:1", "A", 100).listing(&["c:1"]));
    world.holds_because("waiting for the first answer of c:1");
    world.hears("c:1", &replica("rc", "b:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    assert_eq!(world.probes, ["b:1", "c:1"]);
    assert!(world.readable("b:1") && world.readable("c:1"));

    let mut lone = World::new(&["a:1"]);
    lone.hears("a:1", &master("ra", "A", 100));
    assert_eq!(lone.master(), Some("a:1"));
}

#[test]
fn a_refused_or_silent_master_is_dropped_and_returns_without_ceremony() {
    for kind in [FailureKind::Refused, FailureKind::Timeout] {
        let mut world = group();
        let epoch = world.snapshot.epoch;
        world.loses("a:1", kind);
        world.holds_because("the master a:1 cannot be asked");
        assert!(world.readable("b:1"), "reads go on");
        world.hears("a:1", &master("ra", "A", 120));
        assert_eq!((world.master(), world.snapshot.epoch), (Some("a:1"), epoch + 2));
    }
}

#[test]
fn a_busy_master_stays() {
    let mut world = group();
    world.loses("a:1", FailureKind::Busy);
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn a_promoted_replica_takes_over_by_lineage_when_the_master_is_dead() {
    let mut world = pair();
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    assert_eq!(world.master(), Some("b:1"));
    // The old master comes back as it was, before anyone made it a replica.
    world.hears("a:1", &master("ra2", "X", 100));
    assert_eq!(world.master(), Some("b:1"));
    assert!(world.was_told("a:1 says it is a master too, but b:1 is kept"));
    world.unreadable_because("a:1", "not the group's");
}

#[test]
fn a_frozen_master_that_wakes_up_does_not_come_back() {
    let mut world = group();
    world.loses("a:1", FailureKind::Timeout);
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    assert_eq!(world.master(), Some("b:1"));
    world.hears("a:1", &master("ra", "A", 130));
    assert_eq!(world.master(), Some("b:1"), "c still follows a, but b is the incumbent and newer");
    world.hears("c:1", &replica("rc", "b:1", "B", 120));
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn an_old_fork_does_not_take_over() {
    let mut world = World::new(&["a:1", "b:1"]);
    let mib = 1024 * 1024;
    world.hears("a:1", &master("ra", "A", 100 * mib));
    world.hears("b:1", &replica("rb", "a:1", "A", 100 * mib));
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &master("rb", "B", 60 * mib).continuing("A", 50 * mib));
    world.holds_because("does not continue the history of a:1");
}

#[test]
fn a_stranger_does_not_take_over() {
    let mut world = pair();
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &master("rb", "Z", 5000));
    world.holds_because("does not continue the history of a:1");
}

#[test]
fn a_detached_replica_does_not_take_the_incumbent_s_place() {
    // REPLICAOF NO ONE on b, and nothing else: with two nodes the incumbent stays until it stops claiming.
    let mut world = pair();
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    assert_eq!(world.master(), Some("a:1"));
    assert!(world.was_told("b:1 says it is a master too, but a:1 is kept"));
    // REPLICAOF b on a: dropped at once, and b is proven by lineage and by its follower.
    world.hears("a:1", &replica("ra", "b:1", "A", 100).link_down(None));
    assert_eq!(world.master(), Some("b:1"));
    let alarms = world.said.iter().filter(|(_, text)| text.contains("says it is a master too")).count();
    assert_eq!(alarms, 1, "said once");
}

#[test]
fn the_incumbent_stays_while_a_replica_follows_it_and_goes_when_they_moved() {
    let mut world = World::new(&["a:1", "b:1", "c:1", "d:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    for node in ["b:1", "c:1", "d:1"] {
        world.hears(node, &replica(node, "a:1", "A", 100));
    }
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    assert_eq!(world.master(), Some("a:1"));
    world.hears("c:1", &replica("c:1", "b:1", "B", 110));
    assert_eq!(world.master(), Some("a:1"), "d still follows it");
    world.hears("d:1", &replica("d:1", "b:1", "B", 110));
    assert_eq!(world.master(), Some("b:1"), "everybody moved, though a still claims");
}

#[test]
fn a_chain_that_is_cut_below_the_master_is_no_failover() {
    // a -> b -> c; b is detached for a backup: c followed b before, it did not move.
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "b:1", "A", 100));
    assert!(world.readable("c:1"));
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    world.hears("c:1", &replica("rc", "b:1", "B", 110));
    assert_eq!(world.master(), Some("a:1"));
    world.unreadable_because("c:1", "follows b:1, which is not the group's master");
}

#[test]
fn a_rival_of_another_history_that_got_the_replicas_stops_everything() {
    let mut world = group();
    world.hears("b:1", &master("rb", "Z", 5000));
    assert_eq!(world.master(), Some("a:1"));
    world.hears("c:1", &replica("rc", "b:1", "Z", 5000));
    world.holds_because("does not continue its history");
}

#[test]
fn two_claims_at_start() {
    let newer = master("rb", "B", 110).continuing("A", 101);
    let older = master("ra", "A", 100);
    for (c, want) in [
        (Some(replica("rc", "b:1", "B", 110)), Some("b:1")),
        (Some(replica("rc", "a:1", "A", 100)), Some("a:1")),
        (None, Some("b:1")),
    ] {
        let mut world = World::new(&["a:1", "b:1", "c:1"]);
        world.hears("a:1", &older);
        world.hears("b:1", &newer);
        world.holds_because("waiting");
        match c {
            Some(c) => world.hears("c:1", &c),
            None => world.loses("c:1", FailureKind::Refused),
        }
        assert_eq!(world.master(), want);
        assert!(world.was_told("says it is a master too"));
    }
    let mut world = World::new(&["a:1", "b:1"]);
    world.hears("a:1", &older);
    world.hears("b:1", &master("rb", "Z", 100));
    world.holds_because("nothing tells which is right");
}

#[test]
fn a_master_that_came_back_empty_is_not_accepted_over_data() {
    let mut world = group();
    world.loses("a:1", FailureKind::Refused);
    world.hears("a:1", &master("ra2", "E", 0).with(|seen| seen.keys = Some(0)));
    world.holds_because("a:1 says it is the master but is empty, and b:1 still holds data");
    // The operator promotes a replica that holds the data.
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    assert_eq!(world.master(), Some("b:1"));
    // In another life nobody came: the replicas were wiped, and there is nothing left to protect.
    let mut world = group();
    world.hears("a:1", &master("ra2", "E", 0).with(|seen| seen.keys = Some(0)));
    for (node, run) in [("b:1", "rb"), ("c:1", "rc")] {
        world.holds_because("still holds data");
        world.hears(node, &replica(run, "a:1", "E", 14).with(|seen| seen.keys = Some(0)));
    }
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn a_master_that_is_loading_is_waited_for() {
    let mut world = group();
    world.hears("a:1", &master("ra2", "A2", 0).with(|seen| (seen.loading, seen.keys) = (Some(true), Some(0))));
    world.holds_because("still loading its data");
    world.hears("a:1", &master("ra2", "A2", 0));
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn a_flushed_master_stays() {
    let mut world = group();
    let epoch = world.snapshot.epoch;
    world.hears("a:1", &master("ra", "A", 150).with(|seen| seen.keys = Some(0)));
    assert_eq!((world.master(), world.snapshot.epoch), (Some("a:1"), epoch));
}

#[test]
fn a_restart_with_data_is_a_new_history_of_the_same_master() {
    let mut world = group();
    let epoch = world.snapshot.epoch;
    world.hears("a:1", &master("ra2", "A2", 0));
    assert_eq!((world.master(), world.snapshot.epoch), (Some("a:1"), epoch + 1));
    world.unreadable_because("b:1", "another history");
}

#[test]
fn before_4_0_a_connected_replica_is_the_successor() {
    let mut world = World::new(&["a:1", "b:1"]);
    world.hears("a:1", &master("ra", "", 100).old());
    world.hears("b:1", &replica("rb", "a:1", "", 100).old());
    assert_eq!(world.master(), Some("a:1"));
    assert!(world.readable("b:1"));
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &master("rb", "", 0).old());
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn before_3_2_replicas_serve_no_reads() {
    let old = |says: Says| says.old().with(|seen| seen.version = Some(Version(3, 0, 4)));
    let mut world = World::new(&["a:1", "b:1"]);
    world.hears("a:1", &old(master("ra", "", 100)));
    world.hears("b:1", &old(replica("rb", "a:1", "", 100)));
    assert_eq!(world.master(), Some("a:1"));
    world.unreadable_because("b:1", "before version 3.2");
}

#[test]
fn before_4_0_a_chained_replica_counts_in_a_space_of_its_own() {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "", 14_684).old());
    world.hears("b:1", &replica("rb", "a:1", "", 14_684).old());
    world.hears("c:1", &replica("rc", "b:1", "", 294).old());
    assert!(world.node("b:1").offsets_comparable && !world.node("c:1").offsets_comparable);
    assert_eq!((world.node("b:1").lag_bytes, world.node("c:1").lag_bytes), (Some(0), None));
    assert!(world.readable("c:1"));
    world.hears("c:1", &replica("rc", "b:1", "", 294).old().with(|seen| seen.last_io = Some(13)));
    world.unreadable_because("c:1", "silent");
}

#[test]
fn what_makes_a_replica_unreadable() {
    type Change = fn(&mut Observation);
    let cases: [(&str, Change); 10] = [
        ("link to its master is down", |seen| seen.link_up = Some(false)),
        ("link to its master is down", |seen| seen.link_up = None),
        ("loading", |seen| seen.loading = Some(true)),
        ("does not say whether it is loading", |seen| seen.loading = None),
        ("full sync", |seen| seen.syncing = Some(true)),
        ("full sync", |seen| seen.syncing = None),
        ("writable", |seen| seen.read_only = Some(false)),
        ("replica-announced", |seen| seen.announced = Some(false)),
        ("another history", |seen| seen.replid = Some("Z".into())),
        ("not the group's", |seen| (seen.role, seen.replid) = (Role::Master, Some("Z".into()))),
    ];
    for (words, change) in cases {
        let mut world = group();
        assert!(world.readable("b:1"));
        world.hears("b:1", &replica("rb", "a:1", "A", 100).with(change));
        world.unreadable_because("b:1", words);
        assert!(world.readable("c:1"), "{words}: c is another node");
    }
}

#[test]
fn bad_counts_at_once_and_good_only_when_confirmed() {
    let mut world = group();
    let good = replica("rb", "a:1", "A", 100);
    world.hears("b:1", &good.clone().link_down(Some(1)));
    assert!(!world.readable("b:1"));
    world.hears("b:1", &good);
    world.hears("a:1", &master("ra", "A", 100));
    world.unreadable_because("b:1", "to be confirmed");
    world.hears("b:1", &good);
    assert!(world.readable("b:1"));
}

#[test]
fn health_is_the_minimum_along_the_path() {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "b:1", "A", 100));
    assert!(world.readable("c:1"));
    world.hears("b:1", &replica("rb", "a:1", "A", 100).link_down(Some(1)));
    world.unreadable_because("c:1", "the link of b:1, above it, to its master is down");
    world.loses("b:1", FailureKind::Refused);
    world.unreadable_because("c:1", "b:1 above it cannot be asked");
}

#[test]
fn an_unknown_parent_needs_the_master_s_history() {
    let mut world = group();
    // Through a tunnel: its master is its own host's 127.0.0.1:8000.
    world.hears("b:1", &replica("rb", "127.0.0.1:8000", "A", 90));
    assert!(world.readable("b:1"));
    assert_eq!(world.node("b:1").lag_bytes, Some(10));
    assert!(world.probes.is_empty(), "another host's loopback is not dialled");
    assert!(world.was_told("list that node in `nodes`"));
    world.hears("b:1", &replica("rb", "127.0.0.1:8000", "Z", 90));
    world.unreadable_because("b:1", "not a known node");
}

#[test]
fn without_a_master_replicas_serve_for_a_while() {
    let mut world = group();
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &replica("rb", "a:1", "A", 100).link_down(Some(59)));
    assert!(world.readable("b:1"));
    world.hears("b:1", &replica("rb", "a:1", "A", 100).link_down(Some(61)));
    world.unreadable_because("b:1", "without a master for more than 60 s");
    world.hears("c:1", &replica("rc", "a:1", "C", 0).link_down(None));
    world.unreadable_because("c:1", "another history");
}

#[test]
fn lag_in_bytes_and_in_time() {
    let mut world = group();
    world.hears("a:1", &master("ra", "A", 300));
    world.hears("b:1", &replica("rb", "a:1", "A", 200));
    let node = world.node("b:1");
    assert_eq!(node.lag_bytes, Some(100));
    // Heard 100 ms apart: a said 100 at 0.1 s, then 300 at 0.4 s; b is asked at 0.5 s and has what a had at 0.1 s,
    // asked for a round trip of 1 ms earlier.
    assert_eq!(node.lag, Some(401 * MS));
    world.hears("b:1", &replica("rb", "a:1", "A", 300));
    assert_eq!((world.node("b:1").lag_bytes, world.node("b:1").lag), (Some(0), Some(201 * MS)));
}

#[test]
fn one_server_under_two_addresses_is_one_node() {
    let mut world = World::new(&["redis-0:1", "redis-1:1"]);
    world.hears("redis-0:1", &master("ra", "A", 100).listing(&["172.18.0.3:1"]));
    world.hears("redis-1:1", &replica("rb", "172.18.0.2:1", "A", 100));
    assert_eq!(world.probes, ["172.18.0.3:1", "172.18.0.2:1"]);
    assert_eq!(world.master(), None, "the announced addresses were not asked yet");
    world.hears("172.18.0.3:1", &replica("rb", "172.18.0.2:1", "A", 100));
    world.hears("172.18.0.2:1", &master("ra", "A", 100));
    assert_eq!(world.forgotten, ["172.18.0.3:1", "172.18.0.2:1"]);
    assert_eq!(world.master(), Some("redis-0:1"), "the configured address is dialled");
    assert_eq!(world.snapshot.nodes.len(), 2);
    assert_eq!(world.node("redis-1:1").parent, Some(world.node("redis-0:1").id));
    world.hears("redis-0:1", &master("ra", "A", 100).listing(&["172.18.0.3:1"]));
    assert_eq!(world.probes.len(), 2, "an alias is not discovered again");
    // The container restarts with another address.
    world.hears("redis-1:1", &replica("rb2", "172.18.0.2:1", "A", 100));
    world.hears("redis-0:1", &master("ra", "A", 100).listing(&["172.18.0.9:1"]));
    assert_eq!(world.probes.last().map(String::as_str), Some("172.18.0.9:1"));
}

#[test]
fn a_discovered_node_that_vanished_is_forgotten_and_a_seed_never() {
    let mut world = group();
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1", "c:1", "x:1"]));
    world.hears("x:1", &replica("rx", "a:1", "A", 100));
    let id = world.node("x:1").id;
    for _ in 0..30 {
        world.loses("x:1", FailureKind::Timeout);
        world.loses("c:1", FailureKind::Timeout);
        world.now += Duration::from_secs(1);
        world.hears("a:1", &master("ra", "A", 100).listing(&["x:1"]));
    }
    assert!(world.forgotten.is_empty(), "it is still listed");
    world.now += Duration::from_secs(61);
    world.hears("a:1", &master("ra", "A", 100));
    assert_eq!(world.forgotten, ["x:1"]);
    world.hears("x:1", &replica("rx", "a:1", "A", 100));
    assert_eq!(world.snapshot.nodes.len(), 3, "nobody asked it");
    world.hears("a:1", &master("ra", "A", 100).listing(&["x:1"]));
    world.hears("x:1", &replica("rx", "a:1", "A", 100));
    assert_ne!(world.node("x:1").id, id, "ids are never reused");
}

#[test]
fn a_hostile_list_is_bounded() {
    let mut world = World::new(&["a:1"]);
    let many: Vec<String> = (0..1000).map(|n| format!("h{n}:1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.hears("a:1", &master("ra", "A", 100).listing(&many));
    assert_eq!(world.probes.len(), MEMBERS - 1);
}

#[test]
fn sentinels_and_cluster_nodes_are_refused_with_words() {
    let mut world = World::new(&["a:1"]);
    world.hears("a:1", &Says(Observation { kind: Kind::Sentinel, ..Observation::empty() }));
    world.holds_because("list the servers");
    world.hears("a:1", &master("ra", "A", 1).with(|seen| seen.kind = Kind::Cluster));
    world.holds_because("cluster mode");
}

#[test]
fn changes_are_said_once() {
    let mut world = group();
    let before = world.said.len();
    for _ in 0..5 {
        world.hears("a:1", &master("ra", "A", 200));
        world.hears("b:1", &replica("rb", "a:1", "A", 200));
    }
    assert_eq!(world.said.len(), before, "{:?}", &world.said[before..]);
    for _ in 0..5 {
        world.loses("b:1", FailureKind::Refused);
    }
    assert_eq!(world.said.len(), before + 1, "{:?}", &world.said[before..]);
    world.hears("b:1", &replica("rb", "a:1", "A", 200));
    assert!(world.was_told("b:1 answers again: it is a replica of a:1"));
}
