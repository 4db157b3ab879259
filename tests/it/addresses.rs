//! Nodes and what they call each other: other hosts, announced addresses, tunnels, names, IPv6, two addresses for one.

use std::process::Command;

use crate::support::endpoint::Endpoint;
use crate::support::network::{Running, Server, inside};
use crate::support::redis::{eventually, free_port};

const GROUP: &str = "probe_timeout = \"500ms\"\nconnect_timeout = \"500ms\"";

fn in_front_of(seeds: &[&str], readable: usize) -> Endpoint {
    let seeds: Vec<String> = seeds.iter().map(|seed| (*seed).to_owned()).collect();
    let endpoint = Endpoint::start_blind(&seeds, "", GROUP);
    endpoint.wait_for_readable(readable);
    endpoint
}

/// The addresses of all nodes that Redan shows.
fn nodes(endpoint: &Endpoint) -> Vec<String> {
    let metrics = endpoint.metrics();
    let up = metrics.lines().filter_map(|line| line.strip_prefix("redan_node_up{group=\"main\",node=\""));
    let mut nodes: Vec<String> = up.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    nodes.sort();
    nodes
}

fn until_readable(endpoint: &Endpoint, node: &Server, wanted: bool) {
    let series = format!("redan_node_readable{{group=\"main\",node=\"{}\"}} {}\n", node.address(), u8::from(wanted));
    eventually(&format!("the metrics say {series}"), || endpoint.metrics().contains(&series));
}

#[test]
fn a_chain_is_followed_and_nodes_appear_vanish_and_return() {
    inside("addresses::a_chain_is_followed_and_nodes_appear_vanish_and_return", |network| {
        let [one, two, three, four] = [1, 2, 3, 4].map(|number| network.host(number));
        let a = one.redis(&[]);
        let b = two.redis(&["replicaof 10.77.0.1 6379"]);
        let c = three.redis(&["replicaof 10.77.0.2 6379"]);
        b.wait_for_link();
        c.wait_for_link();
        // The master does not know of C.
        let endpoint = in_front_of(&[&a.address()], 3);
        let mut client = endpoint.client();
        client.ok(&["SET", "key", "1"]);

        three.unplug();
        until_readable(&endpoint, &c, false);
        three.plug();
        until_readable(&endpoint, &c, true);

        let d = four.redis(&["replicaof 10.77.0.1 6379"]);
        until_readable(&endpoint, &d, true);

        // The chain breaks at its top; B takes over, and D is pointed at it.
        one.unplug();
        let silent = format!("{}: no answer", a.address());
        eventually("its silence is noticed", || endpoint.said().contains(&silent));
        b.client().ok(&["REPLICAOF", "NO", "ONE"]);
        d.client().ok(&["REPLICAOF", "10.77.0.2", "6379"]);
        client.ok(&["SET", "key", "2"]);
        assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("2"));
        until_readable(&endpoint, &c, true);
        until_readable(&endpoint, &d, true);
        until_readable(&endpoint, &a, false);

        // It wakes up, believes that it is still the master, and nobody writes to it.
        one.plug();
        eventually("the second claim is reported", || endpoint.said().contains("says it is a master too"));
        client.ok(&["SET", "key", "3"]);
        assert_eq!(a.client().text(&["GET", "key"]).as_deref(), Some("1"));
        a.client().ok(&["REPLICAOF", "10.77.0.2", "6379"]);
        until_readable(&endpoint, &a, true);
    });
}

#[test]
fn an_announced_address_is_the_same_server() {
    inside("addresses::an_announced_address_is_the_same_server", |network| {
        let [one, two] = [1, 2].map(|number| network.host(number));
        two.add_address(22);
        let a = one.redis(&[]);
        let b = two.redis(&["replicaof 10.77.0.1 6379", "replica-announce-ip 10.77.0.22"]);
        b.wait_for_link();
        let endpoint = in_front_of(&[&a.address(), &b.address()], 2);
        eventually("both addresses were tried", || endpoint.said().contains("10.77.0.22:6379 was discovered"));
        assert_eq!(nodes(&endpoint), [a.address(), b.address()]);
        // Known by its announced address alone.
        let endpoint = in_front_of(&[&a.address()], 2);
        assert_eq!(nodes(&endpoint), ["10.77.0.1:6379", "10.77.0.22:6379"]);
    });
}

