//! Scripts and functions: loaded once, known wherever the endpoint sends them, also after the master has moved.

use std::thread;
use std::time::Duration;

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::group::Group;
use crate::support::redis::{Redis, eventually};

const ONE: &str = "return 1";
const ONE_SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

fn repaired(group: &Group) -> f64 {
    group.endpoint.metric("redan_scripts_repaired_total")
}

fn load(client: &mut Client, text: &str) -> String {
    client.text(&["SCRIPT", "LOAD", text]).expect("a digest")
}

/// What these servers say of a script that they do not have: Valkey leaves the advice out.
fn missing(group: &Group) -> String {
    let words = group.servers[0].command(&["EVALSHA", &"f".repeat(40), "0"]);
    assert!(words.starts_with("-NOSCRIPT No matching script."), "{words}");
    words
}

#[test]
fn a_script_loaded_once_is_known_to_replicas() {
    let group = Group::start("reads = \"replica\"");
    for mut client in [group.endpoint.client(), group.endpoint.resp3()] {
        client.ok(&["SCRIPT", "FLUSH"]);
        assert_eq!(load(&mut client, ONE), ONE_SHA);
        let before = repaired(&group);
        // A session that has just written reads from the master, which has it.
        let mut reader = Client::connect(&group.endpoint.address());
        eventually("a replica answers", || {
            assert_eq!(reader.integer(&["EVALSHA_RO", ONE_SHA, "0"]), 1);
            repaired(&group) > before
        });
        assert_eq!(reader.integer(&["EVALSHA_RO", &ONE_SHA.to_uppercase(), "0"]), 1);
    }
}

#[test]
fn scripts_shown_by_eval_are_remembered_as_well() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    let text = "return redis.call('INCR', KEYS[1])";
    assert_eq!(client.integer(&["EVAL", text, "1", "n"]), 1);
    let sha = group.servers[2].text(&["SCRIPT", "LOAD", text]);
    // Somebody flushes behind Redan's back.
    group.servers[0].ok(&["SCRIPT", "FLUSH"]);
    assert_eq!(client.integer(&["EVALSHA", &sha, "1", "n"]), 2);
    assert_eq!(client.integer(&["EVALSHA", &sha, "1", "n"]), 3);
    // The other connections of a pipeline's commands stay in order.
    group.servers[0].ok(&["SCRIPT", "FLUSH"]);
    client.raw(&pipeline(&[&["EVALSHA", &sha, "1", "n"][..]; 5]));
    (4..9).for_each(|n| assert_eq!(client.reply(), format!(":{n}\r\n")));
}

#[test]
fn where_a_later_write_was_executed_the_client_is_told_that_the_script_was_missing() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    let sha = load(&mut client, "return redis.call('INCR', KEYS[1])");
    group.servers[0].ok(&["SCRIPT", "FLUSH"]);
    client.raw(&pipeline(&[&["SET", "n", "5"], &["EVALSHA", &sha, "1", "n"], &["SET", "n", "7"]]));
    assert_eq!(client.reply(), "+OK\r\n");
    // As from a server: executed now it would undo the order that the client asked for.
    assert_eq!(client.reply(), missing(&group));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.text(&["GET", "n"]).as_deref(), Some("7"));
}

#[test]
fn what_stands_behind_a_missing_script_in_a_pipeline_cannot_help_it() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    // Loaded behind: a server has answered by then.
    client.raw(&pipeline(&[&["EVALSHA", ONE_SHA, "0"], &["SCRIPT", "LOAD", ONE], &["EVALSHA", ONE_SHA, "0"]]));
    assert!(client.reply().starts_with("-NOSCRIPT No matching script."));
    assert_eq!(client.reply(), bulk(ONE_SHA));
    assert_eq!(client.reply(), ":1\r\n");
    // Flushed behind: given to the node now, it would outlive the flush.
    group.servers[0].ok(&["SCRIPT", "FLUSH"]);
    client.raw(&pipeline(&[&["EVALSHA", ONE_SHA, "0"], &["SCRIPT", "FLUSH"], &["SCRIPT", "EXISTS", ONE_SHA]]));
    assert!(client.reply().starts_with("-NOSCRIPT No matching script."));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "*1\r\n:0\r\n");
    // A read behind it sees what the script has done.
    let sha = load(&mut client, "return redis.call('INCR', KEYS[1])");
    group.servers[0].ok(&["SCRIPT", "FLUSH"]);
    client.raw(&pipeline(&[&["EVALSHA", &sha, "1", "n"], &["GET", "n"]]));
    assert_eq!(client.reply(), ":1\r\n");
    assert_eq!(client.reply(), bulk("1"));
}

