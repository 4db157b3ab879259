//! `redan promote` as people run it: the built program, a running Redan, real servers, clients that must not notice.

use std::process::Command;
use std::time::Duration;

use crate::rolechange::count_through;
use crate::support::client::bulk;
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::{Redis, eventually};
use crate::support::relay::Relay;

/// What it printed, and its exit code.
pub(crate) fn promote(endpoint: &Endpoint, node: &str, more: &[&str]) -> (String, i32) {
    let mut redan = Command::new(env!("CARGO_BIN_EXE_redan"));
    redan.args(["promote", "main", node, "--config"]).arg(endpoint.file()).args(more);
    let output = redan.output().expect("redan runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.code().unwrap_or(-1))
}

/// How long writes were held, by Redan's own account.
fn held_ms(said: &str) -> u64 {
    let text = said.lines().find_map(|line| line.strip_prefix("writes were held for ")?.strip_suffix(" ms"));
    text.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("it does not say how long:\n{said}"))
}

fn settled(servers: &[Redis; 3], master: usize) {
    for (index, server) in servers.iter().enumerate().filter(|(index, _)| *index != master) {
        eventually(&format!("server {index} follows the new master"), || {
            server.info("master_port") == Some(servers[master].port().to_string())
                && server.info("master_link_status").as_deref() == Some("up")
        });
    }
}

/// Two Redans; only one of them is told.
#[test]
fn the_master_is_promoted_and_no_client_of_two_redans_notices() {
    let group = Group::start("");
    let nodes: Vec<String> = group.servers.iter().map(Redis::address).collect();
    let other = Endpoint::start(&nodes, "", "");
    let acknowledged = count_through(&[&group.endpoint, &other], |progress| {
        progress();
        for to in [1, 2, 0, 2] {
            let (said, code) = promote(&group.endpoint, &nodes[to], &[]);
            assert_eq!(code, 0, "{said}");
            assert!(said.ends_with(&format!("done: {} is the master\n", nodes[to])), "{said}");
            println!("{said}");
            assert!(held_ms(&said) < 3000, "{said}");
            group.wait_for_master(to);
            settled(&group.servers, to);
            progress();
        }
    });
    for (key, count) in acknowledged {
        assert!(count > 0, "{key} did something");
        assert_eq!(group.servers[2].command(&["GET", &key]), bulk(&count.to_string()), "{key}");
    }
    for endpoint in [&group.endpoint, &other] {
        assert_eq!(endpoint.metric("redan_in_doubt_total"), 0.0);
        assert_eq!(endpoint.metric("redan_panics_total"), 0.0);
    }
    let (said, code) = promote(&group.endpoint, &nodes[2], &[]);
    assert!(code == 0 && said.contains("is the master already"), "{code}: {said}");
}

#[test]
fn whatever_speaks_against_it_is_said_and_nothing_is_changed() {
    let group = Group::start("");
    let nodes: Vec<String> = group.servers.iter().map(Redis::address).collect();
    let refused = |node: &str, words: &str| {
        eventually(words, || {
            let (said, code) = promote(&group.endpoint, node, &[]);
            assert_eq!(code, 1, "{said}");
            said.starts_with("refused: ") && said.contains(words) && said.contains("nothing was changed")
        });
    };
    refused("127.0.0.1:1", "is no node of the group");
    group.servers[1].ok(&["CONFIG", "SET", "replica-priority", "0"]);
    refused(&nodes[1], "replica-priority 0");
    group.servers[2].replica_of(Some(&group.servers[1]));
    refused(&nodes[2], &format!("follows {}", nodes[1]));
    group.servers[2].freeze();
    refused(&nodes[2], "cannot be asked");
    group.servers[2].thaw();
    assert_eq!(group.servers[0].info("role").as_deref(), Some("master"));
    let (said, code) = promote(&group.endpoint, &nodes[0], &["--socket", "127.0.0.1:1"]);
    assert!(code != 0, "{said}");
}

#[test]
fn a_missing_right_is_named_before_anything_is_changed() {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    for server in [&master, &replica] {
        server.ok(&["ACL", "SETUSER", "watcher", "on", ">secret", "~*", "&*", "+@all", "-replicaof"]);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "secret").expect("writable");
    let nodes = [master.address(), replica.address()];
    let user = format!("user = \"watcher\"\npassword_file = {password:?}");
    let endpoint = Endpoint::start(&nodes, "", &user);
    let (said, code) = promote(&endpoint, &nodes[1], &[]);
    assert!(code == 1 && said.contains("grant it +replicaof"), "{code}: {said}");
    // Without MULTI nothing may be tried: it would be executed.
    master.ok(&["ACL", "SETUSER", "watcher", "-multi", "+replicaof"]);
    replica.ok(&["ACL", "SETUSER", "watcher", "-multi", "+replicaof"]);
    let (said, code) = promote(&endpoint, &nodes[1], &[]);
    assert!(code == 1 && said.contains("+multi"), "{code}: {said}");
    assert_eq!(master.info("role").as_deref(), Some("master"));
    assert_eq!(replica.info("role").as_deref(), Some("slave"));
    assert_eq!(replica.info("master_port"), Some(master.port().to_string()));
}

/// The heir does not get the last writes in time: everything is as it was.
#[test]
fn a_switch_that_cannot_be_finished_is_undone() {
    let master = Redis::start();
    let relay = Relay::to(&master);
    let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {}", relay.port())).start();
    replica.wait_for_link();
    let nodes = [master.address(), replica.address()];
    let endpoint = Endpoint::start(&nodes, "", "");
    let mut client = endpoint.client();
    client.ok(&["SET", "key", "before"]);
    eventually("the replica has it", || replica.command(&["GET", "key"]).contains("before"));
    relay.hold();
    client.ok(&["SET", "key", "now"]);
    let (said, code) = promote(&endpoint, &nodes[1], &["--timeout", "700ms"]);
    assert!(code == 1 && said.contains("failed: ") && said.contains("still lacks"), "{code}: {said}");
    client.ok(&["SET", "key", "after"]);
    assert_eq!(master.command(&["GET", "key"]), bulk("after"));
    assert_eq!(master.info("role").as_deref(), Some("master"));
    relay.release();
    // And once it can, it does.
    eventually("the switch is made", || promote(&endpoint, &nodes[1], &[]).1 == 0);
    client.ok(&["SET", "key", "there"]);
    assert_eq!(replica.command(&["GET", "key"]), bulk("there"));
    assert!(client.is_silent_for(Duration::from_millis(1)));
}
