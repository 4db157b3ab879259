//! Links from end to end: data through them, whom they refuse and what they say of it, and networks that break.

mod breaks;
mod channels;
mod guards;
mod linked;
mod ends;
mod hostile;
mod peer;
mod policy;
mod renewal;
mod compression;
mod bypass;
mod hosts;
mod migration;
mod nodes;
mod parting;
mod strangers;
mod stunnel;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::support::client::Client;
use crate::support::link::{Keys, keygen};
use crate::support::proxy::Proxy;
use crate::support::redis::{DEADLINE, Redis, eventually};

/// Reproducible bytes that do not repeat for long.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

/// Reads to the end, says the same backwards, ends.
fn mirror(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut heard = Vec::new();
                if stream.read_to_end(&mut heard).is_ok() {
                    heard.reverse();
                    let _ = stream.write_all(&heard);
                }
            });
        }
    });
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

#[test]
fn keygen_makes_a_key_once_and_prints_its_line_as_often_as_asked() {
    let keys = Keys::make();
    let again = keygen(&[&keys.entry.file]);
    assert_eq!(again.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&again.stderr).contains("never overwritten"), "{again:?}");
    let line = |output: std::process::Output| String::from_utf8(output.stdout).expect("text").trim().to_owned();
    assert_eq!(line(keygen(&["--public", &keys.entry.file])), keys.entry.line);
    let pem = line(keygen(&["--certificate", &keys.entry.file]));
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let shown = format!("{}.pem", keys.entry.file);
    std::fs::write(&shown, pem).expect("writable");
    assert_eq!(line(keygen(&["--public", &shown])), keys.entry.line);
    assert_ne!(keys.entry.line, keys.exit.line);
}

#[test]
fn bytes_and_half_closes_pass_in_both_directions() {
    let (target, address) = listener();
    mirror(target);
    let keys = Keys::make();
    let (entry, _exit) = keys.pair(&address, "", "");
    let clients: Vec<_> = (0..8_u64)
        .map(|seed| {
            let at = entry.address(0);
            thread::spawn(move || {
                let said = bytes(3_000_000 * (seed as usize % 3) + 17, seed);
                let mut stream = connect(&at);
                stream.write_all(&said).expect("taken");
                stream.shutdown(Shutdown::Write).expect("open");
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).expect("an answer and its end");
                heard.reverse();
                assert!(heard == said, "connection {seed}: {} bytes came back of {}", heard.len(), said.len());
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("it got its bytes back"));
}

#[test]
fn one_process_carries_several_links_beside_listeners_and_services_have_names() {
    let (one, two) = (Redis::start(), Redis::start());
    let keys = Keys::make();
    let services = format!("services = {{ main = \"{}\", other = \"{}\" }}", one.address(), two.address());
    let exit = Proxy::start(&keys.exit_to("", "127.0.0.1:0", &services));
    let mut toml = keys.entry_to(&exit.address(0), "127.0.0.1:0", "");
    toml += &keys.entry_to(&exit.address(0), "127.0.0.1:0", "service = \"other\"").replace("there", "other");
    toml += &keys.entry_to(&exit.address(0), "127.0.0.1:0", "service = \"none\"").replace("there", "none");
    toml += &format!(
        "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:0\"\n[[group]]\nname = \"main\"\nnodes = [\"{}\"]\n",
        one.address()
    );
    let entry = Proxy::start(&toml);
    Client::connect(&entry.address(0)).ok(&["SET", "which", "one"]);
    Client::connect(&entry.address(1)).ok(&["SET", "which", "two"]);
    assert_eq!(Client::connect(&entry.address(3)).text(&["GET", "which"]).as_deref(), Some("one"));
    assert!(two.command(&["GET", "which"]).contains("two"));
    let mut refused = connect(&entry.address(2));
    assert!(refused.read(&mut [0]).is_err(), "it is reset and not ended");
    eventually("the entry says why", || entry.said().contains("the exit has no service 'none', it has main, other"));
    eventually("the exit says so too", || exit.said().contains("is refused: the exit has no service 'none'"));
}

#[test]
fn a_service_with_several_targets_is_served_by_the_first_that_can_be_reached() {
    let (mut one, two) = (Redis::start(), Redis::start());
    one.ok(&["SET", "which", "one"]);
    two.ok(&["SET", "which", "two"]);
    let keys = Keys::make();
    let services = format!("services = {{ main = [\"{}\", \"{}\"] }}", one.address(), two.address());
    let exit = Proxy::start(&keys.exit_to("", "127.0.0.1:0", &services));
    let entry = Proxy::start(&keys.entry_to(&exit.address(0), "127.0.0.1:0", ""));
    let mut before = Client::connect(&entry.address(0));
    assert_eq!(before.text(&["GET", "which"]).as_deref(), Some("one"));
    one.kill();
    assert_eq!(Client::connect(&entry.address(0)).text(&["GET", "which"]).as_deref(), Some("two"));
    one.restart();
    one.ok(&["SET", "which", "one"]);
    assert_eq!(Client::connect(&entry.address(0)).text(&["GET", "which"]).as_deref(), Some("one"));
}

#[test]
fn unix_sockets_at_both_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (target, local) = (folder.path().join("redis.sock"), folder.path().join("link.sock"));
    let redis = Redis::options().line(&format!("unixsocket {}", target.display())).start();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&format!("unix:{}", target.display()), "127.0.0.1:0", ""));
    let at = format!("unix:{}", local.display());
    let _entry = Proxy::start(&keys.entry_to(&exit.address(0), &at, ""));
    eventually("the socket is there", || local.exists());
    let mut stream = std::os::unix::net::UnixStream::connect(&local).expect("it listens");
    stream.write_all(b"SET through unix\r\n").expect("taken");
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+OK\r\n");
    assert!(redis.command(&["GET", "through"]).contains("unix"));
}

