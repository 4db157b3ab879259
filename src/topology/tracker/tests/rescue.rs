//! Failover by Redan as situations: what nodes say, what is ordered.

use super::*;
use crate::topology::rescue::Order;

/// `a:1` is the master, `b:1` and `c:1` follow it; two seconds without it are too many.
fn watched() -> World {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.tracker = world.tracker.acting(None, Some(2000 * MS));
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1", "c:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "a:1", "A", 100));
    world
}

impl World {
    /// The orders since the last call: who leads, `who>whom` follows.
    fn ordered(&mut self) -> Vec<String> {
        let text = |order: Order| match order {
            Order::Lead { who, .. } => who.address.to_string(),
            Order::Follow { who, whom } => format!("{}>{whom}", who.address),
        };
        std::mem::take(&mut self.orders).into_iter().map(text).collect()
    }

    /// `a:1` is gone for so many rounds of 300 ms, and these are the others.
    fn without_master(&mut self, rounds: u32, b: &Says, c: &Says) {
        for _ in 0..rounds {
            self.loses("a:1", FailureKind::Refused);
            self.hears("b:1", b);
            self.hears("c:1", c);
        }
    }
}

fn cut(run: &str, offset: u64) -> Says {
    replica(run, "a:1", "A", offset).link_down(Some(2))
}

fn with_priority(says: Says, priority: u32) -> Says {
    says.with(|seen| seen.priority = Some(priority))
}

#[test]
fn the_replica_with_the_most_data_leads_after_the_time() {
    #[rustfmt::skip]
    let table = [
        ("more data", with_priority(cut("rb", 100), 100), with_priority(cut("rc", 101), 100), "c:1"),
        ("more data before priority", with_priority(cut("rb", 100), 1), with_priority(cut("rc", 101), 100), "c:1"),
        ("better priority", with_priority(cut("rb", 100), 100), with_priority(cut("rc", 100), 10), "c:1"),
        ("the older", with_priority(cut("rb", 100), 100), with_priority(cut("rc", 100), 100), "b:1"),
        ("never 0", with_priority(cut("rb", 100), 100), with_priority(cut("rc", 999), 0), "b:1"),
        ("of this history", with_priority(cut("rb", 100), 100),
            with_priority(cut("rc", 999), 100).with(|seen| seen.replid = Some("Z".into())), "b:1"),
        ("not in a sync", with_priority(cut("rb", 100), 100),
            with_priority(cut("rc", 999), 100).with(|seen| seen.syncing = Some(true)), "b:1"),
        ("not writable", with_priority(cut("rb", 100), 100),
            with_priority(cut("rc", 999), 100).with(|seen| seen.read_only = Some(false)), "b:1"),
    ];
    for (case, b, c, leads) in table {
        let mut world = watched();
        world.without_master(6, &b, &c);
        assert_eq!(world.ordered(), [""; 0], "{case}: too early");
        world.without_master(2, &b, &c);
        assert_eq!(world.ordered(), [leads], "{case}");
        assert!(world.was_told(&format!("{leads} has the most data")), "{case}");
    }
}

#[test]
fn nothing_is_done_while_in_doubt() {
    let (b, c) = (with_priority(cut("rb", 100), 100), with_priority(cut("rc", 100), 100));
    let seeing = replica("rb", "a:1", "A", 100).with(|seen| seen.priority = Some(100));
    let mut world = watched();
    world.without_master(20, &seeing, &c);
    assert_eq!(world.ordered(), [""; 0], "a replica still sees the master");
    assert!(world.was_told("still sees the master"));
    // A frozen master: the link is up and silent.
    world.without_master(3, &seeing.with(|seen| seen.last_io = Some(13)), &c);
    assert_eq!(world.ordered(), ["b:1"]);

    let mut world = watched();
    for _ in 0..40 {
        world.loses("a:1", FailureKind::Timeout);
        world.loses("b:1", FailureKind::Timeout);
        world.hears("c:1", &c);
    }
    assert_eq!(world.ordered(), [""; 0], "Redan may be the one that is cut off");
    assert!(world.was_told("may be cut off"));

    let mut world = watched();
    for _ in 0..40 {
        world.loses("a:1", FailureKind::Auth);
        world.hears("b:1", &b);
        world.hears("c:1", &c);
    }
    assert_eq!(world.ordered(), [""; 0], "it is alive and refuses a password");

    let mut world = watched();
    world.without_master(3, &b, &master("rc", "C", 101).continuing("A", 101));
    world.without_master(20, &b, &master("rc", "C", 101).continuing("A", 101));
    assert_eq!((world.ordered(), world.master()), (Vec::new(), Some("c:1")), "somebody was quicker");
}

