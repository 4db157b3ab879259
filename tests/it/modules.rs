//! Commands that Redan has no row for: modules', renamed ones, unknown ones. What they are is learnt from the master.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

/// The compiled test module.
fn module() -> &'static str {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    let path = MODULE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/modules/commands.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kinds-{}.so", std::process::id()));
        let compiled = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&library, &source])
            .status()
            .expect("gcc: .ci/install clients installs it");
        assert!(compiled.success());
        library
    });
    path.to_str().expect("a readable path")
}

/// A master and a replica with these lines in their configurations.
fn group(master: &[&str], replica: &[&str], listener: &str) -> (Redis, Redis, Endpoint) {
    let with = |options, lines: &[&str]| {
        lines.iter().fold(options, |options: crate::support::redis::Options, line| options.line(line))
    };
    let master = with(Redis::options(), master).start();
    let replica = with(Redis::options().replica_of(&master), replica).start();
    replica.wait_for_link();
    let endpoint = Endpoint::of(&[&master, &replica], listener);
    (master, replica, endpoint)
}

fn replica_serves(endpoint: &Endpoint, replica: &Redis, client: &mut Client, words: &[&str], expected: &str) {
    let before = endpoint.commands_to(&replica.address());
    eventually("a replica serves it", || {
        assert_eq!(client.ask(words), expected);
        endpoint.commands_to(&replica.address()) > before
    });
}

#[test]
fn a_modules_commands_go_where_their_flags_say() {
    let load = format!("loadmodule {}", module());
    let (master, replica, endpoint) = group(&[&load], &[&load], "reads = \"replica\"");
    for mut client in [endpoint.client(), endpoint.resp3()] {
        replica_serves(&endpoint, &replica, &mut client, &["KINDS.LOOK"], "+looked\r\n");
        let first = client.integer(&["KINDS.PUT"]);
        assert_eq!(client.integer(&["kinds.put"]), first + 1);
        assert_eq!(client.ask(&["KINDS.ODD", "x"]), "+odd\r\n");
        assert!(client.ask(&["KINDS.STEER"]).starts_with("-NOPERM 'KINDS.STEER' is an administrative command"));
        // In a pipeline and in a transaction, in order.
        client.raw(&pipeline(&[&["KINDS.PUT"], &["KINDS.ODD"], &["KINDS.LOOK"], &["NO.SUCH"], &["PING"]]));
        assert_eq!(client.reply(), format!(":{}\r\n", first + 2));
        assert_eq!(client.reply(), "+odd\r\n");
        assert_eq!(client.reply(), "+looked\r\n");
        assert_eq!(client.reply(), "-ERR unknown command 'NO.SUCH', with args beginning with: \r\n");
        assert_eq!(client.reply(), "+PONG\r\n");
        client.raw(&pipeline(&[&["MULTI"], &["KINDS.PUT"], &["KINDS.LOOK"], &["EXEC"]]));
        for expected in ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &format!("*2\r\n:{}\r\n+looked\r\n", first + 3)] {
            assert_eq!(client.reply(), expected);
        }
    }
    // Writes were counted at the master alone, and reached the replica by replication.
    assert_eq!(master.info("role").as_deref(), Some("master"));
    assert!(endpoint.metric("redan_pins_taken_total{reason=\"unknown\"}") >= 2.0);
}

#[test]
fn a_command_without_flags_leaves_its_connection_to_nobody() {
    let load = format!("loadmodule {}", module());
    let (master, _replica, endpoint) = group(&[&load], &[&load], "");
    let connections = || master.command(&["CLIENT", "LIST"]).matches("name=redan").count();
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "v"]);
    assert_eq!(client.ask(&["KINDS.ODD"]), "+odd\r\n");
    eventually("its connection is closed", || {
        let before = connections();
        assert_eq!(client.ask(&["KINDS.ODD"]), "+odd\r\n");
        connections() == before
    });
}

#[test]
fn a_module_loaded_later_is_learnt_and_one_that_a_replica_lacks_is_read_at_the_master() {
    let (master, replica, endpoint) = group(&["enable-module-command yes"], &[], "reads = \"replica\"");
    let mut client = endpoint.client();
    assert!(client.ask(&["KINDS.LOOK"]).starts_with("-ERR unknown command 'KINDS.LOOK'"));
    master.ok(&["MODULE", "LOAD", module()]);
    eventually("the new command is known", || client.ask(&["KINDS.LOOK"]) == "+looked\r\n");
    // The replica is asked, does not know it, and the client does not see that.
    replica_serves(&endpoint, &replica, &mut client, &["KINDS.LOOK"], "+looked\r\n");
}

#[test]
fn renamed_commands_are_what_the_server_says_they_are() {
    let lines = ["rename-command GET FETCH", "rename-command SET STORE"];
    let (master, replica, endpoint) = group(&lines, &lines, "reads = \"replica\"");
    let mut client = endpoint.client();
    client.ok(&["STORE", "k", "v"]);
    assert_eq!(client.ask(&["FETCH", "k"]), bulk("v"));
    // Redis 8 compares a command with the true name of the last one of its connection: straight at the server GET would work
    // right behind FETCH. So there FETCH shares no connection, and goes to the master.
    let mut server = Client::connect(&master.address());
    assert_eq!(server.ask(&["FETCH", "k"]), bulk("v"));
    if server.ask(&["GET", "k"]).starts_with("-ERR unknown command 'GET'") {
        replica_serves(&endpoint, &replica, &mut client, &["FETCH", "k"], &bulk("v"));
    }
    let mut other = endpoint.client();
    for _ in 0..20 {
        assert_eq!(client.ask(&["FETCH", "k"]), bulk("v"));
        for client in [&mut other, &mut client] {
            for words in [&["GET", "k"][..], &["SET", "k", "v"]] {
                let reply = client.ask(words);
                assert!(reply.starts_with(&format!("-ERR unknown command '{}'", words[0])), "{reply}");
            }
        }
        client.ok(&["STORE", "k", "v"]);
    }
}
