//! Tens of thousands of seeded lives of a group under Sentinels, on a virtual clock of 100 ms steps.
//!
//! The world fails over as real Sentinels do: down after 1 s, a leader, a promotion 0.4 s later, its word 0.8 s after that,
//! the others' 0.1 s later, then the replicas, and the old master last. Around that, everything goes wrong that can: see
//! [`world`]. [`Life::check`] states what must hold of every snapshot, [`Life::live`] what must come about.

mod world;

use std::collections::BTreeMap;

use super::super::*;
use super::Dice;
use crate::topology::observe::ListedReplica;
use crate::topology::sentinel::{Peer, Subject};

const STEP: Duration = Duration::from_millis(100);

/// From the moment at which all is in order until it is served: what was under way may still time out after 1 s, and the
/// next round comes half a second later.
const SERVED: u32 = 20;

/// How many lives a run of the tests has: two and a half minutes of one core without optimisation, in parts that run beside
/// each other. `REDAN_LIVES` takes as many as one wants, and `--config 'profile.test.package.redan.opt-level=1'` makes them
/// three times as fast.
const LIVES: u64 = 100_000;
const PARTS: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Up,
    /// Refuses connections.
    Dead,
    /// Answers nothing.
    Frozen,
}

#[derive(Clone, Debug)]
struct Server {
    state: State,
    /// `None`: it says it is a master.
    parent: Option<usize>,
    run: u64,
    replid: u64,
    replid2: Option<(u64, u64)>,
    offset: u64,
    keys: u64,
    link_up: bool,
    loading: u32,
    /// Redan cannot reach it; the Sentinels cannot.
    cut: [bool; 2],
    /// The epoch of the promotion that its claim goes back to; one that nobody elected has its parent's.
    reign: u64,
    /// It claims because somebody detached it, not because Sentinels promoted it.
    detached: bool,
}

#[derive(Clone, Debug)]
struct Guard {
    up: bool,
    cut: bool,
    tilt: bool,
    /// It does not hear of the others.
    deaf: bool,
    /// It says this instead of what it knows.
    lie: Option<(usize, u64)>,
    master: usize,
    epoch: u64,
}

/// A failover under way: the step of its next act.
#[derive(Clone, Debug)]
struct Failover {
    leader: usize,
    to: usize,
    epoch: u64,
    at: u32,
    act: u8,
}

