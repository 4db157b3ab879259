//! Servers before 6.0, which have no HELLO, no users, and (before 4.0) no names for histories.
//!
//! They are acted by `old`, because no distribution has them any more. Newer ones need no acting: `make test-matrix` runs
//! every test against each of them.

mod old;

use old::Old;

use crate::check;
use crate::support::client::{Client, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::redis::eventually;

#[test]
fn redis_2_8_is_discovered_and_served() {
    let (a, b) = Old::pair("2.8.24", None);
    let endpoint = Endpoint::start_blind(&[a.address()], "", "");
    endpoint.wait_for_readable(1);
    eventually("the slave is known", || {
        endpoint.metrics().contains(&format!("redan_node_up{{group=\"main\",node=\"{}\"}} 1", b.address()))
    });
    let mut client = endpoint.client();
    client.ok(&["SET", "key", "1"]);
    assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("1"));
    client.raw(&pipeline(&[&["SET", "key", "2"], &["GET", "key"], &["NOSUCH"]]));
    assert_eq!([client.reply(), client.reply()], ["+OK\r\n", "$1\r\n2\r\n"]);
    assert_eq!(client.reply(), "-ERR unknown command 'NOSUCH'\r\n");
    client.raw(&pipeline(&[&["MULTI"], &["SET", "key", "3"], &["GET", "key"], &["EXEC"]]));
    let replies: String = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n3\r\n");
    // One at a time it rides another connection.
    for (words, reply) in
        [(&["MULTI"][..], "+OK\r\n"), (&["SET", "key", "4"], "+QUEUED\r\n"), (&["EXEC"], "*1\r\n+OK\r\n")]
    {
        assert_eq!(client.ask(words), reply);
    }
    assert_eq!(b.count("GET"), 0, "slaves before 3.2 return expired data and serve no reads");
}

#[test]
fn hello_is_an_unknown_command_and_the_session_goes_on() {
    let (a, _b) = Old::pair("5.0.14", None);
    let endpoint = Endpoint::start_blind(&[a.address()], "", "");
    endpoint.wait_for_readable(2);
    for words in [&["HELLO", "3"][..], &["HELLO"], &["HELLO", "2", "AUTH", "default", "x"]] {
        let mut client = endpoint.client();
        let refused = client.ask(words);
        assert!(refused.starts_with("-ERR unknown command") && refused.contains("HELLO"), "{words:?}: {refused}");
        assert_eq!(client.ask(&["PING"]), "+PONG\r\n");
        client.ok(&["SET", "key", "value"]);
    }
}

#[test]
fn slaves_of_3_2_serve_reads_and_a_session_sees_its_own_writes() {
    let (a, b) = Old::pair("3.2.13", None);
    let endpoint = Endpoint::start_blind(&[a.address()], "", "");
    endpoint.wait_for_readable(2);
    let mut client = endpoint.client();
    let mut n = 0;
    eventually("the slave serves reads", || {
        n += 1;
        client.ok(&["SET", "key", &n.to_string()]);
        for _ in 0..20 {
            assert_eq!(client.text(&["GET", "key"]), Some(n.to_string()));
        }
        b.count("GET") > 0
    });
    assert_eq!(b.count("SET"), 0);
}

#[test]
fn a_switch_by_hand_among_servers_without_names_for_histories() {
    let (a, b) = Old::pair("3.0.4", None);
    let endpoint = Endpoint::start_blind(&[a.address(), b.address()], "", "");
    endpoint.wait_for_readable(1);
    let mut client = endpoint.client();
    client.ok(&["SET", "key", "before"]);
    for (master, slave) in [(&b, &a), (&a, &b)] {
        let before = master.count("SET");
        Old::promote(master, slave);
        // At once, and again and again: held or tried again, never refused.
        for n in 0..50 {
            client.ok(&["SET", "key", &n.to_string()]);
        }
        // The demoted one may have been asked first; its refusals are nobody's business but Redan's.
        assert_eq!(master.count("SET"), before + 50);
        assert_eq!(client.text(&["GET", "key"]).as_deref(), Some("49"));
    }
}

#[test]
fn a_password_is_sent_alone_and_a_user_is_refused_with_what_to_do() {
    let (a, b) = Old::pair("3.0.4", Some("secret"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").expect("writable");
    let password = format!("password_file = \"{}\"", file.display());
    let endpoint = Endpoint::start_blind(&[a.address()], "", &password);
    endpoint.wait_for_readable(1);
    let mut client = Client::connect(&endpoint.address());
    client.ok(&["SET", "key", "value"]);
    assert_eq!(client.ask(&["AUTH", "x"]).get(..5), Some("-ERR "), "the listener has no users");

    let nodes = format!("nodes = [\"{}\"]\n{password}", a.address());
    let (said, code) = check::check(&nodes, &[]);
    assert_eq!(code, 0, "{said}");
    for words in ["redis 3.0.4", "master", "replica", &b.address(), "serves no reads: replicas before version 3.2"] {
        assert!(said.contains(words), "'{words}' is missing: {said}");
    }
    let (said, code) = check::check(&format!("{nodes}\nuser = \"redan\""), &[]);
    assert!(code == 1 && said.contains("a server before 6.0 knows no users: remove `user`"), "{code}: {said}");
}

#[test]
fn a_server_that_knows_no_shard_channels_says_so() {
    let (a, _b) = Old::pair("5.0.14", None);
    let endpoint = Endpoint::start_blind(&[a.address()], "", "");
    endpoint.wait_for_readable(2);
    let mut client = endpoint.client();
    let reply = client.ask(&["SSUBSCRIBE", "x"]);
    assert!(reply.starts_with("-ERR unknown command") && reply.contains("SSUBSCRIBE"), "{reply}");
    client.ok(&["SET", "k", "v"]);
}
