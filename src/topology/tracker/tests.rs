//! The rules as situations, in the words of people who switch masters by hand: what nodes say, what is decided.

mod discovery;
mod drained;
mod health;
mod fence;
mod proof;
mod reconfigure;
mod rescue;
mod sentinels;

use super::*;
use crate::topology::Version;
use crate::topology::observe::ListedReplica;

const MS: Duration = Duration::from_millis(1);

/// A node's answer, built like a sentence.
#[derive(Clone)]
struct Says(Observation);

fn master(run: &str, replid: &str, offset: u64) -> Says {
    Says(Observation {
        role: Role::Master,
        run_id: Some(run.into()),
        version: Some(Version(7, 0, 15)),
        replid: Some(replid.into()),
        offset: Some(offset),
        loading: Some(false),
        replicas: Some(Vec::new()),
        keys: Some(7),
        ..Observation::empty()
    })
}

fn replica(run: &str, of: &str, replid: &str, offset: u64) -> Says {
    Says(Observation {
        role: Role::Replica,
        parent: Some(of.into()),
        link_up: Some(true),
        syncing: Some(false),
        last_io: Some(0),
        read_only: Some(true),
        announced: Some(true),
        ..master(run, replid, offset).0
    })
}

impl Says {
    fn with(mut self, change: impl FnOnce(&mut Observation)) -> Self {
        change(&mut self.0);
        self
    }

    fn continuing(self, replid2: &str, second: u64) -> Self {
        self.with(|seen| {
            seen.replid2 = Some(replid2.into());
            seen.second_offset = Some(second);
        })
    }

    fn link_down(self, seconds: Option<u64>) -> Self {
        self.with(|seen| {
            seen.link_up = Some(false);
            seen.link_down_for = seconds;
            seen.last_io = None;
        })
    }

    fn listing(self, addresses: &[&str]) -> Self {
        let list = addresses.iter().map(|address| ListedReplica {
            address: (*address).to_owned(),
            online: true,
            offset: None,
            lag: Some(0),
        });
        self.with(|seen| seen.replicas = Some(list.collect()))
    }

    fn old(self) -> Self {
        self.with(|seen| {
            (seen.replid, seen.replid2, seen.second_offset) = (None, None, None);
            seen.version = Some(Version(3, 2, 13));
            seen.announced = None;
        })
    }
}

struct World {
    tracker: Tracker,
    now: Instant,
    said: Vec<(Level, String)>,
    probes: Vec<String>,
    forgotten: Vec<String>,
    orders: Vec<Order>,
    snapshot: Arc<Snapshot>,
}

impl World {
    fn new(seeds: &[&str]) -> Self {
        let now = Instant::now();
        let tracker = Tracker::new(seeds.iter().map(|&seed| Arc::from(seed)), now);
        let snapshot = Arc::new(Snapshot::unknown());
        Self { tracker, now, said: Vec::new(), probes: Vec::new(), forgotten: Vec::new(), orders: Vec::new(), snapshot }
    }

    fn event(&mut self, event: Event) {
        self.now += 100 * MS;
        for action in self.tracker.handle(self.now, event) {
            match action {
                Action::Probe(address) => self.probes.push(address.to_string()),
                Action::Forget(address) => self.forgotten.push(address.to_string()),
                Action::AskSentinel(address) => self.probes.push(format!("sentinel {address}")),
                Action::ForgetSentinel(address) => self.forgotten.push(format!("sentinel {address}")),
                Action::Publish(snapshot) => self.snapshot = snapshot,
                Action::Order(order) => self.orders.push(order),
                Action::Say(level, text) => self.said.push((level, text)),
            }
        }
    }

    fn hears(&mut self, address: &str, says: &Says) {
        let observation = Box::new(says.0.clone());
        self.event(Event::Observed { address: address.into(), observation, round_trip: MS });
    }

    fn loses(&mut self, address: &str, kind: FailureKind) {
        let failure = Failure { kind, text: "no answer".to_owned() };
        self.event(Event::Failed { address: address.into(), failure });
    }

    fn master(&self) -> Option<&str> {
        self.snapshot.master().map(|node| &*node.address)
    }

    fn node(&self, address: &str) -> &Node {
        self.snapshot.nodes.iter().find(|node| &*node.address == address).expect("a known node")
    }

    fn readable(&self, address: &str) -> bool {
        self.node(address).readable.is_ok()
    }

    fn unreadable_because(&self, address: &str, words: &str) {
        let why = self.node(address).readable.clone().expect_err("unreadable");
        assert!(why.contains(words), "'{why}' does not say '{words}'");
    }

    fn holds_because(&self, words: &str) {
        assert_eq!(self.master(), None);
        assert!(self.snapshot.reason.contains(words), "'{}' does not say '{words}'", self.snapshot.reason);
    }

    fn was_told(&self, words: &str) -> bool {
        self.said.iter().any(|(_, text)| text.contains(words))
    }
}

/// `a:1` is the master, `b:1` and `c:1` follow it.
fn group() -> World {
    let mut world = World::new(&["a:1", "b:1", "c:1"]);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1", "c:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    world.hears("c:1", &replica("rc", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    world
}

fn pair() -> World {
    let mut world = World::new(&["a:1", "b:1"]);
    world.hears("a:1", &master("ra", "A", 100).listing(&["b:1"]));
    world.hears("b:1", &replica("rb", "a:1", "A", 100));
    assert_eq!(world.master(), Some("a:1"));
    world
}
