//! The network connection between the two ends: TLS over TCP, read and written in large pieces.
//!
//! Used by the pump. One system call reads as much ciphertext as there is, one writes all records that were encrypted;
//! plaintext is encrypted where it lies in the replay buffer. It must never know what the bytes mean.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream as Raw;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;

use super::records::{Handshake, Outgoing};
use super::traffic::Traffic;
use crate::identity::Identity;
use crate::limits::{LINK_DEAD, LINK_READ};
use crate::net::{self, Socket};
use crate::tls::pinned::{self, ALPN};

/// What may be left over of one read: a record that has not come as a whole, and after a handshake what came behind it.
const LEFT_OVER: usize = 32 * 1024;

/// A frame's header and the payload behind it become one record if they are no longer than this.
const SMALL: usize = 4096;

/// Buffers that all connections of one thread share, one at a time.
pub(super) struct Scratch {
    /// What is read, and decrypted where it stands.
    bytes: Vec<u8>,
    /// Where there is plaintext now.
    runs: Vec<Range<usize>>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self::of(LINK_READ)
    }

    /// For a handshake and a frame or two, while a thread's own is in use by others.
    pub(super) fn small() -> Self {
        Self::of(4096)
    }

    fn of(read: usize) -> Self {
        Self { bytes: vec![0; LEFT_OVER + read], runs: Vec::new() }
    }

    /// What [`Wire::poll_read`] has read.
    pub(super) fn plain(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().filter_map(|run| self.bytes.get(run.clone()))
    }

    /// For anything, until the next use.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Past its handshake.
pub(super) struct Wire {
    socket: Socket,
    core: Core,
    /// Who has proven to be at the other end.
    pub(super) peer: Identity,
}

/// All of it but the socket.
struct Core {
    tls: Traffic,
    /// Plaintext that came together with the end of the handshake.
    early: Vec<u8>,
    /// Ciphertext of a record that has not come as a whole.
    left_over: Vec<u8>,
    /// There may be whole records in it.
    unread: bool,
    outgoing: Outgoing,
    ended: bool,
}

/// A wire on its way from one thread to another.
pub(super) struct Packed {
    socket: Raw,
    core: Core,
    peer: Identity,
}

impl Packed {
    pub(super) fn unpack(self) -> io::Result<Wire> {
        let socket = Socket::Tcp(TcpStream::from_std(self.socket)?);
        Ok(Wire { socket, core: self.core, peer: self.peer })
    }
}

impl Wire {
    /// As the end that dials.
    pub(super) async fn dialled(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::shake_hands(socket, Handshake::Client(Box::new(tls))).await
    }

    /// As the end that is dialled.
    pub(super) async fn accepted(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Self::shake_hands(socket, Handshake::Server(Box::new(tls))).await
    }

    async fn shake_hands(socket: TcpStream, mut tls: Handshake) -> io::Result<Self> {
        net::tune_link(&socket, LINK_DEAD)?;
        let mut socket = Socket::Tcp(socket);
        let (mut outgoing, mut early) = (Outgoing::default(), Vec::new());
        let mut cipher = vec![0; LEFT_OVER];
        let mut came = 0;
        loop {
            let (consumed, done) = tls.go_on(&mut cipher[..came], &mut early, &mut outgoing);
            cipher.copy_within(consumed..came, 0);
            came -= consumed;
            // Also when it failed: then it is an alert.
            let sent = poll_fn(|cx| flush(&socket, &mut outgoing, cx)).await;
            if done? {
                break;
            }
            sent?;
            if came == cipher.len() {
                return Err(io::Error::other("its handshake is too long"));
            }
            let read = poll_fn(|cx| socket.poll_read(cx, &mut cipher[came..])).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            came += read;
        }
        cipher.truncate(came);
        let (certificates, protocol) = tls.peer();
        if protocol != Some(ALPN) {
            return Err(io::Error::other(pinned::OTHER_PROTOCOL));
        }
        let peer = pinned::proven(certificates).ok_or_else(|| io::Error::other("it showed no certificate"))?;
        let tls = tls.into_traffic()?;
        let core = Core { tls, early, left_over: cipher, unread: true, outgoing, ended: false };
        Ok(Self { socket, core, peer })
    }

