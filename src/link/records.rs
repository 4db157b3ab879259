//! TLS as bytes in and bytes out, over buffers of our own: the TLS library's interface without buffers.
//!
//! Used by the wire. Records are decrypted where the socket put them and encrypted from where the plaintext lies, with one
//! copy each; the library's own buffers would make three. No I/O.

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use crate::limits::LINK_AHEAD;

/// A record of 16 KiB becomes so much longer, and a key update or an alert may go before it.
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 64;

/// A key update may go before a goodbye; this ends the search for more in any case.
const LAST_STEPS: usize = 8;

/// One side of a connection.
pub(super) enum Records {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// Ciphertext that waits for the socket.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Outgoing {
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.bytes.len() < self.end + bytes {
            // Once for all that is written ahead of the socket.
            self.bytes.resize((self.end + bytes).max(bytes.min(LINK_AHEAD)), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Gives back the memory when nothing waits.
    pub(super) fn release(&mut self) {
        if self.start == self.end {
            *self = Self::default();
        }
    }
}

/// What is wanted of a step.
enum Want<'a> {
    /// To finish the handshake.
    Hands,
    /// Plaintext, to be put here.
    Plain(&'a mut [u8], &'a mut usize),
    /// To send this.
    Send(&'a [u8]),
    /// To say goodbye.
    Goodbye,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more to do.
    Again,
    /// Ciphertext is needed.
    Blocked,
    /// It is done, or there is no more.
    Done,
    /// The peer has said goodbye.
    Ended,
}

/// How far reading came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decrypted {
    /// Ciphertext that is done with; what is behind it must come again with more.
    pub(super) consumed: usize,
    pub(super) plain: usize,
    /// The peer has said goodbye.
    pub(super) ended: bool,
}

impl Records {
    /// What the peer has shown, and what was agreed on; after the handshake.
    pub(super) fn peer(&self) -> (Option<&[CertificateDer<'static>]>, Option<&[u8]>) {
        match self {
            Self::Client(client) => (client.peer_certificates(), client.alpn_protocol()),
            Self::Server(server) => (server.peer_certificates(), server.alpn_protocol()),
        }
    }

    /// Goes on with the handshake. Says how much of `cipher` is done with, and whether the handshake is. After an error
    /// `out` may hold an alert for the peer.
    pub(super) fn shake_hands(&mut self, cipher: &mut [u8], out: &mut Outgoing) -> (usize, io::Result<bool>) {
        let mut consumed = 0;
        loop {
            let (discard, step) = self.step(&mut cipher[consumed..], Want::Hands, out);
            consumed += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Blocked) => return (consumed, Ok(false)),
                Ok(Step::Done) => return (consumed, Ok(true)),
                Ok(Step::Ended) => return (consumed, Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => {
                    self.last_words(&mut cipher[consumed..], out);
                    return (consumed, Err(error));
                }
            }
        }
    }

    /// Decrypts what there is of whole records into `plain`, which must have room for as many bytes as `cipher` has.
    pub(super) fn decrypt(&mut self, cipher: &mut [u8], plain: &mut [u8], out: &mut Outgoing) -> io::Result<Decrypted> {
        let mut done = Decrypted::default();
        loop {
            let want = Want::Plain(plain, &mut done.plain);
            let (discard, step) = self.step(&mut cipher[done.consumed..], want, out);
            done.consumed += discard;
            match step? {
                Step::Again => {}
                Step::Blocked | Step::Done => return Ok(done),
                Step::Ended => return Ok(Decrypted { ended: true, ..done }),
            }
        }
    }

