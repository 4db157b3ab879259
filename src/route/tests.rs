//! Routing of reads as a table.

use std::time::Duration;

use super::*;
use crate::reading::lag::LagLimit;
use crate::topology::{NodeId, Role};

fn node(id: u32, role: Role, readable: bool, lag_ms: Option<u64>, round_trip_us: u64) -> Node {
    Node {
        readable: if readable { Ok(()) } else { Err("link to its master is down".into()) },
        lag: lag_ms.map(Duration::from_millis),
        lag_bytes: Some(0),
        round_trip: Some(Duration::from_micros(round_trip_us)),
        ..Node::example(id, role)
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
        busy: false,
    }
}

fn standings(snapshot: &Snapshot) -> Vec<Standing> {
    let standing = |node: &Node| {
        let usage = std::rc::Rc::new(crate::reading::Usage::default());
        usage.probed(node.round_trip);
        Standing { usage, weight: 10, local: false }
    };
    snapshot.nodes.iter().map(standing).collect()
}

fn gate(max_lag: Option<Duration>, snapshot: &Snapshot) -> LagGate {
    let mut gate = LagGate::new(LagLimit { time: max_lag, bytes: None });
    gate.follow(1, snapshot);
    gate
}

/// Routes among nodes that all serve well.
fn read(reads: Reads, consistency: Consistency, sight: &Sight, marks: &Marks, snapshot: &Snapshot) -> ReadRoute {
    let (standings, lag) = (standings(snapshot), gate(None, snapshot));
    super::read(
        reads,
        consistency,
        sight,
        marks,
        &Candidates { snapshot, standings: &standings, lag: &lag, avoid: None },
    )
}

fn decide(
    reads: Reads,
    (consistency, max_lag): Wanted,
    sight: Sight,
    with_master: bool,
) -> Result<Vec<u32>, &'static str> {
    let snapshot = group(with_master);
    let (standings, lag) = (standings(&snapshot), gate(max_lag, &snapshot));
    let candidates = Candidates { snapshot: &snapshot, standings: &standings, lag: &lag, avoid: None };
    let route = super::read(reads, consistency, &sight, &Marks::new(), &candidates);
    match route.to {
        Read::Nodes(set) => Ok(set.iter().map(|i| snapshot.nodes[i].id.0).collect()),
        Read::Master if route.wanted_mark => Err("master until a mark"),
        Read::Master => Err("master"),
        Read::Hold => Err("hold"),
    }
}

/// Consistency and `max_lag`.
type Wanted = (Consistency, Option<Duration>);

const EVENTUAL: Wanted = (Consistency::Eventual, None);
const WITHIN_1S: Wanted = (Consistency::Eventual, Some(Duration::from_secs(1)));
const SESSION: Wanted = (Consistency::Session, None);
const SESSION_1S: Wanted = (Consistency::Session, Some(Duration::from_secs(1)));
const STRONG: Wanted = (Consistency::Strong, None);

/// Policy, consistency, what the session has seen, whether there is a master; where it may read.
type Line = (Reads, Wanted, Sight, bool, Result<&'static [u32], &'static str>);