#[test]
fn an_announced_address_that_leads_nowhere_harms_nobody() {
    inside("addresses::an_announced_address_that_leads_nowhere_harms_nobody", |network| {
        let [one, two] = [1, 2].map(|number| network.host(number));
        let a = one.redis(&[]);
        let b = two.redis(&["replicaof 10.77.0.1 6379", "replica-announce-ip 192.0.2.9", "replica-announce-port 7000"]);
        b.wait_for_link();
        let endpoint = in_front_of(&[&a.address(), &b.address()], 2);
        assert_eq!(nodes(&endpoint), [a.address(), b.address()]);
        // Without the seed there is no way to B, and A still serves.
        let endpoint = in_front_of(&[&a.address()], 1);
        let mut client = endpoint.client();
        client.ok(&["SET", "key", "value"]);
        assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("value"));
    });
}

/// Copies bytes both ways between 127.0.0.1:8000 and the master, as a tunnel's entry would.
const TUNNEL: &str = r"
import socket, threading
def copy(a, b):
    while data := a.recv(65536): b.sendall(data)
    b.shutdown(socket.SHUT_WR)
entry = socket.create_server(('127.0.0.1', 8000))
while True:
    a = entry.accept()[0]
    b = socket.create_connection(('10.77.0.1', 6379))
    for pair in ((a, b), (b, a)): threading.Thread(target=copy, args=pair, daemon=True).start()
";

#[test]
fn a_replica_behind_a_tunnel_of_its_own_host() {
    inside("addresses::a_replica_behind_a_tunnel_of_its_own_host", |network| {
        let [one, two] = [1, 2].map(|number| network.host(number));
        let a = one.redis(&[]);
        let tunnel = Running::start(two.command("python3").args(["-c", TUNNEL]));
        let b = two.redis(&["replicaof 127.0.0.1 8000"]);
        b.wait_for_link();
        let endpoint = in_front_of(&[&a.address()], 2);
        assert_eq!(nodes(&endpoint), [a.address(), b.address()]);
        assert!(
            endpoint.said().contains("10.77.0.2:6379 names 127.0.0.1:8000, which means its own host"),
            "{}",
            endpoint.said()
        );
        drop(tunnel);
        until_readable(&endpoint, &b, false);
    });
}

#[test]
fn redan_on_the_host_of_the_master_that_calls_it_by_loopback() {
    inside("addresses::redan_on_the_host_of_the_master_that_calls_it_by_loopback", |network| {
        let [one, two] = [1, 2].map(|number| network.host(number));
        let _a = one.redis(&[]);
        let b = two.redis(&["replicaof 10.77.0.1 6379"]);
        b.wait_for_link();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("proxy.toml");
        let config = "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n\n\
                      [[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:6379\"]\n";
        std::fs::write(&file, config).expect("writable");
        let output = one.command(env!("CARGO_BIN_EXE_redan")).arg("check").arg(file).output().expect("nsenter exists");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let rows: Vec<Vec<&str>> = said.lines().skip(1).take(2).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!([rows[0][1], rows[1][1]], ["10.77.0.2:6379", "127.0.0.1:6379"], "{said}");
        assert_eq!([rows[0][2], rows[1][2]], ["replica", "master"], "{said}");
    });
}

#[test]
fn names_and_ipv6_and_three_addresses_for_one_server() {
    inside("addresses::names_and_ipv6_and_three_addresses_for_one_server", |network| {
        let one = network.host(1);
        let port = free_port();
        let a = one.redis(&[]);
        let folder = tempfile::tempdir().expect("a folder");
        // Here, beside Redan: reached as localhost, 127.0.0.1 and ::1.
        let _beside = Running::start(
            Command::new(crate::support::redis::program())
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "::1", "--save", ""])
                // What it gets from its master it keeps in a file, which another kind of server could not load.
                .arg("--dir")
                .arg(folder.path())
                .args(["--repl-diskless-sync-delay", "0", "--replicaof"])
                .args(a.address().split(':')),
        );
        let addresses = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}"));
        let endpoint = in_front_of(&[&a.address(), &addresses[0], &addresses[1], &addresses[2]], 2);
        eventually("two needless seeds are reported", || {
            endpoint.said().matches("are one server: configure it once").count() == 2
        });
        assert_eq!(nodes(&endpoint).len(), 2);
        // Whichever of its addresses is left, it is the same node.
        let alone = in_front_of(&[&addresses[2]], 2);
        assert_eq!(nodes(&alone), [a.address(), addresses[2].clone()]);
    });
}