    /// `left_over` is what [`Self::decrypt`] has not consumed: the library may know it already as the beginning of a message.
    pub(super) fn encrypt(&mut self, plain: &[u8], left_over: &mut Vec<u8>, out: &mut Outgoing) -> io::Result<()> {
        loop {
            let (discard, step) = self.step(left_over, Want::Send(plain), out);
            left_over.drain(..discard);
            match step? {
                Step::Again => {}
                Step::Done => return Ok(()),
                Step::Blocked | Step::Ended => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    pub(super) fn goodbye(&mut self, left_over: &mut Vec<u8>, out: &mut Outgoing) {
        for _ in 0..LAST_STEPS {
            let (discard, step) = self.step(left_over, Want::Goodbye, out);
            left_over.drain(..discard);
            if !matches!(step, Ok(Step::Again)) {
                return;
            }
        }
    }

    /// After an error: the alert by which the peer learns of it, which the library has before it looks at `cipher` again. More
    /// than this one step it must not be asked for.
    fn last_words(&mut self, cipher: &mut [u8], out: &mut Outgoing) {
        let _ = self.step(cipher, Want::Hands, out);
    }

    fn step(&mut self, cipher: &mut [u8], want: Want<'_>, out: &mut Outgoing) -> (usize, io::Result<Step>) {
        match self {
            Self::Client(client) => take(client.process_tls_records(cipher), want, out),
            Self::Server(server) => take(server.process_tls_records(cipher), want, out),
        }
    }
}

fn take<Data>(status: UnbufferedStatus<'_, '_, Data>, want: Want<'_>, out: &mut Outgoing) -> (usize, io::Result<Step>) {
    let UnbufferedStatus { discard, state } = status;
    let step = match state {
        Err(error) => Err(invalid(error)),
        Ok(state) => take_state(state, want, out),
    };
    (discard, step)
}

fn take_state<Data>(state: ConnectionState<'_, '_, Data>, want: Want<'_>, out: &mut Outgoing) -> io::Result<Step> {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let encoded = match data.encode(out.room(RECORD + OVERHEAD)) {
                Err(EncodeError::InsufficientSize(need)) => data.encode(out.room(need.required_size)),
                encoded => encoded,
            };
            out.end += encoded.map_err(|error| io::Error::other(error.to_string()))?;
            Ok(Step::Again)
        }
        // It stands in `out`, in its order, and is sent with what else does.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::ReadTraffic(mut traffic) => match want {
            Want::Plain(plain, filled) => {
                while let Some(record) = traffic.next_record() {
                    let payload = record.map_err(invalid)?.payload;
                    let room = plain.get_mut(*filled..*filled + payload.len());
                    room.ok_or(io::ErrorKind::OutOfMemory)?.copy_from_slice(payload);
                    *filled += payload.len();
                }
                Ok(Step::Again)
            }
            // The first plaintext came with the end of the handshake; it waits until it is asked for.
            Want::Hands => Ok(Step::Done),
            Want::Send(_) | Want::Goodbye => Err(io::Error::other("plaintext was left in the TLS library")),
        },
        ConnectionState::WriteTraffic(mut traffic) => match want {
            Want::Hands | Want::Plain(..) => Ok(Step::Done),
            Want::Send(plain) => {
                let records = plain.len().div_ceil(RECORD) + 1;
                let encrypted = match traffic.encrypt(plain, out.room(plain.len() + records * OVERHEAD)) {
                    Err(EncryptError::InsufficientSize(need)) => traffic.encrypt(plain, out.room(need.required_size)),
                    encrypted => encrypted,
                };
                out.end += encrypted.map_err(|error| io::Error::other(error.to_string()))?;
                Ok(Step::Done)
            }
            Want::Goodbye => {
                out.end += traffic.queue_close_notify(out.room(2 * OVERHEAD)).unwrap_or(0);
                Ok(Step::Done)
            }
        },
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Ended),
        _ => Err(io::Error::other("the TLS library is in a state that this Redan does not know")),
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;

    use super::*;
    use crate::identity::Identity;
    use crate::tls::{identity, pinned};

    struct Side {
        records: Records,
        /// What came and was not consumed.
        cipher: Vec<u8>,
        out: Outgoing,
    }

    impl Side {
        fn new(records: Records) -> Self {
            Self { records, cipher: Vec::new(), out: Outgoing::default() }
        }

        /// Up to `most` bytes reach the other side.
        fn send(&mut self, other: &mut Self, most: usize) -> usize {
            let bytes = most.min(self.out.waiting().len());
            other.cipher.extend_from_slice(&self.out.waiting()[..bytes]);
            self.out.sent(bytes);
            bytes
        }

        fn shake(&mut self) -> io::Result<bool> {
            let (consumed, done) = self.records.shake_hands(&mut self.cipher, &mut self.out);
            self.cipher.drain(..consumed);
            done
        }

        fn say(&mut self, plain: &[u8]) {
            self.records.encrypt(plain, &mut self.cipher, &mut self.out).expect("encrypted");
        }

        fn hear(&mut self, plain: &mut Vec<u8>) -> bool {
            let mut buffer = vec![0; self.cipher.len() + 100];
            let done = self.records.decrypt(&mut self.cipher, &mut buffer, &mut self.out).expect("decrypted");
            self.cipher.drain(..done.consumed);
            plain.extend_from_slice(&buffer[..done.plain]);
            done.ended
        }
    }

    /// Both ends, each of which trusts who it is told to.
    fn sides(client_trusts: impl Fn([Identity; 2]) -> Identity) -> (Side, Side) {
        let folder = tempfile::tempdir().expect("a folder");
        let own = ["client", "server"].map(|name| {
            let file = folder.path().join(name);
            identity::generate(&file).expect("a key");
            identity::load(&file).expect("a key")
        });
        let ids = [own[0].identity, own[1].identity];
        let client = pinned::client_config(&own[0], &[client_trusts(ids)], true).expect("a client");
        let server = pinned::server_config(&own[1], &[ids[0]], true).expect("a server");
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let client = UnbufferedClientConnection::new(client, name).expect("a client");
        let server = UnbufferedServerConnection::new(Arc::clone(&server)).expect("a server");
        (Side::new(Records::Client(Box::new(client))), Side::new(Records::Server(Box::new(server))))
    }

