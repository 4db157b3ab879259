//! One message at a time between two processes, with bytes behind it and at most one descriptor.
//!
//! Blocking: both sides use it on a thread that has nothing else to do. What comes is believed, because the other end is this
//! program, started by itself; lengths are bounded all the same, so that a defect does not take the machine's memory.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::Message;

/// The lengths of the text and of the bytes.
const HEAD: usize = 12;

const LONGEST_TEXT: u32 = 1 << 20;

/// Two replay buffers of a link, whose window is a number of 32 bits.
const MOST_BYTES: u64 = 2 << 32;

/// Descriptors on their way count against the limit of open files; whoever is told so waits until some have arrived.
const PAUSE: Duration = Duration::from_millis(2);

/// One end of the talk.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) bytes: Vec<u8>,
    pub(crate) socket: Option<OwnedFd>,
}

impl From<UnixStream> for Channel {
    fn from(stream: UnixStream) -> Self {
        Self(stream)
    }
}

impl Channel {
    /// This process's end, and the one for another.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self(ours), theirs.into()))
    }

    /// A second handle of the same end.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(crate) fn send(
        &mut self,
        message: &Message,
        bytes: &[&[u8]],
        socket: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let behind: u64 = bytes.iter().map(|part| part.len() as u64).sum();
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4..].copy_from_slice(&behind.to_be_bytes());
        let sent = match socket {
            None => 0,
            Some(socket) => self.send_with(&head, socket)?,
        };
        self.0.write_all(&head[sent..])?;
        self.0.write_all(&text)?;
        bytes.iter().try_for_each(|part| self.0.write_all(part))
    }

    fn send_with(&self, head: &[u8], socket: BorrowedFd<'_>) -> io::Result<usize> {
        let sockets = [socket];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            match sendmsg(&self.0, &[IoSlice::new(head)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::TOOMANYREFS) => thread::sleep(PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// `None` when the other end has closed.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Received>> {
        let mut head = [0; HEAD];
        let mut socket = None;
        let mut filled = 0;
        while filled < HEAD {
            let came = self.receive_with(&mut head[filled..], &mut socket)?;
            match (came, filled) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => filled += came,
            }
        }
        let [a, b, c, d, behind @ ..] = head;
        let (length, behind) = (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(behind));
        if length > LONGEST_TEXT || behind > MOST_BYTES {
            return Err(io::Error::other("a message of another process is too long to be one: a defect of Redan"));
        }
        let text = self.exactly(length.into())?;
        let bytes = self.exactly(behind)?;
        Ok(Some(Received { message: serde_json::from_slice(&text)?, bytes, socket }))
    }

    fn receive_with(&self, buffer: &mut [u8], socket: &mut Option<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let came = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                came => break came?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                *socket = sockets.last().or_else(|| socket.take());
            }
        }
        Ok(came.bytes)
    }

    fn exactly(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.0).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn messages_come_whole_in_order_and_with_their_sockets() {
        let (mut ours, theirs) = Channel::pair().expect("a pair");
        let mut theirs = Channel::from(UnixStream::from(theirs));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("bound");
        let large = vec![7; 3 << 20];
        let sender = thread::spawn(move || {
            for next_id in 0..100 {
                let socket = (next_id % 3 == 0).then(|| listener.as_fd());
                let bytes: &[&[u8]] = if next_id == 50 { &[&large, b"end"] } else { &[b"few"] };
                ours.send(&Message::Begin { next_id }, bytes, socket).expect("open");
            }
        });
        for expected in 0..100 {
            let Received { message, bytes, socket } = theirs.receive().expect("open").expect("a message");
            assert!(matches!(message, Message::Begin { next_id } if next_id == expected));
            assert_eq!(bytes.len(), if expected == 50 { (3 << 20) + 3 } else { 3 });
            assert_eq!(socket.is_some(), expected % 3 == 0);
            if let Some(socket) = socket {
                let came = TcpListener::from(socket);
                assert_eq!(came.local_addr().expect("it listens"), at);
            }
        }
        sender.join().expect("it sent all");
        assert!(theirs.receive().expect("closed in peace").is_none());
        assert!(TcpStream::connect(at).is_err(), "no handle is left behind");
    }
}
