//! When the fence closes and opens.

use super::*;
use crate::topology::fence::FenceSettings;

fn fenced(replicas: usize) -> World {
    let mut world = World::new(&["a:1", "b:1"]);
    world.tracker = world.tracker.acting(Some(FenceSettings { after: 2000 * MS, replicas }), None);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    world
}

fn silent(lag: u64) -> Says {
    master("ra", "A", 100).listing(&["b:1"]).with(|seen| {
        seen.replicas.iter_mut().flatten().for_each(|replica| replica.lag = Some(lag));
    })
}

#[test]
fn it_closes_when_nobody_has_acknowledged_for_long_and_opens_at_once() {
    for lonely in [master("ra", "A", 100), silent(2)] {
        let mut world = fenced(1);
        let before = world.snapshot.epoch;
        for _ in 0..20 {
            world.hears("a:1", &lonely);
            assert_eq!(world.master(), Some("a:1"), "not yet");
        }
        world.hears("a:1", &lonely);
        world.holds_because("the fence is closed");
        assert!(world.readable("b:1"), "replicas go on serving reads");
        assert!(world.said.iter().any(|(level, text)| *level == Level::Error && text.contains("fence")));
        world.hears("a:1", &silent(1));
        assert_eq!(world.master(), Some("a:1"));
        assert_eq!(world.snapshot.epoch, before + 2);
    }
}

#[test]
fn one_good_word_in_time_starts_the_clock_anew() {
    let mut world = fenced(1);
    for round in 0..60 {
        world.hears("a:1", &if round % 15 == 0 { silent(0) } else { silent(9) });
        assert_eq!(world.master(), Some("a:1"));
    }
}

#[test]
fn it_counts_as_many_as_it_was_told_to() {
    let mut world = fenced(2);
    (0..25).for_each(|_| world.hears("a:1", &silent(0)));
    world.holds_because("fewer than 2 replicas");
}

#[test]
fn a_master_that_does_not_tell_is_not_judged() {
    let mut world = fenced(1);
    (0..25).for_each(|_| world.hears("a:1", &master("ra", "A", 100).with(|seen| seen.replicas = None)));
    assert_eq!(world.master(), Some("a:1"));
}
