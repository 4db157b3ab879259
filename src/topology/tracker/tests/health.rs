//! Which replicas serve reads, and how far behind they are.

use super::*;

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
