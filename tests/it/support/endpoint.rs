//! Redan in front of a group, with what tests ask of it: clients, metrics, its own memory.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::client::Client;
use super::proxy::Proxy;
use super::redis::{Redis, eventually};

/// One listener, an admin endpoint, one group named `main`.
pub(crate) struct Endpoint {
    proxy: Proxy,
}

/// What an admin endpoint tells.
pub(crate) fn metrics_of(admin: &str) -> String {
    let mut stream = TcpStream::connect(admin).expect("the admin endpoint");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("writable");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

impl Endpoint {
    /// Waits until the group has a master and `nodes` of it are readable. `listener` and `group` are lines of those sections.
    pub(crate) fn start(nodes: &[String], listener: &str, group: &str) -> Self {
        let endpoint = Self::start_blind(nodes, listener, group);
        endpoint.wait_for_readable(nodes.len());
        endpoint
    }

    /// The same without waiting for the group.
    pub(crate) fn start_blind(nodes: &[String], listener: &str, group: &str) -> Self {
        Self::with_workers(1, nodes, listener, group)
    }

    /// The same with so many workers.
    pub(crate) fn with_workers(workers: usize, nodes: &[String], listener: &str, group: &str) -> Self {
        Self::start_process(&format!("workers = {workers}"), nodes, listener, group)
    }

    /// The same with lines of `[redan]`.
    pub(crate) fn start_process(process: &str, nodes: &[String], listener: &str, group: &str) -> Self {
        Self::start_with_nodes(process, &format!("{nodes:?}"), listener, group)
    }

    /// The same with `nodes` as it stands in the file.
    pub(crate) fn start_with_nodes(process: &str, nodes: &str, listener: &str, group: &str) -> Self {
        // Often, unless the test says how often.
        let probes = if group.contains("probe_interval") { "" } else { "probe_interval = \"100ms\"" };
        let toml = format!(
            "[redan]\n{process}\nadmin = \"127.0.0.1:0\"\nshutdown_timeout = \"1s\"\n\
             [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n{listener}\n\
             [[group]]\nname = \"main\"\nnodes = {nodes}\n{probes}\n{group}\n"
        );
        Self { proxy: Proxy::start(&toml) }
    }

    /// In front of real servers, all of them readable.
    pub(crate) fn of(servers: &[&Redis], listener: &str) -> Self {
        let nodes: Vec<String> = servers.iter().map(|server| server.address()).collect();
        Self::start(&nodes, listener, "")
    }

    /// In front of real servers, with two workers, so that sessions in turn come to different ones.
    pub(crate) fn of_two_workers(servers: &[&Redis], listener: &str) -> Self {
        let nodes: Vec<String> = servers.iter().map(|server| server.address()).collect();
        let endpoint = Self::with_workers(2, &nodes, listener, "");
        endpoint.wait_for_readable(nodes.len());
        endpoint
    }

    pub(crate) fn wait_for_readable(&self, nodes: usize) {
        eventually(&format!("a master, and {nodes} readable nodes"), || {
            let metrics = self.metrics();
            let readable =
                metrics.lines().filter(|line| line.starts_with("redan_node_readable{") && line.ends_with(" 1")).count();
            readable == nodes && metrics.contains("redan_group_has_master{group=\"main\"} 1")
        });
    }

    /// Of clients.
    pub(crate) fn address(&self) -> String {
        self.proxy.address(1)
    }

    /// Of the admin endpoint.
    pub(crate) fn admin(&self) -> String {
        self.proxy.address(0)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address())
    }

    pub(crate) fn resp3(&self) -> Client {
        Client::resp3(&self.address())
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.proxy.id()
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.proxy.file()
    }

    /// Everything Redan has printed.
    pub(crate) fn said(&self) -> String {
        self.proxy.said()
    }

    /// Its configuration, as it stands in the file.
    pub(crate) fn config(&self) -> String {
        self.proxy.config()
    }

    /// Has it read another configuration, and returns what it has said of that.
    pub(crate) fn reload(&self, toml: &str) -> String {
        self.proxy.reload(toml)
    }

    /// The same with one piece of the configuration replaced, which takes it.
    pub(crate) fn change(&self, from: &str, to: &str) -> String {
        let config = self.config();
        assert!(config.contains(from), "{from} is not in\n{config}");
        let said = self.reload(&config.replace(from, to));
        assert!(said.contains("reload: the configuration is in use"), "{said}");
        said
    }

    /// Sends the process a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        self.proxy.signal(name);
    }

    /// One number: the series is written as in the exposition, labels included.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no series {series} in\n{metrics}"));
        value.parse().expect("a number")
    }

    pub(crate) fn is_readable(&self, node: &str) -> bool {
        self.metric(&format!("redan_node_readable{{group=\"main\",node=\"{node}\"}}")) > 0.0
    }

    /// Commands that went to the node, other than probes.
    pub(crate) fn commands_to(&self, node: &str) -> f64 {
        self.metric(&format!("redan_node_commands_total{{group=\"main\",node=\"{node}\"}}"))
    }

    pub(crate) fn metrics(&self) -> String {
        metrics_of(&self.proxy.address(0))
    }

    /// What buffers of clients hold, by the process's own account.
    pub(crate) fn held_memory(&self) -> f64 {
        let metrics = self.metrics();
        let kinds = metrics.lines().filter(|line| line.starts_with("redan_memory_bytes{"));
        kinds.map(|line| line.rsplit_once(' ').and_then(|(_, n)| n.parse::<f64>().ok()).expect("a number")).sum()
    }

    /// The most memory the process has ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.id())).expect("a running process");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("VmHWM in KiB") * 1024
    }
}
