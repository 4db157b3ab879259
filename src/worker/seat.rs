//! Seats: how many clients each listener and each worker has now, exact at every moment.
//!
//! The acceptor takes a seat for a socket before it hands it over; the seat travels with the socket and is given back
//! when the session is gone, however it ended. So `max_clients` also holds for sockets that are still on their way to
//! a worker, and a burst of arrivals is spread by what was handed over, not by what workers have counted already.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::throttle::Source;

/// Touched twice in the life of a connection, never by a command.
#[derive(Debug)]
pub(crate) struct Seats {
    /// By their numbers. Grows when the configuration is read again.
    listeners: RwLock<Vec<Arc<AtomicUsize>>>,
    workers: Box<[AtomicUsize]>,
    /// By listener, for those that limit them: as many entries as there are clients at most.
    sources: Mutex<HashMap<(usize, Source), usize>>,
}

impl Seats {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        let workers = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { listeners: RwLock::default(), workers, sources: Mutex::default() })
    }

    /// A seat for one more client. Only the acceptor takes seats, so a count it has just read can only have fallen.
    /// `source` where the listener limits its clients by it.
    pub(crate) fn take(self: &Arc<Self>, listener: usize, worker: usize, source: Option<Source>) -> Seat {
        if let Some(source) = source {
            *self.sources().entry((listener, source)).or_default() += 1;
        }
        let of_listener = self.count(listener);
        of_listener.fetch_add(1, Relaxed);
        self.workers[worker].fetch_add(1, Relaxed);
        Seat { seats: Arc::clone(self), listener, of_listener, worker, source }
    }

    /// Clients of one source.
    pub(crate) fn of_source(&self, listener: usize, source: Source) -> usize {
        self.sources().get(&(listener, source)).copied().unwrap_or(0)
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, Source), usize>> {
        // Nothing panics while it is locked; the counts are right in any case.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of_listener(&self, listener: usize) -> usize {
        self.count(listener).load(Relaxed)
    }

    fn count(&self, listener: usize) -> Arc<AtomicUsize> {
        if let Some(known) = self.listeners.read().unwrap_or_else(PoisonError::into_inner).get(listener) {
            return Arc::clone(known);
        }
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        if listeners.len() <= listener {
            listeners.resize_with(listener + 1, Arc::default);
        }
        Arc::clone(&listeners[listener])
    }

    pub(crate) fn of_worker(&self, worker: usize) -> usize {
        self.workers[worker].load(Relaxed)
    }

    /// Clients of the whole process.
    pub(crate) fn taken(&self) -> usize {
        self.workers.iter().map(|worker| worker.load(Relaxed)).sum()
    }
}

/// One client's place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    listener: usize,
    of_listener: Arc<AtomicUsize>,
    worker: usize,
    source: Option<Source>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of_listener.fetch_sub(1, Relaxed);
        self.seats.workers[self.worker].fetch_sub(1, Relaxed);
        if let Some(source) = self.source {
            let mut sources = self.seats.sources();
            let key = (self.listener, source);
            if let Some(count) = sources.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_for_both_and_given_back() {
        let seats = Seats::new(2);
        let source = Source::V4(7);
        let first = seats.take(0, 1, Some(source));
        let _second = seats.take(1, 1, None);
        let third = seats.take(0, 0, Some(source));
        assert_eq!((seats.of_source(0, source), seats.of_source(1, source)), (2, 0));
        drop(third);
        assert_eq!((seats.of_listener(0), seats.of_worker(0), seats.of_worker(1), seats.taken()), (1, 0, 2, 2));
        drop(first);
        assert_eq!((seats.of_listener(0), seats.of_listener(1), seats.taken()), (0, 1, 1));
        assert!(seats.sources().is_empty(), "who is gone takes no memory");
    }
}
