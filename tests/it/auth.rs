//! Users of Redan's own: who gets in, what is said to who does not, and how long guessing takes.

use std::time::{Duration, Instant};

use crate::support::client::pipeline;
use crate::support::endpoint::Endpoint;
use crate::support::redis::Redis;

/// The user `app` with the password `foo`.
pub(crate) const FOO_USER: &str = r#"
[[user]]
name = "app"
passwords = ["sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"]
"#;

/// Of `bar`.
const BAR_HASH: &str = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";
/// Of `foo`.
const FOO_HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NOT_YET: &str = "-NOAUTH Authentication required.\r\n";

struct Guarded {
    _redis: Redis,
    _folder: tempfile::TempDir,
    endpoint: Endpoint,
}

impl std::ops::Deref for Guarded {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

fn guarded() -> Guarded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("users.toml");
    let users = format!(
        r##"
        [[user]]
        name = "app"
        passwords = ["sha256:{FOO_HASH}", "#{BAR_HASH}"]
        [[user]]
        name = "default"
        passwords = ["sha256:{BAR_HASH}"]
        [[user]]
        name = "gone"
        passwords = ["sha256:{FOO_HASH}"]
        enabled = false
        "##
    );
    std::fs::write(&file, users).expect("writable");
    // The password of the node is Redan's business and no client's.
    let redis = Redis::options().password("secret-of-the-node").start();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret-of-the-node").expect("writable");
    let group = format!("password_file = {password:?}");
    let endpoint = Endpoint::start(&[redis.address()], &format!("users = {file:?}"), &group);
    Guarded { _redis: redis, _folder: folder, endpoint }
}

#[test]
fn who_has_not_logged_in_may_do_nothing() {
    let guarded = guarded();
    let mut client = guarded.client();
    for words in [
        &["GET", "k"][..],
        &["PING"],
        &["CLIENT", "ID"],
        &["SELECT", "0"],
        &["MULTI"],
        &["SUBSCRIBE", "c"],
        &["NOSUCHCOMMAND"],
        &["CONFIG", "GET", "requirepass"],
        &["CLIENT", "REPLY", "OFF"],
    ] {
        assert_eq!(client.ask(words), NOT_YET, "{words:?}");
    }
    assert!(
        client.ask(&["HELLO", "3"]).starts_with("-NOAUTH HELLO must be called with the client already authenticated")
    );
    assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
    assert_eq!(client.ask(&["GET", "k"]), NOT_YET);
    client.send(&["QUIT"]);
    assert_eq!(client.rest(), "+OK\r\n");
}

#[test]
fn each_of_a_users_passwords_lets_it_in_and_nothing_else() {
    let guarded = guarded();
    for (words, reply) in [
        (&["AUTH", "app", "foo"][..], "+OK\r\n"),
        (&["AUTH", "app", "bar"], "+OK\r\n"),
        (&["AUTH", "bar"], "+OK\r\n"),
        (&["AUTH", "foo"], WRONG),
        (&["AUTH", "app", "baz"], WRONG),
        (&["AUTH", "bar"], "+OK\r\n"),
        (&["AUTH", "gone", "foo"], WRONG),
        (&["AUTH", "nobody", "foo"], WRONG),
        (&["AUTH", "secret-of-the-node"], WRONG),
        (&["AUTH", "app", "bar"], "+OK\r\n"),
        (&["AUTH", "app", ""], WRONG),
        (&["AUTH", "", "foo"], WRONG),
        (&["AUTH", "app", "bar"], "+OK\r\n"),
    ] {
        let mut client = guarded.client();
        assert_eq!(client.ask(words), reply, "{words:?}");
        let expected = if reply == WRONG { NOT_YET } else { "$-1\r\n" };
        assert_eq!(client.ask(&["GET", "k"]), expected, "after {words:?}");
    }
}

