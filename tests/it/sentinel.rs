//! Failovers by real Sentinels: clients stay connected, no refusal of a node that is not the master any more reaches
//! them, and every write that was acknowledged is where the new master has it.

use std::time::{Duration, Instant};

use crate::check::check;
use crate::promote::promote;
use crate::support::certs::Certs;
use crate::support::endpoint::Endpoint;
use crate::support::operator::{done, json, refused};
use crate::support::redis::Redis;
use crate::support::relay::Relay;
use crate::support::sentinels::{Guarded, NAME, Writer, eventually, options};

fn redan(group: &Guarded) -> Endpoint {
    let endpoint = Endpoint::start_blind(&[], "", &group.group());
    endpoint.wait_for_readable(group.nodes.len());
    endpoint
}

fn is_master(endpoint: &Endpoint, address: &str) -> bool {
    endpoint.metrics().contains(&format!("redan_node_master{{group=\"main\",node=\"{address}\"}} 1\n"))
}

/// Waits until Redan has what a node just said of itself; a few probes on a machine that has other work too.
fn follows_at_once(endpoint: &Endpoint, node: &Redis) {
    let start = Instant::now();
    eventually("Redan uses the promoted node", || is_master(endpoint, &node.address()));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// Waits until Redan and all Sentinels that run name the same node, and says which.
fn settled(group: &Guarded, endpoint: &Endpoint) -> usize {
    let mut found = None;
    eventually("everybody names the same master", || {
        let named = group.named_by(0);
        let agreed = (1..group.sentinels.len()).all(|sentinel| group.named_by(sentinel) == named);
        found = group.nodes.iter().position(|node| node.address() == named);
        agreed && is_master(endpoint, &named)
    });
    found.expect("a node")
}

/// Sentinels come to a returned master when they have heard it for 8 s and asked it twice more, on an idle machine.
fn becomes_a_replica(node: &Redis) {
    // Sentinels take some 10 s for it, and more on a busy machine.
    eventually("the old master is a replica", || node.info("master_link_status").as_deref() == Some("up"));
}

#[test]
fn a_killed_master_is_succeeded_and_comes_back_as_a_false_one() {
    let persistent = || Redis::options().line("appendonly yes");
    let master = persistent().start();
    let replicas: Vec<Redis> = (0..2).map(|_| persistent().replica_of(&master).start()).collect();
    let mut group = Guarded::over(std::iter::once(master).chain(replicas).collect(), |options| options);
    let endpoint = redan(&group);
    let writer = Writer::start(&endpoint.address());
    group.nodes[0].kill();
    let new = group.wait_for_another_master(&[0]);
    follows_at_once(&endpoint, &group.nodes[new]);
    // It has its data, says that it is the master, and nobody has told it otherwise yet.
    group.nodes[0].restart();
    writer.goes_on();
    becomes_a_replica(&group.nodes[0]);
    writer.goes_on();
    // On a busy machine the Sentinels may have moved it once more.
    let master = settled(&group, &endpoint);
    let written = writer.finish();
    assert!(written.in_doubt <= 2, "one command was under way");
    assert!(written.lost(&group.nodes[master]).len() <= 5, "what the old master had not sent on when it died");
    endpoint.wait_for_readable(3);
}

/// `redan promote` leaves it to those who are in charge, and says whom they chose.
#[test]
fn promoting_is_left_to_the_sentinels() {
    let master = Redis::start();
    let replicas = ["1", "100"]
        .map(|priority| Redis::options().line(&format!("replica-priority {priority}")).replica_of(&master).start());
    let group = Guarded::over(std::iter::once(master).chain(replicas).collect(), |options| options);
    let endpoint = redan(&group);
    let writer = Writer::start(&endpoint.address());
    let [preferred, other] = [1, 2].map(|index: usize| group.nodes[index].address());
    let (said, code) = promote(&endpoint, &other, &["--timeout", "60s"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("the Sentinels chose {preferred} and not {other}")), "{said}");
    assert_eq!(group.nodes[1].info("role").as_deref(), Some("master"));
    writer.goes_on();
    let (said, code) = promote(&endpoint, &preferred, &[]);
    assert!(code == 0 && said.contains("is the master already"), "{code}: {said}");
    writer.finish();
}

#[test]
fn the_sentinels_promote_the_only_replica() {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    let group = Guarded::over(vec![master, replica], |options| options);
    let endpoint = redan(&group);
    let (said, code) = promote(&endpoint, &group.nodes[1].address(), &["--timeout", "60s"]);
    assert!(code == 0 && said.contains("the Sentinels switched"), "{code}: {said}");
}

#[test]
fn two_failovers_on_demand() {
    let group = Guarded::start();
    let endpoint = redan(&group);
    let writer = Writer::start(&endpoint.address());
    let mut masters = vec![0];
    for sentinel in [0, 1] {
        group.sentinels[sentinel].ok(&["SENTINEL", "FAILOVER", NAME]);
        let new = group.wait_for_another_master(&masters);
        follows_at_once(&endpoint, &group.nodes[new]);
        writer.goes_on();
        // The old one goes on as a master until the Sentinels come to it; the other replica is moved at once.
        masters.push(new);
        let third = (0..3).find(|index| !masters.contains(index)).unwrap_or(0);
        let address = group.nodes[new].address();
        if sentinel == 1 {
            break;
        }
        eventually("the third follows", || {
            let [port, link] = ["master_port", "master_link_status"].map(|field| group.nodes[third].info(field));
            port.is_some_and(|port| address.ends_with(&format!(":{port}"))) && link.as_deref() == Some("up")
        });
        eventually("all Sentinels agree", || (0..3).all(|sentinel| group.named_by(sentinel) == address));
        eventually("the failover is over", || {
            group
                .sentinels
                .iter()
                .all(|one| !one.command(&["SENTINEL", "MASTER", NAME]).contains("failover_in_progress"))
        });
    }
    let master = settled(&group, &endpoint);
    eventually("the vote is counted", || endpoint.metric("redan_group_sentinel_epoch{group=\"main\"}") >= 2.0);
    let written = writer.finish();
    assert_eq!(written.in_doubt, 0);
    assert!(written.lost(&group.nodes[master]).len() <= 20, "between the word of the Sentinel and the promotion");
}

#[test]
fn a_frozen_master_gets_no_write_after_it_wakes() {
    let group = Guarded::start();
    let endpoint = redan(&group);
    let writer = Writer::start(&endpoint.address());
    group.nodes[0].freeze();
    let mut new = 0;
    // A frozen node answers nobody, the test included.
    eventually("a replica is promoted", || {
        new = (1..3).find(|&index| group.nodes[index].info("role").as_deref() == Some("master")).unwrap_or(0);
        new > 0
    });
    follows_at_once(&endpoint, &group.nodes[new]);
    writer.goes_on();
    group.nodes[0].thaw();
    // It believes that it is the master, with its old replica, until the Sentinels notice.
    writer.goes_on();
    becomes_a_replica(&group.nodes[0]);
    writer.goes_on();
    let master = settled(&group, &endpoint);
    let written = writer.finish();
    assert!(written.in_doubt <= 2);
    assert!(written.lost(&group.nodes[master]).len() <= 5);
}

#[test]
fn a_master_that_restarts_at_once_with_its_data_goes_on() {
    let master = Redis::options().line("appendonly yes").start();
    let replica = Redis::options().replica_of(&master).start();
    let mut group = Guarded::over(vec![master, replica], |options| options);
    let endpoint = redan(&group);
    let writer = Writer::start(&endpoint.address());
    group.nodes[0].restart();
    writer.goes_on();
    assert!(is_master(&endpoint, &group.nodes[0].address()), "the Sentinels have not even noticed");
    assert!(writer.finish().lost(&group.nodes[0]).len() <= 1);
    endpoint.wait_for_readable(2);
}

#[test]
fn a_master_that_restarts_empty_is_not_written_to_over_data() {
    // The replicas wait a second for their full sync: time to see the state in between.
    let master = Redis::options().line("repl-diskless-sync-delay 1").start();
    let replica = Redis::options().replica_of(&master).start();
    let mut group = Guarded::over(vec![master, replica], |options| options);
    let endpoint = redan(&group);
    endpoint.client().ok(&["SET", "key", "value"]);
    eventually("the replica has it", || group.nodes[1].command(&["EXISTS", "key"]).starts_with(":1"));
    group.nodes[0].restart();
    eventually("writes are held", || endpoint.said().contains("is empty, and"));
    // Nothing holds other data any more: either the replica was wiped, or it was promoted.
    assert!(endpoint.client().ask(&["SET", "after", "1"]).starts_with("+OK"));
    let current = usize::from(!is_master(&endpoint, &group.nodes[0].address()));
    assert!(group.nodes[current].command(&["GET", "after"]).contains('1'));
}

#[test]
fn with_two_sentinels_lost_the_nodes_are_proof_enough() {
    let mut group = Guarded::start();
    let endpoint = redan(&group);
    let writer = Writer::start(&endpoint.address());
    group.sentinels[1].kill();
    group.sentinels[2].kill();
    let answering = || endpoint.metric("redan_group_sentinels_answering{group=\"main\"}");
    eventually("one Sentinel is left", || answering() == 1.0);
    // Nobody is in charge any more: people move the master, as without Sentinels.
    let [old, new] = [&group.nodes[0], &group.nodes[1]];
    old.ok(&["CLIENT", "PAUSE", "3000", "WRITE"]);
    eventually("the replica has everything", || old.info("master_repl_offset") == new.info("slave_repl_offset"));
    new.replica_of(None);
    old.replica_of(Some(new));
    old.ok(&["CLIENT", "UNPAUSE"]);
    follows_at_once(&endpoint, new);
    writer.goes_on();
    assert_eq!(writer.finish().lost(new), Vec::<u64>::new());
    // Redan starts anew in this state, and knows the master by its replicas.
    let again = Endpoint::start_blind(&[new.address(), old.address()], "", &group.group());
    eventually("a master", || is_master(&again, &new.address()));
}

#[test]
fn sentinels_with_a_password_and_tls_of_their_own() {
    let certs = Certs::make();
    let node = || Redis::options().tls(&certs).password("nodes").master_auth("nodes");
    let master = node().start();
    let replica = node().replica_of(&master).start();
    let group = Guarded::over(vec![master, replica], |options| {
        options.tls(&certs).password("guards").line(&format!("sentinel auth-pass {NAME} nodes"))
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [nodes, guards] = ["nodes", "guards"].map(|name| folder.path().join(name).display().to_string());
    for (file, password) in [(&nodes, "nodes"), (&guards, "guards")] {
        std::fs::write(file, password).expect("writable");
    }
    let ca = certs.ca().display().to_string();
    let one = group.sentinels[0].address();
    let lines = |guards: &str| {
        format!(
            "password_file = \"{nodes}\"\ntls = {{ ca = \"{ca}\" }}\n\
             sentinel = {{ master = \"{NAME}\", addresses = [\"{one}\"], password_file = \"{guards}\", tls = {{ ca = \"{ca}\" }} }}"
        )
    };
    let endpoint = Endpoint::start_blind(&[], "", &lines(&guards));
    endpoint.wait_for_readable(2);
    eventually("the others are discovered", || {
        endpoint.metric("redan_group_sentinels_answering{group=\"main\"}") == 3.0
    });
    let writer = Writer::start(&endpoint.address());
    group.sentinels[1].ok(&["SENTINEL", "FAILOVER", NAME]);
    follows_at_once(&endpoint, &group.nodes[group.wait_for_another_master(&[0])]);
    writer.goes_on();
    writer.finish();
    let wrong = Endpoint::start_blind(&[], "", &lines(&nodes));
    eventually("the password is wrong", || wrong.said().contains(&format!("the Sentinel {one}: wrong password")));
}

#[test]
fn sentinels_are_discovered_and_outlive_the_one_that_is_configured() {
    let mut group = Guarded::start();
    let one = group.sentinels[0].address();
    let lines = format!("sentinel = {{ master = \"{NAME}\", addresses = [\"{one}\"] }}");
    let endpoint = Endpoint::start_blind(&[], "", &lines);
    endpoint.wait_for_readable(3);
    let known = || endpoint.metric("redan_group_sentinels_known{group=\"main\"}");
    eventually("all three are known", || known() == 3.0);
    group.sentinels.push(options(group.nodes[0].port()).start());
    group.wait_for_agreement();
    eventually("the fourth is discovered", || known() == 4.0);
    group.sentinels[0].kill();
    let writer = Writer::start(&endpoint.address());
    group.sentinels[3].ok(&["SENTINEL", "FAILOVER", NAME]);
    follows_at_once(&endpoint, &group.nodes[group.wait_for_another_master(&[0])]);
    writer.goes_on();
    writer.finish();
}

fn address(relay: &Relay) -> String {
    format!("127.0.0.1:{}", relay.port())
}

#[test]
fn announced_addresses_are_dialled_where_the_map_says() {
    let group = Guarded::start();
    let relays: Vec<Relay> = group.nodes.iter().chain(&group.sentinels[1..]).map(Relay::to).collect();
    let servers = group.nodes.iter().chain(&group.sentinels[1..]);
    let pairs: Vec<String> = servers
        .zip(&relays)
        .map(|(server, relay)| format!("\"{}\" = \"{}\"", server.address(), address(relay)))
        .collect();
    let one = group.sentinels[0].address();
    let lines =
        format!("sentinel = {{ master = \"{NAME}\", addresses = [\"{one}\"] }}\nmap = {{ {} }}", pairs.join(", "));
    let endpoint = Endpoint::start_blind(&[], "", &lines);
    endpoint.wait_for_readable(3);
    eventually("all Sentinels answer", || endpoint.metric("redan_group_sentinels_answering{group=\"main\"}") == 3.0);
    let metrics = endpoint.metrics();
    assert!(group.nodes.iter().all(|node| !metrics.contains(&node.address())), "nobody is dialled directly: {metrics}");
    let writer = Writer::start(&endpoint.address());
    group.sentinels[0].ok(&["SENTINEL", "FAILOVER", NAME]);
    let new = group.wait_for_another_master(&[0]);
    eventually("Redan uses it", || is_master(&endpoint, &address(&relays[new])));
    writer.goes_on();
    writer.finish();
}

#[test]
fn check_shows_what_each_sentinel_says() {
    let mut group = Guarded::start();
    let (said, code) = check(&group.group(), &[]);
    assert!(code == 0 && said.contains("Nothing is wrong."), "{code}: {said}");
    let expected = format!("master {}, epoch 0, 2 replicas, 2 other Sentinels, quorum 2", group.nodes[0].address());
    assert_eq!(said.matches(&expected).count(), 3, "{said}");
    let one = format!("sentinel = {{ master = \"other\", addresses = [\"{}\"] }}", group.sentinels[0].address());
    let (said, code) = check(&one, &[]);
    assert!(code == 1 && said.contains("knows no master 'other'"), "{code}: {said}");
    group.sentinels[1].kill();
    group.sentinels[2].kill();
    group.nodes[2].kill();
    let (said, code) = check(&group.group(), &[]);
    for words in [
        format!("the Sentinel {}: the connection is refused", group.sentinels[1].address()),
        "1 of 3 Sentinels can be asked, and 2 are needed for a failover".to_owned(),
        format!("{}, as a Sentinel calls it: the connection is refused", group.nodes[2].address()),
    ] {
        assert!(code == 1 && said.contains(&words), "'{words}' is missing:\n{said}");
    }
}

#[test]
fn a_name_that_no_sentinel_knows_is_said_once() {
    let master = Redis::start();
    let sentinel = options(master.port()).start();
    let lines = format!("sentinel = {{ master = \"other\", addresses = [\"{}\"] }}", sentinel.address());
    let endpoint = Endpoint::start_blind(&[master.address()], "", &lines);
    endpoint.wait_for_readable(1);
    eventually("it is said", || endpoint.said().contains("knows no master of the name"));
    endpoint.client().ok(&["SET", "key", "value"]);
}

/// Each Sentinel by `redan sentinels`: its address, whom it names, and why it cannot be asked.
fn told(endpoint: &Endpoint) -> Vec<[Option<String>; 3]> {
    let groups = json(endpoint, &["sentinels", "main"]);
    let each = groups[0]["sentinels"]["each"].as_array().expect("a list").clone();
    let field = |one: &serde_json::Value, name: &str| one[name].as_str().map(str::to_owned);
    each.iter().map(|one| ["address", "names", "problem"].map(|name| field(one, name))).collect()
}

#[test]
fn the_operator_is_told_what_each_sentinel_says() {
    let mut group = Guarded::start();
    let endpoint = redan(&group);
    let all_name = |node: &str| {
        let told = told(&endpoint);
        told.len() == 3 && told.iter().all(|[_, names, problem]| names.as_deref() == Some(node) && problem.is_none())
    };
    eventually("all three name the master", || all_name(&group.nodes[0].address()));
    let table = done(&endpoint, &["sentinels"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    for sentinel in &group.sentinels {
        let line = table.lines().find(|line| line.contains(&sentinel.address())).expect("a line for each");
        assert!(line.contains("main") && line.contains(NAME) && line.contains(&group.nodes[0].address()), "{line}");
    }
    assert!(refused(&endpoint, &["sentinels", "other"]).contains("other"));

    group.sentinels[0].ok(&["SENTINEL", "FAILOVER", NAME]);
    let new = group.wait_for_another_master(&[0]);
    eventually("all three name the new one", || all_name(&group.nodes[new].address()));

    let gone = group.sentinels[2].address();
    group.sentinels[2].kill();
    eventually("one of them cannot be asked, and the others can", || {
        let told = told(&endpoint);
        told.iter().all(|[address, _, problem]| (address.as_deref() == Some(&gone)) == problem.is_some())
    });
    // First it is the end of the connection that is told of.
    eventually("nothing listens there", || {
        let problem = told(&endpoint).into_iter().find_map(|[_, _, problem]| problem).expect("one has one");
        problem.contains("the connection is refused") && done(&endpoint, &["sentinels"]).contains(&problem)
    });
}