struct Life {
    dice: Dice,
    names: Vec<Arc<str>>,
    guards_names: Vec<Arc<str>>,
    servers: Vec<Server>,
    guards: Vec<Guard>,
    failover: Option<Failover>,
    /// Since when most Sentinels cannot reach the master.
    down_since: Option<u32>,
    /// The truth: the node that the newest epoch belongs to.
    reigning: (usize, u64),
    /// When the Sentinels correct who follows the wrong master.
    correct_at: u32,
    tracker: Tracker,
    clock: Instant,
    step: u32,
    ids: u64,
    stirred_until: u32,
    flying: BTreeMap<(bool, usize), (u32, Event)>,
    due: BTreeMap<(bool, usize), u32>,
    /// What was delivered last, and the epoch that the node's claim had when it said so.
    heard: Vec<Option<(Observation, u64, bool)>>,
    heard_at: Vec<u32>,
    /// What each Sentinel said last, and since when.
    voted: Vec<Option<(usize, u64, u32)>>,
    /// The highest epoch whose claim was ever accepted.
    accepted: u64,
    /// The process that was the master last: what it has is what clients have seen.
    process: Option<Arc<str>>,
    snapshot: Arc<Snapshot>,
    /// Nothing goes wrong any more.
    calm: bool,
    log: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = [2, 3, 3, 4][dice.below(4)];
        let guards = [1, 3, 3, 3, 3, 5][dice.below(6)];
        let names: Vec<Arc<str>> = (0..count).map(|index| format!("n{index}:1").into()).collect();
        let guards_names: Vec<Arc<str>> = (0..guards).map(|index| format!("s{index}:1").into()).collect();
        let server = |index: usize| Server {
            state: State::Up,
            parent: (index > 0).then_some(0),
            run: index as u64,
            replid: 1000,
            replid2: None,
            offset: 100,
            keys: 5,
            link_up: true,
            loading: 0,
            cut: [false; 2],
            reign: 1,
            detached: false,
        };
        let mut servers: Vec<Server> = (0..count).map(server).collect();
        if count > 2 && dice.one_in(3) {
            servers[2].parent = Some(1);
        }
        let guard = Guard { up: true, cut: false, tilt: false, deaf: false, lie: None, master: 0, epoch: 1 };
        let clock = Instant::now();
        let seeds = if dice.one_in(2) { count } else { 0 };
        let first = 1 + dice.below(guards);
        let tracker =
            Tracker::new(names[..seeds].iter().cloned(), clock).with_sentinels(guards_names[..first].iter().cloned());
        let due =
            (0..seeds).map(|index| ((false, index), 0)).chain((0..first).map(|index| ((true, index), 0))).collect();
        Self {
            dice,
            heard: vec![None; count],
            heard_at: vec![0; count],
            voted: vec![None; guards],
            names,
            guards_names,
            servers,
            guards: vec![guard; guards],
            failover: None,
            down_since: None,
            reigning: (0, 1),
            correct_at: u32::MAX,
            tracker,
            clock,
            step: 0,
            ids: 5000,
            stirred_until: 0,
            flying: BTreeMap::new(),
            due,
            accepted: 0,
            process: None,
            snapshot: Arc::new(Snapshot::unknown()),
            calm: false,
            log: Vec::new(),
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if std::env::var_os("REDAN_LIFE").is_some() {
            self.log.push(format!("{:>6} ms  {}", self.step * 100, text()));
        }
    }

    /// Sends the questions that are due; each node and each Sentinel has at most one in flight, as in `control`.
    fn ask(&mut self) {
        let due: Vec<(bool, usize)> =
            self.due.iter().filter(|(_, step)| **step <= self.step).map(|(whom, _)| *whom).collect();
        for whom in due {
            self.due.remove(&whom);
            let (is_guard, index) = whom;
            let lost = !self.calm && self.dice.one_in(40);
            let delay = if self.dice.one_in(3) { self.dice.below(3) } else { 0 };
            let delay = u32::try_from(delay).expect("small");
            let (silent, refused) = match is_guard {
                true => (self.guards[index].cut, !self.guards[index].up),
                false => {
                    let server = &self.servers[index];
                    (server.cut[0] || server.state == State::Frozen, server.state == State::Dead)
                }
            };
            let kind = if refused { FailureKind::Refused } else { FailureKind::Timeout };
            let failure = Failure { kind, text: "no answer".to_owned() };
            let event = match (is_guard, silent || refused || lost) {
                (true, true) => Event::Mute { sentinel: self.guards_names[index].clone(), failure },
                (true, false) => {
                    let statement = Box::new(self.statement(index));
                    Event::Stated { sentinel: self.guards_names[index].clone(), statement }
                }
                (false, true) => Event::Failed { address: self.names[index].clone(), failure },
                (false, false) => {
                    let observation = Box::new(self.observe(index));
                    Event::Observed { address: self.names[index].clone(), observation, round_trip: STEP * delay }
                }
            };
            let delay = if silent || lost { 10 } else { delay };
            self.flying.insert(whom, (self.step + delay, event));
        }
    }

    fn deliver(&mut self) {
        let arrived: Vec<(bool, usize)> =
            self.flying.iter().filter(|(_, (step, _))| *step <= self.step).map(|(whom, _)| *whom).collect();
        for whom in arrived {
            let Some((_, event)) = self.flying.remove(&whom) else { continue };
            self.handle(event);
            let searching = !self.tracker.has_master() || self.step < self.stirred_until;
            let pause = match (whom.0, searching) {
                (true, true) => 3,
                (true, false) => 100,
                (false, true) => 1,
                (false, false) => 5,
            };
            let spoken_to = match whom.0 {
                true => self.tracker.sentinels().any(|one| *one.address == self.guards_names[whom.1]),
                false => self.tracker.addresses().any(|one| *one == self.names[whom.1]),
            };
            if spoken_to {
                self.due.insert(whom, self.step + pause);
            }
        }
    }

