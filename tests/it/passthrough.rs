//! Logins that the nodes judge: whose rights apply, what a wrong or changed password does, and that no two users ever
//! share a connection.

use std::time::{Duration, Instant};

use crate::support::client::{Client, bulk, pipeline};
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually, refusal_of_7_0};

mod side_by_side;
mod taken_back;

const PASSTHROUGH: &str = "auth = \"passthrough\"";
const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NOT_YET: &str = "-NOAUTH Authentication required.\r\n";

/// ACLs are not replicated: each server gets the same.
fn set_user(servers: &[&Redis], rule: &str) {
    for server in servers {
        server.ok(&[&["ACL", "SETUSER"], &rule.split(' ').collect::<Vec<_>>()[..]].concat());
    }
}

/// A master and a replica with `a` and `b`, each of which may use keys of its own.
fn group() -> (Redis, Redis) {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    for user in ["a", "b"] {
        set_user(&[&master, &replica], &format!("{user} on >pass-{user} ~{user}:* &* +@all -@dangerous"));
    }
    (master, replica)
}

fn logged_in(endpoint: &Endpoint, user: &str) -> Client {
    let mut client = endpoint.client();
    client.ok(&["AUTH", user, &format!("pass-{user}")]);
    client
}

/// The users of Redan's connections to a node, probes and idle proofs aside.
fn users_at(node: &Redis) -> Vec<String> {
    let list = node.command(&["CLIENT", "LIST"]);
    let of_redan = list.lines().filter(|line| line.contains(" name=redan "));
    let user = |line: &str| line.split(" user=").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    of_redan.filter_map(user).collect()
}

#[test]
fn each_client_has_the_rights_of_its_own_user() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    for resp3 in [false, true] {
        let (mut a, mut b) = (endpoint.client(), endpoint.client());
        if resp3 {
            assert!(a.ask(&["HELLO", "3", "AUTH", "a", "pass-a"]).starts_with('%'));
            assert!(b.ask(&["HELLO", "3", "AUTH", "b", "pass-b", "SETNAME", "me"]).starts_with('%'));
        } else {
            a.ok(&["AUTH", "a", "pass-a"]);
            b.ok(&["AUTH", "b", "pass-b"]);
        }
        assert_eq!(a.text(&["ACL", "WHOAMI"]).as_deref(), Some("a"));
        assert!(b.ask(&["CLIENT", "INFO"]).contains(" user=b "));
        a.ok(&["SET", "a:k", "of a"]);
        b.ok(&["SET", "b:k", "of b"]);
        assert_eq!(a.text(&["GET", "a:k"]).as_deref(), Some("of a"));
        for words in
            [&["GET", "b:k"][..], &["SET", "b:k", "x"], &["EVAL", "return redis.call('get', KEYS[1])", "1", "b:k"]]
        {
            let reply = refusal_of_7_0(&a.ask(words));
            assert_eq!(reply, "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n");
        }
        let refused = "-NOPERM this user has no permissions to run the 'flushall' command\r\n";
        assert_eq!(refusal_of_7_0(&a.ask(&["FLUSHALL"])), refused);
        a.ok(&["MULTI"]);
        assert!(a.ask(&["GET", "b:k"]).starts_with("-NOPERM"));
        assert_eq!(a.ask(&["EXEC"]), "-EXECABORT Transaction discarded because of previous errors.\r\n");
        assert_eq!(b.text(&["GET", "b:k"]).as_deref(), Some("of b"));
    }
    let mut users = users_at(&master);
    users.sort();
    users.dedup();
    // Redan's questions for offsets go as its own user.
    assert!(["a", "b"].iter().all(|user| users.contains(&(*user).to_owned())), "{users:?}");
    // A change of the rules holds at once.
    let mut a = logged_in(&endpoint, "a");
    a.ok(&["SET", "a:k", "1"]);
    set_user(&[&master, &replica], "a -set");
    assert_eq!(
        refusal_of_7_0(&a.ask(&["SET", "a:k", "2"])),
        "-NOPERM this user has no permissions to run the 'set' command\r\n"
    );
}

