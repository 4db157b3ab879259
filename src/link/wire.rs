//! The network connection between the two ends: TLS over TCP, read and written in large pieces.
//!
//! Used by the pump. One system call reads as much ciphertext as there is, one writes all records that were encrypted;
//! plaintext is encrypted where it lies in the replay buffer. It must never know what the bytes mean.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream as Raw;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;

use super::records::{Outgoing, Records};
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
    cipher: Vec<u8>,
    pub(super) plain: Vec<u8>,
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
        Self { cipher: vec![0; LEFT_OVER + read], plain: vec![0; LEFT_OVER + LEFT_OVER + read] }
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
    tls: Records,
    /// Ciphertext of a record that has not come as a whole.
    left_over: Vec<u8>,
    /// There may be plaintext without another read.
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
        Self::shake_hands(socket, Records::Client(Box::new(tls))).await
    }

    /// As the end that is dialled.
    pub(super) async fn accepted(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Self::shake_hands(socket, Records::Server(Box::new(tls))).await
    }

    async fn shake_hands(socket: TcpStream, tls: Records) -> io::Result<Self> {
        net::tune_link(&socket, LINK_DEAD)?;
        let core = Core { tls, left_over: Vec::new(), unread: true, outgoing: Outgoing::default(), ended: false };
        // Who is at the other end is proven at the end of it.
        let mut wire = Self { socket: Socket::Tcp(socket), core, peer: Identity([0; 32]) };
        let mut cipher = vec![0; LEFT_OVER];
        let mut came = 0;
        loop {
            let (consumed, done) = wire.core.tls.shake_hands(&mut cipher[..came], &mut wire.core.outgoing);
            cipher.copy_within(consumed..came, 0);
            came -= consumed;
            // Also when it failed: then it is an alert.
            let sent = poll_fn(|cx| wire.poll_flush(cx)).await;
            if done? {
                break;
            }
            sent?;
            if came == cipher.len() {
                return Err(io::Error::other("its handshake is too long"));
            }
            let read = poll_fn(|cx| wire.socket.poll_read(cx, &mut cipher[came..])).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            came += read;
        }
        cipher.truncate(came);
        wire.core.left_over = cipher;
        let (certificates, protocol) = wire.core.tls.peer();
        if protocol != Some(ALPN) {
            return Err(io::Error::other(pinned::OTHER_PROTOCOL));
        }
        wire.peer = pinned::proven(certificates).ok_or_else(|| io::Error::other("it showed no certificate"))?;
        Ok(wire)
    }

    pub(super) fn pack(self) -> io::Result<Packed> {
        let Socket::Tcp(socket) = self.socket else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        Ok(Packed { socket: socket.into_std()?, core: self.core, peer: self.peer })
    }

    /// Reads what there is into `scratch.plain`; `Ok(0)` is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        let Self { socket, core, .. } = self;
        loop {
            if core.ended {
                return Poll::Ready(Ok(0));
            }
            let left = core.left_over.len();
            let came = if std::mem::take(&mut core.unread) {
                0
            } else {
                let read = ready!(socket.poll_read(cx, &mut scratch.cipher[left..]))?;
                if read == 0 {
                    // Without the goodbye of TLS somebody may have cut it off.
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                read
            };
            scratch.cipher[..left].copy_from_slice(&core.left_over);
            core.left_over.clear();
            let cipher = &mut scratch.cipher[..left + came];
            let decrypted = core.tls.decrypt(cipher, &mut scratch.plain, &mut core.outgoing)?;
            core.left_over.extend_from_slice(&cipher[decrypted.consumed..]);
            core.ended = decrypted.ended;
            if decrypted.plain > 0 {
                return Poll::Ready(Ok(decrypted.plain));
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
            core.tls.encrypt(&whole[..filled], &mut core.left_over, &mut core.outgoing)?;
            return Ok(length);
        }
        for part in parts.iter().filter(|part| !part.is_empty()) {
            core.tls.encrypt(part, &mut core.left_over, &mut core.outgoing)?;
        }
        Ok(length)
    }

    /// Ready when everything that was encrypted has been sent.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.core.outgoing;
        while !outgoing.waiting().is_empty() {
            match self.socket.try_write(outgoing.waiting()) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => outgoing.sent(sent),
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
        self.encrypt(&[bytes])?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Memory that an idle wire need not hold.
    pub(super) fn release(&mut self) {
        self.core.outgoing.release();
        self.core.left_over.shrink_to_fit();
    }

    /// Says goodbye, as far as the socket takes it, and closes.
    pub(super) fn close(mut self) {
        self.core.tls.goodbye(&mut self.core.left_over, &mut self.core.outgoing);
        // The peer may be gone already; there is nobody left to tell.
        let _ = self.socket.try_write(self.core.outgoing.waiting());
    }
}