    fn remember(&mut self, event: &Event) {
        let index = |names: &[Arc<str>], name: &Arc<str>| names.iter().position(|other| other == name).expect("known");
        match event {
            Event::Observed { address, observation, .. } => {
                let at = index(&self.names, address);
                let server = &self.servers[at];
                self.heard_at[at] = self.step;
                self.heard[at] = Some(((**observation).clone(), server.reign, server.detached));
            }
            Event::Failed { address, .. } => self.heard[index(&self.names, address)] = None,
            Event::Stated { sentinel, statement } => {
                let at = index(&self.guards_names, sentinel);
                let subject = statement.subject.as_ref().filter(|_| !statement.tilt);
                let named = |subject: &Subject| index(&self.names, &subject.master.as_str().into());
                self.voted[at] = subject.map(|subject| {
                    let (node, before) = (named(subject), self.voted[at].filter(|vote| vote.0 == named(subject)));
                    (node, subject.epoch, before.map_or(self.step, |(.., since)| since))
                });
            }
            Event::Mute { sentinel, .. } => self.voted[index(&self.guards_names, sentinel)] = None,
            Event::Noticed { .. } => {}
        }
    }

    fn handle(&mut self, event: Event) {
        self.remember(&event);
        let had = self.snapshot.master().map(|node| node.id);
        let mut explained = 0;
        let mut changed = None;
        for action in self.tracker.handle(self.clock, event) {
            match action {
                Action::Probe(found) => {
                    let index = self.names.iter().position(|name| *name == found).expect("a server");
                    self.due.insert((false, index), self.step);
                }
                Action::AskSentinel(found) => {
                    let index = self.guards_names.iter().position(|name| *name == found).expect("a Sentinel");
                    self.due.insert((true, index), self.step);
                }
                Action::Forget(_) | Action::ForgetSentinel(_) | Action::Order(_) => {}
                Action::Publish(snapshot) => changed = Some(snapshot),
                Action::Say(_, text) => {
                    explained += u32::from(text.starts_with("writes are"));
                    self.note(|| text);
                }
            }
        }
        let Some(snapshot) = changed else { return };
        let now = snapshot.master().map(|node| node.id);
        assert_eq!(explained, u32::from(snapshot.epoch != self.snapshot.epoch), "one line for each change");
        assert!(had == now || snapshot.epoch > self.snapshot.epoch, "a change of the master is a new epoch");
        self.check(&snapshot, had == now);
        self.snapshot = snapshot;
    }

