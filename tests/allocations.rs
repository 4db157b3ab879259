//! In steady state a forwarded command allocates nothing, in the whole process.
//!
//! A binary of its own with one test, because the counting allocator counts every thread's allocations.

#[allow(dead_code, reason = "shared with the other tests, which need the other parts")]
#[path = "it/support/mod.rs"]
mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::client::{Client, command};
use support::redis::{Redis, eventually, free_port};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests that are counted, and what they may allocate together: timers, ticks of a second and the like.
const REQUESTS: usize = 20_000;
const ALLOWED: usize = 200;

/// Sends `request` and reads its reply, `times` times, without allocating.
fn exchange(stream: &mut TcpStream, request: &[u8], reply: &[u8], times: usize) {
    let mut buf = [0; 4096];
    for _ in 0..times {
        stream.write_all(request).expect("the connection takes it");
        let found = &mut buf[..reply.len()];
        stream.read_exact(found).expect("a reply");
        assert!(found == reply, "another reply");
    }
}

fn serve(master: &Redis, replica: &Redis) -> String {
    let port = free_port();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("proxy.toml");
    // Probes allocate, and are no part of what is counted.
    let toml = format!(
        "[redan]\nworkers = 1\nlog = {{ level = \"error\" }}\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:{port}\"\n\
         [[group]]\nname = \"main\"\nnodes = [{:?}, {:?}]\nprobe_interval = \"1m\"\n",
        master.address(),
        replica.address()
    );
    std::fs::write(&file, toml).expect("writable");
    // It serves until the process ends.
    thread::spawn(move || redan::testing::run(&file));
    let address = format!("127.0.0.1:{port}");
    eventually("Redan listens", || TcpStream::connect(&address).is_ok());
    drop(folder);
    address
}

#[test]
fn a_forwarded_command_allocates_nothing() {
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    master.ok(&["SET", "k", "value"]);
    eventually("the replica has it", || replica.command(&["GET", "k"]).contains("value"));
    let address = serve(&master, &replica);
    let get = command(&["GET", "k"]);
    let set = command(&["SET", "k", "value"]);
    let ping = command(&["PING"]);
    let table: [(&str, Vec<u8>, &[u8], usize); 5] = [
        ("GET from a replica", get.clone(), b"$5\r\nvalue\r\n", 1),
        ("PING", ping.clone(), b"+PONG\r\n", 1),
        ("GET in pipelines", get.repeat(16), b"$5\r\nvalue\r\n", 16),
        ("SET", set.clone(), b"+OK\r\n", 1),
        ("SET in pipelines", set.repeat(16), b"+OK\r\n", 16),
    ];
    for (what, request, reply, depth) in table {
        let mut client = Client::connect(&address);
        client.raw(&get);
        assert_eq!(client.reply_bytes(), b"$5\r\nvalue\r\n");
        let mut stream = client.stream().try_clone().expect("another handle");
        let reply = reply.repeat(depth);
        // Buffers grow to what is needed.
        exchange(&mut stream, &request, &reply, 2000);
        let region = Region::new(COUNTED);
        exchange(&mut stream, &request, &reply, REQUESTS / depth);
        let change = region.change();
        let count = change.allocations + change.reallocations;
        assert!(count < ALLOWED, "{what}: {count} allocations for {REQUESTS} commands: {change:?}");
    }
    // The first row was what it says.
    let stats = replica.command(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")?.split(',').next());
    let calls: usize = calls.expect("it served GET").parse().expect("a number");
    assert!(calls >= REQUESTS, "the replica served only {calls} of the reads");
}
