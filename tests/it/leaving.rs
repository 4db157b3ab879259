//! Clients that go away while their command is held up: it is never executed, and their seat is free at once.

use crate::support::client::pipeline;
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

type Commands = &'static [&'static [&'static str]];

const SET: Commands = &[&["SET", "k", "ghost"], &["GET", "k"]];
const BLOCK: Commands = &[&["MULTI"], &["SET", "k", "ghost"], &["EXEC"]];
const BLOCKING: Commands = &[&["BLPOP", "queue", "0"]];

#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Closes its connection while its command waits.
    Later,
    /// Sends no more, and would still read.
    WithItsSide,
    /// Its end comes right behind the command.
    AtOnce,
}

/// Sends, waits until the command is held up, and leaves; returns what it is told before Redan closes it too.
fn leave(endpoint: &Endpoint, commands: Commands, how: Leaves, is_held: impl Fn() -> bool) -> String {
    let mut client = endpoint.client();
    client.raw(&pipeline(commands));
    if !matches!(how, Leaves::AtOnce) {
        eventually("the command waits", is_held);
    }
    if matches!(how, Leaves::Later) {
        return String::new();
    }
    client.end_input();
    client.rest()
}

fn sessions(endpoint: &Endpoint) -> f64 {
    endpoint.metric("redan_sessions")
}

#[test]
fn what_a_pause_held_up_is_not_executed_for_a_client_that_is_gone() {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "");
    let mut operator = endpoint.client();
    for how in [Leaves::Later, Leaves::WithItsSide, Leaves::AtOnce] {
        for commands in [SET, BLOCK, BLOCKING] {
            operator.ok(&["CLIENT", "PAUSE", "600000", "WRITE"]);
            let listed = |text: String| text.contains(" flags=b ");
            let is_held = || listed(endpoint.client().ask(&["CLIENT", "LIST"]));
            assert_eq!(leave(&endpoint, commands, how, is_held), "", "{how:?}, {commands:?}");
            eventually("its seat is free", || sessions(&endpoint) == 1.0);
            operator.ok(&["CLIENT", "UNPAUSE"]);
            operator.ok(&["SET", "behind", "it"]);
            assert_eq!(redis.command(&["EXISTS", "k"]), ":0\r\n", "{how:?}, {commands:?}");
            operator.integer(&["RPUSH", "queue", "job"]);
            assert_eq!(operator.integer(&["DEL", "queue"]), 1, "{how:?}, {commands:?}: nobody took it");
        }
    }
}

/// A transaction that is open stays so, and ends with its client.
#[test]
fn a_paused_exec_ends_with_its_client() {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "");
    let (mut operator, mut client) = (endpoint.client(), endpoint.client());
    client.ok(&["MULTI"]);
    client.ask(&["SET", "k", "ghost"]);
    operator.ok(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    client.send(&["EXEC"]);
    drop(client);
    eventually("its seat is free", || sessions(&endpoint) == 1.0);
    operator.ok(&["CLIENT", "UNPAUSE"]);
    operator.ok(&["SET", "behind", "it"]);
    assert_eq!(redis.command(&["EXISTS", "k"]), ":0\r\n");
}

#[test]
fn what_waits_for_a_master_is_not_executed_for_a_client_that_is_gone() {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "hold = \"10m\"");
    for how in [Leaves::Later, Leaves::WithItsSide, Leaves::AtOnce] {
        for commands in [SET, BLOCK, BLOCKING] {
            redis.ok(&["REPLICAOF", "127.0.0.1", "1"]);
            let down = || endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0;
            eventually("there is no master", down);
            let said = leave(&endpoint, commands, how, || endpoint.metric("redan_holds_now") >= 1.0);
            assert_eq!(said, "", "{how:?}, {commands:?}");
            eventually("its seat is free", || sessions(&endpoint) == 0.0);
            assert_eq!(endpoint.metric("redan_holds_now"), 0.0);
            redis.replica_of(None);
            let mut next = endpoint.client();
            next.ok(&["SET", "behind", "it"]);
            assert_eq!(redis.command(&["EXISTS", "k"]), ":0\r\n", "{how:?}, {commands:?}");
        }
    }
}

/// It goes on waiting, whatever it sends meanwhile.
#[test]
fn a_client_that_stays_is_served_when_the_wait_is_over() {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "");
    let (mut operator, mut client) = (endpoint.client(), endpoint.client());
    operator.ok(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    client.raw(&pipeline(&[&["SET", "k", "first"]]));
    eventually("the command waits", || operator.ask(&["CLIENT", "LIST"]).contains(" flags=b "));
    // More than is read while it waits, and cut in the middle of a command.
    let value = "v".repeat(100_000);
    let many: Vec<u8> = (0..20).flat_map(|_| pipeline(&[&["APPEND", "k", &value]])).collect();
    let mut writer = client.stream().try_clone().expect("a socket");
    std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut writer, &many).expect("a connection"));
        eventually("some of it is read", || endpoint.held_memory() >= 200_000.0);
        assert!(endpoint.held_memory() < 1_000_000.0, "and not all of it");
        operator.ok(&["CLIENT", "UNPAUSE"]);
    });
    assert_eq!(client.reply(), "+OK\r\n");
    for n in 1..=20 {
        assert_eq!(client.reply(), format!(":{}\r\n", 5 + n * 100_000));
    }
}