    pub(super) fn pack(self) -> io::Result<Packed> {
        let Socket::Tcp(socket) = self.socket else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        Ok(Packed { socket: socket.into_std()?, core: self.core, peer: self.peer })
    }

    /// Reads what there is, which [`Scratch::plain`] then has; `Ok(0)` is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        let Self { socket, core, .. } = self;
        scratch.runs.clear();
        if !core.early.is_empty() {
            let early = std::mem::take(&mut core.early);
            scratch.bytes[..early.len()].copy_from_slice(&early);
            scratch.runs.push(0..early.len());
            return Poll::Ready(Ok(early.len()));
        }
        loop {
            if core.ended {
                return Poll::Ready(Ok(0));
            }
            let left = core.left_over.len();
            let came = if std::mem::take(&mut core.unread) {
                0
            } else {
                let read = ready!(socket.poll_read(cx, &mut scratch.bytes[left..]))?;
                if read == 0 {
                    // Without the goodbye of TLS somebody may have cut it off.
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                read
            };
            scratch.bytes[..left].copy_from_slice(&core.left_over);
            core.left_over.clear();
            let cipher = &mut scratch.bytes[..left + came];
            let opened = core.tls.open(cipher, &mut scratch.runs)?;
            core.left_over.extend_from_slice(&cipher[opened.consumed..]);
            core.ended = opened.ended;
            if opened.plain > 0 {
                return Poll::Ready(Ok(opened.plain));
            }
        }
    }

    /// Encrypts; [`Self::poll_flush`] sends.
    pub(super) fn encrypt(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
        let core = &mut self.core;
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length <= SMALL {
            let mut whole = [0; SMALL];
            let mut filled = 0;
            for part in parts {
                whole[filled..filled + part.len()].copy_from_slice(part);
                filled += part.len();
            }
            core.tls.seal(&whole[..filled], &mut core.outgoing)?;
            return Ok(length);
        }
        for part in parts {
            core.tls.seal(part, &mut core.outgoing)?;
        }
        Ok(length)
    }

    /// Ready when everything that was encrypted has been sent.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        flush(&self.socket, &mut self.core.outgoing, cx)
    }

    /// Sends one message whole.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encrypt(&[bytes])?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Memory that an idle wire need not hold.
    pub(super) fn release(&mut self) {
        self.core.outgoing.release();
        self.core.left_over.shrink_to_fit();
    }

    /// Says goodbye, and closes when the other end has, or has had so much time for it. A socket that is closed while something in it
    /// was not read is reset, and the other end loses what it has not read of the last words.
    pub(super) async fn part(mut self, patience: Duration) {
        let _ = self.core.tls.goodbye(&mut self.core.outgoing);
        let parting = async {
            poll_fn(|cx| self.poll_flush(cx)).await?;
            self.socket.end()?;
            let mut unread = vec![0; LEFT_OVER];
            while poll_fn(|cx| self.socket.poll_read(cx, &mut unread)).await? > 0 {}
            io::Result::Ok(())
        };
        // Whoever is gone already need not be told.
        let _ = tokio::time::timeout(patience, parting).await;
    }

    /// Says goodbye, as far as the socket takes it, and closes.
    pub(super) fn close(mut self) {
        // The peer may be gone already; there is nobody left to tell.
        let _ = self.core.tls.goodbye(&mut self.core.outgoing);
        let _ = self.socket.try_write(self.core.outgoing.waiting());
    }
}

fn flush(socket: &Socket, outgoing: &mut Outgoing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !outgoing.waiting().is_empty() {
        match socket.try_write(outgoing.waiting()) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(sent) => outgoing.sent(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(socket.poll_write_ready(cx))?;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}
