//! A TCP relay between a master and its replica that delivers the master's words late, so that the replica lags.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::redis::Redis;

struct Shared {
    delay_ms: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
    stopped: AtomicBool,
    cut: AtomicBool,
}

pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

impl Relay {
    /// Delivers at once until told otherwise, so that a replica can synchronise through it.
    pub(crate) fn to(master: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared {
            delay_ms: AtomicU64::new(0),
            held: Mutex::new(false),
            released: Condvar::new(),
            stopped: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        });
        let (target, accepting) = (master.address(), Arc::clone(&shared));
        thread::spawn(move || {
            for replica in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(master) = TcpStream::connect(&target) {
                    join(&master, &replica, &accepting);
                }
            }
        });
        Self { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Everything that the master says from now on arrives so much later.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// Nothing arrives until [`Self::release`].
    pub(crate) fn hold(&self) {
        *self.shared.held.lock().expect("no thread of the relay panics") = true;
    }

    /// What is on its way is lost, as with a machine that dies.
    pub(crate) fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        *self.shared.held.lock().expect("no thread of the relay panics") = false;
        self.shared.released.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.release();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn join(master: &TcpStream, replica: &TcpStream, shared: &Arc<Shared>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("another handle");
    let (mut from_replica, mut to_master) = (clone(replica), clone(master));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_replica, &mut to_master);
        let _ = to_master.shutdown(Shutdown::Both);
    });
    let (words, late_words) = mpsc::channel();
    let (mut from_master, listening) = (clone(master), Arc::clone(shared));
    thread::spawn(move || {
        let mut buf = [0; 65536];
        while let Ok(n @ 1..) = from_master.read(&mut buf) {
            let delay = Duration::from_millis(listening.delay_ms.load(Ordering::SeqCst));
            if words.send((Instant::now() + delay, buf[..n].to_vec())).is_err() {
                return;
            }
        }
    });
    let (to_replica, shared) = (clone(replica), Arc::clone(shared));
    thread::spawn(move || deliver(&late_words, to_replica, &shared));
}

fn deliver(words: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, shared: &Shared) {
    for (due, bytes) in words {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let held = shared.held.lock().expect("no thread of the relay panics");
        drop(shared.released.wait_while(held, |held| *held).expect("no thread of the relay panics"));
        if shared.cut.load(Ordering::SeqCst) || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
