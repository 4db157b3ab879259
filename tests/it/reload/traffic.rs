//! Clients that write and read back without a pause, and whom nothing may disturb.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::support::client::Client;
use crate::support::redis::eventually;

pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// So many clients, each of which must read what it has written, over one connection for all of its time.
    pub(crate) fn start(address: &str, clients: usize) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = |number: usize| {
            let (mut client, stop, rounds) = (Client::connect(address), Arc::clone(&stop), Arc::clone(&rounds));
            std::thread::spawn(move || {
                let key = format!("traffic-{number}");
                for round in 0_u64.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let value = round.to_string();
                    client.ok(&["SET", &key, &value]);
                    assert_eq!(client.text(&["GET", &key]), Some(value), "a client reads what it has written");
                    rounds.fetch_add(1, Relaxed);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        let traffic = Self { stop, rounds, clients };
        traffic.goes_on();
        traffic
    }

    /// Waits until every client, about, has had some more answers.
    pub(crate) fn goes_on(&self) {
        let before = self.rounds.load(Relaxed);
        let more = 5 * self.clients.len() as u64;
        eventually("clients go on", || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client was disturbed");
            self.rounds.load(Relaxed) >= before + more
        });
    }

    /// Nobody was disturbed to the end.
    pub(crate) fn end(self) {
        self.goes_on();
        self.stop.store(true, Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("nobody is disturbed"));
    }
}
