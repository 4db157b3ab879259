//! Hosts of a network whose servers reach each other through links alone: server N listens at 127.9.0.N of its own host, and on
//! every other host the entry of a link to it listens at the same address.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::link::{Far, Key, Keys};
use super::network::{Host, Network, Running};
use super::redis::{program, within};

/// Of what happens on several hosts of a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn eventually(what: &str, ready: impl FnMut() -> bool) {
    within(PATIENCE, what, ready);
}

/// A host with its number, which is also its server's.
pub(crate) struct Machine {
    pub(crate) number: u8,
    pub(crate) host: Host,
}

impl Machine {
    pub(crate) fn new(network: &Network, number: u8) -> Self {
        Self { number, host: network.host(number) }
    }

    /// The address of its server on every host.
    pub(crate) fn everywhere(&self) -> String {
        format!("127.9.0.{}", self.number)
    }

    /// Starts a server with these lines, at its address alone, and waits until it answers.
    pub(crate) fn serve(&self, port: u16, lines: &str, arguments: &[&str]) -> Instance {
        self.serve_at(&self.everywhere(), port, lines, arguments)
    }

    /// The same at another address of its host; later lines win.
    pub(crate) fn serve_at(&self, at: &str, port: u16, lines: &str, arguments: &[&str]) -> Instance {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("redis.conf");
        let config = format!(
            "bind {at}\nport {port}\ndir {}\nloglevel notice\nlogfile {}\n{lines}\n",
            folder.path().display(),
            folder.path().join("redis.log").display()
        );
        std::fs::write(&file, config).expect("writable");
        let process = self.run(&file, arguments);
        let instance = Instance { process: Some(process), folder };
        eventually("the server answers", || self.ask(at, port, &["PING"]).contains("PONG"));
        instance
    }

    fn run(&self, file: &std::path::Path, arguments: &[&str]) -> Running {
        Running::start(self.host.command(&program()).arg(file).args(arguments))
    }

    /// Starts a killed one again, with what it has kept.
    pub(crate) fn revive(&self, instance: &mut Instance) {
        instance.process = Some(self.run(&instance.folder.path().join("redis.conf"), &[]));
    }

    pub(crate) fn server(&self, lines: &str) -> Instance {
        let usual = "appendonly yes\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\nrepl-timeout 60\n";
        let own = format!("replica-announce-ip {}\n", self.everywhere());
        self.serve(6379, &(usual.to_owned() + &own + lines), &[])
    }

    /// What `redis-cli` on this host prints.
    pub(crate) fn ask(&self, at: &str, port: u16, words: &[&str]) -> String {
        let mut command = self.host.command("redis-cli");
        command.args(["-h", at, "-p", &port.to_string()]).args(words);
        let output = command.stderr(Stdio::null()).output().expect("redis-cli is installed beside redis-server");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same of its own server.
    pub(crate) fn own(&self, words: &[&str]) -> String {
        self.ask(&self.everywhere(), 6379, words)
    }

    pub(crate) fn info(&self, field: &str) -> String {
        let text = self.own(&["INFO", "replication"]);
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim_end().to_owned()
    }

    pub(crate) fn wait_for_link(&self) {
        eventually("the replica's link is up", || self.info("master_link_status") == "up");
    }

    /// Runs Redan here and waits until it has said `ready`.
    pub(crate) fn redan(&self, toml: &str, ready: &str) -> Far {
        let far = Far::start(&self.host, toml);
        eventually("Redan is ready", || far.said().contains(ready));
        far
    }

    /// Checks until `ready` is content with what is said: servers take a moment to notice each other, and a busy machine may be late
    /// with an answer.
    pub(crate) fn check_until(&self, toml: &str, ready: impl Fn(&str, bool) -> bool) {
        let mut last = String::new();
        for _ in 0..60 {
            let (said, fine) = self.check(toml);
            if ready(&said, fine) {
                return;
            }
            last = said;
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("on host {}:\n{last}", self.number);
    }

    /// `redan check` of a configuration, on this host: what it printed, and whether it found nothing wrong.
    fn check(&self, toml: &str) -> (String, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, toml).expect("writable");
        let mut command: Command = self.host.command(env!("CARGO_BIN_EXE_redan"));
        let output = command.arg("check").arg(file).output().expect("redan runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (said, output.status.success())
    }
}

/// A server on a machine; killed when dropped.
pub(crate) struct Instance {
    process: Option<Running>,
    folder: tempfile::TempDir,
}

impl Instance {
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}

/// The links between all of `machines`, as host `own` has them: one exit, and an entry for each service of each other machine.
/// `services` are names and ports.
pub(crate) fn links(keys: &[Key], own: &Machine, machines: &[Machine], services: &[(&str, u16)]) -> String {
    let number = own.number;
    let others = || machines.iter().filter(|machine| machine.number != number);
    let key = |machine: &Machine| &keys[usize::from(machine.number) - 1];
    let targets: Vec<String> =
        services.iter().map(|(name, port)| format!("{name} = \"127.9.0.{number}:{port}\"")).collect();
    let peers: Vec<&str> = others().map(|machine| key(machine).line.as_str()).collect();
    let identity = &key(own).file;
    let mut toml = format!(
        "[[link]]\nname = \"exit\"\nexit = \"10.77.0.{number}:7443\"\nservices = {{ {} }}\nidentity = \"{identity}\"\npeers = {peers:?}\n",
        targets.join(", ")
    );
    for other in others() {
        for (name, port) in services {
            toml += &format!(
                "[[link]]\nname = \"{name}-{0}\"\nentry = \"127.9.0.{0}:{port}\"\nto = \"10.77.0.{0}:7443\"\nservice = \"{name}\"\n\
                 identity = \"{identity}\"\npeers = [\"{1}\"]\n",
                other.number,
                key(other).line
            );
        }
    }
    toml
}

/// A key for each of so many machines.
pub(crate) fn keys(folder: &Keys, count: usize) -> Vec<Key> {
    (1..=count).map(|number| folder.another(&format!("host{number}"))).collect()
}