#[test]
fn a_new_master_knows_every_script_before_its_first_command() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    let sha = load(&mut client, "return redis.call('INCR', KEYS[1])");
    assert_eq!(client.integer(&["EVAL", "return 7", "0"]), 7);
    group.move_master(0, 1);
    group.wait_for_master(1);
    // In a transaction nothing could be mended: the script must be there.
    client.raw(&pipeline(&[&["MULTI"], &["EVALSHA", &sha, "1", "n"], &["EXEC"]]));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+QUEUED\r\n");
    assert_eq!(client.reply(), "*1\r\n:1\r\n");
    client.ok(&["WATCH", "k"]);
    client.ok(&["MULTI"]);
    assert_eq!(client.ask(&["EVALSHA", &sha, "1", "n"]), "+QUEUED\r\n");
    assert_eq!(client.ask(&["EXEC"]), "*1\r\n:2\r\n");
    assert_eq!(client.ask(&["SCRIPT", "EXISTS", &sha, ONE_SHA]), "*2\r\n:1\r\n:0\r\n");
    assert_eq!(repaired(&group), 0.0);
}

#[test]
fn flush_reaches_every_node_and_redan() {
    let group = Group::start("reads = \"replica\"");
    let mut client = group.endpoint.client();
    assert_eq!(load(&mut client, ONE), ONE_SHA);
    group.servers.iter().for_each(|server| assert_eq!(server.text(&["SCRIPT", "LOAD", ONE]), ONE_SHA));
    client.ok(&["SCRIPT", "FLUSH", "SYNC"]);
    for server in &group.servers {
        assert_eq!(server.command(&["SCRIPT", "EXISTS", ONE_SHA]), "*1\r\n:0\r\n");
    }
    assert_eq!(client.ask(&["EVALSHA", ONE_SHA, "0"]), missing(&group));
    assert_eq!(client.ask(&["EVALSHA_RO", ONE_SHA, "0"]), missing(&group));
    assert_eq!(client.ask(&["SCRIPT", "FLUSH", "NOW"]), "-ERR SCRIPT FLUSH only support SYNC|ASYNC option\r\n");
}

/// The replicas' answers come later than the master's, which has the reply to what stands behind ready at once.
#[test]
fn large_replies_behind_a_flush_wait_for_it() {
    let group = Group::start("");
    let value = "x".repeat(300_000);
    let mut client = group.endpoint.client();
    client.ok(&["SET", "large", &value]);
    for _ in 0..30 {
        client.raw(&pipeline(&[&["SET", "k", "v"], &["SCRIPT", "FLUSH"], &["GET", "large"], &["PING"]]));
        assert_eq!(client.reply(), "+OK\r\n");
        assert_eq!(client.reply(), "+OK\r\n");
        assert_eq!(client.reply(), bulk(&value));
        assert_eq!(client.reply(), "+PONG\r\n");
    }
}

#[test]
fn flush_in_a_transaction_reaches_every_node_too() {
    let group = Group::start("");
    let mut client = group.endpoint.client();
    assert_eq!(load(&mut client, ONE), ONE_SHA);
    group.servers.iter().for_each(|server| assert_eq!(server.text(&["SCRIPT", "LOAD", ONE]), ONE_SHA));
    client.raw(&pipeline(&[&["MULTI"], &["SCRIPT", "FLUSH"], &["EVALSHA", ONE_SHA, "0"], &["EXEC"]]));
    for expected in ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"] {
        assert_eq!(client.reply(), expected);
    }
    assert!(client.reply().starts_with("*2\r\n+OK\r\n-NOSCRIPT "));
    for server in &group.servers {
        eventually("it has forgotten", || server.command(&["SCRIPT", "EXISTS", ONE_SHA]) == "*1\r\n:0\r\n");
    }
    assert!(client.ask(&["EVALSHA", ONE_SHA, "0"]).starts_with("-NOSCRIPT "));
}

#[test]
fn a_script_that_runs_on_a_replica_can_be_killed_too() {
    let group = Group::start("reads = \"replica\"");
    group.servers.iter().for_each(|server| server.ok(&["CONFIG", "SET", "busy-reply-threshold", "100"]));
    let mut killer = group.endpoint.client();
    assert_eq!(killer.ask(&["SCRIPT", "KILL"]), "-NOTBUSY No scripts in execution right now.\r\n");
    let mut other = group.endpoint.client();
    let endless = thread::scope(|scope| {
        let endless = scope.spawn(|| {
            let mut client = group.endpoint.client();
            client.ask(&["EVAL_RO", "while true do redis.call('GET', 'k') end", "0"])
        });
        eventually("some node says that it was killed", || killer.ask(&["SCRIPT", "KILL"]) == "+OK\r\n");
        assert_eq!(other.ask(&["SET", "k", "v"]), "+OK\r\n");
        endless.join().expect("a client")
    });
    assert!(endless.contains("Script killed by user"), "{endless}");
}