/// Redan gives nodes the scripts they lack. What a user may not show to a node must not come there in Redan's name.
#[test]
fn scripts_keep_to_the_rights_of_their_users() {
    let (master, replica) = group();
    set_user(&[&master, &replica], "a -eval -script");
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let (mut a, mut b) = (logged_in(&endpoint, "a"), logged_in(&endpoint, "b"));
    let known = |sha: &str| master.command(&["SCRIPT", "EXISTS", sha]) == "*1\r\n:1\r\n";
    // `return 1`, which its user may not show.
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert!(a.ask(&["EVAL", "return 1", "0"]).starts_with("-NOPERM"));
    assert!(a.ask(&["EVALSHA", sha, "0"]).starts_with("-NOSCRIPT"));
    assert!(!known(sha));
    // Shown by another, it is known to all, as on a server; a node that lacks it is given it.
    assert_eq!(b.integer(&["EVAL", "return 1", "0"]), 1);
    assert_eq!(a.integer(&["EVALSHA", sha, "0"]), 1);
    master.ok(&["SCRIPT", "FLUSH"]);
    assert_eq!(a.integer(&["EVALSHA", sha, "0"]), 1);
    // A flush that is refused flushes nothing.
    assert!(a.ask(&["SCRIPT", "FLUSH"]).starts_with("-NOPERM"));
    master.ok(&["SCRIPT", "FLUSH"]);
    assert_eq!(a.integer(&["EVALSHA", sha, "0"]), 1);
}

#[test]
fn logins_are_asked_of_a_node_each_time() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let mut first = logged_in(&endpoint, "a");
    first.ok(&["SET", "a:k", "v"]);
    for (words, reply) in [
        (&["AUTH", "a", "wrong"][..], WRONG),
        (&["AUTH", "nobody", "pass-a"], WRONG),
        (&["HELLO", "3", "AUTH", "b", "pass-a"], WRONG),
        (&["AUTH"], "-ERR wrong number of arguments for 'auth' command\r\n"),
        (&["AUTH", "a", "b", "c"], "-ERR syntax error\r\n"),
    ] {
        // A failed login leaves the client what it was.
        assert_eq!(first.ask(words), reply, "{words:?}");
        assert_eq!(first.text(&["GET", "a:k"]).as_deref(), Some("v"), "after {words:?}");
        assert_eq!(first.text(&["ACL", "WHOAMI"]).as_deref(), Some("a"));
    }
    // The password changes while a connection of that user is open.
    set_user(&[&master, &replica], "a <pass-a >newer");
    let mut second = endpoint.client();
    assert_eq!(second.ask(&["AUTH", "a", "pass-a"]), WRONG);
    second.ok(&["AUTH", "a", "newer"]);
    assert_eq!(second.text(&["GET", "a:k"]).as_deref(), Some("v"));
    // As with a server, whoever is in stays in.
    assert_eq!(first.text(&["GET", "a:k"]).as_deref(), Some("v"));
    set_user(&[&master, &replica], "a off");
    assert_eq!(endpoint.client().ask(&["AUTH", "a", "newer"]), WRONG);
}

#[test]
fn another_user_on_the_same_connection() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let mut client = logged_in(&endpoint, "a");
    client.ok(&["SET", "a:k", "of a"]);
    // Everything in one piece: nothing of `a` may run as `b`, nor the other way round.
    let no_key = "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n";
    for _ in 0..50 {
        client.raw(&pipeline(&[
            &["GET", "a:k"],
            &["SET", "b:k", "x"],
            &["AUTH", "b", "pass-b"],
            &["SET", "b:k", "of b"],
            &["GET", "a:k"],
            &["AUTH", "b", "wrong"],
            &["GET", "b:k"],
            &["HELLO", "2", "AUTH", "a", "pass-a"],
            &["GET", "b:k"],
            &["ACL", "WHOAMI"],
        ]));
        for expected in
            [&bulk("of a"), no_key, "+OK\r\n", "+OK\r\n", no_key, WRONG, &bulk("of b"), "*14", no_key, &bulk("a")]
        {
            let reply = refusal_of_7_0(&client.reply());
            assert!(reply.starts_with(expected), "{reply} for {expected}");
        }
    }
    // With a connection of its own, which follows.
    client.ok(&["WATCH", "a:k"]);
    client.ok(&["AUTH", "b", "pass-b"]);
    assert_eq!(refusal_of_7_0(&client.ask(&["GET", "a:k"])), no_key);
    client.ok(&["MULTI"]);
    assert_eq!(client.ask(&["SET", "b:k", "in a transaction"]), "+QUEUED\r\n");
    assert_eq!(client.ask(&["EXEC"]), "*1\r\n+OK\r\n");
    assert_eq!(client.text(&["GET", "b:k"]).as_deref(), Some("in a transaction"));
    assert_eq!(refusal_of_7_0(&client.ask(&["GET", "a:k"])), no_key);
    assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
    assert_eq!(client.text(&["ACL", "WHOAMI"]).as_deref(), Some("default"));
    assert_eq!(client.text(&["GET", "a:k"]).as_deref(), Some("of a"));
}

