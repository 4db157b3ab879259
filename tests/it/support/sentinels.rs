//! A replication group under the watch of real Sentinels, with clients that write through Redan.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::Client;
use super::redis::{Options, Redis, within};

/// What the Sentinels call the group.
pub(crate) const NAME: &str = "mymaster";

/// The nodes, the first of which begins as the master, and the Sentinels.
pub(crate) struct Guarded {
    pub(crate) nodes: Vec<Redis>,
    pub(crate) sentinels: Vec<Redis>,
}

/// Waits as the tests of everything else do, but longer: a Sentinel that a busy machine has delayed by 2 s distrusts its clock
/// and does nothing for 30 s (TILT).
pub(crate) fn eventually(what: &str, ready: impl FnMut() -> bool) {
    within(Duration::from_secs(90), what, ready);
}

impl Guarded {
    /// A master, two replicas and three Sentinels that know each other.
    pub(crate) fn start() -> Self {
        let mut nodes = vec![Redis::start()];
        for _ in 0..2 {
            nodes.push(Redis::options().replica_of(&nodes[0]).start());
        }
        Self::over(nodes, |options| options)
    }

    /// Sentinels for these nodes; `with` adds to the options of each.
    pub(crate) fn over(nodes: Vec<Redis>, with: impl Fn(Options) -> Options) -> Self {
        nodes[1..].iter().for_each(Redis::wait_for_link);
        let port = nodes[0].port();
        let sentinels = (0..3).map(|_| with(options(port)).start()).collect();
        let guarded = Self { nodes, sentinels };
        guarded.wait_for_agreement();
        guarded
    }

    /// Until each Sentinel knows all replicas and all other Sentinels.
    pub(crate) fn wait_for_agreement(&self) {
        let (replicas, others) = ((self.nodes.len() - 1).to_string(), (self.sentinels.len() - 1).to_string());
        for sentinel in &self.sentinels {
            eventually("the Sentinels know everyone", || {
                field(sentinel, "num-slaves").as_deref() == Some(&*replicas)
                    && field(sentinel, "num-other-sentinels").as_deref() == Some(&*others)
            });
        }
    }

    /// Lines of Redan's group.
    pub(crate) fn group(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(Redis::address).collect();
        format!("sentinel = {{ master = \"{NAME}\", addresses = {addresses:?} }}")
    }

    /// The node that the Sentinel with this index names.
    pub(crate) fn named_by(&self, sentinel: usize) -> String {
        let reply = self.sentinels[sentinel].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let words: Vec<&str> = reply.lines().collect();
        format!("{}:{}", words.get(2).unwrap_or(&""), words.get(4).unwrap_or(&""))
    }

    /// The node that says it is the master, of those that were not `before`, once there is one.
    pub(crate) fn wait_for_another_master(&self, before: &[usize]) -> usize {
        let mut found = None;
        eventually("a replica is promoted", || {
            found = (0..self.nodes.len())
                .find(|&index| !before.contains(&index) && self.nodes[index].info("role").as_deref() == Some("master"));
            found.is_some()
        });
        found.expect("found")
    }
}

/// A Sentinel that watches the master at `port`, quickly.
pub(crate) fn options(port: u16) -> Options {
    Redis::options()
        .sentinel()
        .line(&format!("sentinel monitor {NAME} 127.0.0.1 {port} 2"))
        .line(&format!("sentinel down-after-milliseconds {NAME} 1000"))
        .line(&format!("sentinel failover-timeout {NAME} 4000"))
}

/// A field of what a Sentinel says of the master.
pub(crate) fn field(sentinel: &Redis, name: &str) -> Option<String> {
    let reply = sentinel.command(&["SENTINEL", "MASTER", NAME]);
    let mut lines = reply.lines().filter(|line| !line.starts_with(['$', '*', '%']));
    lines.find(|line| *line == name)?;
    lines.next().map(str::to_owned)
}

/// One client that writes numbers in order until it is told to stop, over one connection, whatever happens.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<Written>>,
}

/// What became of the numbers.
pub(crate) struct Written {
    /// Those that were acknowledged.
    acknowledged: Vec<u64>,
    /// Those whose outcome Redan could not tell.
    pub(crate) in_doubt: usize,
}

impl Writer {
    pub(crate) fn start(address: &str) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut client = Client::connect(address);
        let thread = thread::spawn({
            let (stop, written) = (stop.clone(), written.clone());
            move || {
                let mut result = Written { acknowledged: Vec::new(), in_doubt: 0 };
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let reply = client.ask(&["SADD", "written", &number.to_string()]);
                    match reply.as_str() {
                        ":1\r\n" => result.acknowledged.push(number),
                        _ if reply.starts_with("-INDOUBT") => result.in_doubt += 1,
                        other => panic!("number {number} was answered {other:?}"),
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                    // Quick enough to meet every gap, and no load.
                    thread::sleep(Duration::from_millis(1));
                }
                result
            }
        });
        let writer = Self { stop, written, thread: Some(thread) };
        writer.goes_on();
        writer
    }

    /// Waits until some more numbers are written.
    pub(crate) fn goes_on(&self) {
        let before = self.written.load(Ordering::Relaxed);
        eventually("the writer goes on", || {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            ended || self.written.load(Ordering::Relaxed) > before + 20
        });
    }

    pub(crate) fn finish(mut self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("the writer met no error")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Written {
    /// The acknowledged numbers that `master` lacks.
    pub(crate) fn lost(&self, master: &Redis) -> Vec<u64> {
        let words = ["SMISMEMBER", "written"].into_iter().map(str::to_owned);
        let words: Vec<String> = words.chain(self.acknowledged.iter().map(u64::to_string)).collect();
        let mut client = Client::connect(&master.address());
        client.send(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let reply = client.reply();
        let has = reply.lines().skip(1).map(|line| line == ":1");
        self.acknowledged.iter().zip(has).filter(|(_, has)| !has).map(|(number, _)| *number).collect()
    }
}
