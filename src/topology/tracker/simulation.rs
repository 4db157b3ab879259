//! Thousands of seeded lives of a group on a virtual clock: chains, deaths, promotions, wiped restarts, delayed
//! and lost probes. A failure prints its seed; `life(seed)` replays it exactly.

mod guarded;

use std::collections::BTreeMap;

use super::*;
use crate::topology::observe::ListedReplica;

const STEP: Duration = Duration::from_millis(50);
/// Probe rounds in which a calm, provable group must be served, its replicas included: one to see the roles,
/// two for hysteresis, one because answers are late, and as many again for discovery through a chain.
const ROUNDS: u32 = 8;

/// SplitMix64: small, seeded, good enough to shuffle a simulation.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).expect("below a usize")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug)]
struct Server {
    /// 0 alive, 1 dead (refuses), 2 frozen (times out).
    state: u8,
    /// `None`: says it is a master.
    parent: Option<usize>,
    run: u64,
    replid: u64,
    replid2: Option<(u64, u64)>,
    offset: u64,
    keys: u64,
    link_up: bool,
    down_since: Option<u32>,
}

struct Life {
    dice: Dice,
    servers: Vec<Server>,
    tracker: Tracker,
    clock: Instant,
    step: u32,
    fresh_ids: u64,
    /// Answers on their way: address → (step of arrival, event).
    flying: BTreeMap<Arc<str>, (u32, Event)>,
    due: BTreeMap<Arc<str>, u32>,
    last_said_master: BTreeMap<Arc<str>, bool>,
    last_said_replica_up: BTreeMap<Arc<str>, bool>,
    snapshot: Arc<Snapshot>,
}

