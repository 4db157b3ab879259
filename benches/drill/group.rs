//! What a drill disturbs: three servers and three Sentinels, each pair on a machine of its own, and a proxy in front.
//!
//! Everything is started anew for each drill, so that no drill starts from what another left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::hosts::{Host, Network, Side};
use crate::machine::in_sbin;
use crate::resp::{Reply, ask};
use crate::template::render;
use crate::until::wait;

/// Sentinel's `down-after-milliseconds`: 2 s is what people set who want a quick failover without false alarms.
pub(crate) const DOWN_AFTER: Duration = Duration::from_secs(2);

/// Where clients connect, whichever proxy it is.
pub(crate) const PROXY: &str = "127.0.0.1:6380";

/// For a template without gaps.
const NOTHING: &[(&str, &str)] = &[];

/// Starting, and a first copy of nearly nothing, take well under a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program that ends when this is dropped.
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let output = File::create(log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| format!("cannot share {}: {error}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        Ok(Self { child: child.map_err(|error| format!("{command:?}: {error}; `make drill` installs it"))? })
    }

    fn signal(&self, name: &str) -> Result<(), String> {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        status.map_err(|error| format!("kill: {error}")).map(drop)
    }

    /// SIGTERM, and until it has ended.
    fn stop(mut self) -> Result<(), String> {
        self.signal("TERM")?;
        self.child.wait().map_err(|error| format!("waiting for the end of a process: {error}")).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One server, with a Sentinel beside it.
pub(crate) struct Node {
    host: Host,
    folder: PathBuf,
    server: Option<Process>,
    sentinel: Option<Process>,
}

impl Node {
    fn start(host: Host, folder: &Path, role: &str) -> Result<Self, String> {
        let folder = folder.join(host.address());
        fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        render(&folder, "redis.conf", include_str!("templates/redis.conf"), &[("role", role)])?;
        let mut node = Self { host, folder, server: None, sentinel: None };
        node.run()?;
        Ok(node)
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:6379", self.host.address())
    }

    pub(crate) fn host(&self) -> String {
        self.host.address()
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Option<Reply> {
        ask(&self.address(), words, Duration::from_millis(500)).ok()
    }

    pub(crate) fn ok(&self, words: &[&str]) -> Result<(), String> {
        match ask(&self.address(), words, PATIENCE) {
            Ok(reply) if reply.code().is_none() => Ok(()),
            other => Err(format!("{words:?} at {}: {other:?}", self.address())),
        }
    }

    pub(crate) fn sentinel(&self, words: &[&str]) -> Option<Reply> {
        ask(&format!("{}:26379", self.host.address()), words, Duration::from_secs(1)).ok()
    }

    /// A line of INFO replication.
    pub(crate) fn info(&self, field: &str) -> Option<String> {
        let reply = self.ask(&["INFO", "replication"])?;
        reply.text()?.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
    }

    pub(crate) fn is_master(&self) -> bool {
        self.info("role").as_deref() == Some("master")
    }

    pub(crate) fn follows(&self, master: &Self) -> bool {
        self.info("master_host").as_deref() == Some(&master.host())
            && self.info("master_link_status").as_deref() == Some("up")
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        let config = self.folder.join("redis.conf");
        let mut command = self.host.command("redis-server");
        self.server = Some(Process::start(command.arg(config), &self.folder.join("server.out"))?);
        wait("the server listens", PATIENCE, || self.ask(&["PING"]).is_some())
    }

    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// As a container is restarted: SIGTERM, and anew with the same files.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.server.take().map_or(Ok(()), Process::stop)?;
        self.run()
    }

    /// The data set is gone: a volume that was not mounted.
    pub(crate) fn restart_empty(&mut self) -> Result<(), String> {
        self.kill();
        let _ = fs::remove_dir_all(self.folder.join("appendonlydir"));
        self.run()
    }

    pub(crate) fn freeze(&self) -> Result<(), String> {
        self.server.as_ref().map_or(Ok(()), |server| server.signal("STOP"))
    }

    pub(crate) fn thaw(&self) -> Result<(), String> {
        self.server.as_ref().map_or(Ok(()), |server| server.signal("CONT"))
    }

    pub(crate) fn start_sentinel(&mut self) -> Result<(), String> {
        let file = self.folder.join("sentinel.conf");
        if !file.exists() {
            let milliseconds = DOWN_AFTER.as_millis().to_string();
            let template = include_str!("templates/sentinel.conf");
            render(&self.folder, "sentinel.conf", template, &[("down_after", &milliseconds)])?;
        }
        let mut command = self.host.command("redis-server");
        command.arg(file).arg("--sentinel");
        self.sentinel = Some(Process::start(&mut command, &self.folder.join("sentinel.out"))?);
        Ok(())
    }

    pub(crate) fn stop_sentinel(&mut self) {
        self.sentinel = None;
    }
}

/// Which proxy stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Redan,
    Haproxy,
}

impl Contender {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redan => "Redan",
            Self::Haproxy => "HAProxy",
        }
    }
}

