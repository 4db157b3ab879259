//! The last moment of a connection that is closed by a drain: the client has been told, and may be sending.
//!
//! Closing a socket with unread bytes in it makes the system reset the connection, and a reset takes replies with it that the
//! client has not read. So what still comes is read and dropped, unexecuted, until the client has closed its side. Bounded in time.

use std::net::TcpStream as RawTcp;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Worker;

/// A client reads the end of its connection in a round trip, if it reads at all.
const TIME: Duration = Duration::from_millis(500);

/// Counted for as long as it lives, so that the worker waits for it.
pub(super) struct Lingerer(Rc<Worker>);

impl Lingerer {
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        worker.lingering.set(worker.lingering.get() + 1);
        Self(worker)
    }
}

impl Drop for Lingerer {
    fn drop(&mut self) {
        self.0.lingering.set(self.0.lingering.get() - 1);
        self.0.ended.notify_one();
    }
}

pub(super) async fn linger(counted: Lingerer, socket: OwnedFd) {
    // A Unix socket is read in the same way, and nothing else is done with it.
    let Ok(mut socket) = TcpStream::from_std(RawTcp::from(socket)) else { return };
    let read_all = async {
        let mut unread = [0; 512];
        while matches!(socket.read(&mut unread).await, Ok(1..)) {}
    };
    // Whoever does not close is closed.
    let _ = tokio::time::timeout(TIME, read_all).await;
    drop(counted);
}
