//! Routing of reads as a table.

use std::time::Duration;

use super::*;
use crate::topology::{Flavor, NodeId, Role};

fn node(id: u32, role: Role, readable: bool, lag_ms: Option<u64>, round_trip_us: u64) -> Node {
    Node {
        id: NodeId(id),
        address: format!("10.0.0.{id}:6379").into(),
        role,
        readable: if readable { Ok(()) } else { Err("link to its master is down".into()) },
        interruptions: 0,
        run: id,
        lag: lag_ms.map(Duration::from_millis),
        lag_bytes: Some(0),
        offsets_comparable: true,
        round_trip: Some(Duration::from_micros(round_trip_us)),
        flavor: Flavor::Redis,
        version: None,
        parent: None,
        trouble: None,
        silent: false,
    }
}

/// Node 1 is the master (900 µs away); 2 is near and up to date, 3 lags by 2 s, 4 is unfit, 5 has unknown lag.
fn group(with_master: bool) -> Snapshot {
    Snapshot {
        epoch: 1,
        master: with_master.then_some(0),
        nodes: vec![
            node(1, Role::Master, true, None, 900),
            node(2, Role::Replica, true, Some(1), 200),
            node(3, Role::Replica, true, Some(2000), 230),
            node(4, Role::Replica, false, Some(0), 100),
            node(5, Role::Replica, true, None, 2000),
        ],
        reason: "a test".into(),
        sentinels: None,
    }
}

fn decide(reads: Reads, consistency: Consistency, sight: Sight, with_master: bool) -> Result<Vec<u32>, &'static str> {
    let snapshot = group(with_master);
    let route = read(reads, consistency, &sight, &Marks::new(), &snapshot);
    match route.to {
        Read::Nodes(set) => Ok(set.iter().map(|i| snapshot.nodes[i].id.0).collect()),
        Read::Master if route.wanted_mark => Err("master until a mark"),
        Read::Master => Err("master"),
        Read::Hold => Err("hold"),
    }
}

const EVENTUAL: Consistency = Consistency::Eventual { max_lag: None };
const WITHIN_1S: Consistency = Consistency::Eventual { max_lag: Some(Duration::from_secs(1)) };

/// Policy, consistency, what the session has seen, whether there is a master; where it may read.
type Line = (Reads, Consistency, Sight, bool, Result<&'static [u32], &'static str>);

#[test]
fn reads_go_where_the_policy_says() {
    use Consistency::{Session, Strong};
    let nothing = Sight::default();
    let wrote = Sight { node: Some(NodeId(1)), generation: 1, write: 1 };
    let read_2 = Sight { node: Some(NodeId(2)), generation: 1, write: 0 };
    // Others wrote before it connected.
    let late = Sight { node: None, generation: 1, write: 0 };
    #[rustfmt::skip]
    let table: &[Line] = &[
        (Reads::Replica, Session,   nothing, true,  Ok(&[2, 3, 5])),
        (Reads::Replica, Session,   nothing, false, Ok(&[2, 3, 5])),
        (Reads::Replica, Session,   wrote,   true,  Err("master until a mark")),
        (Reads::Replica, Session,   wrote,   false, Err("hold")),
        (Reads::Replica, Session,   late,    true,  Err("master until a mark")),
        (Reads::Replica, Session,   late,    false, Ok(&[2, 3, 5])),
        (Reads::Replica, Session,   read_2,  true,  Ok(&[2])),
        (Reads::Replica, Session,   read_2,  false, Ok(&[2])),
        (Reads::Replica, EVENTUAL,  wrote,   true,  Ok(&[2, 3, 5])),
        (Reads::Replica, WITHIN_1S, wrote,   true,  Ok(&[2])),
        (Reads::Replica, Strong,    nothing, true,  Err("master")),
        (Reads::Replica, Strong,    nothing, false, Err("hold")),
        (Reads::Master,  Session,   nothing, true,  Err("master")),
        (Reads::Master,  EVENTUAL,  nothing, false, Err("hold")),
        (Reads::Any,     Session,   nothing, true,  Ok(&[1, 2, 3, 5])),
        (Reads::Any,     Session,   wrote,   true,  Ok(&[1])),
        (Reads::Any,     Session,   read_2,  true,  Ok(&[2])),
        (Reads::Any,     Session,   read_2,  false, Ok(&[2])),
        (Reads::Any,     WITHIN_1S, nothing, true,  Ok(&[1, 2])),
        (Reads::Any,     Strong,    nothing, true,  Err("master")),
        (Reads::Nearest, Session,   nothing, true,  Ok(&[2, 3])),
        (Reads::Nearest, Session,   wrote,   true,  Ok(&[1])),
        (Reads::Nearest, WITHIN_1S, nothing, false, Ok(&[2])),
        (Reads::Nearest, Session,   read_2,  true,  Ok(&[2])),
    ];
    for (line, &(reads, consistency, sight, with_master, expected)) in table.iter().enumerate() {
        let got = decide(reads, consistency, sight, with_master);
        assert_eq!(got.as_deref(), expected.as_ref().map(|s| *s), "line {line}: {reads:?} {consistency:?} {sight:?}");
    }
}

#[test]
fn a_second_node_that_claims_to_be_master_serves_nothing() {
    let mut snapshot = group(true);
    snapshot.nodes[1].role = Role::Master;
    match read(Reads::Replica, EVENTUAL, &Sight::default(), &Marks::new(), &snapshot).to {
        Read::Nodes(set) => assert!(!set.iter().any(|index| index == 1)),
        other => panic!("{other:?}"),
    }
}

/// A mark is worth asking for only when it would open a better way.
#[test]
fn the_nearest_wants_a_mark_only_for_a_nearer_one() {
    let sight = |id: u32| Sight { node: Some(NodeId(id)), generation: 1, write: 0 };
    let wants = |snapshot: &Snapshot, sight: &Sight| {
        read(Reads::Nearest, Consistency::Session, sight, &Marks::new(), snapshot).wanted_mark
    };
    let mut snapshot = group(true);
    assert!(wants(&snapshot, &sight(1)), "node 2 is nearer than the master");
    assert!(!wants(&snapshot, &sight(2)), "nothing is nearer than node 2");
    assert!(!wants(&snapshot, &sight(3)), "node 2 is nearer, but not by more than noise");
    snapshot.nodes[0].round_trip = Some(Duration::from_micros(50));
    assert!(!wants(&snapshot, &sight(1)), "nothing is nearer than the master");
}
