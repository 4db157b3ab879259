//! The handshake of TLS as bytes in and bytes out, over buffers of our own: the TLS library's interface without buffers.
//!
//! Used by the wire. When the hands are shaken the keys go to `traffic`, which writes and reads records itself. No I/O.

use std::io;

use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

use super::traffic::Traffic;
use crate::limits::LINK_AHEAD;

/// What a message of a handshake usually fits into.
const MESSAGE: usize = 16 * 1024;

/// One side of a connection.
pub(super) enum Handshake {
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

    /// At least so many bytes behind what waits; [`Self::filled`] says how many were written.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.bytes.len() < self.end + bytes {
            // Once for all that is written ahead of the socket.
            self.bytes.resize((self.end + bytes).max(bytes.min(LINK_AHEAD)), 0);
        }
        &mut self.bytes[self.end..]
    }

    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
        debug_assert!(self.end <= self.bytes.len(), "it was filled within its room");
    }

    /// Gives back the memory when nothing waits.
    pub(super) fn release(&mut self) {
        if self.start == self.end {
            *self = Self::default();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more to do.
    Again,
    /// Ciphertext is needed.
    Blocked,
    /// It is done.
    Done,
    /// The peer has said goodbye.
    Ended,
}

impl Handshake {
    /// What the peer has shown, and what was agreed on; when it is done.
    pub(super) fn peer(&self) -> (Option<&[CertificateDer<'static>]>, Option<&[u8]>) {
        match self {
            Self::Client(client) => (client.peer_certificates(), client.alpn_protocol()),
            Self::Server(server) => (server.peer_certificates(), server.alpn_protocol()),
        }
    }

    /// Goes on. Says how much of `cipher` is done with, and whether the handshake is. Data that came together with its end
    /// is put into `early`. After an error `out` may hold an alert for the peer.
    pub(super) fn go_on(
        &mut self,
        cipher: &mut [u8],
        early: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> (usize, io::Result<bool>) {
        let mut consumed = 0;
        loop {
            let (discard, step) = self.step(&mut cipher[consumed..], early, out);
            consumed += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Blocked) => return (consumed, Ok(false)),
                Ok(Step::Done) => return (consumed, Ok(true)),
                Ok(Step::Ended) => return (consumed, Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => {
                    // The alert by which the peer learns of it, which the library has before it looks at `cipher` again.
                    // More than this one step it must not be asked for.
                    let _ = self.step(&mut cipher[consumed..], early, out);
                    return (consumed, Err(error));
                }
            }
        }
    }

    /// What follows, with the keys that were agreed on.
    pub(super) fn into_traffic(self) -> io::Result<Traffic> {
        match self {
            Self::Client(client) => Traffic::client(client.dangerous_into_kernel_connection().map_err(invalid)?),
            Self::Server(server) => Traffic::server(server.dangerous_into_kernel_connection().map_err(invalid)?),
        }
    }

    fn step(&mut self, cipher: &mut [u8], early: &mut Vec<u8>, out: &mut Outgoing) -> (usize, io::Result<Step>) {
        match self {
            Self::Client(client) => take(client.process_tls_records(cipher), early, out),
            Self::Server(server) => take(server.process_tls_records(cipher), early, out),
        }
    }
}

fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    early: &mut Vec<u8>,
    out: &mut Outgoing,
) -> (usize, io::Result<Step>) {
    let UnbufferedStatus { discard, state } = status;
    let step = match state {
        Err(error) => Err(invalid(error)),
        Ok(state) => take_state(state, early, out),
    };
    (discard, step)
}

fn take_state<Data>(state: ConnectionState<'_, '_, Data>, early: &mut Vec<u8>, out: &mut Outgoing) -> io::Result<Step> {
    match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let encoded = match data.encode(out.room(MESSAGE)) {
                Err(EncodeError::InsufficientSize(need)) => data.encode(out.room(need.required_size)),
                encoded => encoded,
            };
            out.filled(encoded.map_err(|error| io::Error::other(error.to_string()))?);
            Ok(Step::Again)
        }
        // It stands in `out`, in its order, and is sent with what else does.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                early.extend_from_slice(record.map_err(invalid)?.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Ended),
        _ => Err(io::Error::other("the TLS library is in a state that this Redan does not know")),
    }
}

pub(super) fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
