//! Settings that reach who is connected, or who comes next; users, certificates, the process itself.

use std::fs;

use super::traffic::Traffic;
use crate::support::certs::Certs;
use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::group::Pair;
use crate::support::redis::{Redis, eventually};
use crate::support::tls::{TlsClient, pings, shown};

/// Of `foo` and of `bar`.
const FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const BAR: &str = "sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";

fn policy(client: &mut Client) -> String {
    let info = client.text(&["INFO", "redan"]).expect("a section");
    let line = |key: &str| info.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    format!("{} {}", line("redan_reads"), line("redan_consistency"))
}

#[test]
fn a_policy_reaches_connected_clients_and_disturbs_nobody() {
    let pair = Pair::start("hold = \"9s\"");
    let endpoint = &pair.endpoint;
    let traffic = Traffic::start(&endpoint.address(), 4);
    let mut idle = endpoint.client();
    assert_eq!(idle.integer(&["INCR", "n"]), 1);
    assert_eq!(policy(&mut idle), "redan_reads:replica redan_consistency:session");
    for (line, reads) in [
        ("reads = \"master\"", "redan_reads:master redan_consistency:session"),
        ("reads = \"any\"\nconsistency = \"session\"\nmax_lag = \"10s\"", "redan_reads:any redan_consistency:session"),
        ("consistency = \"strong\"\nretry = \"idempotent\"", "redan_reads:master redan_consistency:strong"),
        ("durable = 1\ndurable_timeout = \"20s\"", "redan_reads:replica redan_consistency:session"),
        ("in_doubt = \"disconnect\"\nidle_timeout = \"1h\"", "redan_reads:replica redan_consistency:session"),
    ] {
        let before = endpoint.config();
        let said = endpoint.change("hold = \"9s\"", &format!("hold = \"8s\"\n{line}"));
        assert!(said.contains("reload: listener 'app': hold 9s → 8s, for its "), "{said}");
        traffic.goes_on();
        assert_eq!(policy(&mut idle), reads, "{line}");
        endpoint.reload(&before);
    }
    let said = endpoint.change("hold = \"9s\"", "hold = \"9s\"\ndeny = [\"incr\"]\nmax_clients = 6");
    assert!(said.contains("reload: listener 'app': deny (unset) → [incr], for its "), "{said}");
    assert!(said.contains("max_clients (unset) → 6, for new connections"), "{said}");
    assert!(idle.ask(&["INCR", "n"]).starts_with("-NOPERM"), "what is denied is denied to who is connected");
    let mut sixth = endpoint.client();
    sixth.ok(&["SET", "k", "v"]);
    assert_eq!(endpoint.client().rest(), "-ERR max number of clients reached\r\n");
    endpoint.change("\ndeny = [\"incr\"]\nmax_clients = 6", "");
    assert_eq!(idle.integer(&["INCR", "n"]), 2, "and is allowed again");
    traffic.end();
    assert_eq!(endpoint.metric("redan_config_reloads_total{outcome=\"refused\"}"), 0.0);
    assert_eq!(endpoint.metric("redan_config_generation"), 13.0);
}

#[test]
fn a_shorter_hold_is_how_long_commands_wait_from_then_on() {
    let mut redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "hold = \"1h\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "k", "v"]);
    redis.kill();
    eventually("the master is missed", || endpoint.metric("redan_group_has_master{group=\"main\"}") == 0.0);
    endpoint.change("hold = \"1h\"", "hold = \"50ms\"");
    assert!(client.ask(&["SET", "k", "w"]).starts_with("-LOADING"), "it does not wait for an hour");
}

#[test]
fn users_come_and_go_as_in_redis() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.toml");
    let user =
        |name: &str, hash: &str, more: &str| format!("[[user]]\nname = \"{name}\"\npasswords = [\"{hash}\"]\n{more}\n");
    fs::write(&file, user("a", FOO, "") + &user("b", FOO, "") + &user("c", FOO, "")).expect("writable");
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], &format!("users = {file:?}"));
    let mut clients = ["a", "b", "c"].map(|name| {
        let mut client = endpoint.client();
        client.ok(&["AUTH", name, "foo"]);
        client
    });
    let mut nobody = endpoint.client();
    fs::write(&file, user("a", BAR, "") + &user("c", FOO, "deny = [\"get\"]") + &user("d", FOO, "")).expect("writable");
    let said = endpoint.reload(&endpoint.config());
    assert!(said.contains("users: new 'd'; gone 'b'; changed 'a', 'c', for its 4 clients"), "{said}");
    let [a, b, c] = &mut clients;
    a.ok(&["SET", "k", "v"]);
    assert_eq!(b.rest(), "", "whose user is gone is disconnected");
    assert!(c.ask(&["GET", "k"]).starts_with("-NOPERM"));
    assert!(nobody.ask(&["AUTH", "a", "foo"]).starts_with("-WRONGPASS"), "the old password is not one any more");
    nobody.ok(&["AUTH", "a", "bar"]);
    endpoint.client().ok(&["AUTH", "d", "foo"]);
    assert!(endpoint.client().ask(&["AUTH", "b", "foo"]).starts_with("-WRONGPASS"));
}