/// In a script's first seconds its server listens to nobody, least of all to new connections. The replica does, and has nothing
/// to kill: its word must not stand for the master's.
#[test]
fn a_kill_waits_until_the_busy_master_listens() {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    master.ok(&["CONFIG", "SET", "busy-reply-threshold", "1500"]);
    let nodes = [master.address(), replica.address()];
    let endpoint = Endpoint::start(&nodes, "", "connect_timeout = \"300ms\"");
    let mut busy = endpoint.client();
    busy.send(&["EVAL", "while true do redis.call('GET', 'k') end", "0"]);
    let mut witness = Client::connect(&master.address());
    eventually("the master is busy", || {
        witness.send(&["PING"]);
        let silent = witness.is_silent_for(Duration::from_millis(100));
        if !silent {
            witness.reply();
        }
        silent
    });
    assert_eq!(endpoint.client().ask(&["SCRIPT", "KILL"]), "+OK\r\n");
    assert!(busy.reply().contains("Script killed by user"));
}

/// What was sent behind the script waits with it, as it does at a server. Whoever comes later is told that it runs: at once, also when
/// it has kept the master from answering for so long that it is none any more.
#[test]
fn an_endless_script_keeps_nobody_waiting_who_comes_later() {
    for threshold in ["100", "1500"] {
        let master = Redis::start();
        master.ok(&["CONFIG", "SET", "busy-reply-threshold", threshold]);
        let endpoint = Endpoint::start(&[master.address()], "", "");
        let mut early = endpoint.client();
        early.ok(&["SET", "k", "v"]);
        let mut runs = endpoint.client();
        runs.send(&["EVAL", "while true do redis.call('GET', 'k') end", "0"]);
        let mut witness = Client::connect(&master.address());
        eventually("the master says that it is busy", || witness.ask(&["GET", "k"]).starts_with("-BUSY "));
        eventually("it is told", || {
            let mut late = endpoint.client();
            late.send(&["SET", "k", "w"]);
            !late.is_silent_for(Duration::from_millis(500)) && late.reply().starts_with("-BUSY ")
        });
        assert!(early.ask(&["GET", "k"]).starts_with("-BUSY "));
        let mut elsewhere = endpoint.client();
        assert!(elsewhere.ask(&["SELECT", "3"]).starts_with("-BUSY "));
        assert_eq!(endpoint.client().ask(&["SCRIPT", "KILL"]), "+OK\r\n");
        assert!(runs.reply().contains("Script killed by user"));
        eventually("the master is served again", || early.ask(&["SET", "k", "w"]) == "+OK\r\n");
    }
}

#[test]
fn functions_are_carried_and_read_from_replicas() {
    let group = Group::start("reads = \"replica\"");
    let mut client = group.endpoint.client();
    let library = "#!lua name=lib\n\
         redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\n\
         redis.register_function{function_name='look', callback=function(keys) return redis.call('GET', keys[1]) end, \
         flags={'no-writes'}}";
    assert_eq!(client.text(&["FUNCTION", "LOAD", library]).as_deref(), Some("lib"));
    client.ok(&["FCALL", "put", "1", "k", "v"]);
    assert_eq!(client.ask(&["FCALL_RO", "look", "1", "k"]), bulk("v"));
    let served = |group: &Group| {
        group.servers[1..].iter().map(|server| group.endpoint.commands_to(&server.address())).sum::<f64>()
    };
    let before = served(&group);
    eventually("a replica serves it", || {
        assert_eq!(client.ask(&["FCALL_RO", "look", "1", "k"]), bulk("v"));
        served(&group) > before
    });
    group.move_master(0, 1);
    group.wait_for_master(1);
    client.ok(&["FCALL", "put", "1", "k", "w"]);
    assert_eq!(client.ask(&["FCALL", "look", "1", "k"]), bulk("w"));
    assert_eq!(client.ask(&["FUNCTION", "KILL"]), "-NOTBUSY No scripts in execution right now.\r\n");
    client.ok(&["FUNCTION", "DELETE", "lib"]);
    assert_eq!(client.ask(&["FCALL", "look", "1", "k"]), "-ERR Function not found\r\n");
}
