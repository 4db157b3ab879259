//! Two equal groups, one behind Redan, and the clients that run a case on either.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::script::{Case, Step};
use crate::support::client::{binary, value_len};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually};
use crate::support::value::Value;

/// A reply that takes longer than this does not come. No step of a case waits for a second.
const PATIENCE: Duration = Duration::from_secs(8);

/// A master with two replicas.
pub(crate) struct Group {
    pub(crate) master: Redis,
    pub(crate) replicas: Vec<Redis>,
}

impl Group {
    pub(crate) fn start() -> Self {
        // So that a script is known to be slow soon.
        let master = Redis::options().line("busy-reply-threshold 50").start();
        let replicas: Vec<Redis> = (0..2).map(|_| Redis::options().replica_of(&master).start()).collect();
        for replica in &replicas {
            replica.wait_for_link();
        }
        // Its list of replicas is part of what clients can see.
        eventually("the master counts both replicas", || {
            let text = master.command(&["INFO", "replication"]);
            text.matches("state=online").count() == 2
        });
        Self { master, replicas }
    }

    /// How often both replicas have executed the command, by its name in the table.
    pub(super) fn calls_on_replicas(&self, row: &str) -> u64 {
        let on = |replica: &Redis| -> u64 {
            let text = replica.command(&["INFO", "commandstats"]);
            let calls = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{row}:calls=")));
            calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
        };
        self.replicas.iter().map(on).sum()
    }
}

/// Where a case runs.
pub(super) struct Side<'a> {
    pub(super) group: &'a Group,
    /// For clients, and for those of `@admin` cases.
    pub(super) addresses: [String; 2],
    pub(super) resp3: bool,
    /// A server that keys can be moved to.
    pub(super) other: &'a Redis,
}

/// Redan with default settings but for `reads`, in front of the group; the second listener carries administrative commands.
pub(crate) fn redan(group: &Group) -> Proxy {
    let nodes: Vec<String> =
        std::iter::once(&group.master).chain(&group.replicas).map(|server| server.address()).collect();
    let proxy = Proxy::start(&format!(
        "[redan]\nworkers = 2\nadmin = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\ngroup = \"main\"\nreads = \"replica\"\n\
         [[listener]]\nname = \"admin\"\nbind = \"127.0.0.1:0\"\ngroup = \"main\"\nreads = \"replica\"\n\
         admin_commands = \"allow\"\n\
         [[group]]\nname = \"main\"\nnodes = {nodes:?}\n"
    ));
    eventually("a master and two readable replicas", || {
        let metrics = metrics(&proxy.address(0));
        metrics.lines().filter(|line| line.starts_with("redan_node_readable{") && line.ends_with(" 1")).count() == 3
    });
    proxy
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the admin endpoint");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("writable");
    std::io::read_to_string(stream).expect("an answer")
}

/// What a step came to: a reply's bytes, nothing to compare, or what went wrong.
pub(super) type Outcome = Result<Option<Vec<u8>>, String>;