#[test]
fn what_cannot_be_carried_on_is_reset_at_once_and_explained() {
    let keys = Keys::make();
    let (closed, nowhere) = listener();
    drop(closed);
    // The target is down.
    let (entry, exit) = keys.pair(&nowhere, "", "");
    assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset and not ended");
    eventually("both ends say why", || {
        let why = format!("{nowhere} refused the connection: nothing listens there");
        entry.said().contains(&why) && exit.said().contains(&why)
    });
    // The other end is down.
    let entry = Proxy::start(&keys.entry_to(&nowhere, "127.0.0.1:0", ""));
    assert!(connect(&entry.address(0)).read(&mut [0]).is_err(), "it is reset and not ended");
    eventually("the entry says why", || entry.said().contains(&format!("{nowhere} refused the connection")));
}

/// The connection behind which a program stands that has said a byte: waiting for the entry to listen made others.
fn served(target: &TcpListener) -> TcpStream {
    loop {
        let (mut stream, _) = target.accept().expect("the exit connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        if matches!(stream.read(&mut [0]), Ok(1)) {
            return stream;
        }
    }
}

#[test]
fn a_broken_connection_of_one_side_is_reset_at_the_other_and_a_restart_is_told() {
    let (target, address) = listener();
    let keys = Keys::make();
    let (entry, mut exit) = keys.pair(&address, "", "");
    let mut program = connect(&entry.address(0));
    program.write_all(b"x").expect("taken");
    let there = served(&target);
    socket2::SockRef::from(&there).set_linger(Some(std::time::Duration::ZERO)).expect("linger");
    drop(there);
    assert!(program.read(&mut [0]).is_err(), "it is reset and not ended");

    let mut program = connect(&entry.address(0));
    program.write_all(b"x").expect("taken");
    let _there = served(&target);
    exit.signal("TERM");
    assert!(program.read(&mut [0]).is_err(), "it is reset and does not wait to be resumed");
    assert_eq!(exit.exit_code(), Some(0));
    eventually("the entry says why", || entry.said().contains("the Redan at the other end is ending"));
}

#[test]
fn a_replica_is_known_by_its_announced_address_and_syncs_are_counted() {
    let master = Redis::start();
    let keys = Keys::make();
    let exit = Proxy::start(&keys.exit_to(&master.address(), "127.0.0.1:0", ""));
    let link = keys.entry_to(&exit.address(0), "127.0.0.1:0", "announce = \"10.9.8.7:7777\"");
    let entry = Proxy::start(&format!("[redan]\nadmin = \"127.0.0.1:0\"\n{link}"));
    let port = entry.address(1).replace("127.0.0.1:", "");
    let replica = Redis::options().line(&format!("replicaof 127.0.0.1 {port}")).start();
    replica.wait_for_link();
    master.ok(&["SET", "key", "value"]);
    eventually("the replica has it", || replica.command(&["GET", "key"]).contains("value"));
    let info = master.command(&["INFO", "replication"]);
    assert!(info.contains("ip=10.9.8.7,port=7777,state=online"), "{info}");
    let mut stream = connect(&entry.address(0));
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n").expect("taken");
    let metrics = std::io::read_to_string(stream).expect("an answer");
    for series in [
        "redan_link_syncs_total{link=\"there\",kind=\"full\"} 1\n",
        "redan_link_connections{link=\"there\"} 1\n",
        "redan_link_losses_total{link=\"there\"} 0\n",
    ] {
        assert!(metrics.contains(series), "{series}\n{metrics}");
    }
}
