//! `allow` and `deny`: what a listener and a user may send, in the words of a server.

use crate::support::client::{Client, command, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, refusal_of_7_0};

const FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn no(name: &str) -> String {
    format!("-NOPERM this user has no permissions to run the '{name}' command\r\n")
}

/// What a server says to a user of its own with these rules.
fn said_by_server(node: &Redis, rules: &str, commands: &[&[&str]]) -> Vec<String> {
    node.ok(
        &[&["ACL", "SETUSER", "judge", "on", "nopass", "~*", "&*"], &rules.split(' ').collect::<Vec<_>>()[..]].concat()
    );
    let mut client = Client::connect(&node.address());
    client.ok(&["AUTH", "judge", ""]);
    commands.iter().map(|words| refusal_of_7_0(&client.ask(words))).collect()
}

#[test]
fn a_listener_refuses_in_the_words_of_a_server() {
    let node = Redis::start();
    let rules = "deny = [\"-flushall\", \"config|set\", \"@scripting\", \"CLIENT|ID\", \"select\", \"ping\"]";
    let endpoint = Endpoint::of(&[&node], &format!("{rules}\nadmin_commands = \"allow\""));
    let commands: &[&[&str]] = &[
        &["FLUSHALL"],
        &["flushall", "ASYNC"],
        &["Config", "Set", "maxmemory", "0"],
        &["CONFIG", "GET", "maxmemory"],
        &["EVAL", "return 1", "0"],
        &["SCRIPT", "EXISTS", "abc"],
        &["CLIENT", "ID"],
        &["SELECT", "1"],
        &["PING"],
        &["SET", "k", "v"],
        &["GET", "k"],
        &["MULTI"],
        &["GET", "k"],
        &["FLUSHALL"],
        &["SET", "k", "w"],
        &["EXEC"],
        &["GET", "k"],
        &["WATCH", "k"],
        &["CONFIG", "SET", "maxmemory", "0"],
        &["PING"],
        &["MULTI"],
        &["EVAL", "return 1", "0"],
        &["DISCARD"],
        &["DBSIZE"],
    ];
    let expected = said_by_server(&node, "+@all -flushall -config|set -@scripting -client|id -select -ping", commands);
    let mut client = endpoint.client();
    for (words, expected) in commands.iter().zip(&expected) {
        assert_eq!(client.ask(words), *expected, "{words:?}");
    }
    // The same in one piece, as client libraries send a transaction.
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["MULTI"], &["SET", "k", "x"], &["FLUSHALL"], &["EXEC"], &["GET", "k"]]));
    let no = no("flushall");
    for expected in [
        "+OK\r\n",
        "+QUEUED\r\n",
        &no,
        "-EXECABORT Transaction discarded because of previous errors.\r\n",
        "$1\r\nv\r\n",
    ] {
        assert_eq!(client.reply(), expected);
    }
}

#[test]
fn only_what_is_allowed() {
    let node = Redis::start();
    let endpoint = Endpoint::of(&[&node], "allow = [\"@read\", \"+set\", \"client|setname\"]\ndeny = [\"@dangerous\"]");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "v"]);
    assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("v"));
    client.ok(&["CLIENT", "SETNAME", "me"]);
    for (words, name) in [
        (&["DEL", "k"][..], "del"),
        (&["CLIENT", "GETNAME"], "client|getname"),
        (&["KEYS", "*"], "keys"),
        (&["MULTI"], "multi"),
        (&["FT.SEARCH", "i", "q"], "FT.SEARCH"),
        (&["SUBSCRIBE", "c"], "subscribe"),
        (&["MONITOR"], "monitor"),
        (&["SHUTDOWN"], "shutdown"),
    ] {
        assert_eq!(client.ask(words), no(name), "{words:?}");
    }
    // A command that would be streamed is judged by its beginning.
    let long = "x".repeat(400_000);
    assert_eq!(client.ask(&["APPEND", "k", &long]), no("append"));
    client.ok(&["SET", "long", &long]);
    assert!(client.ask(&["HELLO", "3"]).starts_with('%'));
    assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
    assert_eq!(client.ask(&["DEL", "k"]), no("del"));
    client.send(&["QUIT"]);
    assert_eq!(client.rest(), "+OK\r\n");
}

#[test]
fn a_user_has_rules_of_its_own_beside_the_listeners() {
    let node = Redis::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.toml");
    let users = format!(
        "[[user]]\nname = \"reader\"\npasswords = [\"{FOO}\"]\nallow = [\"@read\", \"@connection\", \"flushall\"]\n\
         [[user]]\nname = \"writer\"\npasswords = [\"{FOO}\"]\ndeny = [\"del\"]\n\
         [[user]]\nname = \"free\"\npasswords = [\"{FOO}\"]\n"
    );
    std::fs::write(&file, users).expect("writable");
    let endpoint = Endpoint::of(&[&node], &format!("users = {file:?}\ndeny = [\"flushall\", \"getdel\"]"));
    let mut client = endpoint.client();
    // Who has not logged in hears nothing of rights.
    assert_eq!(client.ask(&["FLUSHALL"]), "-NOAUTH Authentication required.\r\n");
    let verdicts = |client: &mut Client| {
        let commands: [&[&str]; 5] =
            [&["FLUSHALL"], &["DEL", "k"], &["SET", "k", "v"], &["GET", "k"], &["GETDEL", "k"]];
        commands.map(|words| !client.ask(words).starts_with("-NOPERM"))
    };
    for (user, permitted) in [
        ("reader", [false, false, false, true, false]),
        ("writer", [false, false, true, true, false]),
        ("free", [false, true, true, true, false]),
        ("reader", [false, false, false, true, false]),
    ] {
        client.ok(&["AUTH", user, "foo"]);
        assert_eq!(verdicts(&mut client), permitted, "{user}");
        // A pipeline that becomes another user in its middle.
        client.raw(&pipeline(&[&["AUTH", "free", "foo"], &["DEL", "k"], &["AUTH", "reader", "foo"], &["DEL", "k"]]));
        let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
        assert!(replies[1].starts_with(':') && replies[3] == no("del"), "{replies:?}");
    }
}