#[test]
fn reads_go_where_the_policy_says() {
    let nothing = Sight::default();
    let wrote = Sight { node: Some(NodeId(1)), generation: 1, write: 1 };
    let read_2 = Sight { node: Some(NodeId(2)), generation: 1, write: 0 };
    let read_3 = Sight { node: Some(NodeId(3)), generation: 1, write: 0 };
    // Others wrote before it connected.
    let late = Sight { node: None, generation: 1, write: 0 };
    #[rustfmt::skip]
    let table: &[Line] = &[
        (Reads::Replica, SESSION,   nothing, true,  Ok(&[2, 3, 5])),
        (Reads::Replica, SESSION,   nothing, false, Ok(&[2, 3, 5])),
        (Reads::Replica, SESSION,   wrote,   true,  Err("master until a mark")),
        (Reads::Replica, SESSION,   wrote,   false, Err("hold")),
        (Reads::Replica, SESSION,   late,    true,  Err("master until a mark")),
        (Reads::Replica, SESSION,   late,    false, Ok(&[2, 3, 5])),
        (Reads::Replica, SESSION,   read_2,  true,  Ok(&[2])),
        (Reads::Replica, SESSION,   read_2,  false, Ok(&[2])),
        (Reads::Replica, EVENTUAL,  wrote,   true,  Ok(&[2, 3, 5])),
        (Reads::Replica, WITHIN_1S, wrote,   true,  Ok(&[2])),
        (Reads::Replica, STRONG,    nothing, true,  Err("master")),
        (Reads::Replica, STRONG,    nothing, false, Err("hold")),
        (Reads::Master,  SESSION,   nothing, true,  Err("master")),
        (Reads::Master,  EVENTUAL,  nothing, false, Err("hold")),
        (Reads::Any,     SESSION,   nothing, true,  Ok(&[1, 2, 3, 5])),
        (Reads::Any,     SESSION,   wrote,   true,  Ok(&[1])),
        (Reads::Any,     SESSION,   read_2,  true,  Ok(&[2])),
        (Reads::Any,     SESSION,   read_2,  false, Ok(&[2])),
        (Reads::Any,     WITHIN_1S, nothing, true,  Ok(&[1, 2])),
        (Reads::Any,     STRONG,    nothing, true,  Err("master")),
        (Reads::Nearest, SESSION,   nothing, true,  Ok(&[2, 3])),
        (Reads::Nearest, SESSION,   wrote,   true,  Ok(&[1])),
        (Reads::Nearest, WITHIN_1S, nothing, false, Ok(&[2])),
        (Reads::Nearest, SESSION,   read_2,  true,  Ok(&[2])),
            (Reads::Replica, SESSION_1S, nothing, true,  Ok(&[2])),
        (Reads::Replica, SESSION_1S, wrote,   true,  Err("master until a mark")),
        (Reads::Replica, SESSION_1S, read_3,  true,  Err("master until a mark")),
        (Reads::Any,     SESSION_1S, nothing, true,  Ok(&[1, 2])),
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
    match read(Reads::Replica, Consistency::Eventual, &Sight::default(), &Marks::new(), &snapshot).to {
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

/// Policy, who is out, whom the session avoids, whether there is a master; where an eventual read goes.
type Spared = (Reads, &'static [usize], u32, bool, &'static [u32]);

#[test]
fn a_node_that_serves_badly_is_spared_while_another_can_serve() {
    #[rustfmt::skip]
    let table: &[Spared] = &[
        (Reads::Replica, &[1],          0, true,  &[3, 5]),
        (Reads::Replica, &[],           3, true,  &[2, 5]),
        (Reads::Replica, &[1],          3, true,  &[5]),
        (Reads::Replica, &[1, 2, 4],    0, true,  &[]),        // the master
        (Reads::Replica, &[1, 2, 4],    0, false, &[2, 3, 5]), // better than none
        (Reads::Any,     &[1, 2, 4],    0, true,  &[1]),
        (Reads::Any,     &[],           1, true,  &[2, 3, 5]),
        (Reads::Nearest, &[1, 2],       0, true,  &[1]),
    ];
    for &(reads, out, avoid, with_master, expected) in table {
        let snapshot = group(with_master);
        let standings = standings(&snapshot);
        out.iter().for_each(|&index| standings[index].usage.set_share(0));
        let candidates = Candidates {
            snapshot: &snapshot,
            standings: &standings,
            lag: &gate(None, &snapshot),
            avoid: Some(NodeId(avoid)),
        };
        let route = super::read(reads, Consistency::Eventual, &Sight::default(), &Marks::new(), &candidates);
        let got: Vec<u32> = match route.to {
            Read::Nodes(set) => set.iter().map(|index| snapshot.nodes[index].id.0).collect(),
            Read::Master => Vec::new(),
            Read::Hold => panic!("{reads:?} {out:?}: hold"),
        };
        assert_eq!(got, expected, "{reads:?}, out {out:?}, avoided {avoid}");
    }
}

/// A session that has read from a replica which is out now goes to the master rather than wait or go back in time.
#[test]
fn a_session_leaves_a_replica_that_is_out() {
    let snapshot = group(true);
    let standings = standings(&snapshot);
    standings[1].usage.set_share(0);
    let candidates =
        Candidates { snapshot: &snapshot, standings: &standings, lag: &gate(None, &snapshot), avoid: None };
    let sight = Sight { node: Some(NodeId(2)), generation: 1, write: 0 };
    let route = super::read(Reads::Replica, Consistency::Session, &sight, &Marks::new(), &candidates);
    assert_eq!((route.to, route.wanted_mark), (Read::Master, true), "and the others may have it soon");
}

/// Nodes 1 (the master), 2 and 3 are in Redan's zone, 5 and 6 are not. Changes by node; where an eventual read goes.
#[test]
fn zones_are_preferred_and_spilt_over() {
    #[derive(Clone, Copy, Debug)]
    enum Change {
        Out(u32),
        Lags(u32),
        Unreadable(u32),
        Busy(u32),
        Weightless(u32),
    }
    use Change::{Busy, Lags, Out, Unreadable, Weightless};
    #[rustfmt::skip]
    let table: &[(&[Change], &[u32], &[u32])] = &[
        // What changed;                          where "zone" reads, where "zone-any" reads.
        (&[],                                     &[2, 3],    &[2, 3]),
        (&[Out(2)],                               &[3],       &[3]),
        (&[Lags(2)],                              &[3],       &[3]),
        (&[Busy(3)],                              &[2],       &[2]),
        (&[Weightless(3)],                        &[2],       &[2]),
        (&[Out(2), Lags(3)],                      &[5, 6],    &[1]),
        (&[Busy(2), Unreadable(3)],               &[2, 5, 6], &[1]),
        (&[Busy(2), Busy(3), Busy(1)],            &[2, 3, 5, 6], &[1, 2, 3, 5, 6]),
        (&[Out(2), Lags(3), Out(5), Lags(6)],     &[],        &[1]),
        (&[Weightless(2), Weightless(3)],         &[5, 6],    &[1]),
        (&[Weightless(1), Out(2), Out(3)],        &[5, 6],    &[5, 6]),
    ];
    for (changes, zone, zone_any) in table {
        let mut snapshot = Snapshot {
            epoch: 1,
            master: Some(0),
            nodes: [1, 2, 3, 5, 6]
                .map(|id| node(id, if id == 1 { Role::Master } else { Role::Replica }, true, Some(0), 200))
                .to_vec(),
            reason: "a test".into(),
            sentinels: None,
            busy: false,
        };
        let at = |id: u32| [1, 2, 3, 5, 6].iter().position(|known| *known == id).expect("a node");
        let mut standings = standings(&snapshot);
        (0..3).for_each(|index| standings[index].local = true);
        for change in *changes {
            match *change {
                Out(id) => standings[at(id)].usage.set_share(0),
                Lags(id) => snapshot.nodes[at(id)].lag = Some(Duration::from_secs(3)),
                Unreadable(id) => snapshot.nodes[at(id)].readable = Err("it is loading its data".into()),
                Busy(id) => standings[at(id)].usage.load_moved(0, 1000),
                Weightless(id) => standings[at(id)].weight = 0,
            }
        }
        let lag = gate(Some(Duration::from_secs(1)), &snapshot);
        let candidates = Candidates { snapshot: &snapshot, standings: &standings, lag: &lag, avoid: None };
        for (reads, expected) in [(Reads::Zone, zone), (Reads::ZoneAny, zone_any)] {
            let route = super::read(reads, Consistency::Eventual, &Sight::default(), &Marks::new(), &candidates);
            let got: Vec<u32> = match route.to {
                Read::Nodes(set) => set.iter().map(|index| snapshot.nodes[index].id.0).collect(),
                Read::Master | Read::Hold => Vec::new(),
            };
            assert_eq!(got, *expected, "{reads:?}: {changes:?}");
            assert_eq!(route.fallback, expected.is_empty(), "{reads:?}: {changes:?}");
        }
    }
}

/// A session that reads in another zone wants a mark for a replica of its own, and none the other way round.
#[test]
fn a_mark_is_wanted_only_for_a_zone_as_near() {
    let snapshot = group(true);
    let mut standings = standings(&snapshot);
    standings[1].local = true;
    let lag = gate(None, &snapshot);
    let candidates = Candidates { snapshot: &snapshot, standings: &standings, lag: &lag, avoid: None };
    let from = |id: u32| {
        let sight = Sight { node: Some(NodeId(id)), generation: 1, write: 0 };
        super::read(Reads::Zone, Consistency::Session, &sight, &Marks::new(), &candidates)
    };
    assert!(from(3).wanted_mark, "node 2 is in the zone");
    assert!(!from(2).wanted_mark, "no other is");
}
