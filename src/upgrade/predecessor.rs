//! The new process's part: takes the sockets, says when it is ready, receives clients and streams of links.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::FROM;
use crate::handover::{Channel, Client, Hello, Inherited, Message, PROTOCOL, Ready, Received, Stream};
use crate::topology::Snapshot;

/// How often groups are looked at that have no master yet.
const LOOK: Duration = Duration::from_millis(10);

/// The process that this one is to replace.
pub(crate) struct Predecessor {
    channel: Channel,
    hello: Hello,
    id: u32,
    began: Instant,
}

/// What comes from it once this process is in charge.
pub(crate) enum Legacy {
    Client(Box<Client>, Vec<u8>, OwnedFd),
    Stream(Box<Stream>, Vec<u8>, OwnedFd),
}

impl Predecessor {
    /// `None` where this process replaces nobody. To be called before anything else reads standard input.
    pub(crate) fn meet() -> Result<Option<(Self, Inherited)>, String> {
        let from = std::env::var(FROM).ok().and_then(|id| id.parse::<u32>().ok());
        let parent = rustix::process::getppid().map(|id| id.as_raw_nonzero().get().cast_unsigned());
        let Some(id) = from.filter(|id| parent == Some(*id)) else { return Ok(None) };
        Self::introduced(id).map(Some).map_err(|error| format!("the talk with process {id} broke: {error}"))
    }

    fn introduced(id: u32) -> io::Result<(Self, Inherited)> {
        let stream = std::io::stdin().as_fd().try_clone_to_owned()?;
        // Whoever reads it from here on finds its end, as in /dev/null, which a sandbox may have put out of reach.
        rustix::stdio::dup2_stdin(UnixStream::pair()?.0)?;
        let mut channel = Channel::from(UnixStream::from(stream));
        let Some(Received { message: Message::Hello(hello), .. }) = channel.receive()? else {
            return Err(unexpected());
        };
        let mut inherited = Inherited::default();
        for _ in 0..hello.sockets {
            match channel.receive()? {
                Some(Received { message: Message::Socket(given), socket: Some(socket), .. }) => {
                    inherited.receive(given, socket)?;
                }
                _ => return Err(unexpected()),
            }
        }
        Ok((Self { channel, hello, id, began: Instant::now() }, inherited))
    }

    /// Whether the talk can be understood.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let Hello { protocol, version, .. } = &self.hello;
        match *protocol == PROTOCOL {
            true => Ok(()),
            false => Err(format!(
                "Redan {version} hands over by protocol {protocol}, this one by {PROTOCOL}: stop the one and start the other"
            )),
        }
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// This process was born with the rules of the other's sandbox.
    pub(crate) fn is_sandboxed(&self) -> bool {
        self.hello.sandboxed
    }

    /// The other end gives up after `upgrade_timeout`; this one does so before, and says why.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.hello.patience_ms) * 4 / 5
    }

    /// Waits until each of `groups` has a master that has one in the old process.
    pub(crate) async fn masters(&self, groups: &[(String, Arc<ArcSwap<Snapshot>>)]) -> Result<(), String> {
        let wanted = || {
            let of_both = groups.iter().filter(|(name, _)| self.hello.mastered.contains(name));
            of_both.filter(|(_, snapshot)| snapshot.load().master.is_none()).map(|(name, _)| name.as_str())
        };
        let patience = self.patience();
        while let Some(group) = wanted().next() {
            if self.began.elapsed() >= patience {
                return Err(format!("no master of group '{group}' was proven within {patience:.1?}"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Nothing has happened, and nothing will.
    pub(crate) fn fail(&mut self, why: &str) {
        // Without it the other end learns of the exit code alone.
        let _ = self.channel.send(&Message::Failed { why: why.to_owned() }, &[], None);
    }

    pub(crate) fn ready(&mut self, ready: Ready) -> io::Result<()> {
        self.channel.send(&Message::Ready(ready), &[], None)
    }

    /// Waits until this process is to begin; the number of its first client. `None`: it is not to.
    pub(crate) fn begins(&mut self) -> Option<u64> {
        match self.channel.receive() {
            Ok(Some(Received { message: Message::Begin { next_id }, .. })) => Some(next_id),
            _ => None,
        }
    }

    /// Takes what comes until the old process has nothing left.
    pub(crate) fn inherit(mut self, mut take: impl FnMut(Legacy)) -> io::Result<()> {
        while let Some(Received { message, bytes, socket }) = self.channel.receive()? {
            match (message, socket) {
                (Message::Client(client), Some(socket)) => take(Legacy::Client(client, bytes, socket)),
                (Message::Stream(stream), Some(socket)) => take(Legacy::Stream(stream, bytes, socket)),
                _ => return Err(unexpected()),
            }
        }
        Ok(())
    }
}

fn unexpected() -> io::Error {
    io::Error::other("it does not keep to the protocol")
}
