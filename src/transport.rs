//! One byte stream of the data plane: TCP or Unix socket, with or without TLS.
//!
//! Used by sessions (as server) and by lanes and pins (as client). Reads never copy twice and never allocate per
//! read: ciphertext goes through one buffer that a whole worker shares. It must never know what the bytes mean.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use crate::net::Socket;

/// Ciphertext read at a time. With a partial record of at most 16 KiB + 2 KiB left in the deframer it decrypts to less
/// than `limits::CLIENT_READ`, so plaintext always fits the caller's buffer and nothing is left over.
const CIPHER_READ: usize = 40 * 1024;

/// Plaintext encrypted at a time: what the socket does not take of it waits in the TLS library, where nobody counts it.
const CIPHER_WRITE: usize = 64 * 1024;

/// Buffers that all streams of one worker share, one at a time.
pub(crate) struct CipherBuffer(Vec<u8>);

impl CipherBuffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; CIPHER_READ])
    }
}

/// A connected stream. TLS, where there is any, has finished its handshake.
pub(crate) struct Stream {
    socket: Socket,
    tls: Option<Box<rustls::Connection>>,
    /// The peer said under TLS that it will send no more.
    ended: bool,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket: Socket::Tcp(socket), tls: None, ended: false }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self { socket: Socket::Unix(socket), tls: None, ended: false }
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self { socket, tls: None, ended: false }
    }
}

impl From<tokio_rustls::server::TlsStream<TcpStream>> for Stream {
    fn from(stream: tokio_rustls::server::TlsStream<TcpStream>) -> Self {
        let (socket, connection) = stream.into_inner();
        Self::with_tls(Socket::Tcp(socket), connection.into())
    }
}

impl From<tokio_rustls::client::TlsStream<Socket>> for Stream {
    fn from(stream: tokio_rustls::client::TlsStream<Socket>) -> Self {
        let (socket, connection) = stream.into_inner();
        Self::with_tls(socket, connection.into())
    }
}

impl Stream {
    fn with_tls(socket: Socket, mut connection: rustls::Connection) -> Self {
        // What is written is flushed at once, and no more than [`CIPHER_WRITE`] is written ahead of the socket.
        connection.set_buffer_limit(None);
        Self { socket, tls: Some(Box::new(connection)), ended: false }
    }

    /// The chain that the peer has shown, its own certificate first. The library keeps it while the connection lives.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.as_ref()?.peer_certificates()
    }

    /// Ends it for both sides, without a word: whoever reads it finds the end.
    pub(crate) fn cut(&self) {
        // It fails where the peer was quicker.
        let _ = match &self.socket {
            Socket::Tcp(socket) => SockRef::from(socket).shutdown(Shutdown::Both),
            Socket::Unix(socket) => SockRef::from(socket).shutdown(Shutdown::Both),
        };
    }

    /// Without TLS, whose state belongs to this process.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// A second handle of the socket.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Says that nothing more will be written; reading goes on.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.socket.end()
    }

    /// As the system numbers it.
    pub(crate) fn descriptor(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Reads what there is into `buf`; `Ok(0)` is the end. `buf` must hold `limits::CLIENT_READ` bytes under TLS.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        cipher: &mut CipherBuffer,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return self.socket.poll_read(cx, buf);
        };
        let mut filled = drain_plaintext(tls, buf)?;
        if filled > 0 || self.ended {
            return Poll::Ready(Ok(filled));
        }
        loop {
            let n = ready!(self.socket.poll_read(cx, &mut cipher.0))?;
            if n == 0 {
                return Poll::Ready(Ok(0));
            }
            let mut ciphertext = &cipher.0[..n];
            while !ciphertext.is_empty() && !self.ended {
                self.ended = tls.read_tls(&mut ciphertext)? == 0;
                let state = tls.process_new_packets().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                self.ended |= state.peer_has_closed();
                filled += drain_plaintext(tls, &mut buf[filled..])?;
            }
            if tls.wants_write() {
                // Key updates and alerts; a full socket keeps them for the next flush.
                flush_tls(tls, &self.socket)?;
            }
            if filled > 0 || self.ended {
                return Poll::Ready(Ok(filled));
            }
        }
    }

    /// Writes as much of `data` as the socket takes now; `WouldBlock` when it takes nothing.
    /// Under TLS the last piece that was taken may wait for the socket: see [`Self::wants_flush`].
    pub(crate) fn try_write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.try_write(data);
        };
        if tls.wants_write() && !flush_tls(tls, &self.socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut taken = 0;
        for piece in data.chunks(CIPHER_WRITE) {
            taken += tls.writer().write(piece)?;
            if !flush_tls(tls, &self.socket)? {
                break;
            }
        }
        Ok(taken)
    }

    /// Ciphertext waits for the socket: `flush` must be called when it is writable.
    pub(crate) fn wants_flush(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends waiting ciphertext; `true` when none is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) if tls.wants_write() => flush_tls(tls, &self.socket),
            _ => Ok(true),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    /// Says goodbye under TLS, as far as the socket takes it. Dropping the stream closes it.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // The peer may be gone already; there is nobody left to tell.
            let _ = flush_tls(tls, &self.socket);
        }
    }
}

fn drain_plaintext(tls: &mut rustls::Connection, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match tls.reader().read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// `Ok(false)` when the socket is full.
fn flush_tls(tls: &mut rustls::Connection, socket: &Socket) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut SocketWriter(socket)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

struct SocketWriter<'a>(&'a Socket);

impl Write for SocketWriter<'_> {
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
