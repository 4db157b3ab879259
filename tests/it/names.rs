//! Nodes that are known by name, as containers are: names that nobody knows yet, and names that mean another address later.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::client::Client;
use super::support::network::{Running, inside};
use super::support::redis::within;

/// Finding a node again takes probes' time, and the C library's for names.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(40);

/// A Redan that reads names from a file of its own instead of /etc/hosts.
struct Named {
    hosts: PathBuf,
    log: PathBuf,
    _running: Running,
}

impl Named {
    fn start(folder: &Path, toml: &str, names: &[(&str, &str)]) -> Self {
        let [hosts, resolver, file, log] = ["hosts", "resolv.conf", "proxy.toml", "log"].map(|name| folder.join(name));
        fs::write(&file, toml).unwrap();
        // Nobody else is asked: there is no server at this address.
        fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
        let named = |hosts: &Path| write(hosts, names);
        named(&hosts);
        let output = File::create(&log).unwrap();
        let script = "set -e; mount --bind \"$1\" /etc/hosts; [ ! -e /etc/resolv.conf ] || mount --bind \"$2\" /etc/resolv.conf; exec \"$3\" run \"$4\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script, "sh"]).args([&hosts, &resolver]);
        command.arg(env!("CARGO_BIN_EXE_redan")).arg(&file).stdin(std::process::Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Self { hosts, log, _running: Running::start_as_it_is(&mut command) }
    }

    fn names(&self, names: &[(&str, &str)]) {
        write(&self.hosts, names);
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a write gets through.
    fn wait_for_write(&self, what: &str, value: &str) {
        within(DEADLINE, &format!("{what}\n{}", self.said()), || {
            std::net::TcpStream::connect("127.0.0.1:6380").is_ok()
                && Client::connect("127.0.0.1:6380").ask(&["SET", "k", value]) == "+OK\r\n"
        });
    }

    fn wait_for_info(&self, what: &str, ready: impl Fn(&str) -> bool) {
        let mut info = String::new();
        let mut met = || {
            info = Client::connect("127.0.0.1:6380").ask(&["INFO", "redan"]);
            ready(&info)
        };
        let start = std::time::Instant::now();
        while !met() {
            assert!(start.elapsed() < DEADLINE, "{what}\n{}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// In place, because the file is mounted.
fn write(hosts: &Path, names: &[(&str, &str)]) {
    let lines = names.iter().map(|(name, address)| format!("{address} {name}\n"));
    fs::write(hosts, format!("127.0.0.1 localhost\n{}", lines.collect::<String>())).unwrap();
}

const TOML: &str = "[redan]\nworkers = 1\nlog = { level = \"info\" }\n\
    [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\nhold = \"2s\"\n\
    [[group]]\nname = \"main\"\nnodes = [\"redis-0:6379\", \"redis-1:6379\"]\nprobe_interval = \"100ms\"\n";

#[test]
fn names_may_come_late_and_mean_other_addresses_later() {
    inside("names::names_may_come_late_and_mean_other_addresses_later", |network| {
        let folder = tempfile::tempdir().unwrap();
        let hosts = [1, 2, 3, 4].map(|number| network.host(number));
        let [at_1, at_2, at_3, at_4] = [1, 2, 3, 4].map(|number| format!("10.77.0.{number}"));
        // No name is known when Redan starts.
        let redan = Named::start(folder.path(), TOML, &[]);
        let master = hosts[0].redis(&[]);
        let replica = hosts[1].redis(&["replicaof 10.77.0.1 6379"]);
        replica.wait_for_link();
        // One of two is enough to find the other, by its address.
        redan.names(&[("redis-0", &at_1)]);
        redan.wait_for_write("a name that came late is found", "1");
        redan.wait_for_info("the replica serves reads", |info| info.contains("redan_replicas_readable:1\r\n"));
        redan.names(&[("redis-0", &at_1), ("redis-1", &at_2)]);
        within(DEADLINE, "its name is known too", || redan.said().contains("redis-1:6379 is a replica of"));
        redan.wait_for_info("the replica is still one", |info| info.contains("redan_replicas_readable:1\r\n"));

        // The master's container is gone, the replica takes over, and the first one returns at another address.
        drop(master);
        replica.client().ok(&["REPLICAOF", "NO", "ONE"]);
        redan.wait_for_write("the promoted node is the master", "2");
        let returned = hosts[2].redis(&["replicaof 10.77.0.2 6379"]);
        redan.names(&[("redis-0", &at_3), ("redis-1", &at_2)]);
        returned.wait_for_link();
        redan.wait_for_info("redis-0 serves reads at its new address", |info| {
            info.contains("redan_replicas_readable:1\r\n")
        });
        within(DEADLINE, "the second write is there", || returned.client().text(&["GET", "k"]).as_deref() == Some("2"));

        // And back: the second one is gone, and returns at a fourth address as the only one who is called redis-1.
        drop(replica);
        returned.client().ok(&["REPLICAOF", "NO", "ONE"]);
        redan.wait_for_write("redis-0 is the master again, elsewhere", "3");
        let again = hosts[3].redis(&["replicaof 10.77.0.3 6379"]);
        redan.names(&[("redis-0", &at_3), ("redis-1", &at_4)]);
        again.wait_for_link();
        redan.wait_for_info("redis-1 serves reads at its new address", |info| {
            info.contains("redan_replicas_readable:1\r\n")
        });
        assert_eq!(returned.client().text(&["GET", "k"]).as_deref(), Some("3"));
    });
}

/// A container that restarts alone: same name, same data, other address, and whoever has the old address now is a stranger.
#[test]
fn a_master_that_restarts_elsewhere_is_followed_by_its_name() {
    inside("names::a_master_that_restarts_elsewhere_is_followed_by_its_name", |network| {
        let folder = tempfile::tempdir().unwrap();
        let hosts = [1, 2].map(|number| network.host(number));
        let master = hosts[0].redis(&[]);
        let only = TOML.replace(", \"redis-1:6379\"", "");
        let redan = Named::start(folder.path(), &only, &[("redis-0", "10.77.0.1")]);
        redan.wait_for_write("it serves", "1");
        drop(master);
        let elsewhere = hosts[1].redis(&[]);
        // Somebody else's, at the address that is free now.
        let stranger = hosts[0].redis(&[]);
        redan.names(&[("redis-0", "10.77.0.2")]);
        // Asked before it could notice, the stranger may be written to: it has the name at that moment.
        redan.wait_for_info("the new address is known", |_| {
            Client::connect("127.0.0.1:6380").ask(&["SET", "where", "here"]) == "+OK\r\n"
                && elsewhere.client().text(&["GET", "where"]).as_deref() == Some("here")
        });
        drop(stranger);
    });
}
