//! Replies come back in the order of the commands, whoever answered first, however the bytes are cut.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, bulk, command, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::fake::{Act, Fake};
use crate::support::redis::{Redis, eventually};

/// A master and two replicas that answer every command with its own words; the replicas take a while.
fn echoing_group() -> (Fake, [Fake; 2], Endpoint) {
    let echo = |words: &[String]| format!("+{}\r\n", words.join(" ")).into_bytes();
    let master = Fake::master();
    master.script(move |command| Act::Reply(echo(&command.words)));
    let replicas = [Fake::replica_of(&master), Fake::replica_of(&master)];
    for replica in &replicas {
        replica.script(move |command| Act::After(Duration::from_millis(2), echo(&command.words)));
    }
    let nodes = [master.address(), replicas[0].address(), replicas[1].address()];
    let endpoint = Endpoint::start(&nodes, "", "");
    (master, replicas, endpoint)
}

/// Commands of every way they can be served, each with its reply.
fn mixed(round: usize, id: &str) -> Vec<(Vec<String>, String)> {
    let mut commands = Vec::new();
    for index in 0..40 {
        let key = format!("{round}:{index}");
        // 7 has no factor in common with 6, so every kind follows every other over the rounds.
        let (words, reply) = match (index * 7 + round) % 6 {
            0 | 1 => (vec!["GET", &key], format!("+GET {key}\r\n")),
            // Until its first write a session reads from replicas; soon after one it reads from the master.
            2 if round >= 15 => (vec!["SET", &key, "v"], format!("+SET {key} v\r\n")),
            3 => (vec!["PING", &key], bulk(&key)),
            4 => (vec!["CLIENT", "ID"], id.to_owned()),
            _ => (vec!["TYPE", &key], format!("+TYPE {key}\r\n")),
        };
        commands.push((words.into_iter().map(str::to_owned).collect(), reply));
    }
    commands
}

