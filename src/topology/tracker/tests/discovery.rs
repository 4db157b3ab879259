//! Which nodes there are, and what is said of them.

use super::*;

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
