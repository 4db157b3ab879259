//! Who the master is.

use super::*;

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
fn a_master_that_came_back_empty_is_not_accepted_while_those_with_data_are_away() {
    let mut world = group();
    world.loses("a:1", FailureKind::Refused);
    world.hears("a:1", &master("ra2", "E", 0).with(|seen| seen.keys = Some(0)));
    world.holds_because("still holds data");
    for node in ["b:1", "c:1"] {
        world.loses(node, FailureKind::Timeout);
    }
    world.holds_because(
        "a:1 says it is the master but came back empty, and no node that may hold its data can be reached",
    );
    // With its data it would be, and alone it is.
    world.hears("a:1", &master("ra3", "F", 0));
    assert_eq!(world.master(), Some("a:1"));
    let mut world = World::new(&["a:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.hears("a:1", &master("ra2", "E", 0).with(|seen| seen.keys = Some(0)));
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn the_only_node_with_data_is_the_master_once_all_others_are_there_and_new() {
    let empty = |run: &str, replid: &str| master(run, replid, 0).with(|seen| seen.keys = Some(0));
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.hears("b:1", &empty("rb", "B"));
    world.holds_because("waiting for the first answer of c:1");
    world.hears("c:1", &empty("rc", "C"));
    assert_eq!(world.master(), Some("a:1"));
    // One that cannot be asked, has data, has a past or follows somebody may know better.
    let others: [Option<Says>; 4] = [
        None,
        Some(master("rc", "C", 10)),
        Some(empty("rc", "C").continuing("Z", 50)),
        Some(replica("rc", "b:1", "B", 0).with(|seen| seen.keys = Some(0))),
    ];
    for third in others {
        let mut world = World::new(&["a:1", "b:1", "c:1"]);
        world.hears("a:1", &master("ra", "A", 100));
        world.hears("b:1", &empty("rb", "B"));
        match third {
            Some(third) => world.hears("c:1", &third),
            None => world.loses("c:1", FailureKind::Refused),
        }
        assert_eq!(world.master(), None);
    }
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
