//! `max_memory`: what buffers of clients hold is counted, bounded by bytes and not by time, and given back.

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::client::{Client, command};
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

const MIB: f64 = 1024.0 * 1024.0;

/// A client whose kernel keeps next to nothing of what it does not read.
fn without_buffer(endpoint: &Endpoint) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address: SocketAddr = endpoint.address().parse().expect("an address");
    socket.connect(&address.into()).expect("it listens");
    socket.into()
}

fn ask(stream: &TcpStream, words: &[&str], times: usize) {
    use std::io::Write;
    let mut stream = stream;
    stream.write_all(&command(words).repeat(times)).expect("the connection takes it");
}

fn closed(endpoint: &Endpoint) -> f64 {
    endpoint.metric("redan_memory_clients_closed_total")
}

/// What belongs to clients alone; shared connections keep their buffers for the next.
fn of_clients(endpoint: &Endpoint) -> f64 {
    let kind = |kind: &str| endpoint.metric(&format!("redan_memory_bytes{{kind=\"{kind}\"}}"));
    ["input", "output", "stash", "pins"].map(kind).iter().sum()
}

/// Many clients ask for a large value at once and take none of it: each may hold a mebibyte, all together must not.
#[test]
fn many_clients_that_take_no_reply_hold_no_more_than_the_bound() {
    let redis = Redis::start();
    redis.ok(&["SET", "small", "value"]);
    let setup = Client::connect(&redis.address());
    let mut setup = setup;
    setup.ok(&["SET", "big", &"x".repeat(8 << 20)]);
    for workers in [1, 2] {
        let process = format!("workers = {workers}\nmax_memory = \"16mb\"");
        let endpoint = Endpoint::start_process(&process, &[redis.address()], "", "");
        endpoint.wait_for_readable(1);
        let before = endpoint.peak_memory();
        let mut beside = endpoint.client();
        let mut greedy = Vec::new();
        let mut most: f64 = 0.0;
        for number in 0..60 {
            let client = without_buffer(&endpoint);
            ask(&client, &["GET", "big"], 1);
            greedy.push(client);
            if number % 5 == 0 {
                assert_eq!(beside.text(&["GET", "small"]).as_deref(), Some("value"));
                most = most.max(endpoint.held_memory());
            }
        }
        eventually("some were closed", || {
            most = most.max(endpoint.held_memory());
            closed(&endpoint) >= 20.0
        });
        // The bound, an eighth more for what no other thread is waited for, and one large step.
        assert!(most < 19.0 * MIB, "{} MiB were held with {workers} workers", most / MIB);
        let grown = (endpoint.peak_memory() - before) as f64;
        // The rest is what the allocator does not give back and the runtime's own for 60 connections.
        assert!(grown < 40.0 * MIB, "{} MiB more were resident with {workers} workers", grown / MIB);
        let said = endpoint.said();
        assert!(said.contains("the largest: it held"), "{said}");
        // One line a second, however many.
        assert!((said.matches("the largest: it held").count() as f64) < closed(&endpoint), "{said}");
        assert_eq!(beside.text(&["GET", "small"]).as_deref(), Some("value"));
        drop(greedy);
        eventually("their memory is given back", || of_clients(&endpoint) == 0.0);
        assert_eq!(beside.text(&["GET", "small"]).as_deref(), Some("value"));
    }
}

/// Who holds most goes first; who holds little stays.
#[test]
fn the_largest_client_is_closed_and_the_others_stay() {
    let redis = Redis::start();
    redis.ok(&["SET", "value", &"x".repeat(20_000)]);
    let process = "workers = 2\nmax_memory = \"12mb\"";
    let endpoint = Endpoint::start_process(process, &[redis.address()], "", "");
    endpoint.wait_for_readable(1);
    // 200 KB of half a command each, on both workers.
    let modest: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = endpoint.client();
            client.raw(&[&b"*2\r\n$4\r\nECHO\r\n$200000\r\n"[..], &[b'x'; 199_000]].concat());
            client
        })
        .collect();
    eventually("their commands have come", || endpoint.metric("redan_memory_bytes{kind=\"input\"}") > 1.5 * MIB);
    let greedy = without_buffer(&endpoint);
    // 20 MB of small replies, all asked for at once.
    ask(&greedy, &["GET", "value"], 1000);
    eventually("it is closed", || closed(&endpoint) == 1.0 && endpoint.metric("redan_sessions") == 8.0);
    for mut client in modest {
        client.raw(&[&[b'x'; 1_000][..], b"\r\n"].concat());
        assert_eq!(client.reply_bytes().len(), 200_000 + "$200000\r\n\r\n".len());
    }
    assert_eq!(closed(&endpoint), 1.0);
}

/// Half commands, transactions and what waits for a master count like replies.
#[test]
fn what_clients_send_is_counted_and_given_back() {
    let redis = Redis::start();
    let endpoint = Endpoint::start_process("workers = 1", &[redis.address()], "", "");
    endpoint.wait_for_readable(1);
    let kind = |kind: &str| endpoint.metric(&format!("redan_memory_bytes{{kind=\"{kind}\"}}"));
    assert_eq!(of_clients(&endpoint), 0.0);
    let mut half = endpoint.client();
    half.raw(&[&b"*2\r\n$4\r\nECHO\r\n$100000\r\n"[..], &[b'x'; 90_000]].concat());
    eventually("half a command is counted", || kind("input") >= 90_000.0);
    let mut open = endpoint.client();
    open.ok(&["MULTI"]);
    assert_eq!(open.ask(&["SET", "k", &"x".repeat(50_000)]), "+QUEUED\r\n");
    eventually("what may be sent again is counted", || kind("pins") >= 50_000.0);
    drop((half, open));
    eventually("both are given back", || of_clients(&endpoint) == 0.0);
}

/// What no client can be closed for, connections to nodes in this case: then there shall be no more clients.
#[test]
fn new_clients_are_refused_while_memory_is_used_up() {
    let redis = Redis::options().line("databases 64").start();
    let endpoint = Endpoint::start_process("workers = 1\nmax_memory = \"4mb\"", &[redis.address()], "", "");
    endpoint.wait_for_readable(1);
    let mut client = endpoint.client();
    for db in 0..40 {
        client.ok(&["SELECT", &db.to_string()]);
        assert_eq!(client.text(&["GET", "k"]), None);
    }
    assert!(endpoint.held_memory() > 4.0 * MIB);
    let refused = endpoint.client().rest();
    assert_eq!(refused, "-ERR Redan's clients hold all of its max_memory: connect again later\r\n");
    assert!(endpoint.metric("redan_sessions_rejected_total") >= 1.0);
    // Who is there already is served.
    client.ok(&["SET", "k", "v"]);
}