#[test]
fn logging_in_with_hello() {
    let guarded = guarded();
    let mut client = guarded.client();
    assert_eq!(client.ask(&["HELLO", "3", "AUTH", "app", "wrong"]), WRONG);
    // A refused HELLO changes nothing, the protocol version included.
    assert_eq!(client.ask(&["GET", "k"]), NOT_YET);
    assert!(client.ask(&["HELLO", "3", "AUTH", "app", "foo", "SETNAME", "me"]).starts_with("%7\r\n"));
    assert_eq!(client.ask(&["GET", "k"]), "_\r\n");
    assert_eq!(client.text(&["ACL", "WHOAMI"]).as_deref(), Some("app"));
    assert_eq!(client.text(&["CLIENT", "GETNAME"]).as_deref(), Some("me"));
}

#[test]
fn a_failed_login_does_not_log_out() {
    let guarded = guarded();
    let mut client = guarded.client();
    client.ok(&["AUTH", "app", "foo"]);
    assert_eq!(client.ask(&["AUTH", "app", "wrong"]), WRONG);
    assert_eq!(client.ask(&["GET", "k"]), "$-1\r\n");
    assert_eq!(client.text(&["ACL", "WHOAMI"]).as_deref(), Some("app"));
    assert_eq!(client.ask(&["RESET"]), "+RESET\r\n");
    assert_eq!(client.ask(&["GET", "k"]), NOT_YET);
}

#[test]
fn a_pipeline_that_logs_in_first() {
    let guarded = guarded();
    let mut client = guarded.client();
    client.raw(&pipeline(&[&["GET", "k"], &["AUTH", "app", "foo"], &["SET", "k", "v"], &["GET", "k"], &["PING"]]));
    for expected in [NOT_YET, "+OK\r\n", "+OK\r\n", "$1\r\nv\r\n", "+PONG\r\n"] {
        assert_eq!(client.reply(), expected);
    }
}

#[test]
fn guessing_takes_longer_and_longer_until_somebody_gets_it_right() {
    let guarded = guarded();
    let attempt = |password: &str| {
        // A new connection each time: reconnecting must not help.
        let mut client = guarded.client();
        let start = Instant::now();
        let reply = client.ask(&["AUTH", "app", password]);
        (reply, start.elapsed())
    };
    let mut total = Duration::ZERO;
    for number in 1..=6 {
        let (reply, took) = attempt("wrong");
        assert_eq!(reply, WRONG);
        total += took;
        // Three are free, the fifth waits 100 ms, the sixth 200 ms.
        let least = Duration::from_millis([0, 0, 0, 0, 100, 200][number - 1]);
        assert!(took >= least, "attempt {number} took {took:?}");
    }
    assert!(total >= Duration::from_millis(300));
    assert_eq!(guarded.metric("redan_auth_failures_total"), 6.0);
    let (reply, took) = attempt("foo");
    assert_eq!(reply, "+OK\r\n");
    assert!(took >= Duration::from_millis(400), "the right password waits like a wrong one: {took:?}");
    // Forgiven: four attempts in a row without a wait. The bound is half of the shortest wait that would come.
    let start = Instant::now();
    assert_eq!(attempt("wrong").0, WRONG);
    assert!(start.elapsed() < Duration::from_millis(400), "a success did not reset the wait: {:?}", start.elapsed());
}

/// One that waits for its guess holds nobody else up.
#[test]
fn only_the_guesser_waits() {
    let guarded = guarded();
    let mut other = guarded.client();
    other.ok(&["AUTH", "app", "foo"]);
    for _ in 0..6 {
        guarded.client().ask(&["AUTH", "app", "wrong"]);
    }
    let mut guesser = guarded.client();
    let start = Instant::now();
    guesser.raw(&pipeline(&[&["AUTH", "app", "wrong"], &["PING"]]));
    other.ok(&["SET", "k", "v"]);
    assert!(guesser.is_silent_for(Duration::from_millis(50)), "the other client waited as long as the guesser");
    assert_eq!(guesser.reply(), WRONG);
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(guesser.reply(), NOT_YET);
}