fn address(index: usize) -> Arc<str> {
    format!("n{index}:1").into()
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = 1 + dice.below(5);
        let mut servers: Vec<Server> = Vec::new();
        for index in 0..count {
            // A tree: everyone follows somebody before it.
            let parent = (index > 0).then(|| dice.below(index));
            let server = Server {
                state: 0,
                parent,
                run: 1 + index as u64,
                replid: 1000,
                replid2: None,
                offset: 100,
                keys: 5,
                link_up: true,
                down_since: None,
            };
            servers.push(server);
        }
        let seeds = 1 + dice.below(count);
        let clock = Instant::now();
        let tracker = Tracker::new((0..seeds).map(address), clock);
        let due = tracker.addresses().map(|address| (address.clone(), 0)).collect();
        Self {
            dice,
            servers,
            tracker,
            clock,
            step: 0,
            fresh_ids: 5000,
            flying: BTreeMap::new(),
            due,
            last_said_master: BTreeMap::new(),
            last_said_replica_up: BTreeMap::new(),
            snapshot: Arc::new(Snapshot::unknown()),
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.fresh_ids += 1;
        self.fresh_ids
    }

    /// Whether following parents upwards from `from` meets `to`: such a link would close a loop.
    fn is_above(&self, from: usize, to: usize) -> bool {
        let mut at = Some(from);
        while let Some(index) = at {
            if index == to {
                return true;
            }
            at = self.servers[index].parent;
        }
        false
    }

    fn promote(&mut self, index: usize) {
        let replid = self.fresh_id();
        let server = &mut self.servers[index];
        if server.parent.take().is_some() {
            server.replid2 = Some((server.replid, server.offset + 1));
            server.replid = replid;
            server.link_up = true;
        }
    }

    fn follow(&mut self, index: usize, parent: usize) {
        if !self.is_above(parent, index) && self.servers[index].parent != Some(parent) {
            let step = self.step;
            let server = &mut self.servers[index];
            server.parent = Some(parent);
            server.link_up = false;
            server.down_since = Some(step);
        }
    }

    fn restart(&mut self, index: usize, wiped: bool) {
        let (run, replid) = (self.fresh_id(), self.fresh_id());
        let server = &mut self.servers[index];
        server.state = 0;
        server.run = run;
        server.link_up = server.parent.is_none();
        server.down_since = None;
        if wiped || server.parent.is_none() {
            server.replid = replid;
            server.replid2 = None;
            server.offset = 0;
        }
        if wiped {
            server.keys = 0;
        }
    }

    fn chaos(&mut self) {
        let index = self.dice.below(self.servers.len());
        let other = self.dice.below(self.servers.len());
        match self.dice.below(7) {
            0 => self.servers[index].state = 1,
            1 => self.servers[index].state = 2,
            2 => {
                let wiped = self.dice.one_in(3);
                self.restart(index, wiped);
            }
            3 if self.servers[index].state == 2 => self.servers[index].state = 0,
            4 => self.promote(index),
            5 | 6 => self.follow(index, other),
            _ => {}
        }
    }

    /// Masters write, replicas catch up.
    fn replicate(&mut self, calm: bool) {
        for index in 0..self.servers.len() {
            let Some(parent) = self.servers[index].parent else {
                if self.servers[index].state == 0 {
                    self.servers[index].offset += self.dice.roll() % 50;
                    self.servers[index].keys += u64::from(self.dice.one_in(10));
                }
                continue;
            };
            let up = self.servers[parent].clone();
            let step = self.step;
            let late = !calm && self.dice.one_in(3);
            let server = &mut self.servers[index];
            if server.state != 0 {
                continue;
            }
            if up.state != 0 || !up.link_up {
                if server.link_up && up.state == 1 {
                    server.link_up = false;
                    server.down_since = Some(step);
                }
            } else if !late {
                (server.replid, server.replid2) = (up.replid, up.replid2);
                (server.offset, server.keys) = (up.offset, up.keys);
                (server.link_up, server.down_since) = (true, None);
            }
        }
    }

    fn observe(&self, index: usize) -> Observation {
        let server = &self.servers[index];
        let role = if server.parent.is_some() { Role::Replica } else { Role::Master };
        let replicas = (0..self.servers.len())
            .filter(|&other| self.servers[other].parent == Some(index) && self.servers[other].state == 0)
            .map(|other| ListedReplica {
                address: address(other).to_string(),
                online: true,
                offset: None,
                lag: Some(0),
            });
        Observation {
            role,
            run_id: Some(server.run.to_string().into()),
            version: Some(crate::topology::Version(7, 0, 15)),
            replid: Some(server.replid.to_string().into()),
            replid2: server.replid2.map(|(id, _)| id.to_string().into()),
            second_offset: server.replid2.map(|(_, offset)| offset),
            offset: Some(server.offset),
            parent: server.parent.map(|parent| address(parent).to_string()),
            link_up: (role == Role::Replica).then_some(server.link_up),
            link_down_for: server.down_since.map(|since| u64::from((self.step - since) / 20)),
            syncing: Some(false),
            loading: Some(false),
            read_only: Some(true),
            announced: Some(true),
            replicas: Some(replicas.collect()),
            keys: Some(server.keys),
            ..Observation::empty()
        }
    }

    /// Sends the probes that are due; each node has at most one in flight, as in `control`.
    fn probe(&mut self) {
        let due: Vec<Arc<str>> =
            self.due.iter().filter(|(_, step)| **step <= self.step).map(|(a, _)| a.clone()).collect();
        for target in due {
            self.due.remove(&target);
            let index = (0..self.servers.len()).find(|&index| address(index) == target).expect("a server");
            let failed =
                |kind| Event::Failed { address: target.clone(), failure: Failure { kind, text: "lost".into() } };
            let late = u32::try_from(self.dice.below(8)).expect("small");
            let (delay, event) = match self.servers[index].state {
                1 => (0, failed(FailureKind::Refused)),
                2 => (20, failed(FailureKind::Timeout)),
                _ => {
                    let observation = Box::new(self.observe(index));
                    (late, Event::Observed { address: target.clone(), observation, round_trip: STEP * late })
                }
            };
            self.flying.insert(target, (self.step + delay, event));
        }
    }

    fn deliver(&mut self) {
        let arrived: Vec<Arc<str>> =
            self.flying.iter().filter(|(_, (step, _))| *step <= self.step).map(|(a, _)| a.clone()).collect();
        for target in arrived {
            let Some((_, event)) = self.flying.remove(&target) else { continue };
            let said = match &event {
                Event::Observed { observation, .. } => Some(observation),
                _ => None,
            };
            self.last_said_master.insert(target.clone(), said.is_some_and(|said| said.role == Role::Master));
            self.last_said_replica_up.insert(
                target.clone(),
                said.is_some_and(|said| {
                    said.role == Role::Replica && (said.link_up == Some(true) || said.link_down_for.is_some())
                }),
            );
            let actions = self.tracker.handle(self.clock, event);
            let pause = if self.tracker.has_master() { 10 } else { 2 };
            self.due.insert(target, self.step + pause);
            for action in actions {
                match action {
                    Action::Probe(address) => drop(self.due.insert(address, self.step)),
                    Action::Forget(address) => {
                        self.due.remove(&address);
                        self.flying.remove(&address);
                    }
                    Action::Publish(snapshot) => self.check(snapshot),
                    Action::Order(_) | Action::Say(..) | Action::AskSentinel(_) | Action::ForgetSentinel(_) => {}
                }
            }
        }
    }

    /// What must hold for every snapshot.
    fn check(&mut self, snapshot: Arc<Snapshot>) {
        assert!(snapshot.epoch >= self.snapshot.epoch, "epochs only grow");
        let (old, new) = (self.snapshot.master().map(|node| node.id), snapshot.master().map(|node| node.id));
        assert!(old == new || snapshot.epoch > self.snapshot.epoch, "a change of the master is a new epoch");
        for (index, node) in snapshot.nodes.iter().enumerate() {
            let is_master = snapshot.master == Some(index);
            if is_master {
                assert_eq!(node.role, Role::Master);
                assert!(self.last_said_master[&node.address], "the master said so in its last answer");
            } else if node.readable.is_ok() {
                assert!(
                    self.last_said_replica_up[&node.address],
                    "{} is readable without saying it is fit",
                    node.address
                );
            }
            assert!(!is_master || node.readable.is_ok());
            assert!(snapshot.nodes[..index].iter().all(|other| other.address != node.address && other.id != node.id));
        }
        self.snapshot = snapshot;
    }

    fn pass(&mut self, calm: bool) {
        self.step += 1;
        self.clock += STEP;
        self.replicate(calm);
        self.probe();
        self.deliver();
    }

    /// Makes one server the master and everybody else its replica, directly or through others.
    fn calm_down(&mut self) -> usize {
        let chosen = self.dice.below(self.servers.len());
        for index in 0..self.servers.len() {
            if self.servers[index].state == 1 {
                self.restart(index, false);
            }
            self.servers[index].state = 0;
        }
        self.promote(chosen);
        for index in 0..self.servers.len() {
            if index != chosen && !self.is_above(index, chosen) {
                self.follow(index, chosen);
            }
        }
        chosen
    }
}

fn life(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..1 + life.dice.below(4) {
        for _ in 0..life.dice.below(400) {
            if life.dice.one_in(25) {
                life.chaos();
            }
            life.pass(false);
        }
        let chosen = life.calm_down();
        for _ in 0..ROUNDS * 10 {
            life.pass(true);
        }
        let snapshot = &life.snapshot;
        // Only what can be discovered can be served: with the seeds dead for long, all others may be forgotten.
        let served = snapshot.master().map(|node| node.address.clone());
        assert_eq!(served, Some(address(chosen)), "a calm group is served: {}; {:#?}", snapshot.reason, snapshot.nodes);
        for node in &snapshot.nodes {
            assert!(node.readable.is_ok(), "{} is fit but not read: {:?}", node.address, node.readable);
            assert!(node.lag.is_some_and(|lag| lag < Duration::from_secs(2)), "{}: lag {:?}", node.address, node.lag);
        }
    }
}

#[test]
fn thousands_of_lives() {
    for seed in 0..2000 {
        if let Err(panic) = std::panic::catch_unwind(|| life(seed)) {
            eprintln!("the life with seed {seed} went wrong");
            std::panic::resume_unwind(panic);
        }
    }
}