#[test]
fn rules_hold_for_users_who_are_passed_through_and_admin_commands_need_both() {
    let node = Redis::start();
    node.ok(&["ACL", "SETUSER", "a", "on", ">p", "~*", "+@all", "-incr"]);
    let listener = "auth = \"passthrough\"\ndeny = [\"del\", \"config|set\"]\nadmin_commands = \"allow\"";
    let endpoint = Endpoint::of(&[&node], listener);
    let mut client = endpoint.client();
    client.ok(&["AUTH", "a", "p"]);
    for (words, name) in
        [(&["DEL", "k"][..], "del"), (&["INCR", "k"], "incr"), (&["CONFIG", "SET", "maxmemory", "0"], "config|set")]
    {
        assert_eq!(refusal_of_7_0(&client.ask(words)), no(name));
    }
    client.ok(&["CONFIG", "RESETSTAT"]);
    let strict = Endpoint::of(&[&node], "allow = [\"config|resetstat\"]");
    assert!(
        strict.client().ask(&["CONFIG", "RESETSTAT"]).starts_with("-NOPERM 'config|resetstat' is an administrative")
    );
}

#[test]
fn a_replica_that_dials_a_listener_is_pointed_to_links() {
    let node = Redis::start();
    let endpoint = Endpoint::of(&[&node], "");
    for words in [&["PSYNC", "?", "-1"][..], &["SYNC"], &["REPLCONF", "listening-port", "1"]] {
        let mut client = endpoint.client();
        client.send(words);
        let said = client.rest();
        assert!(said.starts_with("-NOMASTERLINK ") && said.contains("[[link]]"), "{said}");
    }
}

/// Servers find a command by its name up to a NUL byte, when what stands behind that leads to the same place in their hash
/// table: of a few hundred endings some do. None may lead past a rule.
#[test]
fn a_name_that_goes_on_behind_a_nul_byte_is_no_way_around_a_rule() {
    let node = Redis::start();
    let denies = Endpoint::of(&[&node], "deny = [\"flushall\", \"config\"]");
    let mut client = denies.client();
    client.ok(&["SET", "k", "v"]);
    let mut reached = 0;
    for ending in 0..1500 {
        let flush = format!("FLUSHALL\0{ending}");
        let list = format!("LIST\0{ending}");
        let set = format!("SET\0{ending}");
        for words in [&[flush.as_str()][..], &["CLIENT", &list], &["CONFIG", &set, "maxclients", "5000"]] {
            let reply = client.ask(words);
            assert!(reply.starts_with("-ERR unknown command '"), "{words:?}: {reply}");
        }
        client.raw(&pipeline(&[&["MULTI"], &["CLIENT", &list], &["EXEC"]]));
        assert_eq!(client.reply(), "+OK\r\n");
        assert!(client.reply().starts_with("-ERR unknown command '"));
        assert_eq!(client.reply(), "-EXECABORT Transaction discarded because of previous errors.\r\n");
        reached += usize::from(node.command(&["CLIENT", &list]).starts_with('$'));
    }
    assert!(reached > 0, "no ending led to a command, so nothing was tried");
    assert_eq!(client.text(&["GET", "k"]).as_deref(), Some("v"));
    // Where it leads nowhere the server's words are Redan's too; a key may hold what it likes.
    let mut server = Client::connect(&node.address());
    for words in [&["NOSUCH\0x", "a\0b", "c"][..], &["NOSUCH\0x", &"y".repeat(200), "z"]] {
        assert_eq!(client.ask(words), server.ask(words));
    }
    client.ok(&["SET", "a\0b", "1"]);
    assert_eq!(client.text(&["GET", "a\0b"]).as_deref(), Some("1"));
}

/// What is too long to be gathered is judged by its beginning, which is not all of its name.
#[test]
fn a_name_too_long_to_be_gathered_is_no_way_around_a_rule() {
    let node = Redis::start();
    let denies = Endpoint::of(&[&node], "deny = [\"xgroup|destroy\"]");
    let mut reached = 0;
    for ending in 0..64 {
        node.ok(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]);
        let destroy = format!("DESTROY\0{ending}{}", "0".repeat(300_000));
        let command = command(&["XGROUP", &destroy, "s", "g"]);
        let mut client = denies.client();
        client.raw(&command);
        assert_eq!(client.reply(), "-ERR the name of this command is too long\r\n");
        let destroyed = node.command(&["XGROUP", &destroy, "s", "g"]) == ":1\r\n";
        assert!(
            destroyed || node.command(&["XGROUP", "DESTROY", "s", "g"]) == ":1\r\n",
            "it was destroyed through Redan"
        );
        reached += usize::from(destroyed);
    }
    assert!(reached > 0, "no ending led to a command, so nothing was tried");
}
