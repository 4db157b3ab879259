//! Against real servers: discovery, chains, passwords, TLS, rights, deaths, and masters switched by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::*;
use crate::config::{Access, NodeTls, NodeTrust, Secret, Seed};
use support::certs::Certs;
use support::redis::{Redis, eventually, free_port};

/// Shared with the integration tests, which see no more of Redan than a user does.
#[path = "../../tests/it/support"]
pub(crate) mod support {
    pub(crate) mod certs;
    pub(crate) mod redis;
}

pub(crate) fn group(seeds: Vec<(String, Access)>, access: Access) -> Group {
    let seeds = seeds.into_iter().map(|(address, access)| Seed::new(address.into(), Arc::new(access)));
    Group {
        name: "main".to_owned(),
        seeds: seeds.collect(),
        access: Arc::new(access),
        sentinel: None,
        map: Vec::new(),
        probe_interval: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_secs(5),
        read_timeout: None,
        hedge: None,
        zone: None,
        failover: None,
        fence: None,
    }
}

pub(crate) fn with_password(password: &str) -> Access {
    Access { password: Some(Secret::new(password)), ..Access::default() }
}

pub(crate) fn with_tls(certs: &Certs) -> Access {
    Access {
        tls: Some(NodeTls {
            trust: NodeTrust::Ca { ca: certs.ca(), crl: Vec::new() },
            server_name: None,
            identity: None,
        }),
        ..Access::default()
    }
}

/// A control thread over one group.
struct Watched {
    snapshot: Arc<ArcSwap<Snapshot>>,
    look: Arc<Notify>,
    published: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watched {
    fn start(config: Group) -> Self {
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::unknown()));
        let look = Arc::new(Notify::new());
        let published = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel::<()>();
        let counted = published.clone();
        let config = Arc::new(config);
        let control = GroupControl {
            keyring: Arc::new(Keyring::load(&config).expect("good files")),
            shortcuts: Arc::default(),
            config,
            snapshot: snapshot.clone(),
            look: look.clone(),
            published: Box::new(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
            witnesses: Arc::default(),
            promotions: mpsc::channel(1).1,
            drains: mpsc::channel(1).1,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let (_changes, unchanged) = mpsc::unbounded_channel();
            runtime.block_on(run(vec![(0, control)], unchanged, async { drop(stopped.await) }));
        });
        Self { snapshot, look, published, stop: Some(stop), thread: Some(thread) }
    }

    fn of(nodes: &[&Redis]) -> Self {
        Self::start(group(nodes.iter().map(|node| (node.address(), Access::default())).collect(), Access::default()))
    }

    fn now(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    fn until(&self, what: &str, mut ready: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut found = None;
        let start = Instant::now();
        while found.is_none() {
            let now = self.now();
            if ready(&now) {
                found = Some(now);
            } else {
                assert!(start.elapsed() < support::redis::DEADLINE, "not in time: {what}; {now:#?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        found.expect("the loop ends with one")
    }

    fn until_master(&self, node: &Redis) -> Arc<Snapshot> {
        let address = node.address();
        self.until("the master", |now| now.master().is_some_and(|master| *master.address == address))
    }

    fn until_readable(&self, nodes: &[&Redis]) -> Arc<Snapshot> {
        self.until("readable replicas", |now| nodes.iter().all(|node| is_readable(now, node)))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the control thread panicked");
        }
    }
}

fn node<'a>(snapshot: &'a Snapshot, redis: &Redis) -> Option<&'a crate::topology::Node> {
    let address = redis.address();
    snapshot.nodes.iter().find(|node| *node.address == address)
}

fn is_readable(snapshot: &Snapshot, redis: &Redis) -> bool {
    node(snapshot, redis).is_some_and(|node| node.readable.is_ok())
}

fn trouble(snapshot: &Snapshot, redis: &Redis) -> String {
    node(snapshot, redis).and_then(|node| node.trouble.clone()).map_or_else(String::new, |text| text.to_string())
}

