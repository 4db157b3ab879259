//! The TLS handshake with a client: bounded in time, and in number per worker.
//!
//! Runs in a task of its own, so that its state of several kilobytes is freed with it and the session's task stays
//! small. It must never see a byte of what follows the handshake.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::rarely::Rarely;
use crate::session::Peer;

/// Handshakes of one worker at once. One costs about a millisecond with an RSA key, so 64 in a row delay other clients
/// by 64 ms at worst; the rest wait for their turn.
const AT_ONCE: usize = 64;

/// A handshake takes two round trips. One that takes longer than this while others wait gives up its turn: else 64
/// clients that begin and never go on would keep everybody out.
const TURN: Duration = Duration::from_secs(1);

/// How often one that is over its time looks whether others wait.
const LOOK: Duration = Duration::from_millis(100);

/// What one worker's handshakes share.
pub(super) struct Handshakes {
    permits: Semaphore,
    waiting: Cell<usize>,
    complaints: Rarely,
}

/// One that waits for its turn.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn one_more(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
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
        Self { permits: Semaphore::new(AT_ONCE), waiting: Cell::new(0), complaints: Rarely::default() }
    }

    /// `limit` is for all of it, the wait for a turn included.
    pub(super) async fn accept(
        &self,
        config: Arc<ServerConfig>,
        limit: Duration,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let shaken = tokio::time::timeout(limit, async {
            // Permits are for those who have begun: a client that says nothing must not take the turn of others.
            match tcp.peek(&mut [0]).await {
                Ok(0) | Err(_) => return Err(Failure::Silent),
                Ok(_) => {}
            }
            let waits = Waiting::one_more(&self.waiting);
            // The semaphore is never closed, so there is always a permit at last.
            let _permit = self.permits.acquire().await;
            drop(waits);
            tokio::select! {
                biased;
                shaken = TlsAcceptor::from(config).accept(tcp) => shaken.map_err(|error| Failure::Refused(trouble(&error))),
                () = self.turn_is_over() => Err(Failure::Refused("it paused in the handshake while others waited".to_owned())),
            }
        });
        let late = || format!("it did not finish the handshake within {} ms", limit.as_millis());
        shaken.await.unwrap_or_else(|_| Err(Failure::Refused(late())))
    }

    /// Completes when whoever has a turn has had it for long enough and others wait.
    async fn turn_is_over(&self) {
        tokio::time::sleep(TURN).await;
        while self.waiting.get() == 0 {
            tokio::time::sleep(LOOK).await;
        }
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

/// What is wrong with a client's certificate.
pub(super) fn certificate_trouble(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::Revoked) => {
            "its certificate is revoked by a list in `client_crl`; give it a new one".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::UnknownRevocationStatus) => {
            "no list in `client_crl` is of the CA that signed its certificate; add one for every CA".to_owned()
        }
        rustls::Error::InvalidCertificate(why) => {
            format!("its certificate is not accepted ({why}); it must be signed by the listener's `client_ca`")
        }
        other => other.to_string(),
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
        Some(error @ rustls::Error::InvalidCertificate(_)) => certificate_trouble(error),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("it refused Redan's certificate or settings ({alert:?}); check its CA file and the host it dials")
        }
        _ => error.to_string(),
    }
}
