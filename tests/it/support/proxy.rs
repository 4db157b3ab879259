//! A running Redan: the built program with a configuration, on free ports, killed when dropped.
//!
//! Used by every end-to-end test. What it prints is kept and shown when the test fails.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::redis::eventually;

/// In a configuration, where a free port belongs.
const ANY_PORT: &str = "127.0.0.1:0";

/// Starting takes milliseconds; a debug build on a busy machine takes longer.
const START: Duration = Duration::from_secs(20);

pub(crate) struct Proxy {
    child: Child,
    ports: Vec<u16>,
    log: PathBuf,
    /// Configuration and log; removed with the proxy.
    folder: TempDir,
}

impl Proxy {
    /// Runs Redan with `toml`, in which every `127.0.0.1:0` becomes an address with a free port, and waits until
    /// it listens on all of them. Panics with what it printed when it does not. Files that `toml` names
    /// must be absolute paths.
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_redan")), toml)
    }

    /// The same with a copy of the program.
    pub(crate) fn start_program(program: &Path, toml: &str) -> Self {
        let mut tries = 1;
        loop {
            match Self::try_start(program, toml) {
                Ok(proxy) => return proxy,
                // A free port may be taken by someone else between finding it and using it.
                Err(said) if tries < 3 && said.contains("another process listens there") => tries += 1,
                Err(said) => panic!("Redan did not start with\n{toml}\n{said}"),
            }
        }
    }

    /// `127.0.0.1:port`, of the `index`-th `127.0.0.1:0` in the configuration, from 0.
    pub(crate) fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports[index])
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration, as it stands in the file.
    pub(crate) fn config(&self) -> String {
        read(&self.file())
    }

    /// Has it read another one, and returns what it has said of that.
    pub(crate) fn reload(&self, toml: &str) -> String {
        fs::write(self.file(), toml).expect("the configuration's folder is there");
        let before = self.said().len();
        self.signal("HUP");
        let ends = ["reload: the configuration is in use", "reload: nothing was changed", "reload: nothing differs"];
        let said = || self.said()[before..].to_owned();
        eventually("it says what came of the reload", || ends.iter().any(|end| said().contains(end)));
        said()
    }

    /// Its configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    /// Everything it has printed so far.
    pub(crate) fn said(&self) -> String {
        read(&self.log)
    }

    /// Sends it a signal by name, `TERM` for instance; after an upgrade to the process that is in charge.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.in_charge().to_string()]).status();
        assert!(status.expect("kill exists").success(), "it has ended already:\n{}", self.said());
    }

    /// The process that serves now.
    pub(crate) fn in_charge(&self) -> u32 {
        self.successors().last().copied().unwrap_or_else(|| self.child.id())
    }

    /// The processes that have taken its place, the last one at the end.
    pub(crate) fn successors(&self) -> Vec<u32> {
        let said = self.said();
        let lines = said.lines().filter_map(|line| line.split_once("upgrade: process ")?.1.split_once(" is in charge"));
        lines.map(|(id, _)| id.parse().expect("a number")).collect()
    }

    /// Its exit code, once it has ended by itself; `None` after a signal that killed it.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("Redan ends", || {
            status = self.child.try_wait().expect("the state of a child of ours");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    fn try_start(program: &Path, toml: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (text, ports) = fill_in_ports(toml);
        let file = folder.path().join("proxy.toml");
        fs::write(&file, text).expect("a configuration in a fresh folder");
        let log = folder.path().join("redan.log");
        let output = File::create(&log).expect("a log in a fresh folder");
        let child = Command::new(program)
            .arg("run")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .expect("the program that cargo has just built");
        // From here on dropping `proxy` kills the child, so that a failed start leaves nothing behind.
        let mut proxy = Self { child, ports, log, folder };
        proxy.wait_until_listening()?;
        Ok(proxy)
    }

    fn wait_until_listening(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START;
        let mut waiting = self.ports.clone();
        loop {
            waiting.retain(|port| TcpStream::connect(("127.0.0.1", *port)).is_err());
            // Also when nothing is left to wait for: whoever answered might not have been this child.
            if let Some(status) = self.child.try_wait().expect("the state of a child of ours") {
                return Err(format!("it ended with {status}; it printed:\n{}", self.said()));
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("ports {waiting:?} do not listen after {START:?}; it printed:\n{}", self.said()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only when it is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for id in self.successors() {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
        if thread::panicking() {
            eprintln!("Redan printed:\n{}", self.said());
        }
    }
}

/// All listeners are held until every port is known, so that no two are the same.
fn fill_in_ports(toml: &str) -> (String, Vec<u16>) {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    let mut parts = toml.split(ANY_PORT);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let listener = TcpListener::bind(ANY_PORT).expect("a free port of the loopback address");
        let port = listener.local_addr().expect("the address of a bound socket").port();
        text += &format!("127.0.0.1:{port}{part}");
        ports.push(port);
        held.push(listener);
    }
    (text, ports)
}

fn read(path: &Path) -> String {
    // The program may be in the middle of a character.
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
