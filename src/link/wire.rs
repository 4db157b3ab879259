//! The network connection between the two ends: TLS over TCP, read and written in large pieces.
//!
//! Used by the pump. One system call reads as much ciphertext as there is, one writes all records that were encrypted;
//! plaintext is encrypted where it lies in the replay buffer. It must never know what the bytes mean.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream as Raw;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

use crate::identity::Identity;
use crate::limits::{LINK_DEAD, LINK_READ};
use crate::net::{self, Socket};

/// With a partial record of at most 18 KiB from the last read, the plaintext of this one always fits.
const LEFT_OVER: usize = 32 * 1024;

/// Buffers that all connections of one thread share, one at a time.
pub(super) struct Scratch {
    cipher: Vec<u8>,
    pub(super) plain: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { cipher: vec![0; LINK_READ], plain: vec![0; LINK_READ + LEFT_OVER] }
    }

    /// For a frame or two, while a thread's own is in use by others.
    pub(super) fn small() -> Self {
        Self { cipher: vec![0; 4096], plain: vec![0; 4096 + LEFT_OVER] }
    }
}

/// Past its handshake.
pub(super) struct Wire {
    socket: Socket,
    tls: Box<rustls::Connection>,
    /// Who has proven to be at the other end.
    pub(super) peer: Identity,
    ended: bool,
}

/// A wire on its way from one thread to another.
pub(super) struct Packed {
    socket: Raw,
    tls: Box<rustls::Connection>,
    peer: Identity,
    ended: bool,
}

impl Packed {
    pub(super) fn unpack(self) -> io::Result<Wire> {
        let socket = Socket::Tcp(TcpStream::from_std(self.socket)?);
        Ok(Wire { socket, tls: self.tls, peer: self.peer, ended: self.ended })
    }
}

impl Wire {
    pub(super) fn new(socket: TcpStream, mut tls: rustls::Connection, peer: Identity) -> io::Result<Self> {
        net::tune_link(&socket, LINK_DEAD)?;
        // The pump writes no more ahead of the socket than it means to.
        tls.set_buffer_limit(None);
        Ok(Self { socket: Socket::Tcp(socket), tls: Box::new(tls), peer, ended: false })
    }

    pub(super) fn pack(self) -> io::Result<Packed> {
        let Socket::Tcp(socket) = self.socket else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        Ok(Packed { socket: socket.into_std()?, tls: self.tls, peer: self.peer, ended: self.ended })
    }

    /// Reads what there is into `scratch.plain`; `Ok(0)` is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        let mut filled = drain(&mut self.tls, &mut scratch.plain)?;
        while filled == 0 && !self.ended {
            let read = ready!(self.socket.poll_read(cx, &mut scratch.cipher))?;
            if read == 0 {
                // Without the goodbye of TLS somebody may have cut it off.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut cipher = &scratch.cipher[..read];
            while !cipher.is_empty() && !self.ended {
                self.tls.read_tls(&mut cipher)?;
                let state = self.tls.process_new_packets();
                let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.ended = state.peer_has_closed();
                filled += drain(&mut self.tls, &mut scratch.plain[filled..])?;
            }
        }
        Poll::Ready(Ok(filled))
    }

    /// Encrypts; [`Self::poll_flush`] sends.
    pub(super) fn encrypt(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let taken = self.tls.writer().write_vectored(parts)?;
        if taken == length { Ok(taken) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Ready when everything that was encrypted has been sent.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Out(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends one message whole.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encrypt(&[IoSlice::new(bytes)])?;
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Says goodbye, as far as the socket takes it, and closes.
    pub(super) fn close(mut self) {
        self.tls.send_close_notify();
        // The peer may be gone already; there is nobody left to tell.
        let _ = self.tls.write_tls(&mut Out(&self.socket));
    }
}

fn drain(tls: &mut rustls::Connection, plain: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < plain.len() {
        match tls.reader().read(&mut plain[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Out<'a>(&'a Socket);

impl Write for Out<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