    /// What must hold of every snapshot with a master, by what Redan had heard when it was made:
    ///
    /// 1. The master's last answer claimed, and had loaded its data.
    /// 2. A node that has just become the master is not empty while another's last answer holds data of another history.
    /// 3. No majority of the Sentinels names another node with a newer epoch than that of the promotion that the master's
    ///    claim goes back to, unless that node itself says that it follows the master.
    /// 4. No claim of an older epoch than one that was accepted before, unless the holder of the newer one has become a
    ///    replica, or most Sentinels name it.
    /// 5. A node that nobody elected does not take the place of a master that goes on claiming.
    fn check(&mut self, snapshot: &Snapshot, same: bool) {
        let Some(master) = snapshot.master() else { return };
        let index = self.names.iter().position(|name| *name == master.address).expect("a server");
        let Some((said, reign, detached)) = &self.heard[index] else { panic!("the master's last answer is none") };
        assert!(said.role == Role::Master && said.loading != Some(true), "the master claims, and is loaded");
        let heard = || self.heard.iter().flatten();
        if !same && said.keys == Some(0) && said.run_id != self.process {
            let foreign = |other: &Observation| other.replid != said.replid && other.replid != said.replid2;
            let holds = heard().find(|(other, ..)| other.keys > Some(0) && foreign(other));
            assert!(holds.is_none(), "{} is empty, and data would be lost: {holds:?}", master.address);
        }
        for (named, ..) in self.voted.iter().flatten().filter(|(named, ..)| *named != index) {
            let newer = self.voted.iter().flatten().filter(|(other, epoch, _)| other == named && epoch > reign);
            let mut since: Vec<u32> = newer.map(|(.., since)| *since).collect();
            since.sort_unstable();
            let follows = self.heard[*named].as_ref().is_some_and(|(other, ..)| other.role == Role::Replica);
            let knows = |since: &u32| follows && self.heard_at[*named] > *since;
            assert!(
                since.get(self.guards.len() / 2).is_none_or(knows),
                "{} has epoch {reign}, but {} Sentinels name n{named}: {}",
                master.address,
                since.len(),
                snapshot.reason
            );
        }
        let older = *reign < self.accepted && !detached;
        let holder = self.servers.iter().position(|server| server.reign == self.accepted);
        let resigned = holder.is_none_or(|holder| match &self.heard[holder] {
            Some((other, ..)) => other.role == Role::Replica,
            None => false,
        });
        let named = self.voted.iter().flatten().filter(|(named, ..)| *named == index).count();
        assert!(
            !older || resigned || self.majority(named),
            "{} has epoch {reign}, but one of epoch {} was accepted: {}",
            master.address,
            self.accepted,
            snapshot.reason
        );
        self.accepted = self.accepted.max(*reign);
        self.process = said.run_id.clone();
    }

    fn pass(&mut self) {
        self.step += 1;
        self.clock += STEP;
        self.replicate();
        self.guard();
        self.ask();
        self.deliver();
    }

    /// Everybody is well again, save for a liar, and the Sentinels put the nodes in order.
    fn calm_down(&mut self) {
        for index in 0..self.servers.len() {
            if self.servers[index].state == State::Dead {
                self.restart(index, false);
            }
            (self.servers[index].state, self.servers[index].cut) = (State::Up, [false; 2]);
        }
        for guard in &mut self.guards {
            (guard.up, guard.cut, guard.tilt, guard.deaf) = (true, false, false, false);
        }
        for _ in 0..20 {
            self.pass();
        }
        let (master, epoch) = self.reigning;
        for guard in &mut self.guards {
            (guard.master, guard.epoch) = (master, epoch);
        }
        if self.servers[master].parent.is_some() {
            self.promote(master, epoch, false);
        }
        for index in (0..self.servers.len()).filter(|&index| index != master) {
            self.servers[index].parent = None;
            self.follow(index, master);
        }
        self.calm = true;
    }

    fn live(&mut self) {
        for _ in 0..8 + self.dice.below(20) {
            if self.dice.one_in(4) {
                self.chaos();
            }
            self.pass();
        }
        self.calm_down();
        for _ in 0..SERVED {
            self.pass();
        }
        let served = self.snapshot.master().map(|node| node.address.clone());
        let master = self.reigning.0;
        assert_eq!(served, Some(self.names[master].clone()), "a group in order is served: {}", self.snapshot.reason);
    }
}

/// One life alone, with its story: `REDAN_LIFE=seed cargo test --lib under_sentinels -- --nocapture`
fn live(part: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lives = number("REDAN_LIVES").unwrap_or(LIVES);
    let seeds = match number("REDAN_LIFE") {
        Some(seed) => seed..seed + u64::from(part == 0),
        None => part * lives / PARTS..(part + 1) * lives / PARTS,
    };
    for seed in seeds {
        let mut life = Life::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.live()));
        if let Err(panic) = outcome {
            eprintln!(
                "{}\nthe life with seed {seed} went wrong: REDAN_LIFE={seed} tells its story",
                life.log.join("\n")
            );
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn lives_under_sentinels_first_part() {
    live(0);
}

#[test]
fn lives_under_sentinels_second_part() {
    live(1);
}

#[test]
fn lives_under_sentinels_third_part() {
    live(2);
}

#[test]
fn lives_under_sentinels_fourth_part() {
    live(3);
}
