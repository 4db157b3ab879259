//! What the Sentinels add.

use super::*;
use crate::topology::sentinel::{Peer, Subject};

const ALL: [&str; 3] = ["s1:1", "s2:1", "s3:1"];

impl World {
    fn watched(nodes: &[&str]) -> Self {
        let mut world = Self::new(nodes);
        world.tracker = Tracker::new(nodes.iter().map(|&node| Arc::from(node)), world.now)
            .with_places(Places::new([(&"ten:1".into(), &"b:1".into())]))
            .with_sentinels(ALL.map(Arc::from));
        world
    }

    /// The Sentinels at `who` name `master` with `epoch`, and each other.
    fn told(&mut self, who: &[&str], master: &str, epoch: u64) {
        for sentinel in who {
            self.states(sentinel, |said| {
                let subject = said.subject.as_mut().expect("a subject");
                (subject.master, subject.epoch) = (master.to_owned(), epoch);
            });
        }
    }

    fn states(&mut self, sentinel: &str, change: impl FnOnce(&mut Statement)) {
        let peers = ALL.iter().filter(|other| **other != sentinel);
        let subject = Subject {
            replicas: vec!["b:1".into(), "c:1".into()],
            sentinels: peers.map(|peer| Peer { address: (*peer).into(), id: Some((*peer).into()) }).collect(),
            ..Subject::default()
        };
        let mut statement = Statement { id: Some(sentinel.into()), subject: Some(subject), tilt: false };
        change(&mut statement);
        self.event(Event::Stated { sentinel: sentinel.into(), statement: Box::new(statement) });
    }

    fn mutes(&mut self, sentinel: &str) {
        let failure = Failure { kind: FailureKind::Refused, text: "refused".to_owned() };
        self.event(Event::Mute { sentinel: sentinel.into(), failure });
    }

    fn notices(&mut self, sentinel: &str, notice: Notice) {
        self.event(Event::Noticed { sentinel: sentinel.into(), notice });
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }
}

fn promoted_b() -> Says {
    master("rb", "B", 110).continuing("A", 101)
}

/// `a:1` is the master of `b:1` and `c:1`, and three Sentinels say so with epoch 5.
fn watched_group() -> World {
    let mut world = World::watched(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1", "c:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "a:1", "A", 100));
    world.told(&ALL, "a:1", 5);
    assert_eq!(world.master(), Some("a:1"));
    world
}

