//! A network of its own for one test: hosts with their own addresses and their own loopback, joined by a bridge.
//!
//! The test runs again inside fresh namespaces, so it needs no root where users may make namespaces of their own, and
//! leaves nothing behind. Redan and the test stand at 10.77.0.254, hosts at 10.77.0.1 and up.

use std::process::{Child, Command, Stdio};

use super::client::Client;
use super::redis::eventually;

/// Says to the test that it is inside.
const INSIDE: &str = "REDAN_TEST_IN_NETWORK";

/// Runs `body` in a network of its own. `test` is the full name of the calling test, `addresses::…`.
pub(crate) fn inside(test: &str, body: impl FnOnce(&Network)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Network::make());
    }
    let again = std::env::current_exe().expect("the program that runs this test");
    let mut command = Command::new("unshare");
    // Root needs no namespace of users, and may be where there are none (a chroot).
    let may = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    if !may.expect("unshare exists (util-linux)").success() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--"]).arg(again).args([test, "--exact", "--nocapture"]);
    let output = command.env(INSIDE, "1").stdin(Stdio::null()).output().expect("unshare exists (util-linux)");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        !said.contains("unshare: "),
        "no network namespaces can be made here: run the tests as root with CAP_SYS_ADMIN, or allow unprivileged user \
         namespaces (sysctl kernel.unprivileged_userns_clone=1)\n{said}"
    );
    assert!(output.status.success() && said.contains("1 passed"), "{test}, in a network of its own:\n{said}");
}

pub(crate) struct Network(());

impl Network {
    fn make() -> Self {
        ip("link set lo up");
        ip("link add bridge type bridge");
        ip("addr add 10.77.0.254/24 dev bridge");
        ip("link set bridge up");
        Self(())
    }

    /// A host with the address `10.77.0.<number>`.
    pub(crate) fn host(&self, number: u8) -> Host {
        let sleeper = Running::start(Command::new("unshare").args(["--net", "sleep", "infinity"]));
        let host = Host { number, sleeper };
        let pid = host.sleeper.0.id();
        let own = || std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let ours = std::fs::read_link("/proc/self/ns/net").ok();
        eventually("the host has a network of its own", || own().is_some() && own() != ours);
        ip(&format!("link add host{number} type veth peer name eth0 netns {pid}"));
        ip(&format!("link set host{number} master bridge up"));
        host.ip("link set lo up");
        host.add_address(number);
        host.ip("link set eth0 up");
        host
    }
}

/// One machine of the network; it and its processes end when it is dropped.
pub(crate) struct Host {
    number: u8,
    sleeper: Running,
}

impl Host {
    pub(crate) fn name(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// One more address, `10.77.0.<number>`.
    pub(crate) fn add_address(&self, number: u8) {
        self.ip(&format!("addr add 10.77.0.{number}/24 dev eth0"));
    }

    /// Pulls the cable.
    pub(crate) fn unplug(&self) {
        ip(&format!("link set host{} down", self.number));
    }

    pub(crate) fn plug(&self) {
        ip(&format!("link set host{} up", self.number));
    }

    /// A program that will run on this host.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.sleeper.0.id().to_string(), "--", program]).stdin(Stdio::null());
        command
    }

    /// A server on port 6379 of this host, with further lines of redis.conf.
    pub(crate) fn redis(&self, lines: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "bind * -::*\nport 6379\nprotected-mode no\ndir {}\nsave \"\"\nloglevel warning\nrepl-diskless-sync-delay 0\n\
             repl-ping-replica-period 1\nrepl-timeout 3\n{}\n",
            folder.path().display(),
            lines.join("\n")
        );
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, config).expect("writable");
        let process = Running::start(self.command(&super::redis::program()).arg(file));
        let server = Server { _process: process, address: format!("{}:6379", self.name()), _folder: folder };
        eventually("the server listens", || std::net::TcpStream::connect(&server.address).is_ok());
        server
    }

    fn ip(&self, words: &str) {
        succeed(self.command("ip").args(words.split(' ')));
    }
}

pub(crate) struct Server {
    _process: Running,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    pub(crate) fn wait_for_link(&self) {
        let mut client = self.client();
        eventually("the replica has its data", || {
            client.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
    }
}

/// A process that ends when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        // Output of its own would keep the outer run of the test waiting for its end.
        Self::start_as_it_is(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// For a command whose output goes elsewhere already.
    pub(crate) fn start_as_it_is(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(words: &str) {
    succeed(Command::new("ip").args(words.split(' ')));
}

fn succeed(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs iproute2"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
