//! The TLS handshake with a client: bounded in time, and in number per worker.
//!
//! Runs in a task of its own, so that its state of several kilobytes is freed with it and the session's task stays
//! small. It must never see a byte of what follows the handshake.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::rarely::Rarely;
use crate::session::Peer;

/// Three lost packets in a row cost a client 1 + 2 + 4 s of retransmission; whoever needs longer is not coming.
const TIME: Duration = Duration::from_secs(10);

/// Handshakes of one worker at once. One costs about a millisecond with an RSA key, so 64 in a row delay other clients
/// by 64 ms at worst; the rest wait for their turn.
const AT_ONCE: usize = 64;

/// What one worker's handshakes share.
pub(super) struct Handshakes {
    permits: Semaphore,
    complaints: Rarely,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Failure {
    /// It connected and left without a byte: a health check, most likely.
    Silent,
    /// The client broke it off, or is not acceptable.
    Refused(String),
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self { permits: Semaphore::new(AT_ONCE), complaints: Rarely::default() }
    }

    pub(super) async fn accept(&self, acceptor: TlsAcceptor, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let refused = |words: &str| Failure::Refused(words.to_owned());
        let shaken = tokio::time::timeout(TIME, async {
            // Permits are for those who have begun: a client that says nothing must not take the turn of others.
            match tcp.peek(&mut [0]).await {
                Ok(0) | Err(_) => return Err(Failure::Silent),
                Ok(_) => {}
            }
            // The semaphore is never closed, so there is always a permit at last.
            let _permit = self.permits.acquire().await;
            acceptor.accept(tcp).await.map_err(|error| Failure::Refused(trouble(&error)))
        });
        shaken.await.unwrap_or_else(|_| Err(refused("it did not finish the handshake within 10 s")))
    }

    /// Logs a failure, rarely: anyone who reaches the port can cause it. `what` it came to stands before the client.
    pub(super) fn complain(&self, listener: &str, what: &str, client: &Peer, why: &str) {
        let client = match client {
            Peer::Tcp { remote, .. } => remote.to_string(),
            Peer::Unix { path, .. } => path.to_string(),
        };
        match self.complaints.allow(Instant::now()) {
            None => {}
            Some(0) => tracing::info!("{what} {client} on listener '{listener}': {why}"),
            Some(more) => {
                tracing::info!("{what} {client} on listener '{listener}': {why} (and {more} before it)");
            }
        }
    }
}

/// Whose fault it is, and what to do: most failures are a client that is set up for something else.
fn trouble(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => {
            "it does not speak TLS; set it up for TLS, or connect it to a listener without `tls`".to_owned()
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            "it shows no certificate, and the listener's `client_ca` demands one; give it one".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("its certificate is not accepted ({why}); it must be signed by the listener's `client_ca`")
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("it refused Redan's certificate or settings ({alert:?}); check its CA file and the host it dials")
        }
        _ => error.to_string(),
    }
}
