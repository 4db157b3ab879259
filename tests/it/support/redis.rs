//! Real `redis-server` processes on free ports of 127.0.0.1, killed on drop, and waiting with a deadline.

#![allow(dead_code, reason = "shared by two test binaries, each of which needs another part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certs::Certs;

/// How long a test waits for what must happen: far more than it takes, because test machines are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The server that tests start: `redis-server`, or the program that `make test-matrix` names.
pub(crate) fn program() -> String {
    std::env::var("REDAN_TEST_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A refusal in the words of Redis 7.0: newer servers name the user, and say less of a key.
pub(crate) fn refusal_of_7_0(reply: &str) -> String {
    let reply = reply.replace(
        "-NOPERM No permissions to access a key",
        "-NOPERM this user has no permissions to access one of the keys used as arguments",
    );
    match reply.strip_prefix("-NOPERM User ").and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => format!("-NOPERM this user {rest}"),
        None => reply,
    }
}

/// Waits until `ready`, asking every 10 ms; fails the test with `what` at the deadline.
pub(crate) fn eventually(what: &str, ready: impl FnMut() -> bool) {
    within(DEADLINE, what, ready);
}

/// The same for what takes servers themselves longer.
pub(crate) fn within(deadline: Duration, what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How a server shall be started.
#[derive(Default)]
pub(crate) struct Options {
    password: Option<String>,
    lines: Vec<String>,
    tls: bool,
    sentinel: bool,
}

impl Options {
    /// `requirepass`.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.line(&format!("requirepass {password}"))
    }

    pub(crate) fn master_auth(self, password: &str) -> Self {
        self.line(&format!("masterauth {password}"))
    }

    pub(crate) fn replica_of(self, master: &Redis) -> Self {
        self.line(&format!("replicaof 127.0.0.1 {}", master.port()))
    }

    /// TLS on [`Redis::port`], also towards its master; plaintext stays on another port, for the test itself.
    pub(crate) fn tls(mut self, certs: &Certs) -> Self {
        self.tls = true;
        let file = |path: std::path::PathBuf| path.display().to_string();
        self.line(&format!("tls-ca-cert-file {}", file(certs.ca())))
            .line(&format!("tls-cert-file {}", file(certs.cert())))
            .line(&format!("tls-key-file {}", file(certs.key())))
            .line("tls-auth-clients no")
            .line("tls-replication yes")
    }

    /// Runs it as a Sentinel: `--sentinel`.
    pub(crate) fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Any line of redis.conf; later lines win.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    pub(crate) fn start(self) -> Redis {
        for _ in 0..5 {
            let (port, plain_port) = (free_port(), if self.tls { free_port() } else { 0 });
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut config =
                format!("bind 127.0.0.1\nprotected-mode no\ndir {}\nloglevel warning\n", folder.path().display());
            if !self.sentinel {
                config += "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n\
                           enable-debug-command local\n";
            }
            config += &match self.tls {
                true => format!("port {plain_port}\ntls-port {port}\n"),
                false => format!("port {port}\n"),
            };
            config += &self.lines.join("\n");
            config += "\n";
            std::fs::write(folder.path().join("redis.conf"), config).expect("writable");
            let control_port = if self.tls { plain_port } else { port };
            let (password, sentinel) = (self.password.clone(), self.sentinel);
            let mut redis = Redis { child: None, port, control_port, folder, password, sentinel };
            // Another process may have taken the port in between: then try others.
            if redis.run() {
                return redis;
            }
        }
        panic!("redis-server did not start on five different ports");
    }
}

/// A running (or killed) server.
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    control_port: u16,
    folder: tempfile::TempDir,
    password: Option<String>,
    sentinel: bool,
}

impl Redis {
    pub(crate) fn options() -> Options {
        Options::default()
    }

    pub(crate) fn start() -> Self {
        Options::default().start()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn run(&mut self) -> bool {
        let program = program();
        let started = Command::new(&program)
            .arg(self.folder.path().join("redis.conf"))
            .args(self.sentinel.then_some("--sentinel"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => panic!("{program} cannot be run ({error}): install it, `make test` does so"),
        };
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if child.try_wait().expect("a child can be asked").is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.control_port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server listens on no port after {DEADLINE:?}");
    }

    /// `kill -9`: nothing is saved, connections are reset.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Starts a killed server on its old port, empty.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "redis-server did not start again on port {}", self.port);
    }

    /// SIGSTOP: it accepts connections and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("kill exists");
        assert!(status.success());
    }

    /// Sends a command and returns the raw reply, up to what arrives in one piece.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("a reply")
    }

    /// The same where the connection may be cut: Sentinels close all connections to a node whose role they change.
    pub(crate) fn try_command(&self, words: &[&str]) -> std::io::Result<String> {
        let mut stream = self.send(words);
        let mut reply = vec![0; 65536];
        let len = stream.read(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply[..len]).into_owned())
    }

    /// Sends a command without waiting for its reply.
    pub(crate) fn send(&self, words: &[&str]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control_port)).expect("it runs");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        if let Some(password) = &self.password {
            stream.write_all(&encode(&["AUTH", password])).expect("writable");
            let mut ok = [0; 5];
            stream.read_exact(&mut ok).expect("a reply to AUTH");
            assert_eq!(&ok, b"+OK\r\n");
        }
        stream.write_all(&encode(words)).expect("writable");
        stream
    }

    /// Sends a command that must succeed.
    pub(crate) fn ok(&self, words: &[&str]) {
        let reply = self.command(words);
        assert!(!reply.starts_with('-'), "{words:?}: {reply}");
    }

    /// Valkey's first number; `None` is Redis. Both also answer a `redis_version`.
    pub(crate) fn valkey(&self) -> Option<u32> {
        let version = self.info("valkey_version")?;
        version.split('.').next().and_then(|major| major.parse().ok())
    }

    /// Valkey 9 is the first to look at the two bytes behind an argument.
    pub(crate) fn is_lenient(&self) -> bool {
        self.valkey().is_none_or(|major| major < 9)
    }

    /// The text of the bulk string that answers the command.
    pub(crate) fn text(&self, words: &[&str]) -> String {
        let reply = self.command(words);
        let text = reply.strip_prefix('$').and_then(|bulk| bulk.split_once("\r\n")?.1.strip_suffix("\r\n"));
        text.unwrap_or_else(|| panic!("{words:?} was answered {reply:?}")).to_owned()
    }

    /// One field of INFO.
    pub(crate) fn info(&self, field: &str) -> Option<String> {
        let text = self.try_command(&["INFO"]).ok()?;
        text.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned()))
    }

    /// Makes it a replica of `master`, or with `None` a master.
    pub(crate) fn replica_of(&self, master: Option<&Self>) {
        match master {
            Some(master) => self.ok(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]),
            None => self.ok(&["REPLICAOF", "NO", "ONE"]),
        }
    }

    /// Waits until its link to its master is up.
    pub(crate) fn wait_for_link(&self) {
        eventually("the replica's link is up", || self.info("master_link_status").as_deref() == Some("up"));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

/// A port that nobody listens on at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}