#[test]
fn a_master_and_two_replicas_are_discovered_from_one_seed() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    let c = Redis::options().replica_of(&a).start();
    // From the master it finds the replicas, from a replica the master and through it the other.
    for seed in [&a, &b] {
        let watched = Watched::of(&[seed]);
        watched.until_master(&a);
        let seen = watched.until_readable(&[&b, &c]);
        assert_eq!(seen.nodes.len(), 3);
        assert!(seen.nodes.iter().all(|node| node.version.is_some() && node.round_trip.is_some()));
        let lag = node(&seen, &b).expect("known").lag.expect("measured");
        assert!(lag < Duration::from_secs(5), "{lag:?}");
        assert!(watched.published.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_chain_is_followed_and_its_break_noticed() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let c = Redis::options().replica_of(&b).start();
    let watched = Watched::of(&[&a]);
    watched.until_master(&a);
    let seen = watched.until_readable(&[&b, &c]);
    assert_eq!(node(&seen, &c).expect("known").parent, node(&seen, &b).map(|node| node.id));
    a.ok(&["SET", "key", "value"]);
    watched.until("c has everything", |now| node(now, &c).is_some_and(|node| node.lag_bytes == Some(0)));
    // b is sent to a port where nobody listens: its link breaks, and c hangs below it.
    b.ok(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let seen = watched.until("c is unreadable", |now| !is_readable(now, &b) && !is_readable(now, &c));
    assert!(seen.master.is_some());
}

#[test]
fn each_node_has_its_own_password() {
    let a = Redis::options().password("alpha").start();
    let b = Redis::options().password("beta").master_auth("alpha").replica_of(&a).start();
    let seeds = vec![(a.address(), with_password("alpha")), (b.address(), with_password("beta"))];
    let watched = Watched::start(group(seeds, Access::default()));
    watched.until_master(&a);
    watched.until_readable(&[&b]);

    let seeds = vec![(a.address(), with_password("alpha")), (b.address(), with_password("wrong"))];
    let watched = Watched::start(group(seeds, Access::default()));
    let seen = watched.until("b refuses", |now| !trouble(now, &b).is_empty());
    assert!(trouble(&seen, &b).contains("wrong password"));
    let seeds = vec![(a.address(), with_password("alpha")), (b.address(), Access::default())];
    let watched = Watched::start(group(seeds, Access::default()));
    let seen = watched.until("b refuses", |now| !trouble(now, &b).is_empty());
    assert!(trouble(&seen, &b).contains("asks for a password and none is configured"));
}

#[test]
fn a_switch_by_hand() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let watched = Watched::of(&[&a, &b]);
    let before = watched.until_master(&a);
    watched.until_readable(&[&b]);
    b.replica_of(None);
    let seen = watched
        .until("b is detached", |now| node(now, &b).is_some_and(|node| node.role == crate::topology::Role::Master));
    assert_eq!(seen.master().map(|node| node.address.to_string()), Some(a.address()), "a goes on");
    a.replica_of(Some(&b));
    let after = watched.until_master(&b);
    assert!(after.epoch > before.epoch);
    watched.until_readable(&[&a]);
}

#[test]
fn a_dead_replica_and_a_dead_master_come_back() {
    let mut a = Redis::start();
    let mut b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let watched = Watched::of(&[&a, &b]);
    watched.until_master(&a);
    watched.until_readable(&[&b]);
    b.kill();
    let seen = watched.until("b is missed", |now| trouble(now, &b).contains("refused"));
    assert!(seen.master.is_some() && !is_readable(&seen, &b));
    b.restart();
    watched.until_readable(&[&b]);
    b.wait_for_link();

    a.kill();
    let held = watched.until("no master, but reads go on", |now| now.master.is_none() && is_readable(now, &b));
    assert!(held.reason.contains("cannot be asked"), "{}", held.reason);
    b.replica_of(None);
    watched.until_master(&b);
    // The old master returns, empty and still believing in itself.
    a.restart();
    watched.until("a answers", |now| trouble(now, &a).is_empty());
    assert_eq!(watched.now().master().map(|node| node.address.to_string()), Some(b.address()));
    a.replica_of(Some(&b));
    watched.until_readable(&[&a]);
}

#[test]
fn an_empty_master_is_not_accepted_over_data() {
    // The replica waits 5 s for its full sync: time enough to see the state in between.
    let mut a = Redis::options().line("repl-diskless-sync-delay 5").start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    a.ok(&["SET", "key", "value"]);
    eventually("the replica has the key", || b.command(&["EXISTS", "key"]).starts_with(":1"));
    let watched = Watched::of(&[&a, &b]);
    watched.until_master(&a);
    watched.until_readable(&[&b]);
    a.restart();
    let held = watched.until("held", |now| now.master.is_none() && now.reason.contains("still holds data"));
    assert!(held.reason.contains("REPLICAOF NO ONE"));
    b.replica_of(None);
    watched.until_master(&b);
    assert!(b.command(&["GET", "key"]).contains("value"), "the data were saved");
}

#[test]
fn a_frozen_master_is_noticed_by_silence() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let watched = Watched::of(&[&a, &b]);
    watched.until_master(&a);
    a.freeze();
    let held = watched.until("no master", |now| now.master.is_none());
    assert!(held.reason.contains("no answer within 500 ms"), "{}", held.reason);
    a.thaw();
    watched.until_master(&a);
}

