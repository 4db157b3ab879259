//! `failover = "auto"` against real servers that die, freeze and come back wrong.

use std::time::{Duration, Instant};

use crate::support::client::bulk;
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

struct Watched {
    servers: [Redis; 3],
    endpoint: Endpoint,
}

impl Watched {
    /// `servers[0]` is the master.
    fn start(options: fn() -> crate::support::redis::Options) -> Self {
        let master = options().start();
        let replicas = [(); 2].map(|()| options().replica_of(&master).start());
        replicas.iter().for_each(Redis::wait_for_link);
        let [first, second] = replicas;
        let servers = [master, first, second];
        let nodes: Vec<String> = servers.iter().map(Redis::address).collect();
        let group = "failover = \"auto\"\ndown_after = \"1s\"";
        Self { endpoint: Endpoint::start(&nodes, "hold = \"30s\"", group), servers }
    }

    fn wait_for_replication(&self, value: &str) {
        for server in &self.servers[1..] {
            eventually("the replicas have it", || server.command(&["GET", "key"]) == bulk(value));
        }
    }

    /// The index of the new master, once another than `old` is one and everyone alive follows it.
    fn next_master(&self, old: usize) -> usize {
        let mut found = None;
        eventually("another node is the master", || {
            found = (0..3).find(|index| {
                let series = format!("redan_node_master{{group=\"main\",node=\"{}\"}}", self.servers[*index].address());
                *index != old && self.endpoint.metric(&series) > 0.0
            });
            found.is_some()
        });
        found.expect("the loop ends with one")
    }

    fn wait_until_follows(&self, who: usize, whom: usize) {
        eventually("it follows the new master", || {
            let server = &self.servers[who];
            server.info("master_port") == Some(self.servers[whom].port().to_string())
                && server.info("master_link_status").as_deref() == Some("up")
        });
    }
}

#[test]
fn a_master_that_dies_is_replaced_and_comes_back_as_a_replica() {
    let mut watched = Watched::start(Redis::options);
    let mut client = watched.endpoint.client();
    client.ok(&["SET", "key", "one"]);
    watched.wait_for_replication("one");
    let mut blocked = watched.endpoint.client();
    blocked.send(&["BLPOP", "list", "20"]);
    let mut open = watched.endpoint.client();
    open.ok(&["MULTI"]);
    assert_eq!(open.ask(&["SET", "transaction", "whole"]), "+QUEUED\r\n");
    let mut listener = watched.endpoint.client();
    listener.ask(&["SUBSCRIBE", "news"]);
    let died = Instant::now();
    watched.servers[0].kill();
    client.ok(&["SET", "key", "two"]);
    println!("a write was held for {:?}", died.elapsed());
    let new = watched.next_master(0);
    assert_eq!(watched.servers[new].command(&["GET", "key"]), bulk("two"));
    watched.wait_until_follows(3 - new, new);
    assert_eq!(open.ask(&["EXEC"]), "*1\r\n+OK\r\n");
    assert_eq!(client.integer(&["RPUSH", "list", "item"]), 1);
    assert!(blocked.reply().contains("item"));
    eventually("the subscription has moved", || {
        client.integer(&["PUBLISH", "news", "hear"]) == 1 && { listener.reply().contains("hear") }
    });
    // It comes back empty and as a master.
    watched.servers[0].restart();
    watched.wait_until_follows(0, new);
    assert_eq!(watched.servers[0].command(&["GET", "key"]), bulk("two"));
    client.ok(&["SET", "key", "three"]);
}

/// A frozen master accepts what it is sent when it wakes. Its replicas call their links up for a minute; the silence tells.
#[test]
fn a_master_that_freezes_is_replaced_and_never_written_to_again() {
    let watched = Watched::start(Redis::options);
    let mut client = watched.endpoint.client();
    client.ok(&["SET", "key", "one"]);
    watched.wait_for_replication("one");
    watched.servers[0].freeze();
    let new = watched.next_master(0);
    client.ok(&["SET", "key", "two"]);
    watched.servers[0].thaw();
    watched.wait_until_follows(0, new);
    assert_eq!(watched.servers[0].command(&["GET", "key"]), bulk("two"));
    assert!(watched.endpoint.said().contains("was the master before and is back"), "{}", watched.endpoint.said());
}

/// A container without persistence is restarted. Its replicas would copy the emptiness about a second later.
#[test]
fn a_master_that_restarts_empty_costs_no_data() {
    let mut watched = Watched::start(|| Redis::options().line("repl-diskless-sync-delay 3"));
    let mut client = watched.endpoint.client();
    client.ok(&["SET", "key", "one"]);
    watched.wait_for_replication("one");
    watched.servers[0].restart();
    let mut reader = watched.endpoint.client();
    let new = watched.next_master(0);
    assert_eq!(reader.ask(&["GET", "key"]), bulk("one"));
    assert_eq!(watched.servers[new].command(&["GET", "key"]), bulk("one"));
    for other in (0..3).filter(|other| *other != new) {
        watched.wait_until_follows(other, new);
        assert_eq!(watched.servers[other].command(&["GET", "key"]), bulk("one"));
    }
    client.ok(&["SET", "key", "two"]);
}

#[test]
fn a_replica_that_restarts_without_its_setting_is_attached_again() {
    let mut watched = Watched::start(Redis::options);
    let mut client = watched.endpoint.client();
    client.ok(&["SET", "key", "one"]);
    watched.wait_for_replication("one");
    let port = watched.servers[1].port();
    // `replicaof` was in its file: a container whose setting came from a command has none.
    let file = watched.servers[1].info("config_file").expect("a file");
    let text = std::fs::read_to_string(&file).expect("readable");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("replicaof")).collect();
    std::fs::write(&file, without.join("\n") + "\n").expect("writable");
    watched.servers[1].restart();
    watched.wait_until_follows(1, 0);
    assert_eq!(watched.servers[1].port(), port);
    watched.wait_for_replication("one");
    client.ok(&["SET", "key", "two"]);
    watched.wait_for_replication("two");
    assert!(client.is_silent_for(Duration::from_millis(1)));
}
