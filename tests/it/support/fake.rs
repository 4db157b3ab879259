//! A node that does what a test tells it to: answers late, half, wrongly, or not at all.
//!
//! It introduces itself as a master or replica plausibly enough to be accepted, answers probes and questions for
//! offsets by itself, and hands every other command to the test's script. It records them per connection, in order.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::client::value_len;

/// What the fake does with one command. Commands of one connection are handled one after the other.
#[derive(Clone)]
pub(crate) enum Act {
    Reply(Vec<u8>),
    After(Duration, Vec<u8>),
    /// Answered when the test calls [`Fake::release`].
    Hold(Vec<u8>),
    /// Sends these bytes, then closes the connection.
    Close(Vec<u8>),
}

impl Act {
    pub(crate) fn reply(text: &str) -> Self {
        Self::Reply(text.as_bytes().to_vec())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Connections are numbered from 0 as they come.
    pub(crate) connection: usize,
    pub(crate) words: Vec<String>,
}

impl Command {
    pub(crate) fn name(&self) -> String {
        self.words[0].to_ascii_uppercase()
    }
}

type Script = Arc<dyn Fn(&Command) -> Act + Send + Sync>;

struct State {
    /// The port of its master; `None` is a master.
    follows: Option<u16>,
    /// Ports of replicas that a master lists.
    replicas: Vec<u16>,
    offset: u64,
    zone: String,
    script: Script,
    /// How late it answers INFO.
    distance: Duration,
    received: Vec<Command>,
    held: bool,
    connections: Vec<TcpStream>,
}

struct Shared {
    port: u16,
    state: Mutex<State>,
    released: Condvar,
    stopped: AtomicBool,
}

pub(crate) struct Fake {
    shared: Arc<Shared>,
}

/// All fakes of one test belong to one history.
const HISTORY: &str = "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb";

impl Fake {
    pub(crate) fn master() -> Self {
        Self::start(None)
    }

    pub(crate) fn replica_of(master: &Self) -> Self {
        let fake = Self::start(Some(master.port()));
        master.state().replicas.push(fake.port());
        fake
    }

