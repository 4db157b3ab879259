//! Our records against our own and against the TLS library's, which is the oracle of what TLS 1.3 says.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig, ServerConnection};

use super::super::records::Handshake;
use super::*;
use crate::identity::Identity;
use crate::tls::{identity, pinned};

/// One end, before and after the handshake.
struct Side {
    handshake: Option<Handshake>,
    traffic: Option<Traffic>,
    /// What came and was not consumed.
    cipher: Vec<u8>,
    heard: Vec<u8>,
    ended: bool,
    out: Outgoing,
}

impl Side {
    fn new(handshake: Handshake) -> Self {
        Self {
            handshake: Some(handshake),
            traffic: None,
            cipher: Vec::new(),
            heard: Vec::new(),
            ended: false,
            out: Outgoing::default(),
        }
    }

    /// Moves up to so many bytes.
    fn send(&mut self, other: &mut Self, most: usize) -> usize {
        let bytes = most.min(self.out.waiting().len());
        other.cipher.extend_from_slice(&self.out.waiting()[..bytes]);
        self.out.sent(bytes);
        bytes
    }

    fn shake(&mut self) -> io::Result<()> {
        let Some(handshake) = &mut self.handshake else { return Ok(()) };
        let (consumed, done) = handshake.go_on(&mut self.cipher, &mut self.heard, &mut self.out);
        self.cipher.drain(..consumed);
        if done? {
            let handshake = self.handshake.take().expect("it was there");
            assert!(pinned::proven(handshake.peer().0).is_some() && handshake.peer().1 == Some(pinned::ALPN));
            self.traffic = Some(handshake.into_traffic()?);
        }
        Ok(())
    }

    fn say(&mut self, plain: &[u8]) {
        self.traffic.as_mut().expect("shaken").seal(plain, &mut self.out).expect("sealed");
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut runs = Vec::new();
        let opened = self.traffic.as_mut().expect("shaken").open(&mut self.cipher, &mut runs)?;
        let before = self.heard.len();
        for run in runs {
            self.heard.extend_from_slice(&self.cipher[run]);
        }
        assert_eq!(self.heard.len() - before, opened.plain);
        self.cipher.drain(..opened.consumed);
        self.ended |= opened.ended;
        Ok(())
    }
}

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// Of both ends, each of which trusts who it is told to.
fn configs(client_trusts: impl Fn([Identity; 2]) -> Identity) -> Configs {
    let folder = tempfile::tempdir().expect("a folder");
    let own = ["client", "server"].map(|name| {
        let file = folder.path().join(name);
        identity::generate(&file).expect("a key");
        identity::load(&file).expect("a key")
    });
    let ids = [own[0].identity, own[1].identity];
    let client = pinned::client_config(&own[0], &[client_trusts(ids)], true).expect("a client");
    let server = pinned::server_config(&own[1], &[ids[0]], true).expect("a server");
    (client, server)
}

fn client(config: Arc<ClientConfig>) -> Side {
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    Side::new(Handshake::Client(Box::new(UnbufferedClientConnection::new(config, name).expect("a client"))))
}

fn server(config: Arc<ServerConfig>) -> Side {
    Side::new(Handshake::Server(Box::new(UnbufferedServerConnection::new(config).expect("a server"))))
}

