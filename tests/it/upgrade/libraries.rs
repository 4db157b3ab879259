//! Client libraries of other languages, with their default settings, through ten upgrades under load.
//!
//! The programs are in `clients/through_upgrades.*`; they check every answer and say how many turns they have done.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::clients::installed;
use crate::support::certs::Certs;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clients");
const ROUNDS: usize = 10;

struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    said: String,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("piped");
        Self { child, lines: BufReader::new(output).lines(), said: String::new() }
    }

    /// The turns that it has done; what it says otherwise is kept. `None`: it has ended.
    fn turns(&mut self) -> Option<u64> {
        loop {
            let line = self.lines.next()?.expect("text");
            if let Ok(turns) = line.parse() {
                return Some(turns);
            }
            self.said += &(line + "\n");
        }
    }

    /// Until it has done so many more.
    fn goes_on(&mut self, more: u64) -> Option<()> {
        let before = self.turns()?;
        while self.turns()? < before + more {}
        Some(())
    }

    fn finish(mut self) {
        drop(self.child.stdin.take());
        while self.turns().is_some() {}
        let status = self.child.wait().expect("ours");
        assert!(status.success() && self.said.contains("everything as it should be"), "{status}:\n{}", self.said);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Through a plain listener nobody notices anything; with TLS connections end, and nothing else.
fn everywhere(program: impl Fn() -> Command) {
    let master = Redis::start();
    let replica = Options::default().replica_of(&master).start();
    let certs = Certs::make();
    let (cert, key) = (certs.cert().display().to_string(), certs.key().display().to_string());
    let tls =
        format!("[[listener]]\nname = \"tls\"\nbind = \"127.0.0.1:0\"\ntls = {{ cert = {cert:?}, key = {key:?} }}\n");
    // Half of it is what a busy client with TLS stays.
    let proxy = Proxy::start(&(toml("drain_timeout = \"1s\"", "", &[&master, &replica]) + &tls));
    wait_for_master(&proxy.address(1));
    let mut done = 0;
    for arguments in [vec![proxy.address(1)], vec![proxy.address(2), certs.ca().display().to_string()]] {
        master.ok(&["FLUSHALL"]);
        let mut program = Program::start(program().args(&arguments));
        for _ in 0..ROUNDS {
            if program.goes_on(50).is_none() {
                break;
            }
            upgrade(&proxy);
            done += 1;
        }
        program.finish();
        assert_eq!(proxy.successors().len(), done);
    }
    assert_eq!(done, 2 * ROUNDS);
}

#[test]
fn redis_py_goes_on_through_ten_upgrades() {
    everywhere(|| {
        let mut command = Command::new(installed("venv/bin/python"));
        command.arg(format!("{SCRIPTS}/through_upgrades.py"));
        command
    });
}

#[test]
fn node_redis_goes_on_through_ten_upgrades() {
    everywhere(|| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", installed("node/node_modules")).arg(format!("{SCRIPTS}/through_upgrades.cjs"));
        command
    });
}