    fn start(follows: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let state = State {
            follows,
            replicas: Vec::new(),
            offset: 1000,
            zone: String::new(),
            script: Arc::new(move |command| answer_with_own_port(command, port)),
            distance: Duration::ZERO,
            received: Vec::new(),
            held: true,
            connections: Vec::new(),
        };
        let shared = Arc::new(Shared {
            port,
            state: Mutex::new(state),
            released: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.shared.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// What it does from now on with commands that are not about the connection or the topology.
    pub(crate) fn script(&self, script: impl Fn(&Command) -> Act + Send + Sync + 'static) {
        self.state().script = Arc::new(script);
    }

    /// Answers everything that is held, now and from now on.
    pub(crate) fn release(&self) {
        self.state().held = false;
        self.shared.released.notify_all();
    }

    /// What it says of the place it runs in.
    pub(crate) fn set_zone(&self, zone: &str) {
        self.state().zone = zone.to_owned();
    }

    /// It has applied the stream up to here; a master has written so much.
    pub(crate) fn set_offset(&self, offset: u64) {
        self.state().offset = offset;
    }

    /// Probes take so much longer to it.
    pub(crate) fn set_distance(&self, distance: Duration) {
        self.state().distance = distance;
    }

    /// The script's commands so far.
    pub(crate) fn received(&self) -> Vec<Command> {
        self.state().received.clone()
    }

    /// Breaks every open connection.
    pub(crate) fn close_connections(&self) {
        for stream in self.state().connections.drain(..) {
            // Already closed is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no thread of the fake panics")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.release();
        self.close_connections();
        // Wakes the accepting thread, which then ends; if it has ended already there is nobody to wake.
        let _ = TcpStream::connect(self.address());
    }
}

/// Without a script: strings hold the port of the node that served them, everything else is `+OK`.
fn answer_with_own_port(command: &Command, port: u16) -> Act {
    match command.name().as_str() {
        "GET" => {
            let text = format!("{}@{port}", command.words[1]);
            Act::Reply(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
        }
        _ => Act::reply("+OK\r\n"),
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in listener.incoming().enumerate() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(other) = stream.try_clone() else { continue };
        shared.state.lock().expect("no thread of the fake panics").connections.push(other);
        let shared = Arc::clone(shared);
        // The end of a connection is the end of its thread, whatever the reason.
        thread::spawn(move || drop(serve(stream, number, &shared)));
    }
}

fn serve(mut stream: TcpStream, connection: usize, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = Vec::new();
    loop {
        let mut used = 0;
        while let Some(len) = value_len(&buf[used..]) {
            let command = Command { connection, words: words(&buf[used..used + len]) };
            used += len;
            match act(command, shared) {
                Act::Reply(bytes) => stream.write_all(&bytes)?,
                Act::After(time, bytes) => {
                    thread::sleep(time);
                    stream.write_all(&bytes)?;
                }
                Act::Hold(bytes) => {
                    let state = shared.state.lock().expect("no thread of the fake panics");
                    drop(shared.released.wait_while(state, |state| state.held).expect("no thread of the fake panics"));
                    stream.write_all(&bytes)?;
                }
                Act::Close(bytes) => {
                    stream.write_all(&bytes)?;
                    return stream.shutdown(Shutdown::Both);
                }
            }
        }
        buf.drain(..used);
        let mut piece = [0; 16384];
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Ok(());
        }
        buf.extend_from_slice(&piece[..n]);
    }
}

/// What every node answers alike, and the script for the rest.
fn act(command: Command, shared: &Shared) -> Act {
    let mut state = shared.state.lock().expect("no thread of the fake panics");
    match command.name().as_str() {
        "INFO" => {
            let text = info(&state, shared.port);
            Act::After(state.distance, format!("${}\r\n{text}\r\n", text.len()).into_bytes())
        }
        "ROLE" => Act::Reply(role(&state).into_bytes()),
        "HELLO" if command.words.get(1).is_some_and(|version| version == "2") => {
            Act::reply("*2\r\n$5\r\nproto\r\n:2\r\n")
        }
        "HELLO" => Act::reply("%1\r\n$5\r\nproto\r\n:3\r\n"),
        "AUTH" | "CLIENT" | "SELECT" => Act::reply("+OK\r\n"),
        _ => {
            state.received.push(command.clone());
            let script = Arc::clone(&state.script);
            drop(state);
            script(&command)
        }
    }
}

fn info(state: &State, port: u16) -> String {
    let mut lines = vec![
        "redis_version:7.0.15".to_owned(),
        "redis_mode:standalone".to_owned(),
        format!("run_id:{port:040}"),
        "loading:0".to_owned(),
        format!("availability_zone:{}", state.zone),
        "async_loading:0".to_owned(),
        format!("master_replid:{HISTORY}"),
        format!("master_replid2:{:040}", 0),
        "second_repl_offset:-1".to_owned(),
        format!("master_repl_offset:{}", state.offset),
        format!("connected_slaves:{}", state.replicas.len()),
    ];
    for (index, replica) in state.replicas.iter().enumerate() {
        lines.push(format!("slave{index}:ip=127.0.0.1,port={replica},state=online,offset={},lag=0", state.offset));
    }
    match state.follows {
        None => lines.push("role:master".to_owned()),
        Some(master) => lines.extend([
            "role:slave".to_owned(),
            "master_host:127.0.0.1".to_owned(),
            format!("master_port:{master}"),
            "master_link_status:up".to_owned(),
            "master_last_io_seconds_ago:0".to_owned(),
            "master_sync_in_progress:0".to_owned(),
            format!("slave_repl_offset:{}", state.offset),
            "slave_priority:100".to_owned(),
            "slave_read_only:1".to_owned(),
            "replica_announced:1".to_owned(),
        ]),
    }
    lines.push("# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0".to_owned());
    lines.join("\r\n") + "\r\n"
}

fn role(state: &State) -> String {
    match state.follows {
        None => format!("*3\r\n$6\r\nmaster\r\n:{}\r\n*0\r\n", state.offset),
        Some(master) => {
            format!("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:{master}\r\n$9\r\nconnected\r\n:{}\r\n", state.offset)
        }
    }
}

/// The arguments of a command, which Redan always sends as an array of bulk strings.
fn words(mut raw: &[u8]) -> Vec<String> {
    let count = header(&mut raw);
    let word = |raw: &mut &[u8]| {
        let len = header(raw);
        let (word, rest) = raw.split_at(len);
        *raw = &rest[2..];
        String::from_utf8_lossy(word).into_owned()
    };
    (0..count).map(|_| word(&mut raw)).collect()
}

/// Takes `*<number>` or `$<number>` and its line end off the front.
fn header(raw: &mut &[u8]) -> usize {
    let end = raw.windows(2).position(|pair| pair == b"\r\n").expect("a complete command");
    let number = std::str::from_utf8(&raw[1..end]).expect("ASCII").parse().expect("a length");
    *raw = &raw[end + 2..];
    number
}