#[test]
fn who_names_nobody_is_the_servers_default_user() {
    let node = Redis::start();
    let endpoint = Endpoint::of(&[&node], PASSTHROUGH);
    let mut client = endpoint.client();
    // The first command may be more than a stranger could send.
    let many: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    let words: Vec<&str> = std::iter::once("MSET").chain(many.iter().map(String::as_str)).collect();
    client.ok(&words);
    assert_eq!(client.text(&["ACL", "WHOAMI"]).as_deref(), Some("default"));
    assert_eq!(
        client.ask(&["AUTH", "anything"]),
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
         configuration is correct?\r\n"
    );
    client.ok(&["AUTH", "default", "anything"]);
    assert!(endpoint.client().ask(&["HELLO", "3"]).starts_with('%'));
    node.ok(&["ACL", "SETUSER", "default", "-@all", "+ping", "+acl", "+role", "+info"]);
    let mut few = endpoint.client();
    assert_eq!(
        refusal_of_7_0(&few.ask(&["GET", "k"])),
        "-NOPERM this user has no permissions to run the 'get' command\r\n"
    );
}

#[test]
fn a_default_user_with_a_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "secret").expect("writable");
    let node = Redis::options().password("secret").start();
    let endpoint = Endpoint::start(&[node.address()], PASSTHROUGH, &format!("password_file = {file:?}"));
    for words in [&["GET", "k"][..], &["PING"], &["MULTI"], &["SUBSCRIBE", "c"], &["CLIENT", "ID"], &["SELECT", "0"]] {
        let mut client = endpoint.client();
        assert_eq!(client.ask(words), NOT_YET);
        assert_eq!(client.ask(words), NOT_YET);
        assert!(client.ask(&["HELLO", "3"]).starts_with("-NOAUTH HELLO must be called"));
        assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
        assert_eq!(client.ask(&["AUTH", "wrong"]), WRONG);
        client.ok(&["AUTH", "secret"]);
        client.ok(&["SET", "k", "v"]);
        assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
        assert_eq!(client.ask(words), NOT_YET);
        client.send(&["QUIT"]);
        assert_eq!(client.rest(), "+OK\r\n");
    }
    let mut stranger = endpoint.client();
    let words: Vec<&str> = std::iter::once("MGET").chain(std::iter::repeat_n("k", 40)).collect();
    stranger.send(&words);
    assert_eq!(stranger.rest(), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    // Whoever came before the password changed does not open the door for those who come after it.
    let mut client = endpoint.client();
    client.raw(&pipeline(&[&["GET", "k"], &["AUTH", "default", "secret"], &["GET", "k"], &["SELECT", "3"], &["PING"]]));
    for expected in [NOT_YET, "+OK\r\n", &bulk("v"), "+OK\r\n", "+PONG\r\n"] {
        assert_eq!(client.reply(), expected);
    }
}

#[test]
fn a_user_that_a_replica_does_not_know_reads_from_the_master() {
    let (master, replica) = group();
    replica.ok(&["ACL", "DELUSER", "a"]);
    let endpoint =
        Endpoint::of(&[&master, &replica], &format!("{PASSTHROUGH}\nreads = \"replica\"\nconsistency = \"eventual\""));
    let mut a = logged_in(&endpoint, "a");
    a.ok(&["SET", "a:k", "v"]);
    for _ in 0..20 {
        assert_eq!(a.text(&["GET", "a:k"]).as_deref(), Some("v"));
    }
    assert!(users_at(&replica).iter().all(|user| user != "a"));
    let said = endpoint.said();
    assert_eq!(said.matches("user 'a' reads from the master").count(), 1, "{said}");
    // The others read from the replica as ever.
    let mut b = logged_in(&endpoint, "b");
    b.ok(&["SET", "b:k", "v"]);
    eventually("the replica serves b", || {
        b.text(&["GET", "b:k"]);
        users_at(&replica).iter().any(|user| user == "b")
    });
}

#[test]
fn what_a_user_may_not_do_with_its_connection_the_node_says() {
    let (master, replica) = group();
    set_user(&[&master, &replica], "few on >pass-few ~* resetchannels +@read +@write -select +wait -publish");
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let mut few = logged_in(&endpoint, "few");
    few.ok(&["SET", "k", "v"]);
    let no = |name: &str| format!("-NOPERM this user has no permissions to run the '{name}' command\r\n");
    assert_eq!(refusal_of_7_0(&few.ask(&["SELECT", "1"])), no("select"));
    assert_eq!(refusal_of_7_0(&few.ask(&["SELECT", "0"])), no("select"));
    assert_eq!(refusal_of_7_0(&few.ask(&["WAIT", "0", "100"])), no("publish"));
    assert_eq!(refusal_of_7_0(&few.ask(&["SUBSCRIBE", "c"])), no("subscribe"));
    assert_eq!(refusal_of_7_0(&few.ask(&["MULTI"])), no("multi"));
    assert_eq!(few.text(&["GET", "k"]).as_deref(), Some("v"));
    let mut a = logged_in(&endpoint, "a");
    a.ok(&["SELECT", "1"]);
    a.ok(&["SET", "a:k", "one"]);
    a.ok(&["SELECT", "0"]);
    assert_eq!(a.text(&["GET", "a:k"]), None);
}

