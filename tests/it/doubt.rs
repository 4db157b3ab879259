//! Commands whose outcome nobody knows, by the listener's `in_doubt` and `retry`; and how many clients wait for a master.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::fake::{Act, Command, Fake};
use crate::support::group::Group;
use crate::support::redis::eventually;
use crate::support::stop::StopOnDrop;

const DISCONNECT: &str = "in_doubt = \"disconnect\"";
const IDEMPOTENT: &str = "retry = \"idempotent\"";

/// A lone master that dies over the first `times` commands of this name, unanswered, and answers the rest.
fn dying_over(name: &str, times: usize) -> Fake {
    let name = name.to_owned();
    let master = Fake::master();
    let died = AtomicUsize::new(0);
    master.script(move |command| {
        if command.name() == name && died.fetch_add(1, Ordering::SeqCst) < times {
            return Act::Close(Vec::new());
        }
        match command.name().as_str() {
            "GET" => Act::reply("$1\r\nv\r\n"),
            "INCR" | "DEL" => Act::reply(":1\r\n"),
            "EXEC" => Act::reply("*1\r\n:1\r\n"),
            _ => Act::reply("+OK\r\n"),
        }
    });
    master
}

fn in_front_of(master: &Fake, listener: &str) -> Endpoint {
    Endpoint::start(&[master.address()], listener, "")
}

/// What the node was sent by clients, each command in one word.
fn received(master: &Fake) -> Vec<String> {
    let line = |command: Command| command.words[..command.words.len().min(2)].join(" ");
    master.received().into_iter().map(line).collect()
}

#[test]
fn a_client_in_doubt_is_disconnected_behind_its_other_answers() {
    let forms: [(&str, &[&[&str]], &str); 5] = [
        (
            "INCR",
            &[&["SET", "a", "1"], &["GET", "a"], &["INCR", "n"], &["SET", "b", "1"], &["PING"]],
            "+OK\r\n$1\r\nv\r\n",
        ),
        ("EVAL", &[&["SET", "a", "1"], &["EVAL", "return 1", "0"], &["SET", "b", "1"]], "+OK\r\n"),
        ("EXEC", &[&["SET", "a", "1"], &["MULTI"], &["INCR", "n"], &["EXEC"], &["SET", "b", "1"]], "+OK\r\n"),
        // Over a connection of its own: DISCARD is what a lane does not carry.
        (
            "EXEC",
            &[
                &["MULTI"],
                &["DISCARD"],
                &["SET", "a", "1"],
                &["MULTI"],
                &["INCR", "n"],
                &["WATCH", "x"],
                &["EXEC"],
                &["SET", "b", "1"],
            ],
            "+OK\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n+OK\r\n",
        ),
        ("SOMETHING.NEW", &[&["SET", "a", "1"], &["SOMETHING.NEW"], &["SET", "b", "1"]], "+OK\r\n"),
    ];
    for (name, commands, answered) in forms {
        let master = dying_over(name, 1);
        let endpoint = in_front_of(&master, DISCONNECT);
        let mut client = endpoint.client();
        client.raw(&pipeline(commands));
        assert_eq!(client.rest(), answered, "{name}: {commands:?}");
        // Another client is served, and nothing of the first comes with it or later.
        endpoint.client().ok(&["SET", "other", "1"]);
        assert!(endpoint.client().is_silent_for(Duration::from_millis(200)));
        let received = received(&master);
        assert!(!received.contains(&"SET b".to_owned()), "{name}: {received:?}");
        assert_eq!(received.iter().filter(|line| line.starts_with(name)).count(), 1, "{received:?}");
        assert_eq!(endpoint.metric("redan_in_doubt_clients_closed_total"), 1.0);
        assert_eq!(endpoint.metric("redan_in_doubt_total"), 1.0);
        assert!(endpoint.said().contains("nobody knows whether its command was executed"));
    }
}

