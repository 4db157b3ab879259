//! A master and a replica that hears of everything late, behind a relay that delays what the master says.

use super::endpoint::Endpoint;
use super::redis::Redis;
use super::relay::Relay;

pub(crate) struct Lagging {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) relay: Relay,
}

impl Lagging {
    /// Not late until the relay is told so.
    pub(crate) fn start() -> Self {
        let master = Redis::start();
        let relay = Relay::to(&master);
        let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {}", relay.port())).start();
        replica.wait_for_link();
        Self { master, replica, relay }
    }

    pub(crate) fn endpoint(&self, listener: &str) -> Endpoint {
        Endpoint::of(&[&self.master, &self.replica], listener)
    }
}

/// How often the server itself executed GET.
pub(crate) fn gets(redis: &Redis) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}