impl Side<'_> {
    /// Leaves nothing of the last case behind, neither data nor settings.
    pub(super) fn clear(&self) {
        let mut client = Plain::connect(&self.addresses[1]);
        for line in ["CLIENT UNPAUSE", "FLUSHALL", "FUNCTION FLUSH", "SCRIPT FLUSH", "ACL LOG RESET", "SLOWLOG RESET"] {
            let words = super::script::words(line);
            let reply = client.ask(&words);
            assert!(reply.as_ref().is_ok_and(|reply| reply == b"+OK\r\n"), "{line}: {reply:?}");
        }
    }

    /// Runs the case; after a step that went wrong the rest is left out.
    pub(super) fn run(&self, case: &Case) -> Vec<Outcome> {
        let address = &self.addresses[usize::from(case.admin)];
        let names = case.steps.iter().filter_map(|(_, step)| step.client());
        let mut clients: HashMap<char, Plain> = names
            .collect::<HashSet<char>>()
            .into_iter()
            .map(|name| (name, Plain::speaking(address, self.resp3)))
            .collect();
        let mut kept: HashMap<String, Vec<u8>> = HashMap::new();
        kept.insert("other".to_owned(), self.other.port().to_string().into_bytes());
        let mut outcomes = Vec::new();
        for (_, step) in &case.steps {
            let outcome = match (step, step.client().and_then(|name| clients.get_mut(&name))) {
                (Step::Ask { words, keep, .. }, Some(client)) => client.ask(&filled(words, &kept)).map(|reply| {
                    if let Some(keep) = keep {
                        kept.insert(keep.clone(), Value::of(&reply).text);
                    }
                    Some(reply)
                }),
                (Step::Send { words, .. }, Some(client)) => client.send(&filled(words, &kept)).map(|()| None),
                (Step::Receive { .. }, Some(client)) => client.reply().map(Some),
                (Step::Closed { .. }, Some(client)) => client.closed().map(|()| None),
                (Step::Blocked { clients }, _) => {
                    let clients = Some(clients.to_string());
                    self.wait_for(|master| master.info("blocked_clients") == clients).map(|()| None)
                }
                (Step::Busy, _) => {
                    self.wait_for(|master| master.command(&["PING"]).starts_with("-BUSY")).map(|()| None)
                }
                (step, None) => unreachable!("{step:?} names a client, and all were opened"),
            };
            let failed = outcome.is_err();
            outcomes.push(outcome);
            if failed {
                break;
            }
        }
        outcomes
    }

    fn wait_for(&self, so: impl Fn(&Redis) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !so(&self.group.master) {
            if start.elapsed() > PATIENCE {
                return Err("what the step waits for does not come about".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// `$name` stands for what was kept under that name.
fn filled(words: &[Vec<u8>], kept: &HashMap<String, Vec<u8>>) -> Vec<Vec<u8>> {
    let fill = |word: &Vec<u8>| {
        let name = word.strip_prefix(b"$").and_then(|name| std::str::from_utf8(name).ok());
        name.and_then(|name| kept.get(name)).unwrap_or(word).clone()
    };
    words.iter().map(fill).collect()
}

/// A client that says what went wrong instead of ending the test, so that one run shows every difference.
pub(crate) struct Plain {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Plain {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a listener at this address");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, input: Vec::new() }
    }

    pub(crate) fn speaking(address: &str, resp3: bool) -> Self {
        let mut client = Self::connect(address);
        if resp3 {
            let reply = client.ask(&[b"HELLO".to_vec(), b"3".to_vec()]);
            assert!(reply.as_ref().is_ok_and(|reply| reply.starts_with(b"%")), "HELLO 3: {reply:?}");
        }
        client
    }

    pub(crate) fn ask(&mut self, words: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        self.send(words)?;
        self.reply()
    }

    pub(crate) fn send(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        self.stream.write_all(&binary(&words)).map_err(|error| format!("it cannot be sent: {error}"))
    }

    pub(crate) fn reply(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(len) = value_len(&self.input) {
                return Ok(self.input.drain(..len).collect());
            }
            if self.fill()? == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
    }

    fn closed(&mut self) -> Result<(), String> {
        match (self.input.is_empty(), self.fill()) {
            (true, Ok(0)) => Ok(()),
            (_, Err(why)) => Err(why),
            _ => Err(format!("a reply and no end: {:?}", String::from_utf8_lossy(&self.input))),
        }
    }

    fn fill(&mut self) -> Result<usize, String> {
        let mut piece = [0; 16384];
        match self.stream.read(&mut piece) {
            Ok(n) => {
                self.input.extend_from_slice(&piece[..n]);
                Ok(n)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("no reply in {PATIENCE:?}; so far {:?}", String::from_utf8_lossy(&self.input)))
            }
            // A reset is an end too.
            Err(_) => Ok(0),
        }
    }
}