/// `c:1` was promoted in place of `a:1`.
fn rescued() -> World {
    let (b, c) = (with_priority(cut("rb", 100), 100), with_priority(cut("rc", 101), 100));
    let mut world = watched();
    world.without_master(8, &b, &c);
    assert_eq!(world.ordered(), ["c:1"]);
    world.hears("c:1", &new_master());
    assert_eq!((world.ordered(), world.master()), (vec!["b:1>c:1".to_owned()], Some("c:1")));
    world.hears("b:1", &replica("rb", "c:1", "C", 110));
    world
}

fn new_master() -> Says {
    master("rc", "C", 110).continuing("A", 102).listing(&["b:1"])
}

#[test]
fn the_old_master_becomes_a_replica_whatever_it_holds() {
    for (old, words) in [
        (master("ra", "A", 101), "was the master before and is back"),
        (master("ra", "A", 120), "19 bytes of writes that only it has are discarded"),
        (master("ra2", "X", 0).with(|seen| seen.keys = Some(0)), "was the master before and is back"),
    ] {
        let mut world = rescued();
        world.hears("a:1", &old);
        assert_eq!((world.ordered(), world.master()), (vec!["a:1>c:1".to_owned()], Some("c:1")));
        assert!(world.was_told(words), "{:?}", world.said);
        // Once a while, not with every answer.
        world.hears("a:1", &old);
        assert_eq!(world.ordered(), [""; 0]);
    }
}

#[test]
fn two_failovers_in_a_row_are_not_made() {
    let mut world = rescued();
    world.hears("a:1", &replica("ra", "c:1", "C", 110));
    let b = with_priority(replica("rb", "c:1", "C", 110).link_down(Some(9)), 100);
    for _ in 0..20 {
        world.loses("c:1", FailureKind::Refused);
        world.hears("a:1", &with_priority(replica("ra", "c:1", "C", 110).link_down(Some(9)), 0));
        world.hears("b:1", &b);
    }
    assert_eq!(world.ordered(), [""; 0]);
    assert!(world.was_told("less than 30 s ago"));
    world.now += Duration::from_secs(30);
    world.hears("b:1", &b);
    assert_eq!(world.ordered(), ["b:1"]);
}

#[test]
fn an_empty_master_is_replaced_before_anyone_copies_it() {
    let (b, c) = (with_priority(cut("rb", 100), 100), with_priority(cut("rc", 101), 100));
    let mut world = watched();
    world.without_master(1, &b, &c);
    world.hears("a:1", &master("ra2", "X", 0).with(|seen| seen.keys = Some(0)));
    assert_eq!(world.ordered(), ["c:1", "b:1>c:1"]);
    assert_eq!(world.master(), None, "nobody is shown the empty one");
    world.hears("c:1", &new_master());
    assert_eq!((world.ordered(), world.master()), (vec!["a:1>c:1".to_owned()], Some("c:1")));

    // One that was flushed and not restarted is a master like any other.
    let mut world = watched();
    world.hears("a:1", &master("ra", "A", 120).with(|seen| seen.keys = Some(0)));
    assert_eq!((world.ordered(), world.master()), (Vec::new(), Some("a:1")));
}

#[test]
fn a_replica_that_lost_its_setting_is_attached_and_a_detached_one_left_alone() {
    let empty = || master("rb2", "X", 0).with(|seen| seen.keys = Some(0));
    for (case, says, attached) in [
        ("empty", empty(), true),
        ("with its data, by AOF", master("rb2", "X", 0), true),
        ("with its data, by RDB", master("rb2", "X", 100).continuing("A", 101), true),
        ("written to", master("rb2", "X", 140).continuing("A", 101), false),
        ("REPLICAOF NO ONE", master("rb", "X", 100).continuing("A", 101), false),
    ] {
        let mut world = watched();
        world.loses("b:1", FailureKind::Refused);
        world.hears("b:1", &says);
        let expected: Vec<String> = if attached { vec!["b:1>a:1".to_owned()] } else { Vec::new() };
        assert_eq!((world.ordered(), world.master()), (expected, Some("a:1")), "{case}");
    }
    // Never the reverse: an empty master gets no node with data.
    let mut world = watched();
    world.hears("a:1", &master("ra", "A", 120).listing(&["c:1"]).with(|seen| seen.keys = Some(0)));
    world.hears("b:1", &master("rb2", "X", 0));
    assert_eq!(world.ordered(), [""; 0]);
}

#[test]
fn two_nodes_are_enough() {
    let mut world = World::new(&["a:1", "b:1"]);
    world.tracker = world.tracker.acting(None, Some(2000 * MS));
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    for _ in 0..12 {
        world.loses("a:1", FailureKind::Refused);
        world.hears("b:1", &with_priority(cut("rb", 100), 100));
    }
    assert_eq!(world.ordered(), ["b:1"]);
}