/// Reads are asked again, whatever becomes of writes.
#[test]
fn reads_in_front_of_the_doubt_are_asked_again() {
    let master = dying_over("GET", 1);
    let endpoint = in_front_of(&master, DISCONNECT);
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["GET", "a"], &["INCR", "n"], &["GET", "b"]]));
    assert_eq!(client.rest(), "$1\r\nv\r\n");
    let received = received(&master);
    assert_eq!(received, ["GET a", "GET a"], "nothing behind the doubt is executed");
}

/// As in the setting's default.
#[test]
fn a_client_in_doubt_is_told_and_goes_on() {
    let master = dying_over("INCR", 1);
    let endpoint = in_front_of(&master, "");
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["SET", "a", "1"], &["INCR", "n"], &["GET", "b"]]));
    assert_eq!(client.reply(), "+OK\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("-INDOUBT 127.0.0.1:"), "{reply}");
    assert_eq!(client.reply(), bulk("v"));
    assert_eq!(received(&master), ["SET a", "INCR n", "GET b"]);
}

#[test]
fn a_write_that_does_no_harm_twice_is_sent_again() {
    for command in [&["SET", "a", "1"][..], &["SET", "a", "1", "EX", "10"], &["DEL", "a"]] {
        let name = command[0];
        let master = dying_over(name, 2);
        let endpoint = in_front_of(&master, IDEMPOTENT);
        let mut client = endpoint.client();
        client.raw(&pipeline(&[&["GET", "x"], command, &["GET", "y"]]));
        assert_eq!(client.reply(), bulk("v"));
        let reply = client.reply();
        assert!(reply == "+OK\r\n" || reply == ":1\r\n", "{reply}");
        assert_eq!(client.reply(), bulk("v"));
        let sent = format!("{name} a");
        assert_eq!(received(&master), ["GET x", &sent, &sent, &sent, "GET y"]);
        assert_eq!(endpoint.metric("redan_in_doubt_total"), 0.0);
    }
}

#[test]
fn other_writes_are_not() {
    for command in [&["INCR", "a"][..], &["SET", "a", "1", "NX"], &["EVAL", "return 1", "0"]] {
        let master = dying_over(command[0], 1);
        let endpoint = in_front_of(&master, IDEMPOTENT);
        let reply = endpoint.client().ask(command);
        assert!(reply.starts_with("-INDOUBT "), "{command:?}: {reply}");
        assert_eq!(received(&master).len(), 1);
    }
}

/// A transaction in one piece, even of commands that may be repeated one by one.
#[test]
fn nor_is_a_transaction() {
    let master = dying_over("EXEC", 1);
    let endpoint = in_front_of(&master, IDEMPOTENT);
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["MULTI"], &["SET", "a", "1"], &["EXEC"]]));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+QUEUED\r\n");
    assert!(client.reply().starts_with("-INDOUBT "));
    assert_eq!(received(&master), ["MULTI", "SET a", "EXEC"]);
}

/// SET a 1, INCR n: had both been executed, SET would come behind INCR now.
#[test]
fn a_write_is_not_sent_again_behind_a_later_one() {
    for (disconnect, listener) in [(false, IDEMPOTENT.to_owned()), (true, format!("{IDEMPOTENT}\n{DISCONNECT}"))] {
        let master = dying_over("SET", 1);
        let endpoint = in_front_of(&master, &listener);
        let mut client = endpoint.client();
        client.raw(&pipeline(&[&["GET", "x"], &["SET", "a", "1"], &["SET", "b", "1"], &["INCR", "n"], &["GET", "y"]]));
        assert_eq!(client.reply(), bulk("v"));
        if disconnect {
            assert_eq!(client.rest(), "");
            assert_eq!(received(&master), ["GET x", "SET a"]);
            continue;
        }
        for _ in 0..3 {
            let reply = client.reply();
            assert!(reply.starts_with("-INDOUBT "), "{reply}");
        }
        assert_eq!(client.reply(), bulk("v"));
        assert_eq!(received(&master), ["GET x", "SET a", "GET y"]);
        assert_eq!(endpoint.metric("redan_in_doubt_total"), 3.0);
    }
}

