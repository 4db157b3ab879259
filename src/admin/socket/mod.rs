//! The admin socket: where `redan status` and any Redis client give the operator's commands.
//!
//! A Unix socket that only Redan's user and root can open, or a loopback address with a password. It is served on the thread of
//! the admin endpoint, so neither a probe nor a command of a client waits for it.

mod conversation;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::AdminState;
use crate::net::Listening;

/// Connections served at the same time; the next waits in the kernel's queue.
const CONNECTIONS: usize = 64;

/// After a failed accept, which is almost always "too many open files" and does not pass sooner.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Accepting {
    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(socket) => Box::new(socket.accept().await?.0),
            Self::Unix(socket) => Box::new(socket.accept().await?.0),
        })
    }
}

/// Serves until `stop` completes; connections that are open then are closed.
pub(crate) async fn serve(
    socket: Listening,
    state: Arc<AdminState>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let socket = match socket {
        Listening::Tcp(socket) => Accepting::Tcp(TcpListener::from_std(socket)?),
        Listening::Unix(socket) => Accepting::Unix(UnixListener::from_std(socket)?),
    };
    let mut connections = JoinSet::new();
    let mut number = 0;
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok(stream) => {
                    number += 1;
                    connections.spawn(conversation::hold(stream, number, Arc::clone(&state)));
                }
                Err(error) => {
                    tracing::warn!("the admin socket cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}
