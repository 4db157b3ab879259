//! `/`, `/live`, `/events` and `/order` as HTTP has them: headers, limits, what is told again, who may order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::endpoint::Endpoint;
use crate::support::redis::{DEADLINE, Redis, eventually};

/// As many as may look at the same time.
const VIEWERS: usize = 16;

fn ask(admin: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin).expect("the admin endpoint");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket of ours");
    stream.write_all(request.as_bytes()).expect("writable");
    stream
}

/// The whole answer to a request that has one.
fn answer(admin: &str, request: &str) -> String {
    let mut text = String::new();
    ask(admin, request).read_to_string(&mut text).expect("an answer");
    text
}

/// An open stream of server-sent events.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Its answer begins with `status`.
    fn open(admin: &str, path: &str, more: &str, status: &str) -> Option<Self> {
        let mut reader = BufReader::new(ask(admin, &format!("GET {path} HTTP/1.0\r\nHost: redan\r\n{more}\r\n")));
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        line.contains(status).then_some(Self(reader))
    }

    /// The next message of this kind: its id, and what it says.
    fn next(&mut self, kind: &str) -> (String, serde_json::Value) {
        let deadline = Instant::now() + DEADLINE;
        let (mut id, mut event) = (String::new(), String::new());
        while Instant::now() < deadline {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("it goes on") > 0, "the stream has ended");
            let line = line.trim_end();
            if let Some(value) = line.strip_prefix("id: ") {
                value.clone_into(&mut id);
            } else if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data: ").filter(|_| event == kind) {
                return (id, serde_json::from_str(data).expect("JSON"));
            } else if line.is_empty() {
                id.clear();
            }
        }
        panic!("no message '{kind}'")
    }

    fn until(&mut self, words: &str) -> (String, serde_json::Value) {
        loop {
            let (id, event) = self.next("happened");
            if event["words"].as_str().is_some_and(|said| said.contains(words)) {
                return (id, event);
            }
        }
    }
}

fn started() -> (Redis, Endpoint) {
    let master = Redis::start();
    let endpoint = Endpoint::of(&[&master], "");
    (master, endpoint)
}

