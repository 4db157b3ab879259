//! Shortcuts: how a group reaches a node through a link of the same process, `link:dc2`, without a socket that listens.
//!
//! A shortcut is a pair of connected Unix sockets. One half goes to the link's entry as if it had been accepted; the other is
//! the connection to the node. `app` fills the table, whoever dials nodes or Sentinels reads it. It must never fall back to
//! the network: a link that is down is a node that cannot be reached.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as RawUnix;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{DialError, Socket, dial};
use crate::topology::address::linked;

/// Connections that may wait until an entry takes them. It takes each at once and dials later, so more than a burst of all
/// workers' lanes never waits.
const WAITING: usize = 64;

/// A connection for a link's entry.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) socket: RawUnix,
    /// Is told when the other end has reached the target, or why not.
    pub(crate) told: oneshot::Sender<Result<(), String>>,
}

/// What an entry takes connections from.
pub(crate) type Callers = mpsc::Receiver<Caller>;

/// The ways into the entries of this process, by the names of their links.
#[derive(Debug, Default)]
pub(crate) struct Shortcuts(RwLock<HashMap<String, mpsc::Sender<Caller>>>);

impl Shortcuts {
    /// A way into the entry of the link with this name. The later of two replaces the earlier.
    pub(crate) fn lead_to(&self, link: &str) -> Callers {
        let (sender, callers) = mpsc::channel(WAITING);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(link.to_owned(), sender);
        callers
    }

    /// There is no link of this name any more.
    pub(crate) fn forget(&self, link: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(link);
    }

    /// Connects to a node: through a link if its address says so, else over the network.
    pub(crate) async fn dial(&self, address: &str, timeout: Duration) -> Result<Socket, DialError> {
        let Some(link) = linked(address) else {
            return dial(address, timeout).await.map(Socket::Tcp);
        };
        let deadline = Instant::now() + timeout;
        match tokio::time::timeout_at(deadline, self.enter(link)).await {
            Ok(entered) => entered.map_err(|why| DialError::Link { address: address.to_owned(), why }),
            Err(_) => Err(DialError::Timeout { address: address.to_owned(), timeout }),
        }
    }

    async fn enter(&self, link: &str) -> Result<Socket, String> {
        // The reader of the configuration refuses names that no entry has.
        let way = self.0.read().unwrap_or_else(PoisonError::into_inner).get(link).cloned();
        let way = way.ok_or_else(|| format!("there is no link '{link}' here"))?;
        let (ours, theirs) = pair().map_err(|error| format!("the system gives no socket: {error}"))?;
        let (told, outcome) = oneshot::channel();
        let ended = || format!("the link '{link}' is ending");
        way.send(Caller { socket: theirs, told }).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())??;
        Ok(Socket::Unix(ours))
    }
}

fn pair() -> io::Result<(UnixStream, RawUnix)> {
    let (ours, theirs) = RawUnix::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn one_half_goes_to_the_entry_and_its_word_decides() {
        let shortcuts = Shortcuts::default();
        let mut callers = shortcuts.lead_to("dc2");
        let entry = tokio::spawn(async move {
            let Caller { mut socket, told } = callers.recv().await.expect("a caller");
            socket.write_all(b"hello").expect("writable");
            told.send(Ok(())).expect("it waits");
            let Caller { told, .. } = callers.recv().await.expect("another");
            told.send(Err("nobody is there".to_owned())).expect("it waits");
        });
        let mut socket = shortcuts.dial("link:dc2", SECOND).await.expect("the entry has a way");
        let mut heard = [0; 5];
        socket.read_exact(&mut heard).await.expect("five bytes");
        assert_eq!(&heard, b"hello");
        let error = shortcuts.dial("link:dc2", SECOND).await.expect_err("the entry has none");
        assert_eq!(error.to_string(), "link:dc2: nobody is there");
        entry.await.expect("it does not panic");
        let error = shortcuts.dial("link:dc2", SECOND).await.expect_err("the entry is gone");
        assert!(error.to_string().contains("is ending"), "{error}");
        let error = shortcuts.dial("link:dc3", SECOND).await.expect_err("unknown");
        assert!(error.to_string().contains("no link 'dc3'"), "{error}");
    }

    #[tokio::test]
    async fn an_entry_that_has_no_answer_takes_no_longer_than_the_timeout() {
        let shortcuts = Shortcuts::default();
        let _callers = shortcuts.lead_to("dc2");
        let dialled = shortcuts.dial("link:dc2", Duration::from_millis(20)).await;
        assert!(matches!(dialled, Err(DialError::Timeout { .. })), "{dialled:?}");
    }
}