fn shaken(piece: usize) -> (Side, Side) {
    let (of_client, of_server) = configs(|[_, server]| server);
    let (mut client, mut server) = (client(of_client), server(of_server));
    while client.traffic.is_none() || server.traffic.is_none() {
        client.shake().expect("a handshake");
        client.send(&mut server, piece);
        server.shake().expect("a handshake");
        server.send(&mut client, piece);
    }
    (client, server)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn bytes_pass_both_ways_however_they_are_cut_and_keys_change_on_the_way() {
    for piece in [1, 7, 1000, 100_000] {
        let (mut client, mut server) = shaken(piece);
        for side in [&mut client, &mut server] {
            side.traffic.as_mut().expect("shaken").key_lasts = 3;
        }
        let said = bytes(100_000);
        for _ in 0..2 {
            std::mem::swap(&mut client, &mut server);
            let (from, to) = (&mut client, &mut server);
            from.say(&said[..1]);
            from.say(&said[1..]);
            while from.send(to, piece) > 0 {
                to.hear().expect("authentic");
            }
            assert!(to.heard == said && to.cipher.is_empty() && !to.ended, "pieces of {piece}");
            assert!(from.traffic.as_ref().expect("shaken").sends.sequence <= 3);
        }
        client.traffic.as_mut().expect("shaken").goodbye(&mut client.out).expect("sealed");
        while client.send(&mut server, piece) > 0 {
            server.hear().expect("authentic");
        }
        assert!(server.ended);
    }
}

#[test]
fn data_that_comes_with_the_end_of_the_handshake_is_kept() {
    let (of_client, of_server) = configs(|[_, server]| server);
    let (mut client, mut server) = (client(of_client), server(of_server));
    while client.traffic.is_none() {
        client.shake().expect("a handshake");
        if client.traffic.is_none() {
            client.send(&mut server, usize::MAX);
            server.shake().expect("a handshake");
            server.send(&mut client, usize::MAX);
        }
    }
    let said = bytes(20_000);
    client.say(&said);
    // All of the handshake, the first record and half of the second one at once.
    client.send(&mut server, client.out.waiting().len() - 2000);
    server.shake().expect("a handshake");
    client.send(&mut server, usize::MAX);
    server.hear().expect("authentic");
    assert!(server.heard == said);
}

#[test]
fn whoever_is_not_pinned_is_told() {
    let (of_client, of_server) = configs(|[client, _]| client);
    let (mut client, mut server) = (client(of_client), server(of_server));
    client.shake().expect("begun");
    client.send(&mut server, usize::MAX);
    server.shake().expect("answered");
    server.send(&mut client, usize::MAX);
    let refused = client.shake().expect_err("another key");
    assert!(pinned::trouble(&refused).contains("which is not in `peers`"), "{refused}");
    assert!(client.send(&mut server, usize::MAX) > 0, "an alert");
    let told = server.shake().expect_err("an alert");
    assert!(pinned::trouble(&told).contains("it refuses our identity"), "{told}");
}

#[test]
fn a_bit_that_changed_on_its_way_is_found_and_no_record_counts_twice() {
    let (mut from, mut to) = shaken(usize::MAX);
    from.say(b"one");
    let first = from.out.waiting().to_vec();
    from.out.sent(first.len());
    // The type, the length and any bit of the rest; a longer record is one that has not come as a whole.
    for at in (0..first.len()).filter(|at| *at != 3) {
        for bit in 0..8 {
            let mut changed = first.clone();
            changed[at] ^= 1 << bit;
            let receives = &mut to.traffic.as_mut().expect("shaken").receives;
            let sequence = receives.sequence;
            let (mut runs, mut rest) = (Vec::new(), changed.clone());
            // Enough behind it, should it have become longer.
            rest.resize(400, 0);
            let opened = to.traffic.as_mut().expect("shaken").open(&mut rest, &mut runs);
            assert!(opened.is_err() && runs.is_empty(), "byte {at}, bit {bit}");
            to.traffic.as_mut().expect("shaken").receives.sequence = sequence;
        }
    }
    let twice = [&first[..], &first].concat();
    to.cipher = twice;
    assert!(to.hear().is_err());
}

#[test]
fn what_has_no_place_after_a_handshake_is_refused() {
    for (kind, plain) in [
        (ALERT, &[2, 40][..]),
        (ALERT, &[1]),
        (HANDSHAKE, &[4, 0, 0, 0]),
        (HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 2]),
        (HANDSHAKE, &[KEY_UPDATE, 0, 0]),
        (HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE]),
        (20, &[1]),
        (0, &[]),
        (99, b"x"),
    ] {
        let (mut from, mut to) = shaken(usize::MAX);
        from.traffic.as_mut().expect("shaken").record(kind, plain, &mut from.out).expect("sealed");
        from.send(&mut to, usize::MAX);
        assert!(to.hear().is_err(), "kind {kind}, {plain:?}");
    }
    for plaintext in [&b"GET / HTTP/1.1\r\n"[..], &[HANDSHAKE, 3, 3, 0, 1, 1], &[DATA, 3, 3, 0xff, 0xff]] {
        let (_, mut to) = shaken(usize::MAX);
        to.cipher = plaintext.to_vec();
        assert!(to.hear().is_err(), "{plaintext:?}");
    }
}

/// Moves everything there is in both directions.
fn exchange(ours: &mut Side, theirs: &mut ServerConnection) {
    let said = ours.out.waiting().to_vec();
    ours.out.sent(said.len());
    let mut rest = &said[..];
    while !rest.is_empty() {
        theirs.read_tls(&mut rest).expect("in memory");
        theirs.process_new_packets().expect("it is TLS 1.3");
        let mut plain = [0; 40_000];
        if let Ok(read) = theirs.reader().read(&mut plain) {
            theirs.writer().write_all(&plain[..read]).expect("in memory");
        }
    }
    while theirs.wants_write() {
        theirs.write_tls(&mut ours.cipher).expect("in memory");
    }
}

#[test]
fn the_tls_library_takes_our_records_and_changes_keys_with_us() {
    let (of_client, of_server) = configs(|[_, server]| server);
    let mut ours = client(of_client);
    let mut theirs = ServerConnection::new(of_server).expect("a server");
    while ours.traffic.is_none() {
        ours.shake().expect("a handshake");
        exchange(&mut ours, &mut theirs);
    }
    let mut said = Vec::new();
    for round in 0..12 {
        let more = bytes(round * 3001 + 1);
        ours.traffic.as_mut().expect("shaken").key_lasts = 2;
        ours.say(&more);
        said.extend(more);
        if round % 3 == 1 {
            // It asks for a new key in our direction, too.
            theirs.refresh_traffic_keys().expect("its handshake is done");
        }
        exchange(&mut ours, &mut theirs);
        ours.hear().expect("authentic");
        assert!(ours.heard == said, "round {round}");
    }
    ours.traffic.as_mut().expect("shaken").goodbye(&mut ours.out).expect("sealed");
    let goodbye = ours.out.waiting().to_vec();
    theirs.read_tls(&mut &goodbye[..]).expect("in memory");
    assert!(theirs.process_new_packets().expect("it is TLS 1.3").peer_has_closed());
    theirs.send_close_notify();
    theirs.write_tls(&mut ours.cipher).expect("in memory");
    ours.hear().expect("authentic");
    assert!(ours.ended);
}