    #[test]
    fn bytes_pass_both_ways_however_they_are_cut() {
        for piece in [1, 7, 1000, 100_000] {
            let (mut client, mut server) = sides(|[_, server]| server);
            let (mut shaken_client, mut shaken_server) = (false, false);
            while !(shaken_client && shaken_server) {
                shaken_client = shaken_client || client.shake().expect("a handshake");
                client.send(&mut server, piece);
                shaken_server = shaken_server || server.shake().expect("a handshake");
                server.send(&mut client, piece);
            }
            assert!(pinned::proven(server.records.peer().0).is_some() && server.records.peer().1 == Some(pinned::ALPN));
            let said: Vec<u8> = (0..50_000_u32).map(|at| (at % 251) as u8).collect();
            for _ in 0..2 {
                std::mem::swap(&mut client, &mut server);
                let (from, to) = (&mut client, &mut server);
                let mut heard = Vec::new();
                from.say(&said[..1]);
                from.say(&said[1..]);
                while from.send(to, piece) > 0 {
                    assert!(!to.hear(&mut heard));
                }
                assert!(heard == said, "pieces of {piece}");
            }
            client.records.goodbye(&mut client.cipher, &mut client.out);
            let (mut heard, mut ended) = (Vec::new(), false);
            while client.send(&mut server, piece) > 0 {
                ended |= server.hear(&mut heard);
            }
            assert!(ended && heard.is_empty());
        }
    }

    #[test]
    fn whoever_is_not_pinned_is_told() {
        let (mut client, mut server) = sides(|[client, _]| client);
        assert!(!client.shake().expect("begun"));
        client.send(&mut server, usize::MAX);
        assert!(!server.shake().expect("answered"));
        server.send(&mut client, usize::MAX);
        let refused = client.shake().expect_err("another key");
        assert!(pinned::trouble(&refused).contains("which is not in `peers`"), "{refused}");
        assert!(client.send(&mut server, usize::MAX) > 0, "an alert");
        let told = server.shake().expect_err("an alert");
        assert!(pinned::trouble(&told).contains("it refuses our identity"), "{told}");
    }

    /// A peer with the TLS library's own buffers, which can change its keys whenever it is told to.
    fn buffered(is_server: bool) -> (rustls::Connection, Side) {
        let folder = tempfile::tempdir().expect("a folder");
        let own = ["one", "other"].map(|name| {
            let file = folder.path().join(name);
            identity::generate(&file).expect("a key");
            identity::load(&file).expect("a key")
        });
        let client = pinned::client_config(&own[0], &[own[1].identity], true).expect("a client");
        let server = pinned::server_config(&own[1], &[own[0].identity], true).expect("a server");
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        if is_server {
            let client = UnbufferedClientConnection::new(client, name).expect("a client");
            let server = rustls::ServerConnection::new(server).expect("a server");
            (server.into(), Side::new(Records::Client(Box::new(client))))
        } else {
            let client = rustls::ClientConnection::new(client, name).expect("a client");
            let server = UnbufferedServerConnection::new(server).expect("a server");
            (client.into(), Side::new(Records::Server(Box::new(server))))
        }
    }

    /// Whatever the buffered peer has to say reaches this side.
    fn from_buffered(peer: &mut rustls::Connection, side: &mut Side) {
        while peer.wants_write() {
            peer.write_tls(&mut side.cipher).expect("written");
        }
    }

    fn to_buffered(side: &mut Side, peer: &mut rustls::Connection) {
        while !side.out.waiting().is_empty() {
            let mut waiting = side.out.waiting();
            let taken = peer.read_tls(&mut waiting).expect("read");
            side.out.sent(taken);
            peer.process_new_packets().expect("the keys are right");
        }
    }

    #[test]
    fn a_peer_may_change_its_keys_at_any_time() {
        use std::io::{Read, Write};
        for is_server in [true, false] {
            let (mut peer, mut side) = buffered(is_server);
            let mut shaken = false;
            while !shaken || peer.is_handshaking() {
                shaken = shaken || side.shake().expect("a handshake");
                to_buffered(&mut side, &mut peer);
                from_buffered(&mut peer, &mut side);
            }
            for round in 0..5_u8 {
                // Its new keys are asked for in return: what this side says next must be under new ones too.
                peer.refresh_traffic_keys().expect("TLS 1.3");
                let said = vec![round; 3000];
                peer.writer().write_all(&said).expect("taken");
                from_buffered(&mut peer, &mut side);
                let mut heard = Vec::new();
                while heard.len() < said.len() {
                    assert!(!side.hear(&mut heard));
                }
                assert!(heard == said, "round {round}, a server: {is_server}");
                let answer = vec![round ^ 0xff; 20_000];
                side.say(&answer);
                to_buffered(&mut side, &mut peer);
                let mut came = vec![0; answer.len()];
                peer.reader().read_exact(&mut came).expect("all of it");
                assert!(came == answer, "round {round}, a server: {is_server}");
            }
        }
    }
}
