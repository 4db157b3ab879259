//! The dashboard in a real browser, its streams, and `redan top` in a terminal: what people see of a group whose master dies.
//!
//! `make test` installs Chromium, which a script drives; whatever it complains of is an error here.

mod streams;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/dashboard");

fn python(script: &str) -> Command {
    let mut python = Command::new("python3");
    python.arg(Path::new(SCRIPTS).join(script)).stderr(Stdio::inherit());
    python
}

fn text<'a>(line: &'a serde_json::Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_else(|| panic!("no text {name} in {line}"))
}

/// A script that tells what it sees, and waits for this side.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3, which `make test` installs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn sees(&mut self) -> serde_json::Value {
        let line = self.lines.next().expect("it goes on").expect("text");
        serde_json::from_str(&line).expect("JSON")
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("piped").write_all(b"\n").expect("it listens");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The script ends the browser when its input does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn group() -> [Redis; 3] {
    let master = Redis::start();
    let replicas = [(); 2].map(|()| Redis::options().replica_of(&master).start());
    replicas.iter().for_each(Redis::wait_for_link);
    let [first, second] = replicas;
    [master, first, second]
}

#[test]
fn the_page_follows_a_failover_in_a_browser() {
    let mut servers = group();
    let nodes: Vec<String> = servers.iter().map(Redis::address).collect();
    let endpoint = Endpoint::start(&nodes, "hold = \"5m\"\nconsistency = \"eventual\"", "");
    let traffic = traffic::begin(&endpoint.address());
    let mut command = python("watch.py");
    command.arg(endpoint.admin());
    let mut watcher = Watcher::start(command);

    let seen = watcher.sees();
    assert_eq!(text(&seen, "master"), nodes[0], "{seen}");
    assert!(text(&seen, "verdict").contains("Serving"), "{seen}");
    assert!(text(&seen, "hub").contains("app") && text(&seen, "hub").contains(&endpoint.address()), "{seen}");
    assert_eq!(seen["wide"], serde_json::json!([0, 0, 0]), "nothing stands out of the window");
    assert_ne!(seen["paper"][0], seen["paper"][1], "light and dark");
    assert_eq!(seen["replicas"], 2, "{seen}");

    servers[0].kill();
    watcher.go_on();
    let seen = watcher.sees();
    assert!(
        text(&seen, "alarm").contains("Writes to 'main' are held") && text(&seen, "title").starts_with('■'),
        "{seen}"
    );

    // Not before the page has seen that there is none, however slow this machine is.
    servers[1].replica_of(None);
    servers[2].replica_of(Some(&servers[1]));
    watcher.go_on();
    let seen = watcher.sees();
    assert_eq!(text(&seen, "master"), nodes[1], "{seen}");
    let moved = format!("the master moved from {} to {}", nodes[0], text(&seen, "master"));
    assert!(text(&seen, "events").contains(&moved), "{seen}");

    let seen = watcher.sees();
    for nothing in ["nameless", "complaints"] {
        assert_eq!(seen[nothing], serde_json::json!([]), "{nothing}: {seen}");
    }
    let own = format!("http://{}/", endpoint.admin());
    let asked = seen["asked"].as_array().expect("a list");
    assert!(asked.len() > 5 && asked.iter().all(|one| one.as_str().is_some_and(|one| one.starts_with(&own))), "{seen}");
    drop(traffic);
}

#[test]
fn buttons_promote_for_who_has_the_token_and_the_token_stays_in_the_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, token) = (folder.path().join("token"), "correct-horse-battery");
    std::fs::write(&file, token).expect("writable");
    let servers = group();
    let nodes: Vec<String> = servers.iter().map(Redis::address).collect();
    let endpoint = Endpoint::start_process(&format!("admin_token_file = {file:?}"), &nodes, "", "");
    endpoint.wait_for_readable(3);
    let output = python("press.py").args([&endpoint.admin(), token, &nodes[1]]).output().expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(seen["buttons"], 0, "none before: {seen}");
    assert_eq!(seen["stored"], "[0,0,\"\"]", "{seen}");
    assert_eq!(seen["complaints"], serde_json::json!([]), "{seen}");
    eventually("the node is the master", || servers[1].info("role").as_deref() == Some("master"));
    assert!(endpoint.said().contains("ordered over HTTP: PROMOTE"), "the log has it");
}

/// Clients that read and write for as long as they live.
mod traffic {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use crate::support::client::Client;

    pub(super) struct Traffic(Arc<AtomicBool>, Vec<JoinHandle<()>>);

    impl Drop for Traffic {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
            for thread in self.1.drain(..) {
                let _ = thread.join();
            }
        }
    }

    pub(super) fn begin(address: &str) -> Traffic {
        let ends: Arc<AtomicBool> = Arc::default();
        let client = |number: usize| {
            let (ends, mut client) = (Arc::clone(&ends), Client::connect(address));
            std::thread::spawn(move || {
                while !ends.load(Relaxed) {
                    client.ok(&["SET", &format!("key{number}"), "value"]);
                    for _ in 0..4 {
                        let _ = client.ask(&["GET", "key0"]);
                        std::thread::sleep(Duration::from_millis(5 + number as u64));
                    }
                }
            })
        };
        let threads = (0..12).map(client).collect();
        Traffic(ends, threads)
    }
}

/// How `redan top` ends at the end of a terminal.
fn top(endpoint: &Endpoint, end: &str) -> serde_json::Value {
    let mut script = python("terminal.py");
    script.args([end, env!("CARGO_BIN_EXE_redan"), "top", "--admin", &endpoint.admin()]);
    let output = script.output().expect("python3");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn top_shows_the_group_and_leaves_the_terminal_as_it_was() {
    let servers = group();
    let nodes: Vec<String> = servers.iter().map(Redis::address).collect();
    let endpoint = Endpoint::start(&nodes, "", "");
    for end in ["q", "\\x03", "SIGTERM", "SIGHUP"] {
        let seen = top(&endpoint, end);
        let shown = text(&seen, "shown");
        assert!(nodes.iter().all(|node| shown.contains(node.as_str())), "{end}: {shown}");
        assert_eq!(seen["code"], 0, "{end}: {seen}");
        for yes in ["raw", "restored", "left", "cursor"] {
            assert_eq!(seen[yes], true, "{end}: {yes}: {seen}");
        }
    }
}

#[test]
fn top_says_plainly_that_nobody_is_there() {
    let output = Command::new(env!("CARGO_BIN_EXE_redan"))
        .args(["top", "--admin", "http://127.0.0.1:1/"])
        .output()
        .expect("redan");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.starts_with("the Redan at 127.0.0.1:1 cannot be watched: ") && said.contains("refused"), "{said}");
    assert!(output.stdout.is_empty(), "the terminal was not touched");
}
