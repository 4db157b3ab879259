//! Client libraries of other languages, unchanged, with their default settings, through Redan.
//!
//! Each is a program of its own in `clients/` that takes an address (and a CA for TLS), checks what an
//! application relies on and exits 1 on the first difference. `make clients` installs the libraries. The same
//! programs run against Redis itself first: what passes there and fails here is Redan's fault.

mod group;
mod redis_rs;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use group::Group;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clients");

#[test]
fn redis_py() {
    everywhere(|address, ca| run(&mut script(&installed("venv/bin/python"), "redis_py.py", address, ca)));
}

#[test]
fn ioredis() {
    everywhere(|address, ca| run(&mut node("ioredis.cjs", address, ca)));
}

#[test]
fn node_redis() {
    everywhere(|address, ca| run(&mut node("node_redis.cjs", address, ca)));
}

#[test]
fn redis_cli() {
    everywhere(|address, ca| run(&mut script(Path::new("bash"), "redis_cli.sh", address, ca)));
}

#[test]
fn hiredis() {
    everywhere(|address, ca| run(&mut hiredis_program(address, ca)));
}

#[test]
fn redis_rs() {
    everywhere(redis_rs::check);
}

/// A check that cannot fail proves nothing: with nobody listening every program must say so.
#[test]
fn the_programs_can_fail() {
    let nobody = "127.0.0.1:1";
    let mut programs = [
        script(&installed("venv/bin/python"), "redis_py.py", nobody, None),
        node("ioredis.cjs", nobody, None),
        node("node_redis.cjs", nobody, None),
        script(Path::new("bash"), "redis_cli.sh", nobody, None),
        hiredis_program(nobody, None),
    ];
    for program in &mut programs {
        let why = run(program).expect_err("a program that was satisfied by a server that does not exist");
        assert!(why.to_lowercase().contains("refused"), "it failed, but for another reason: {why}");
    }
}

/// Against Redis itself, then through Redan in plaintext and in TLS.
fn everywhere(check: impl Fn(&str, Option<&Path>) -> Result<(), String>) {
    let group = Group::start();
    check(&group.master_address(), None).unwrap_or_else(|why| panic!("against Redis itself, without Redan: {why}"));
    let redan = group.proxy();
    check(&redan.address(0), None).unwrap_or_else(|why| panic!("through Redan, plaintext: {why}"));
    check(&redan.address(1), Some(&group.ca())).unwrap_or_else(|why| panic!("through Redan, TLS: {why}"));
}

fn node(name: &str, address: &str, ca: Option<&Path>) -> Command {
    let mut command = script(Path::new("node"), name, address, ca);
    command.env("NODE_PATH", installed("node/node_modules"));
    command
}

fn script(interpreter: &Path, name: &str, address: &str, ca: Option<&Path>) -> Command {
    let mut command = bounded(interpreter);
    command.arg(Path::new(SCRIPTS).join(name)).arg(address).args(ca);
    command
}

fn hiredis_program(address: &str, ca: Option<&Path>) -> Command {
    let mut command = bounded(&installed("hiredis"));
    command.arg(address).args(ca);
    command
}

/// No check takes a minute; one that hangs must not take the whole test run with it.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("180").arg(program);
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() && text.contains("everything as it should be") {
        return Ok(());
    }
    Err(format!("{:?} ended with {}:\n{text}", command.get_args(), output.status))
}

/// Something that `make clients` put beside the build.
pub(crate) fn installed(path: &str) -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let found = temporary.parent().unwrap_or(temporary).join("clients").join(path);
    assert!(
        found.exists(),
        "{} is missing: `make clients` installs it, `make test` does so by itself",
        found.display()
    );
    found
}