#[test]
fn another_certificate_is_shown_and_another_authority_believed_without_a_word_to_others() {
    let redis = Redis::start();
    let certs = Certs::with_clients(&[("app", "app", &[])]);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, [cert, key]: [String; 2]| {
        let (cert_file, key_file) = (folder.path().join(name), folder.path().join(format!("{name}.key")));
        fs::write(&cert_file, cert).expect("writable");
        fs::write(&key_file, key).expect("writable");
        format!("cert = {cert_file:?}, key = {key_file:?}")
    };
    let (one, two) = (write("one", certs.issue(&[])), write("two", certs.issue(&[])));
    let endpoint = Endpoint::of(&[&redis], &format!("tls = {{ {one} }}"));
    let (plain, app) = (TlsClient::new(&certs, None), TlsClient::new(&certs, Some("app")));
    let (mut first, mut known) = (plain.connect(&endpoint.address()), app.connect(&endpoint.address()));
    pings(&mut first).expect("served");
    pings(&mut known).expect("served");
    endpoint.change(&one, &two);
    let mut second = plain.connect(&endpoint.address());
    pings(&mut second).expect("served");
    assert_ne!(shown(&first), shown(&second), "new connections are shown the new certificate");
    pings(&mut first).expect("an open connection is not touched");
    endpoint.change(&two, &format!("{two}, client_ca = {:?}", certs.ca()));
    eventually("who has shown no certificate is closed", || pings(&mut first).is_err());
    assert!(pings(&mut plain.connect(&endpoint.address())).is_err(), "and does not come in");
    pings(&mut app.connect(&endpoint.address())).expect("who shows one does");
}

#[test]
fn the_level_of_the_log_and_the_limits_of_the_process_change() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "");
    assert!(!endpoint.said().contains("DEBUG"));
    let limits = "workers = 1\nmax_memory = \"64mb\"\nlog = { level = \"debug\" }";
    let said = endpoint.change("workers = 1", limits);
    assert!(said.contains("[redan]: max_memory (unset) → 64mb"), "{said}");
    eventually("more is said", || {
        let mut stranger = std::net::TcpStream::connect(endpoint.admin()).expect("the admin endpoint");
        std::io::Write::write_all(&mut stranger, b"no HTTP\r\n\r\n").expect("open");
        endpoint.said().contains("DEBUG")
    });
    assert_eq!(endpoint.metric("redan_memory_limit_bytes"), f64::from(64 << 20));
}

#[test]
fn fifty_reloads_in_a_row_leave_nothing_behind() {
    let pair = Pair::start("hold = \"10s\"");
    let endpoint = &pair.endpoint;
    let traffic = Traffic::start(&endpoint.address(), 4);
    let count = |what: &str| {
        let folder = format!("/proc/{}/{what}", endpoint.id());
        fs::read_dir(folder).expect("a running process").count()
    };
    let other = crate::support::redis::free_port();
    let first = endpoint.config();
    let more = first.replace("hold = \"10s\"", "hold = \"5s\"\nreads = \"any\"\ngroup = \"main\"")
        + &format!(
            "[[listener]]\nname = \"other\"\nbind = \"127.0.0.1:{other}\"\ngroup = \"second\"\n\
             [[group]]\nname = \"second\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n",
            pair.master.address()
        );
    // Once, so that everything that is made once is there.
    endpoint.reload(&more);
    endpoint.reload(&first);
    let (threads, files) = (count("task"), count("fd"));
    for round in 0..25 {
        let said = endpoint.reload(&more);
        assert!(said.contains("the configuration is in use"), "round {round}: {said}");
        if round % 8 == 0 {
            Client::connect(&format!("127.0.0.1:{other}")).ok(&["SET", "other", "v"]);
        }
        let said = endpoint.reload(&first);
        assert!(said.contains("the configuration is in use"), "round {round}: {said}");
    }
    traffic.goes_on();
    eventually("nothing is left of them", || count("task") <= threads && count("fd") <= files + 4);
    traffic.end();
}
