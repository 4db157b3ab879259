//! Tells a client over TLS that it is not served: that takes a handshake, which the acceptor must not wait for.
//!
//! The acceptor sends it here instead of closing the socket without a word. It must never become a session.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::handshake::Handshakes;
use crate::tls::server::Serving;

/// Of the whole process at once; whoever comes beyond is closed without a word. A handshake costs a millisecond, and a
/// fleet that is turned away must not take the time of the clients that are served.
const AT_ONCE: usize = 32;

/// To take the words and close. Closing first would make the system discard what the client has not read yet.
const TIME: Duration = Duration::from_secs(1);

/// One of the [`AT_ONCE`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    _roll: Arc<()>,
}

/// The acceptor's roll of tickets.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Arc<()>);

impl Tickets {
    pub(crate) fn take(&self) -> Option<Ticket> {
        // One count is the roll's own.
        (Arc::strong_count(&self.0) <= AT_ONCE).then(|| Ticket { _roll: Arc::clone(&self.0) })
    }
}

/// A client that is turned away. The socket is non-blocking and registered with no runtime.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) socket: TcpStream,
    /// Its number.
    pub(crate) listener: usize,
    /// One reply.
    pub(crate) words: &'static [u8],
    pub(crate) ticket: Ticket,
}

pub(super) async fn say(refused: Refused, serving: &Serving, handshakes: &Handshakes) {
    let Refused { socket, words, ticket, .. } = refused;
    let said = async {
        let tcp = tokio::net::TcpStream::from_std(socket).ok()?;
        let mut stream = handshakes.accept(Arc::clone(&serving.config), TIME, tcp).await.ok()?;
        stream.write_all(words).await.ok()?;
        stream.shutdown().await.ok()?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await.ok()? > 0 {}
        Some(())
    };
    // Whether it heard or not: there is nobody left to tell.
    let _ = tokio::time::timeout(TIME, said).await;
    drop(ticket);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_given_back() {
        let tickets = Tickets::default();
        let mut taken: Vec<_> = (0..AT_ONCE).map_while(|_| tickets.take()).collect();
        assert_eq!(taken.len(), AT_ONCE);
        assert!(tickets.take().is_none());
        taken.pop();
        assert!(tickets.take().is_some());
    }
}