#[test]
fn several_are_sent_again_in_their_order() {
    let master = dying_over("SET", 1);
    let endpoint = in_front_of(&master, IDEMPOTENT);
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["SET", "a", "1"], &["GET", "a"], &["DEL", "a"], &["SET", "b", "2"]]));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), bulk("v"));
    assert_eq!(client.reply(), ":1\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(received(&master), ["SET a", "SET a", "GET a", "DEL a", "SET b"]);
}

/// What a node says the second time says nothing of the first.
#[test]
fn an_error_the_second_time_leaves_the_doubt() {
    let master = Fake::master();
    let sets = AtomicUsize::new(0);
    master.script(move |command| match (command.name().as_str(), sets.fetch_add(1, Ordering::SeqCst)) {
        ("SET", 0) => Act::Close(Vec::new()),
        ("SET", _) => Act::reply("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        _ => Act::reply("+OK\r\n"),
    });
    let endpoint = in_front_of(&master, IDEMPOTENT);
    let mut client = endpoint.client();
    let reply = client.ask(&["SET", "a", "1"]);
    assert!(reply.starts_with("-INDOUBT "), "{reply}");
    let reply = client.ask(&["SET", "a", "1"]);
    assert!(reply.starts_with("-OOM "), "an ordinary write's error is its own: {reply}");
}

#[test]
fn a_master_that_dies_over_it_every_time_leaves_the_doubt() {
    let master = dying_over("SET", usize::MAX);
    let endpoint = in_front_of(&master, IDEMPOTENT);
    let mut client = endpoint.client();
    let reply = client.ask(&["SET", "a", "1"]);
    assert!(reply.starts_with("-INDOUBT "), "{reply}");
    assert_eq!(client.ask(&["GET", "a"]), bulk("v"));
}

/// No master within `hold`: it has been sent once, so nobody may say that it was not executed.
#[test]
fn a_repeated_write_without_a_next_master_is_in_doubt() {
    let mut group = Group::start(&format!("hold = \"500ms\"\n{IDEMPOTENT}"));
    let mut client = group.endpoint.client();
    client.ok(&["SET", "a", "0"]);
    // A frozen server takes it, and will never say so.
    group.servers[0].freeze();
    client.raw(&pipeline(&[&["SET", "a", "1"], &["GET", "a"]]));
    eventually("it is on its way", || group.endpoint.commands_to(&group.servers[0].address()) >= 2.0);
    thread::sleep(Duration::from_millis(100));
    group.servers[0].kill();
    let reply = client.reply();
    assert!(reply.starts_with("-INDOUBT "), "{reply}");
    client.reply();
    let reply = client.ask(&["SET", "a", "2"]);
    assert!(reply.starts_with("-LOADING Redan has"), "{reply}");
}

/// Writers that only repeat what may be repeated see nothing of a killed master.
#[test]
fn writers_see_nothing_of_a_killed_master() {
    let mut group = Group::start(IDEMPOTENT);
    for round in 0..2 {
        let (from, to) = (round, round + 1);
        let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        let endpoint = &group.endpoint;
        let servers = &mut group.servers;
        thread::scope(|scope| {
            for number in 0..12 {
                let (stop, written) = (&stop, &written);
                scope.spawn(move || {
                    let mut client = endpoint.client();
                    let key = format!("k{number}");
                    for value in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let value = value.to_string();
                        client.raw(&pipeline(&[&["SET", &key, &value], &["GET", &key], &["EXPIRE", &key, "1000"]]));
                        let replies = [client.reply(), client.reply(), client.reply()];
                        assert_eq!(replies, ["+OK\r\n".to_owned(), bulk(&value), ":1\r\n".to_owned()]);
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let stop = StopOnDrop(&stop);
            let progress = || {
                let before = written.load(Ordering::Relaxed);
                eventually("they write", || written.load(Ordering::Relaxed) > before + 200);
            };
            progress();
            servers[from].kill();
            servers[to].replica_of(None);
            if to == 1 {
                servers[2].replica_of(Some(&servers[1]));
                servers[2].wait_for_link();
            }
            progress();
            drop(stop);
        });
    }
    assert_eq!(group.endpoint.metric("redan_in_doubt_total"), 0.0);
    assert_eq!(group.endpoint.metric("redan_panics_total"), 0.0);
}

fn lose_the_master(group: &mut Group) {
    group.servers[0].kill();
    eventually("the master is gone", || group.endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0);
}

#[test]
fn no_more_clients_wait_than_may() {
    let mut group = Group::start("hold = \"1m\"\nhold_sessions = 3");
    let mut clients: Vec<Client> = (0..6).map(|_| group.endpoint.client()).collect();
    clients.iter_mut().for_each(|client| client.ok(&["SET", "k", "v"]));
    lose_the_master(&mut group);
    for client in &mut clients[..3] {
        client.send(&["SET", "k", "w"]);
    }
    eventually("three wait", || group.endpoint.metric("redan_holds_now") == 3.0);
    for (number, client) in clients[3..].iter_mut().enumerate() {
        let reply = match number {
            0 => client.ask(&["SET", "k", "x"]),
            1 => client.ask(&["BLPOP", "q", "0"]),
            _ => {
                client.raw(&pipeline(&[&["MULTI"], &["SET", "k", "x"], &["EXEC"]]));
                assert_eq!([client.reply(), client.reply()], ["+OK\r\n", "+QUEUED\r\n"]);
                client.reply()
            }
        };
        assert!(reply.starts_with("-LOADING Redan has had no master for group 'main'"), "{reply}");
        assert!(reply.contains("(hold_sessions = 3)"), "{reply}");
        assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
    }
    assert_eq!(group.endpoint.metric("redan_holds_refused_total{budget=\"sessions\"}"), 3.0);
    assert_eq!(group.endpoint.metric("redan_holds_refused_total{budget=\"bytes\"}"), 0.0);
    eventually("somebody has waited for a second", || group.endpoint.metric("redan_hold_longest_seconds") >= 1.0);
    group.servers[1].replica_of(None);
    for client in &mut clients[..3] {
        assert_eq!(client.reply(), "+OK\r\n");
    }
    assert_eq!(group.endpoint.metric("redan_holds_now"), 0.0);
    eventually("nobody waits", || group.endpoint.metric("redan_hold_longest_seconds") == 0.0);
}

#[test]
fn no_more_bytes_wait_than_may() {
    let mut group = Group::start("hold = \"1m\"\nhold_bytes = \"64kb\"");
    let mut clients: Vec<Client> = (0..3).map(|_| group.endpoint.client()).collect();
    clients.iter_mut().for_each(|client| client.ok(&["SET", "k", "v"]));
    lose_the_master(&mut group);
    let large = "x".repeat(100_000);
    clients[0].send(&["SET", "k", &large]);
    eventually("it waits", || group.endpoint.metric("redan_holds_now") == 1.0);
    eventually("its bytes are counted", || group.endpoint.held_memory() >= 100_000.0);
    let reply = clients[1].ask(&["SET", "k", "x"]);
    assert!(reply.starts_with("-LOADING Redan has had no master") && reply.contains("(hold_bytes = 65536)"), "{reply}");
    assert_eq!(group.endpoint.metric("redan_holds_refused_total{budget=\"bytes\"}"), 1.0);
    group.servers[1].replica_of(None);
    assert_eq!(clients[0].reply(), "+OK\r\n");
    assert_eq!(group.endpoint.metric("redan_holds_now"), 0.0);
    // What waited is gone, and with it the bytes.
    group.servers[1].kill();
    eventually("the master is gone", || group.endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0);
    clients[1].send(&["SET", "k", "y"]);
    eventually("there is room", || group.endpoint.metric("redan_holds_now") == 1.0);
}
