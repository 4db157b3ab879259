//! A master, two replicas and Redan in front of them, with ways to move the master.

use super::endpoint::Endpoint;
use super::redis::{Redis, eventually};

pub(crate) struct Group {
    pub(crate) servers: [Redis; 3],
    pub(crate) endpoint: Endpoint,
}

impl Group {
    pub(crate) fn start(listener: &str) -> Self {
        let master = Redis::start();
        let replicas = [(); 2].map(|()| Redis::options().replica_of(&master).start());
        replicas.iter().for_each(Redis::wait_for_link);
        let endpoint = Endpoint::of(&[&master, &replicas[0], &replicas[1]], listener);
        let [first, second] = replicas;
        Self { servers: [master, first, second], endpoint }
    }

    /// Makes `to` the master in place of `from` as a careful operator does it: writes pause until `to` has all of them.
    pub(crate) fn move_master(&self, from: usize, to: usize) {
        let (old, new) = (&self.servers[from], &self.servers[to]);
        old.ok(&["CLIENT", "PAUSE", "20000", "WRITE"]);
        eventually("the new master has everything", || old.info("master_repl_offset") == new.info("slave_repl_offset"));
        self.promote(from, to);
        old.ok(&["CLIENT", "UNPAUSE"]);
    }

    pub(crate) fn promote(&self, from: usize, to: usize) {
        self.servers[to].replica_of(None);
        // The old master first: while it says it is the master, what it was sent and has not answered is in doubt.
        for index in [from, 3 - from - to] {
            self.servers[index].replica_of(Some(&self.servers[to]));
        }
    }

    pub(crate) fn wait_for_master(&self, index: usize) {
        let series = format!("redan_node_master{{group=\"main\",node=\"{}\"}}", self.servers[index].address());
        eventually("Redan knows the new master", || self.endpoint.metric(&series) > 0.0);
    }
}

/// A master, one replica and two workers in front of them.
pub(crate) struct Pair {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) endpoint: Endpoint,
}

impl Pair {
    pub(crate) fn start(listener: &str) -> Self {
        let master = Redis::start();
        let replica = Redis::options().replica_of(&master).start();
        replica.wait_for_link();
        let endpoint = Endpoint::of_two_workers(&[&master, &replica], listener);
        Self { master, replica, endpoint }
    }
}
