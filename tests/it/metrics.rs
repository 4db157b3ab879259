//! The admin endpoint of a running Redan: metrics that Prometheus's own parsers accept, health and readiness in every
//! state.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::clients::installed;
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::{DEADLINE, Redis, eventually};

const STRICT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/metrics/strict.py");

fn proxy(node: &Redis) -> Proxy {
    Proxy::start(&format!(
        "[redan]\nadmin = \"127.0.0.1:0\"\nshutdown_timeout = \"1h\"\n\
         [[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n\
         [[group]]\nname = \"main\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n",
        node.address()
    ))
}

/// Status and body.
fn get(proxy: &Proxy, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(proxy.address(0)).expect("the admin endpoint");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).expect("writable");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

#[test]
fn strict_parsers_accept_the_metrics_in_both_formats() {
    let a = Redis::start();
    let b = Redis::options().replica_of(&a).start();
    b.wait_for_link();
    let proxy = proxy(&a);
    eventually("both nodes serve", || get(&proxy, "/metrics").1.matches("redan_node_readable{").count() == 2);
    Client::connect(&proxy.address(1)).ok(&["SET", "key", "value"]);
    let mut command = Command::new(installed("venv/bin/python"));
    let output = command.arg(STRICT).arg(proxy.address(0)).stdin(Stdio::null()).output().expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("everything as it should be"), "{said}");
}

#[test]
fn readiness_follows_the_master_and_the_end_and_health_neither() {
    let mut a = Redis::start();
    let mut proxy = proxy(&a);
    eventually("ready with a master", || get(&proxy, "/readyz") == (200, "ok\n".to_owned()));
    a.kill();
    eventually("not ready without one", || get(&proxy, "/readyz").0 == 503);
    let (_, body) = get(&proxy, "/readyz");
    assert!(body.starts_with("group 'main' has no master: ") && body.contains("refused"), "{body}");
    assert_eq!(get(&proxy, "/healthz"), (200, "ok\n".to_owned()), "a restart of Redan would not help");
    a.restart();
    eventually("ready again", || get(&proxy, "/readyz").0 == 200);

    // Something in flight keeps it draining for as long as the test looks.
    let mut client = Client::connect(&proxy.address(1));
    client.send(&["BLPOP", "nothing", "0"]);
    eventually("the client blocks", || a.info("blocked_clients").as_deref() == Some("1"));
    proxy.signal("TERM");
    eventually("draining is not ready", || get(&proxy, "/readyz").0 == 503);
    assert_eq!(get(&proxy, "/readyz").1, "Redan is shutting down and takes no new clients\n");
    assert_eq!(get(&proxy, "/healthz").0, 200);
    assert!(get(&proxy, "/metrics").1.contains("\nredan_sessions 1\n"));
    a.ok(&["RPUSH", "nothing", "value"]);
    assert_eq!(client.reply(), "*2\r\n$7\r\nnothing\r\n$5\r\nvalue\r\n");
    assert_eq!(proxy.exit_code(), Some(0));
}
