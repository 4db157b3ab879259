//! `redan verify` against a group in order and one that somebody tampered with.

use std::process::Command;

use crate::support::redis::{Redis, eventually};

fn verify(nodes: &[&Redis], more: &[&str]) -> (String, i32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nodes: Vec<String> = nodes.iter().map(|node| node.address()).collect();
    let config = format!(
        "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n\n[[group]]\nname = \"main\"\nnodes = {nodes:?}\n"
    );
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, config).expect("writable");
    let mut redan = Command::new(env!("CARGO_BIN_EXE_redan"));
    let output = redan.args(["verify", "main", "--config"]).arg(path).args(more).output().expect("redan runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.code().unwrap_or(-1))
}

fn filled() -> (Redis, Redis) {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    for number in 0..300 {
        let number = number.to_string();
        // More than a listpack holds, so that each server has an order of its own.
        let add = |kind: &str| format!("for i = 1, 600 do redis.call('{kind}', KEYS[1], 'm' .. i, i) end");
        if number.ends_with('7') {
            master.ok(&["EVAL", &add("HSET"), "1", &format!("hash {number}")]);
            master.ok(&["EVAL", &add("SADD"), "1", &format!("set {number}")]);
        }
        master.ok(&["SET", &format!("string {number}"), &number]);
        master.ok(&["SET", &format!("short {number}"), &number, "EX", "1000"]);
    }
    master.ok(&["RPUSH", "list", "a", "b"]);
    master.ok(&["ZADD", "zset", "1", "a", "2", "b"]);
    master.ok(&["XADD", "stream", "1-1", "field", "value"]);
    eventually("the replica has it all", || master.info("master_repl_offset") == replica.info("slave_repl_offset"));
    (master, replica)
}

#[test]
fn nodes_that_hold_the_same_are_found_equal() {
    let (master, replica) = filled();
    let (said, code) = verify(&[&master, &replica], &[]);
    assert!(code == 0 && said.contains(&replica.address()), "{code}: {said}");
    let (said, code) = verify(&[&master, &replica], &["--json"]);
    assert!(code == 0 && said.contains("\"differences\":[]"), "{code}: {said}");
    replica.freeze();
    let (said, code) = verify(&[&master, &replica], &[]);
    assert!(code == 69 && said.contains("not compared: "), "{code}: {said}");
}

#[test]
fn what_was_tampered_with_is_named() {
    let (master, replica) = filled();
    replica.ok(&["CONFIG", "SET", "replica-read-only", "no"]);
    for words in [
        &["SET", "string 5", "other"][..],
        &["DEL", "string 6"],
        &["SET", "own", "x"],
        &["SET", "own too", "x"],
        &["HSET", "hash 7", "m1", "other"],
        &["PERSIST", "short 8"],
        &["EXPIRE", "short 9", "5000"],
    ] {
        replica.ok(words);
    }
    let (said, code) = verify(&[&master, &replica], &["--keys", "5000"]);
    assert_eq!(code, 1, "{said}");
    for words in [
        "key \"string 5\" has another value",
        "key \"string 6\" is missing",
        "key \"own\" is not on the master",
        "key \"hash 7\" has another value",
        "key \"short 8\" expires on one of them only",
        "key \"short 9\" expires at another time",
        "keys, ",
    ] {
        assert!(said.contains(words), "'{words}' is not in\n{said}");
    }
    let named = said.lines().filter(|line| line.contains(": key ")).count();
    assert_eq!(named, 7, "nothing else differs:\n{said}");
}
