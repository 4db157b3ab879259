//! `redan check` as people run it: the built program, a configuration file, real servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::certs::Certs;
use crate::support::redis::{Redis, eventually};

/// What it printed, and its exit code.
pub(crate) fn check(group: &str, files: &[(&str, &str)]) -> (String, i32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("writable");
    }
    let config =
        format!("[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n\n[[group]]\nname = \"main\"\n{group}\n");
    check_in(folder.path(), &config)
}

/// The same with a whole file, which names other files by their absolute paths.
pub(crate) fn check_file(config: &str) -> (String, i32) {
    check_in(tempfile::tempdir().expect("a temporary folder").path(), config)
}

fn check_in(folder: &Path, config: &str) -> (String, i32) {
    let path = folder.join("proxy.toml");
    fs::write(&path, config).expect("writable");
    let output = Command::new(env!("CARGO_BIN_EXE_redan")).arg("check").arg(path).output().expect("redan runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.code().unwrap_or(-1))
}

/// The table's line about a node, as its columns.
fn row<'a>(said: &'a str, node: &Redis) -> Vec<&'a str> {
    let line = said.lines().find(|line| line.split_whitespace().nth(1) == Some(&node.address()));
    line.unwrap_or_else(|| panic!("no line about {}:\n{said}", node.address())).split_whitespace().collect()
}

#[test]
fn a_chain_in_order_is_found_from_one_seed() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let c = Redis::options().replica_of(&b).start();
    c.wait_for_link();
    a.ok(&["SET", "key", "value"]);
    eventually("the write is at the end of the chain", || c.command(&["GET", "key"]).contains("value"));
    for seed in [&a, &c] {
        let (said, code) = check(&format!("nodes = [\"{}\"]", seed.address()), &[]);
        assert!(code == 0 && said.contains("Nothing is wrong."), "{code}: {said}");
        assert_eq!(row(&said, &a)[2], "master");
        assert_eq!((row(&said, &b)[2], row(&said, &c)[2]), ("replica", "replica"));
    }
}

#[test]
fn passwords_come_from_files_one_for_each_node() {
    let a = Redis::options().password("alpha").start();
    let b = Redis::options().password("beta").master_auth("alpha").replica_of(&a).start();
    b.wait_for_link();
    let nodes = format!(
        "nodes = [\"{}\", {{ address = \"{}\", password_file = \"b\" }}]\npassword_file = \"a\"",
        a.address(),
        b.address()
    );
    let (said, code) = check(&nodes, &[("a", "alpha\n"), ("b", "beta\n")]);
    assert_eq!(code, 0, "{said}");
    let (said, code) = check(&nodes, &[("a", "alpha\n"), ("b", "wrong\n")]);
    assert!(code == 1 && said.contains(&format!("wrong: {}: wrong password", b.address())), "{code}: {said}");
    assert!(!said.contains("alpha") && !said.contains("beta"), "no secret is printed: {said}");
}

#[test]
fn nodes_that_speak_tls() {
    let certs = Certs::make();
    let a = Redis::options().tls(&certs).start();
    let tls = |certs: &Certs| format!("nodes = [\"{}\"]\ntls = {{ ca = \"{}\" }}", a.address(), certs.ca().display());
    let (said, code) = check(&tls(&certs), &[]);
    assert!(code == 0 && said.contains("TLS 1.3"), "{code}: {said}");
    let (said, code) = check(&tls(&Certs::make()), &[]);
    assert!(code == 1 && said.contains("not signed by the configured `ca`"), "{code}: {said}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let nodes = format!("nodes = [\"{}\", \"{}\"]", a.address(), b.address());
    a.kill();
    let (said, code) = check(&nodes, &[]);
    assert_eq!(code, 1, "{said}");
    for words in [format!("{}: the connection is refused", a.address()), "group 'main' has no master".to_owned()] {
        assert!(said.contains(&words), "'{words}' is missing:\n{said}");
    }
    let (said, code) = check("nodes = []", &[]);
    assert_eq!(code, 78, "a wrong configuration is not a wrong group: {said}");
}

#[test]
fn sentinels_and_a_failover_of_redan_are_too_many() {
    let a = Redis::start();
    let nodes = format!("nodes = [\"{}\"]\nfailover = \"auto\"", a.address());
    let (said, code) = check(&nodes, &[]);
    assert!(code == 0, "{code}: {said}");
    // A Sentinel listens there to hear of the others.
    let _sentinel = a.send(&["SUBSCRIBE", "__sentinel__:hello"]);
    eventually("it is subscribed", || a.command(&["PUBSUB", "NUMSUB", "__sentinel__:hello"]).contains(":1"));
    let (said, code) = check(&nodes, &[]);
    assert!(code == 1 && said.contains("only one of the two may choose the master"), "{code}: {said}");
}

#[test]
fn certificates_that_end() {
    let certs = Certs::expired();
    let node = Redis::start();
    let (cert, key) = (certs.cert(), certs.key());
    let listener =
        format!("[[listener]]\nname = \"tls\"\nbind = \"127.0.0.1:6381\"\ntls = {{ cert = {cert:?}, key = {key:?} }}");
    let (said, code) = check(&format!("nodes = [\"{}\"]\n{listener}", node.address()), &[]);
    assert!(code == 1 && said.contains("wrong: listener 'tls': ") && said.contains("has expired; renew it"), "{said}");
}
