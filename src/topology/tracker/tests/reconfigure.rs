//! Another configuration of the same group: what is known of it stays known.

use super::*;

const SEEDS: [&str; 2] = ["10.0.0.1:1", "10.0.0.2:1"];

/// A group with a master and a replica.
fn world() -> World {
    let mut world = World::new(&SEEDS);
    world.hears(SEEDS[0], &master("m", "A", 100).listing(&[SEEDS[1]]));
    world.hears(SEEDS[1], &replica("r", SEEDS[0], "A", 100));
    assert_eq!(world.master(), Some(SEEDS[0]));
    world
}

impl World {
    fn is_configured_with(&mut self, seeds: &[&str], sentinels: &[&str]) {
        let list = |texts: &[&str]| texts.iter().map(|&text| Arc::from(text)).collect();
        let settings = Settings { seeds: list(seeds), sentinels: list(sentinels), ..Settings::default() };
        for action in self.tracker.reconfigure(self.now, settings) {
            match action {
                Action::Probe(address) => self.probes.push(address.to_string()),
                Action::AskSentinel(address) => self.probes.push(format!("sentinel {address}")),
                Action::ForgetSentinel(address) => self.forgotten.push(format!("sentinel {address}")),
                Action::Publish(snapshot) => self.snapshot = snapshot,
                other => panic!("{other:?}"),
            }
        }
    }

    fn knows(&self, address: &str) -> bool {
        self.tracker.addresses().any(|known| **known == *address)
    }
}

#[test]
fn the_master_and_its_epoch_go_on_whatever_is_configured() {
    let mut world = world();
    let (epoch, id) = (world.snapshot.epoch, world.node(SEEDS[0]).id);
    world.is_configured_with(&[SEEDS[1], "10.0.0.3:1"], &[]);
    assert_eq!(world.probes, ["10.0.0.3:1"], "who is new is asked");
    world.hears("10.0.0.3:1", &replica("n", SEEDS[0], "A", 100));
    world.hears(SEEDS[0], &master("m", "A", 110).listing(&[SEEDS[1], "10.0.0.3:1"]));
    assert_eq!((world.master(), world.snapshot.epoch), (Some(SEEDS[0]), epoch));
    assert_eq!(world.node(SEEDS[0]).id, id, "what is known of it holds on");
}

#[test]
fn who_is_configured_no_more_is_forgotten_when_it_is_gone() {
    let mut world = world();
    world.hears(SEEDS[0], &master("m", "A", 110));
    world.is_configured_with(&[SEEDS[0]], &[]);
    assert!(world.knows(SEEDS[1]));
    world.loses(SEEDS[1], FailureKind::Refused);
    world.now += 2 * FORGET_AFTER;
    world.hears(SEEDS[0], &master("m", "A", 120));
    assert!(!world.knows(SEEDS[1]) && world.knows(SEEDS[0]));
}

#[test]
fn sentinels_come_and_go() {
    let mut world = world();
    world.is_configured_with(&SEEDS, &["10.0.0.8:1", "10.0.0.9:1"]);
    assert_eq!(world.probes, ["sentinel 10.0.0.8:1", "sentinel 10.0.0.9:1"]);
    world.is_configured_with(&SEEDS, &["10.0.0.9:1"]);
    assert_eq!(world.forgotten, ["sentinel 10.0.0.8:1"]);
    world.is_configured_with(&SEEDS, &[]);
    assert_eq!(world.forgotten.last().map(String::as_str), Some("sentinel 10.0.0.9:1"));
    assert_eq!(world.master(), Some(SEEDS[0]));
}