#[test]
fn the_page_is_served_with_a_strict_policy_and_to_readers_alone() {
    let (_master, endpoint) = started();
    let admin = endpoint.admin();
    for path in ["/", "/dashboard/main.js", "/dashboard/style.css", "/dashboard/mark.svg"] {
        let got = answer(&admin, &format!("GET {path} HTTP/1.1\r\nHost: redan\r\n\r\n"));
        let (head, body) = got.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200") && !body.is_empty(), "{path}: {head}");
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header}\n{head}");
        }
        assert!(!head.contains("unsafe") && !head.contains("access-control"), "{head}");
        let only_head = answer(&admin, &format!("HEAD {path} HTTP/1.1\r\nHost: redan\r\n\r\n"));
        assert!(only_head.starts_with("HTTP/1.1 200") && only_head.ends_with("\r\n\r\n"), "{only_head}");
        assert!(answer(&admin, &format!("POST {path} HTTP/1.1\r\nHost: redan\r\n\r\n")).starts_with("HTTP/1.1 405"));
    }
    let head = answer(&admin, "HEAD /live HTTP/1.1\r\nHost: redan\r\n\r\n");
    assert!(head.contains("content-type: text/event-stream") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_stream_tells_the_state_every_second_and_what_happens_at_once() {
    let (mut master, endpoint) = started();
    let mut live = Stream::open(&endpoint.admin(), "/live", "", " 200 ").expect("a stream");
    let (_, first) = live.next("state");
    let (_, second) = live.next("state");
    assert!(second["at"].as_f64() > first["at"].as_f64(), "{second}");
    assert_eq!(first["groups"][0]["master"], master.address());
    master.kill();
    let (_, event) = live.until("writes are held");
    assert_eq!((&event["level"], &event["about"]), (&"error".into(), &"main".into()));
    let (_, state) = live.next("state");
    assert_eq!(state["groups"][0]["master"], serde_json::Value::Null, "told with it");
}

#[test]
fn who_comes_back_is_told_what_was_missed_and_nothing_twice() {
    let (mut master, endpoint) = started();
    let admin = endpoint.admin();
    let (id, _) = Stream::open(&admin, "/events", "", " 200 ").expect("a stream").until("writes are served");
    master.kill();
    eventually("Redan has noticed", || endpoint.said().contains("writes are held"));
    for (path, header) in
        [("/events".to_owned(), format!("Last-Event-ID: {id}\r\n")), (format!("/live?after={id}"), String::new())]
    {
        let (next, _) = Stream::open(&admin, &path, &header, " 200 ").expect("a stream").next("happened");
        let number = |id: &str| id.rsplit('-').next().and_then(|number| number.parse::<u64>().ok()).expect("a number");
        assert!(number(&next) > number(&id), "{next} after {id}");
    }
    // Ids of another run of the process say nothing here: all is told.
    let mut anew = Stream::open(&admin, "/events", "Last-Event-ID: 1-9999\r\n", " 200 ").expect("a stream");
    assert!(anew.next("happened").0.ends_with("-1"));
}

#[test]
fn so_many_may_look_and_who_leaves_gives_up_the_place() {
    let (_master, endpoint) = started();
    let admin = endpoint.admin();
    let open = |path: &str| Stream::open(&admin, path, "", " 200 ");
    let mut viewers: Vec<Stream> =
        (0..VIEWERS).map(|n| open(if n % 2 == 0 { "/live" } else { "/events" }).expect("a place")).collect();
    assert!(open("/live").is_none(), "one too many");
    let refused = answer(&admin, "GET /live HTTP/1.1\r\nHost: redan\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("close one of those pages"), "{refused}");
    assert!(endpoint.metrics().contains("redan_sessions"), "others are served all the same");
    // Nothing is written for who has gone: the place is free without any event.
    viewers.pop();
    eventually("the place is free", || open("/events").is_some());
}

#[test]
fn orders_need_the_token_wherever_they_come_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, token) = (folder.path().join("token"), "a-long-enough-token");
    std::fs::write(&file, format!("{token}\n")).expect("writable");
    let master = Redis::start();
    let nodes = [master.address()];
    let without = Endpoint::start(&nodes, "", "");
    let endpoint = Endpoint::start_process(&format!("admin_token_file = {file:?}"), &nodes, "", "");
    endpoint.wait_for_readable(1);
    let post = |endpoint: &Endpoint, head: &str, order: &str| {
        let length = order.len();
        let request = format!("POST /order HTTP/1.1\r\nHost: redan\r\nContent-Length: {length}\r\n{head}\r\n{order}");
        answer(&endpoint.admin(), &request)
    };
    let right = format!("Authorization: Bearer {token}\r\n");
    assert!(post(&without, &right, "PAUSE main").starts_with("HTTP/1.1 403"), "none is taken without a file");
    let begun = Instant::now();
    for head in [
        "",
        "Authorization: Bearer a-long-enough-tokem\r\n",
        "Authorization: a-long-enough-token\r\n",
        "Cookie: token=a-long-enough-token\r\n",
    ] {
        assert!(post(&endpoint, head, "PAUSE main").starts_with("HTTP/1.1 401"), "{head}");
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "guesses take time");
    assert!(endpoint.said().contains("its token is wrong") && !endpoint.said().contains(token), "{}", endpoint.said());
    assert!(answer(&endpoint.admin(), "GET /order HTTP/1.1\r\nHost: redan\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(
        answer(&endpoint.admin(), "OPTIONS /order HTTP/1.1\r\nHost: redan\r\nOrigin: http://x\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );

    for order in ["SHUTDOWN", "NODE x FLUSHALL", "", "LOG LEVEL off"] {
        let said = post(&endpoint, &right, order);
        assert!(said.starts_with("HTTP/1.1 400") && said.contains("PAUSE, RESUME"), "{order}: {said}");
    }
    let said = post(&endpoint, &right, "DRAIN 10.9.9.9:1");
    assert!(said.starts_with("HTTP/1.1 409"), "{said}");
    let said = post(&endpoint, &right, "PAUSE main");
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("is paused"), "{said}");
    let mut live = Stream::open(&endpoint.admin(), "/live", "", " 200 ").expect("a stream");
    assert!(live.next("state").1["groups"][0]["paused_seconds_left"].as_f64() > Some(1.0));
    let said = post(&endpoint, &right, "resume main");
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("goes on"), "{said}");
    assert_eq!(endpoint.client().ask(&["PING"]), "+PONG\r\n");
}

#[test]
fn the_operator_asks_for_events_in_words() {
    let (mut master, endpoint) = started();
    master.kill();
    eventually("Redan has noticed", || endpoint.said().contains("writes are held"));
    let events = |more: &[&str]| {
        let mut redan = std::process::Command::new(env!("CARGO_BIN_EXE_redan"));
        let output = redan.arg("events").args(more).arg("--config").arg(endpoint.file()).output().expect("redan runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let said = events(&[]);
    assert!(said.starts_with("time") && said.contains("  error  main   writes are held: the master "), "{said}");
    assert_eq!(events(&["1"]).lines().count(), 2, "its title, and one line");
    let listed: serde_json::Value = serde_json::from_str(&events(&["--json"])).expect("JSON");
    assert!(listed.as_array().is_some_and(|list| list.iter().any(|one| one["level"] == "error")), "{listed}");
}