#[test]
fn a_master_in_a_long_script_stays_the_master() {
    let a = Redis::options().line("lua-time-limit 50").start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let watched = Watched::of(&[&a, &b]);
    let epoch = watched.until_master(&a).epoch;
    let script = a.send(&["EVAL", "while true do end", "0"]);
    let seen = watched.until("busy", |now| trouble(now, &a).contains("a script blocks it"));
    assert!(seen.master.is_some());
    a.ok(&["SCRIPT", "KILL"]);
    drop(script);
    let seen = watched.until("free again", |now| trouble(now, &a).is_empty());
    assert_eq!((seen.master.is_some(), seen.epoch), (true, epoch));
}

#[test]
fn nodes_over_tls() {
    let certs = Certs::make();
    let a = Redis::options().tls(&certs).start();
    let b = Redis::options().tls(&certs).replica_of(&a).start();
    let watched = Watched::start(group(vec![(a.address(), with_tls(&certs))], with_tls(&certs)));
    watched.until_master(&a);
    watched.until_readable(&[&b]);

    let strangers = Certs::make();
    let watched = Watched::start(group(vec![(a.address(), with_tls(&strangers))], Access::default()));
    let seen = watched.until("not trusted", |now| !trouble(now, &a).is_empty());
    assert!(trouble(&seen, &a).contains("not signed by the configured `ca`"), "{}", trouble(&seen, &a));
    // Plaintext to a TLS port, and TLS to a plaintext port.
    let watched = Watched::start(group(vec![(a.address(), Access::default())], Access::default()));
    let seen = watched.until("no TLS", |now| !trouble(now, &a).is_empty());
    assert!(trouble(&seen, &a).contains("TLS"), "{}", trouble(&seen, &a));
    let plain = Redis::start();
    let impatient = group(vec![(plain.address(), with_tls(&certs))], Access::default());
    let watched = Watched::start(Group { connect_timeout: Duration::from_millis(300), ..impatient });
    let seen = watched.until("no TLS", |now| !trouble(now, &plain).is_empty());
    assert!(trouble(&seen, &plain).contains("TLS"), "{}", trouble(&seen, &plain));
}

/// No ACL can deny HELLO, so the role is always known.
#[test]
fn users_with_few_rights_are_enough() {
    for (rights, readable) in [("+info", true), ("+role", true), ("+ping", false)] {
        let user = format!("user probe on >secret {rights}");
        let a = Redis::options().line(&user).start();
        let b = Redis::options().line(&user).replica_of(&a).start();
        b.wait_for_link();
        let access = || Access { user: Some("probe".to_owned()), ..with_password("secret") };
        let watched = Watched::start(group(vec![(a.address(), access()), (b.address(), access())], access()));
        if readable {
            watched.until_master(&a);
            watched.until_readable(&[&b]);
        } else {
            let known = |now: &Snapshot| now.nodes.iter().all(|node| node.role != crate::topology::Role::Unknown);
            let seen = watched.until("roles by HELLO", |now| now.nodes.len() == 2 && known(now));
            assert!(!is_readable(&seen, &b), "HELLO tells nothing of its health");
        }
    }
}

/// `a` is the master of `b`, and nobody looks for an hour unless something happens.
fn hourly(a: &Redis, b: &Redis) -> Watched {
    b.wait_for_link();
    let seeds = vec![(a.address(), Access::default()), (b.address(), Access::default())];
    let watched =
        Watched::start(Group { probe_interval: Duration::from_secs(3600), ..group(seeds, Access::default()) });
    watched.until_master(a);
    watched
}

#[test]
fn a_look_does_not_wait_for_the_interval() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    let watched = hourly(&a, &b);
    b.replica_of(None);
    a.replica_of(Some(&b));
    // A demotion closes no idle connection: the sign comes from the data path, which meets -READONLY.
    watched.until("the switch is seen", |now| {
        watched.look.notify_one();
        now.master().is_some_and(|master| *master.address == b.address())
    });
}

#[test]
fn a_death_is_noticed_by_the_closed_connection() {
    let mut a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    let watched = hourly(&a, &b);
    a.kill();
    watched.until("the death is seen", |now| now.master.is_none());
    b.replica_of(None);
    watched.until_master(&b);
}
