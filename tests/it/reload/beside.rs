//! Reloads beside what else an operator does: upgrades, orders, looking at single commands.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::traffic::Traffic;
use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::operator::{done, refused};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, eventually, free_port};
use crate::upgrade::upgrade;

#[test]
fn an_upgrade_hands_on_what_a_reload_has_bound_and_nothing_that_is_gone() {
    let redis = Redis::start();
    let proxy = Proxy::start(&format!(
        "[redan]\nadmin = \"127.0.0.1:0\"\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"old\"\nbind = \"127.0.0.1:0\"\n\
         [[group]]\nname = \"main\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n",
        redis.address()
    ));
    let (app, old) = (proxy.address(1), proxy.address(2));
    let new = format!("127.0.0.1:{}", free_port());
    let traffic = Traffic::start(&app, 2);
    let config = proxy.config();
    // One moves, one has another name from now on.
    let (moved, renamed) = (config.replace(&old, &new), config.replace("\"app\"", "\"web\""));
    let said = proxy.reload(&moved);
    assert!(said.contains("the configuration is in use"), "{said}");
    assert!(TcpStream::connect(&old).is_err(), "nobody listens where nobody accepts");
    Client::connect(&new).ok(&["SET", "by", "new"]);
    upgrade(&proxy);
    Client::connect(&new).ok(&["SET", "by", "new"]);
    assert!(TcpStream::connect(&old).is_err());
    traffic.goes_on();

    let said = proxy.reload(&renamed);
    assert!(said.contains("the configuration is in use"), "{said}");
    assert!(TcpStream::connect(&new).is_err());
    Client::connect(&old).ok(&["SET", "by", "old"]);
    upgrade(&proxy);
    Client::connect(&app).ok(&["SET", "by", "web"]);
    Client::connect(&old).ok(&["SET", "by", "old"]);
    let said = proxy.said();
    assert!(!said.contains("closed a socket that was given to this process"), "{said}");
}

#[test]
fn what_is_kept_of_single_commands_changes_for_all_workers() {
    let redis = Redis::start();
    let endpoint = Endpoint::of_two_workers(&[&redis], "");
    let mut clients = [endpoint.client(), endpoint.client()];
    clients[0].ok(&["SET", "large", &"x".repeat(2000)]);
    assert!(done(&endpoint, &["bigreplies"]).contains("no reply had"));
    assert!(refused(&endpoint, &["hotkeys"]).contains("keys are not counted"));
    let said =
        endpoint.change("workers = 2", "workers = 2\nbig_reply = \"1kb\"\nhot_keys = \"on\"\ntrace_sample = 1.0");
    assert!(said.contains("[redan]: hot_keys (unset) → on"), "{said}");
    for client in &mut clients {
        for _ in 0..500 {
            assert!(client.text(&["GET", "large"]).is_some());
        }
    }
    let told = done(&endpoint, &["bigreplies"]);
    assert!(told.contains("large"), "{told}");
    let told = done(&endpoint, &["hotkeys"]);
    assert!(told.contains("large"), "{told}");
    assert!(endpoint.said().contains("redan::trace"), "commands are told of one by one");
    endpoint.change("hot_keys = \"on\"\ntrace_sample = 1.0", "hot_keys = \"off\"");
    assert!(refused(&endpoint, &["hotkeys"]).contains("keys are not counted"));
}

#[test]
fn orders_know_what_is_configured_now() {
    let (one, two) = (Redis::start(), Redis::start());
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token-of-many-letters\n").expect("writable");
    let endpoint = Endpoint::of(&[&one], "group = \"main\"");
    let ping = || {
        let mut stream = TcpStream::connect(endpoint.admin()).expect("the admin endpoint");
        let head =
            "POST /order HTTP/1.0\r\nAuthorization: Bearer a-token-of-many-letters\r\nContent-Length: 4\r\n\r\nPING";
        stream.write_all(head.as_bytes()).expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    assert!(ping().contains("`admin_token_file` is not set"));
    let second = format!("[[group]]\nname = \"second\"\nnodes = [\"{}\"]\nprobe_interval = \"100ms\"\n", two.address());
    endpoint.reload(&(endpoint.config() + &second));
    endpoint.change("workers = 1", &format!("workers = 1\nadmin_token_file = {token:?}"));
    assert!(ping().ends_with("PONG\n"));
    eventually("the new group has its master", || done(&endpoint, &["groups"]).contains(&two.address()));
    assert!(done(&endpoint, &["node", &two.address(), "SET", "k", "v"]).contains("OK"));
    assert!(done(&endpoint, &["config", "token"]).contains("new connections"));
    assert!(done(&endpoint, &["pause", "second", "--for", "30s"]).contains("group 'second' is paused"));
    assert!(done(&endpoint, &["resume", "second"]).contains("goes on"));
    endpoint.change(&second, "");
    let groups = done(&endpoint, &["groups"]);
    assert!(groups.contains("main") && !groups.contains("second"), "{groups}");
    assert!(!endpoint.metrics().contains("group=\"second\""));
}