fn check_mixed(mut client: Client, encode: impl Fn(&[&str]) -> Vec<u8>) {
    let id = client.ask(&["CLIENT", "ID"]);
    for round in 0..30 {
        let commands = mixed(round, &id);
        let mut bytes = Vec::new();
        for (words, _) in &commands {
            bytes.extend(encode(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        // Cut differently in each round, so that commands end anywhere.
        let cut = bytes.len() * (round + 1) / 31;
        client.raw(&bytes[..cut]);
        client.raw(&bytes[cut..]);
        for (words, reply) in &commands {
            assert_eq!(client.reply(), *reply, "round {round}: {words:?}");
        }
    }
}

fn inline(words: &[&str]) -> Vec<u8> {
    (words.join(" ") + "\r\n").into_bytes()
}

#[test]
fn mixed_pipelines_of_three_kinds_of_clients_side_by_side() {
    let (_master, replicas, endpoint) = echoing_group();
    thread::scope(|scope| {
        scope.spawn(|| check_mixed(endpoint.client(), command));
        scope.spawn(|| check_mixed(endpoint.resp3(), command));
        scope.spawn(|| check_mixed(endpoint.client(), inline));
    });
    assert!(replicas.iter().all(|replica| !replica.received().is_empty()), "every node took part");
}

/// Commands on a connection of the session's own stand in their place too.
#[test]
fn an_unknown_command_between_others_keeps_its_place() {
    let (_master, _replicas, endpoint) = echoing_group();
    for mut client in [endpoint.client(), endpoint.resp3()] {
        client.raw(&pipeline(&[
            &["GET", "a"],
            &["PING", "b"],
            &["SOMETHING.NEW", "c"],
            &["PING", "d"],
            &["GET", "e"],
            &["SET", "f", "v"],
            &["ECHO", "g"],
        ]));
        assert_eq!(client.reply(), "+GET a\r\n");
        assert_eq!(client.reply(), bulk("b"));
        assert_eq!(client.reply(), "+SOMETHING.NEW c\r\n");
        assert_eq!(client.reply(), bulk("d"));
        assert_eq!(client.reply(), "+GET e\r\n");
        assert_eq!(client.reply(), "+SET f v\r\n");
        assert_eq!(client.reply(), bulk("g"));
    }
}

#[test]
fn nothing_overtakes_a_read_that_a_replica_takes_long_for() {
    let master = Fake::master();
    let replica = Fake::replica_of(&master);
    replica.script(|command| Act::Hold(format!("+late {}\r\n", command.words[1]).into_bytes()));
    let endpoint = Endpoint::start(&[master.address(), replica.address()], "", "");
    let mut client = endpoint.client();
    client.send(&["GET", "a"]);
    eventually("the replica has the read", || !replica.received().is_empty());
    client.raw(&pipeline(&[&["SET", "a", "1"], &["PING"], &["CLIENT", "GETNAME"]]));
    assert!(client.is_silent_for(Duration::from_millis(200)), "a reply came before the one it stands behind");
    assert!(master.received().is_empty(), "the write must not be executed while an earlier read may still see it");
    replica.release();
    for expected in ["+late a\r\n", "+OK\r\n", "+PONG\r\n", "$-1\r\n"] {
        assert_eq!(client.reply(), expected);
    }
}

/// A group of real servers whose replica is in step.
fn real_group() -> (Redis, Redis, Endpoint) {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    let endpoint = Endpoint::of(&[&master, &replica], "");
    (master, replica, endpoint)
}

#[test]
fn a_read_sees_the_write_before_it_and_never_the_one_behind_it() {
    let (_master, _replica, endpoint) = real_group();
    for mut client in [endpoint.client(), endpoint.resp3()] {
        client.ok(&["SET", "k", "-1"]);
        for number in 0..300 {
            let now = number.to_string();
            client.raw(&pipeline(&[&["GET", "k"], &["SET", "k", &now], &["GET", "k"], &["STRLEN", "k"]]));
            assert_eq!(client.reply(), bulk(&(number - 1).to_string()), "a read saw the write behind it");
            assert_eq!(client.reply(), "+OK\r\n");
            assert_eq!(client.reply(), bulk(&now), "a read did not see the write before it");
            assert_eq!(client.reply(), format!(":{}\r\n", now.len()));
        }
    }
}

/// Writes from a thread of its own: a pipeline deeper than all buffers must be written while it is read.
fn write_all(client: &Client, bytes: Vec<u8>, piece: usize) -> thread::JoinHandle<()> {
    let mut stream: TcpStream = client.stream().try_clone().expect("another handle");
    thread::spawn(move || {
        for part in bytes.chunks(piece) {
            stream.write_all(part).expect("the connection takes it");
        }
    })
}

#[test]
fn ten_thousand_reads_in_one_pipeline() {
    let (_master, _replica, endpoint) = real_group();
    let mut client = endpoint.client();
    for number in 0..100 {
        client.ok(&["SET", &format!("k{number}"), &number.to_string()]);
    }
    for piece in [usize::MAX, 1] {
        let bytes = (0..10_000).flat_map(|index| command(&["GET", &format!("k{}", index % 100)])).collect();
        let writing = write_all(&client, bytes, piece);
        for index in 0..10_000 {
            assert_eq!(client.reply(), bulk(&(index % 100).to_string()), "reply {index}, pieces of {piece}");
        }
        writing.join().expect("it wrote everything");
    }
}

#[test]
fn ten_thousand_mixed_commands_in_one_pipeline() {
    let (_master, _replica, endpoint) = real_group();
    let mut client = endpoint.client();
    client.ok(&["SET", "fixed", "value"]);
    let mut counter = 0;
    for piece in [usize::MAX, 1000, 1] {
        let words = |index: usize| -> Vec<String> {
            let text = index.to_string();
            let words: &[&str] = match index % 5 {
                0 => &["INCR", "counter"],
                1 => &["GET", "fixed"],
                2 => &["ECHO", &text],
                3 => &["GET", "counter"],
                _ => &["PING"],
            };
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let bytes =
            (0..10_000).flat_map(|i| command(&words(i).iter().map(String::as_str).collect::<Vec<_>>())).collect();
        let writing = write_all(&client, bytes, piece);
        for index in 0..10_000 {
            let expected = match index % 5 {
                0 => {
                    counter += 1;
                    format!(":{counter}\r\n")
                }
                1 => bulk("value"),
                2 => bulk(&index.to_string()),
                3 => bulk(&counter.to_string()),
                _ => "+PONG\r\n".to_owned(),
            };
            assert_eq!(client.reply(), expected, "reply {index}, pieces of {piece}");
        }
        writing.join().expect("it wrote everything");
    }
}