#[test]
fn nodes_are_found_through_sentinels_and_the_one_they_name_needs_no_replica() {
    let mut world = World::watched(&[]);
    world.told(&["s1:1"], "a:1", 5);
    assert_eq!(world.probes, ["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.holds_because("waiting for the first answer of the Sentinel s2:1");
    world.told(&["s2:1"], "a:1", 5);
    assert_eq!(world.master(), Some("a:1"), "two of three");
    let state = world.snapshot.sentinels.expect("configured");
    assert_eq!((state.known, state.answering, state.epoch, state.in_charge), (3, 2, 5, true));
    assert!(world.snapshot.reason.contains("the Sentinels name it (2 of 3 Sentinels, epoch 5)"));
}

#[test]
fn at_the_start_the_returned_old_master_is_not_followed() {
    let mut world = World::watched(&["a:1"]);
    world.hears("a:1", &master("ra", "A", 100));
    world.holds_because("waiting for the first answer of the Sentinel s1:1");
    world.told(&ALL, "b:1", 6);
    world.hears("a:1", &master("ra", "A", 100));
    world.holds_because("a:1 says it is the master, but the Sentinels name b:1 (3 of 3 Sentinels, epoch 6)");
    world.hears("b:1", &promoted_b());
    assert_eq!(world.master(), Some("b:1"));
    assert!(world.was_told("a:1 says it is a master too, but b:1 is kept"));
}

#[test]
fn sentinels_that_cannot_be_asked_leave_the_nodes_rules_as_they_are() {
    let mut world = World::watched(&["a:1", "b:1", "c:1"]);
    ALL.iter().for_each(|sentinel| world.mutes(sentinel));
    world.hears("a:1", &master("ra", "A", 100));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &promoted_b());
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn a_failover_is_followed_although_the_old_master_goes_on_with_its_replicas() {
    let mut world = watched_group();
    world.notices("s1:1", Notice::Promotes("b:1".into()));
    world.holds_because("a Sentinel promotes b:1, which has not said yet");
    world.hears("b:1", &promoted_b());
    assert_eq!(world.master(), Some("b:1"), "by the node's own word and the leader's");
    world.hears("c:1", &replica("rc", "a:1", "A", 120));
    world.hears("a:1", &master("ra", "A", 130));
    assert_eq!(world.master(), Some("b:1"), "epoch 5 is no news");
    world.told(&ALL, "b:1", 6);
    // The new master dies, the old one still claims, and has the last replica.
    world.loses("b:1", FailureKind::Refused);
    world.hears("c:1", &replica("rc", "a:1", "A", 140));
    world.holds_because("a:1 says it is the master, but the Sentinels name b:1");
    ALL.iter().for_each(|sentinel| world.mutes(sentinel));
    world.holds_because("a:1 was the master before b:1 and says so again");
    // A failover back is one.
    world.hears("a:1", &replica("ra", "c:1", "A", 140).link_down(None));
    world.hears("a:1", &master("ra", "A2", 150).continuing("A", 141));
    world.told(&ALL, "a:1", 7);
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn a_promotion_that_does_not_come_holds_writes_for_a_moment_only() {
    let mut world = watched_group();
    world.notices("s1:1", Notice::Promotes("b:1".into()));
    assert_eq!(world.master(), None);
    world.passes(Duration::from_secs(1));
    world.hears("a:1", &master("ra", "A", 120));
    assert_eq!(world.master(), Some("a:1"));
    world.notices("s2:1", Notice::Promotes("b:1".into()));
    assert_eq!(world.master(), None);
    world.notices("s2:1", Notice::Aborts);
    assert_eq!(world.master(), Some("a:1"));
}

#[test]
fn most_sentinels_with_a_newer_epoch_move_the_master_without_lineage() {
    let mut world = watched_group();
    // Two failovers passed unseen: b continues a history nobody here has heard of.
    world.hears("b:1", &master("rb", "Z", 900).continuing("Y", 800));
    assert_eq!(world.master(), Some("a:1"));
    world.told(&["s1:1"], "b:1", 7);
    assert_eq!(world.master(), Some("a:1"), "one of three, against the incumbent and its follower");
    world.told(&["s2:1"], "b:1", 7);
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn whom_most_sentinels_deposed_is_not_written_to_even_when_the_new_one_is_out_of_reach() {
    let mut world = watched_group();
    world.loses("b:1", FailureKind::Timeout);
    assert_eq!(world.master(), Some("a:1"));
    world.told(&["s1:1", "s2:1"], "b:1", 6);
    world.holds_because("the Sentinels name b:1 (2 of 3 Sentinels, epoch 6), and that one cannot be asked (no answer)");
    // What they said is remembered when they fall silent.
    ALL.iter().for_each(|sentinel| world.mutes(sentinel));
    world.hears("a:1", &master("ra", "A", 150));
    world.holds_because("epoch 6 when they could last be asked");
    world.hears("b:1", &promoted_b());
    assert_eq!(world.master(), None, "what was said once deposes, but proves nobody");
    world.told(&["s1:1", "s2:1"], "b:1", 6);
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn a_node_that_itself_follows_the_deposed_one_knows_better() {
    // Somebody switched by hand before the Sentinels have understood.
    let mut world = watched_group();
    world.told(&ALL, "b:1", 6);
    world.holds_because("and that one does not say yet that it is the master");
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"), "b still is a replica of a");
    world.loses("b:1", FailureKind::Refused);
    world.holds_because("the Sentinels name b:1");
}

#[test]
fn a_liar_and_a_laggard_move_nothing() {
    let mut world = watched_group();
    // b was detached for a backup a while ago.
    world.hears("b:1", &promoted_b());
    assert_eq!(world.master(), Some("a:1"));
    world.passes(Duration::from_secs(60));
    world.told(&["s3:1"], "b:1", 999);
    assert_eq!(world.master(), Some("a:1"));
    world.notices("s3:1", Notice::Promotes("b:1".into()));
    assert_eq!(world.master(), Some("a:1"), "b was not promoted now");
    // A true failover to c: the liar's epoch does not stand in its way.
    world.loses("a:1", FailureKind::Refused);
    world.hears("c:1", &master("rc", "C", 130).continuing("A", 121));
    world.told(&["s1:1", "s2:1"], "c:1", 6);
    assert_eq!(world.master(), Some("c:1"));
    // One that has missed it all.
    world.told(&["s3:1"], "a:1", 5);
    world.hears("a:1", &master("ra", "A", 130));
    assert_eq!(world.master(), Some("c:1"));
    // All of them restarted with an old configuration.
    world.told(&ALL, "a:1", 5);
    assert_eq!(world.master(), Some("c:1"), "epochs only grow");
    // They were set up anew, and name the present master: counting begins again.
    world.told(&ALL, "c:1", 0);
    world.loses("c:1", FailureKind::Refused);
    world.hears("b:1", &master("rb", "B2", 150).continuing("C", 131));
    world.told(&ALL, "b:1", 1);
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn tilt_counts_for_nothing_and_two_addresses_of_one_sentinel_for_one() {
    let mut world = watched_group();
    world.hears("b:1", &master("rb", "Z", 900));
    for sentinel in ["s1:1", "s2:1"] {
        world.states(sentinel, |said| {
            said.tilt = true;
            let subject = said.subject.as_mut().expect("a subject");
            (subject.master, subject.epoch) = ("b:1".into(), 9);
        });
    }
    assert_eq!(world.master(), Some("a:1"));
    assert_eq!(world.snapshot.sentinels.map(|state| state.answering), Some(1));
    assert!(world.was_told("the Sentinel s1:1 is in TILT"));
    let mut world = World::watched(&["a:1"]);
    for sentinel in ALL {
        world.states(sentinel, |said| {
            said.id = Some("one".into());
            let subject = said.subject.as_mut().expect("a subject");
            (subject.master, subject.sentinels) = ("a:1".into(), Vec::new());
        });
    }
    assert_eq!(world.snapshot.sentinels.map(|state| (state.known, state.answering)), Some((1, 1)));
}

#[test]
fn a_master_that_restarted_at_once_is_judged_by_the_old_rules() {
    // With data, before anybody noticed: it goes on.
    let mut world = watched_group();
    world.loses("a:1", FailureKind::Refused);
    world.hears("a:1", &master("ra2", "A2", 0));
    assert_eq!(world.master(), Some("a:1"));
    // Empty: not over data, whatever the Sentinels say.
    let mut world = watched_group();
    world.hears("a:1", &master("ra2", "E", 0).with(|seen| seen.keys = Some(0)));
    world.holds_because("a:1 says it is the master but is empty, and b:1 still holds data");
    world.told(&ALL, "a:1", 5);
    assert_eq!(world.master(), None);
    // With data, while a replica is being promoted.
    let mut world = watched_group();
    world.loses("a:1", FailureKind::Refused);
    world.hears("b:1", &promoted_b());
    world.hears("a:1", &master("ra2", "A2", 0));
    assert_eq!(world.master(), Some("b:1"));
    world.told(&ALL, "b:1", 6);
    assert_eq!(world.master(), Some("b:1"));
    // With data, and accepted before the replica was promoted: the Sentinels decide.
    let mut world = watched_group();
    world.hears("a:1", &master("ra2", "A2", 0));
    assert_eq!(world.master(), Some("a:1"));
    world.hears("b:1", &promoted_b());
    assert_eq!(world.master(), Some("a:1"));
    world.told(&["s1:1", "s2:1"], "b:1", 6);
    assert_eq!(world.master(), Some("b:1"));
}

#[test]
fn sentinels_are_discovered_and_forgotten_and_their_names_are_mapped() {
    let mut world = watched_group();
    world.states("s1:1", |said| {
        let subject = said.subject.as_mut().expect("a subject");
        (subject.master, subject.epoch) = ("a:1".into(), 5);
        subject.sentinels.push(Peer { address: "s4:1".into(), id: Some("four".into()) });
        // Another address of one that is known.
        subject.sentinels.push(Peer { address: "s9:1".into(), id: Some("s2:1".into()) });
    });
    assert_eq!(world.probes, ["sentinel s4:1"]);
    world.mutes("s4:1");
    world.passes(Duration::from_secs(61));
    world.told(&ALL, "a:1", 5);
    assert_eq!(world.forgotten, ["sentinel s4:1"]);
    // "ten:1" is dialled at b:1.
    world.hears("b:1", &promoted_b());
    world.told(&ALL, "ten:1", 6);
    assert_eq!(world.master(), Some("b:1"));
    assert!(world.was_told("names ten:1 (b:1) the master now, epoch 6"));
    world.hears("c:1", &replica("rc", "ten:1", "B", 120));
    world.hears("c:1", &replica("rc", "ten:1", "B", 120));
    assert!(world.readable("c:1"), "a parent is mapped too: {:?}", world.node("c:1").readable);
}

#[test]
fn an_unknown_name_is_said_once() {
    let mut world = World::watched(&["a:1"]);
    for _ in 0..3 {
        world.states("s1:1", |said| said.subject = None);
    }
    let said = world.said.iter().filter(|(_, text)| text.contains("knows no master of the name")).count();
    assert_eq!(said, 1);
}
