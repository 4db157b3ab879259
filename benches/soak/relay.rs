//! The network between two ends of a link, in this program's hands: it can reset every connection, or let nothing through.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::hosts::APPLICATIONS;

/// How often a held-up connection looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Relay {
    pub(crate) ends: (u8, u8),
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    held: AtomicBool,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl Relay {
    pub(crate) fn start(from: u8, to: u8) -> Result<Self, String> {
        let relay = Self { ends: (from, to), shared: Arc::default() };
        let address = relay.address();
        let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
        let (target, shared) = (format!("10.77.0.{to}:7443"), Arc::clone(&relay.shared));
        // Ends with the program.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if shared.held.load(Ordering::Relaxed) {
                    // As a network that carries nothing: the connection is there, and silent.
                    shared.keep(&near, &near);
                    continue;
                }
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                shared.keep(&near, &far);
                carry(&near, &far, &shared);
                carry(&far, &near, &shared);
            }
        });
        Ok(relay)
    }

    pub(crate) fn address(&self) -> String {
        format!("{APPLICATIONS}:74{}{}", self.ends.0, self.ends.1)
    }

    /// Every connection is reset.
    pub(crate) fn reset(&self) {
        for (near, far) in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            for stream in [near, far] {
                // An end without a word of farewell; it fails only where it is gone already.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Nothing comes through any more, and nobody is told; until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.shared.held.store(true, Ordering::Relaxed);
    }

    /// What was held up goes on. A connection that came meanwhile stays silent, until its ends give it up.
    pub(crate) fn release(&self) {
        self.shared.held.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    fn keep(&self, near: &TcpStream, far: &TcpStream) {
        let Ok(pair) = near.try_clone().and_then(|near| far.try_clone().map(|far| (near, far))) else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended say so.
        open.retain(|(near, _)| near.peer_addr().is_ok());
        open.push(pair);
    }
}

fn carry(from: &TcpStream, to: &TcpStream, shared: &Arc<Shared>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            while shared.held.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            if to.write_all(&chunk[..n]).is_err() {
                break;
            }
        }
        // Whoever is left hears that it is over.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