#[test]
fn guessing_is_slowed_down_here_too() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    for _ in 0..5 {
        assert_eq!(endpoint.client().ask(&["AUTH", "a", "wrong"]), WRONG);
    }
    assert_eq!(endpoint.metric("redan_auth_failures_total"), 5.0);
    let start = std::time::Instant::now();
    logged_in(&endpoint, "a");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_login_waits_for_a_master_and_a_healthy_replica_stands_in_for_it() {
    let (mut master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], &format!("{PASSTHROUGH}\nhold = \"300ms\""));
    master.kill();
    eventually("the master is missed", || endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0);
    let mut client = logged_in(&endpoint, "a");
    assert_eq!(client.ask(&["GET", "a:k"]), "$-1\r\n");
    assert_eq!(endpoint.client().ask(&["AUTH", "a", "wrong"]), WRONG);
    drop(replica);
    eventually("nobody is left to ask", || {
        let reply = endpoint.client().ask(&["AUTH", "a", "pass-a"]);
        assert!(reply == "+OK\r\n" || reply.starts_with("-LOADING Redan"), "{reply}");
        reply.starts_with("-LOADING")
    });
}

#[test]
fn nodes_that_speak_tls() {
    let certs = crate::support::certs::Certs::make();
    let node = Redis::options().tls(&certs).start();
    set_user(&[&node], "a on >pass-a ~a:* &* +@all");
    let tls = format!("tls = {{ ca = \"{}\" }}", certs.ca().display());
    let endpoint = Endpoint::start(&[node.address()], PASSTHROUGH, &tls);
    for _ in 0..3 {
        assert_eq!(endpoint.client().ask(&["AUTH", "a", "wrong"]), WRONG);
        let mut a = logged_in(&endpoint, "a");
        a.ok(&["SET", "a:k", "v"]);
        assert!(a.ask(&["GET", "b:k"]).starts_with("-NOPERM"));
        // The proofs' connection has been somebody, and is nobody again.
        endpoint.client().ok(&["SET", "b:k", "v"]);
    }
}

/// A RESP3 client may become another user while it is subscribed. What it subscribed to as the first one stays, also when the
/// connection breaks that carries it: long after nobody is that user any more.
#[test]
fn subscriptions_outlive_a_change_of_user_and_a_broken_connection() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let mut client = endpoint.client();
    assert!(client.ask(&["HELLO", "3", "AUTH", "a", "pass-a"]).starts_with('%'));
    assert_eq!(client.ask(&["SUBSCRIBE", "c"]), format!(">3\r\n{}{}:1\r\n", bulk("subscribe"), bulk("c")));
    client.ok(&["AUTH", "b", "pass-b"]);
    // Logins that nothing uses are looked for once a second.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        master.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        eventually("it is subscribed again", || master.command(&["PUBLISH", "c", "hello"]) == ":1\r\n");
        assert_eq!(client.reply(), format!(">3\r\n{}{}{}", bulk("message"), bulk("c"), bulk("hello")));
    }
}

/// Also one that has named no user: its connection's number is asked for all the same.
#[test]
fn a_blocked_client_is_unblocked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "secret").expect("writable");
    let (open, closed) = (Redis::start(), Redis::options().password("secret").start());
    let with_password = format!("password_file = {file:?}");
    for (server, group) in [(&open, ""), (&closed, &with_password)] {
        let endpoint = Endpoint::start(&[server.address()], PASSTHROUGH, group);
        let (mut blocked, mut other) = (endpoint.client(), endpoint.client());
        if !group.is_empty() {
            [&mut blocked, &mut other].into_iter().for_each(|client| client.ok(&["AUTH", "secret"]));
        }
        let id = blocked.integer(&["CLIENT", "ID"]).to_string();
        blocked.send(&["BLPOP", "queue", "0"]);
        eventually("it is blocked", || server.info("blocked_clients").as_deref() == Some("1"));
        assert_eq!(other.integer(&["CLIENT", "UNBLOCK", &id]), 1);
        assert_eq!(blocked.reply(), "*-1\r\n");
    }
}
