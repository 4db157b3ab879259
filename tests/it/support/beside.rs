//! What a test needs that compares Redan with a server: two equal groups, one behind Redan, and a client that does not
//! end the test when something goes wrong, so that one run shows every difference.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::client::{binary, value_len};
use super::proxy::Proxy;
use super::redis::{Options, Redis, eventually};

/// A reply that takes longer than this does not come. No step of a case waits for a second, but PFSELFTEST alone keeps a server
/// busy for many where others want the processor too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Servers that compare quickly: a script is slow soon, and blocked clients are looked after often.
pub(crate) fn options() -> Options {
    Redis::options().line("busy-reply-threshold 50").line("hz 100")
}

/// A master with two replicas.
pub(crate) struct Group {
    pub(crate) master: Redis,
    pub(crate) replicas: Vec<Redis>,
}

impl Group {
    pub(crate) fn start() -> Self {
        let master = options().start();
        let replicas: Vec<Redis> = (0..2).map(|_| options().replica_of(&master).start()).collect();
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

    /// Whether its servers know the command, by its name in the table.
    pub(crate) fn has(&self, row: &str) -> bool {
        !["*1\r\n*-1\r\n", "*1\r\n$-1\r\n"].contains(&self.master.command(&["COMMAND", "INFO", row]).as_str())
    }

    /// How often both replicas have executed the command, by its name in the table.
    pub(crate) fn calls_on_replicas(&self, row: &str) -> u64 {
        let on = |replica: &Redis| -> u64 {
            let text = replica.command(&["INFO", "commandstats"]);
            // Modules have names in capitals.
            let start = format!("cmdstat_{row}:calls=");
            let of_row = |line: &&str| line.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(&start));
            let calls = text.lines().find(of_row).map(|line| &line[start.len()..]);
            calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
        };
        self.replicas.iter().map(on).sum()
    }
}

/// Redan with default settings but for `reads`, in front of the group; the second listener carries administrative commands, the
/// third reads from the master.
pub(crate) fn redan(group: &Group) -> Proxy {
    let nodes: Vec<String> =
        std::iter::once(&group.master).chain(&group.replicas).map(|server| server.address()).collect();
    let proxy = Proxy::start(&format!(
        "[redan]\nworkers = 2\nadmin = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\ngroup = \"main\"\nreads = \"replica\"\n\
         [[listener]]\nname = \"admin\"\nbind = \"127.0.0.1:0\"\ngroup = \"main\"\nreads = \"replica\"\n\
         admin_commands = \"allow\"\n\
         [[listener]]\nname = \"strong\"\nbind = \"127.0.0.1:0\"\ngroup = \"main\"\nconsistency = \"strong\"\n\
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
        self.raw(&binary(&words))
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("it cannot be sent: {error}"))
    }

    pub(crate) fn reply(&mut self) -> Result<Vec<u8>, String> {
        loop {
            // A server keeps a replica that waits for its snapshot awake with these.
            let newlines = self.input.iter().take_while(|&&byte| byte == b'\n').count();
            self.input.drain(..newlines);
            if let Some(len) = value_len(&self.input) {
                return Ok(self.input.drain(..len).collect());
            }
            if self.fill()? == 0 {
                return Err("the connection was closed".to_owned());
            }
        }
    }

    pub(crate) fn closed(&mut self) -> Result<(), String> {
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

/// A line's words, of which some may stand in double quotes, with the escapes of redis-cli.
pub(crate) fn words(text: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start().as_bytes();
    while !rest.is_empty() {
        let mut word = Vec::new();
        if rest[0] == b'"' {
            rest = &rest[1..];
            while rest[0] != b'"' {
                let (byte, len) = match (rest[0], rest.get(1)) {
                    (b'\\', Some(b'n')) => (b'\n', 2),
                    (b'\\', Some(b'r')) => (b'\r', 2),
                    (b'\\', Some(b'x')) => {
                        let digits = std::str::from_utf8(&rest[2..4]).expect("two digits");
                        (u8::from_str_radix(digits, 16).expect("a byte"), 4)
                    }
                    (b'\\', Some(other)) => (*other, 2),
                    (byte, _) => (byte, 1),
                };
                word.push(byte);
                rest = &rest[len..];
            }
            rest = &rest[1..];
        } else {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}
