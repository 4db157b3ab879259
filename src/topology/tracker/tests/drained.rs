//! What the operator drains, and what becomes of that.

use super::*;
use crate::topology::DRAINED;

#[test]
fn a_drained_replica_serves_nothing_until_the_operator_says_so_or_it_leads() {
    let mut world = group();
    let drain = |world: &mut World, address: &str, on| {
        let actions = world.tracker.drain(address, on)?;
        for action in actions {
            if let Action::Publish(snapshot) = action {
                world.snapshot = snapshot;
            }
        }
        Ok::<_, String>(())
    };
    drain(&mut world, "b:1", true).expect("a replica");
    world.unreadable_because("b:1", DRAINED);
    assert!(world.node("b:1").is_drained() && world.readable("c:1"));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.unreadable_because("b:1", DRAINED);
    assert!(drain(&mut world, "a:1", true).expect_err("the master").contains("is the master"));
    assert!(drain(&mut world, "z:1", true).expect_err("nobody").contains("there is a:1, b:1, c:1"));
    drain(&mut world, "b:1", false).expect("drained");
    assert!(world.readable("b:1"), "it was well all the time");
    drain(&mut world, "b:1", true).expect("a replica");
    drain(&mut world, "b:1", true).expect("again is no mistake");

    world.hears("a:1", &replica("ra", "b:1", "A", 100));
    world.hears("b:1", &master("rb", "B", 110).continuing("A", 101));
    world.hears("c:1", &replica("rc", "b:1", "B", 110));
    assert_eq!(world.master(), Some("b:1"));
    assert!(!world.node("b:1").is_drained());
    assert!(world.said.iter().any(|(_, text)| text.contains("not drained any more")), "{:?}", world.said);
}