/// How the group is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Sentinels,
    /// No Sentinel: Redan itself replaces a lost master.
    Itself,
    /// Sentinels, and Redan does not write to a master that has lost its replicas.
    Fenced,
}

impl Watch {
    const fn has_sentinels(self) -> bool {
        !matches!(self, Self::Itself)
    }

    /// Lines of the group in Redan's configuration.
    const fn settings(self) -> &'static str {
        const SENTINELS: &str = "sentinel = { master = \"mymaster\", addresses = [\"10.77.0.1:26379\", \"10.77.0.2:26379\", \"10.77.0.3:26379\"] }";
        match self {
            Self::Sentinels => SENTINELS,
            Self::Itself => "failover = \"auto\"\ndown_after = \"2s\"",
            Self::Fenced => {
                "fence = true\nfence_after = \"2s\"\nsentinel = { master = \"mymaster\", addresses = [\"10.77.0.1:26379\", \"10.77.0.2:26379\", \"10.77.0.3:26379\"] }"
            }
        }
    }
}

pub(crate) struct Group {
    /// The first is the master when a drill begins.
    pub(crate) nodes: [Node; 3],
    proxy: Process,
    pub(crate) network: Network,
    log: PathBuf,
    // Last: what stands above writes into it.
    folder: tempfile::TempDir,
}

impl Group {
    /// Of Redan.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("redan.toml")
    }

    pub(crate) fn start(contender: Contender, watch: Watch, applications: Side) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let folder = scratch.path();
        let network = Network::make(applications)?;
        let node = |number, side, role| Node::start(Host::plug(&network, number, side)?, folder, role);
        // On the left the first master, alone with its Sentinel.
        let mut nodes = [
            node(1, Side::Left, "")?,
            node(2, Side::Right, "replicaof 10.77.0.1 6379")?,
            node(3, Side::Right, "replicaof 10.77.0.1 6379")?,
        ];
        wait("the replicas have their copies", PATIENCE, || {
            nodes[1..].iter().all(|replica| replica.follows(&nodes[0]))
        })?;
        nodes[0].ok(&["SET", "reader", "value"])?;
        if watch.has_sentinels() {
            nodes.iter_mut().try_for_each(Node::start_sentinel)?;
            wait("the Sentinels know each other and the replicas", PATIENCE, || nodes.iter().all(knows_all))?;
        }
        let log = folder.join("proxy.log");
        let proxy = match contender {
            Contender::Redan => {
                let text = include_str!("templates/redan.toml");
                let file = render(folder, "redan.toml", text, &[("group", watch.settings())])?;
                Process::start(Command::new(env!("CARGO_BIN_EXE_redan")).arg("run").arg(file), &log)?
            }
            Contender::Haproxy => {
                let file = render(folder, "haproxy.cfg", include_str!("templates/haproxy.cfg"), NOTHING)?;
                Process::start(Command::new(in_sbin("haproxy")).arg("-db").arg("-f").arg(file), &log)?
            }
        };
        let group = Self { nodes, proxy, network, log, folder: scratch };
        let serves =
            || ask(PROXY, &["SET", "ready", "yes"], Duration::from_millis(500)).is_ok_and(|r| r.code().is_none());
        wait("the proxy serves", PATIENCE, serves).map_err(|error| format!("{error}; it printed: {}", group.said()))?;
        // Where Redan may read: its replicas are proven within two probes.
        sleep(Duration::from_millis(1500));
        Ok(group)
    }

    /// What the proxy printed.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The proxy did not crash.
    pub(crate) fn proxy_lives(&mut self) -> bool {
        matches!(self.proxy.child.try_wait(), Ok(None))
    }

    /// The node that says it is the master and is followed by most; what the drill ended with.
    pub(crate) fn final_master(&self) -> Option<&Node> {
        let followers = |node: &Node| node.info("connected_slaves").and_then(|text| text.parse::<u32>().ok());
        self.nodes.iter().filter(|node| node.is_master()).max_by_key(|node| followers(node))
    }
}

fn knows_all(node: &Node) -> bool {
    let Some(reply) = node.sentinel(&["SENTINEL", "MASTER", "mymaster"]) else { return false };
    let texts: Vec<&str> = reply.items().iter().filter_map(Reply::text).collect();
    let field = |name: &str| texts.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
    field("num-slaves") == Some("2") && field("num-other-sentinels") == Some("2")
}
