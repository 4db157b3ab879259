//! What all connections of one end of a link know together: which replicas followed which master, how many full syncs are
//! under way, what the operator lets through.
//!
//! Asked when a replica connects and when metrics are read, never for a byte of the stream; the lock is held for a look.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock;
use super::pace::Pace;
use super::replication::{Progress, Why};

/// Replicas that are remembered; those that were not here for longest are forgotten first. A link serves a handful.
const REPLICAS: usize = 1024;

/// Masters that were found empty, and second connections that were announced.
const FEW: usize = 64;

/// A replica asks again every second; its refusal is worth a line a minute.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Desk {
    /// Times are counted from here.
    pub(super) origin: Instant,
    pub(super) pace: Pace,
    full_syncs: Arc<AtomicU64>,
    denied_empty: AtomicU64,
    denied_full: AtomicU64,
    memory: Mutex<Memory>,
    replicas: Mutex<Vec<Arc<Progress>>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The history that each replica followed last.
    followed: VecDeque<(String, String)>,
    found_empty: VecDeque<String>,
    allowed_until: Option<Instant>,
    /// Places of replicas whose data comes over a second connection that has not come yet, by who left it.
    parked: Vec<(u64, Place)>,
    tickets: u64,
    /// What the second connection of a first one, by its number at the master, was told.
    begun: VecDeque<(u64, Begin)>,
    /// When a refusal was last logged, of each reason.
    said: [Option<Instant>; Why::KINDS],
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) history: String,
    pub(super) offset: u64,
}

/// One full sync that is under way or expected, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicU64>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A reading of all replicas of a link, in the words of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) full_syncs: u64,
    pub(crate) denied_empty: u64,
    pub(crate) denied_full: u64,
    /// Of the data that comes now, and of how many bytes where masters say so.
    pub(crate) rdb_bytes: u64,
    pub(crate) rdb_total: u64,
    /// Of the replica that is worst; `None` where none follows.
    pub(crate) lag_bytes: Option<u64>,
    pub(crate) lag: Option<Duration>,
    pub(crate) headroom: Option<Duration>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            pace: Pace::default(),
            full_syncs: Arc::default(),
            denied_empty: AtomicU64::new(0),
            denied_full: AtomicU64::new(0),
            memory: Mutex::default(),
            replicas: Mutex::default(),
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Desk {
    /// Lets every sync pass for so long, also one that empties a replica.
    pub(crate) fn allow(&self, time: Duration) {
        let mut memory = lock(&self.memory);
        memory.allowed_until = Instant::now().checked_add(time);
        memory.said = [None; Why::KINDS];
    }

    pub(super) fn is_allowed(&self, now: Instant) -> bool {
        lock(&self.memory).allowed_until.is_some_and(|until| now < until)
    }

    // ---- Who followed whom ----

    pub(super) fn followed(&self, replica: &str) -> Option<String> {
        let memory = lock(&self.memory);
        memory.followed.iter().find(|(name, _)| name == replica).map(|(_, history)| history.clone())
    }

    pub(super) fn follows(&self, replica: String, history: String) {
        let followed = &mut lock(&self.memory).followed;
        followed.retain(|(name, _)| *name != replica);
        push(followed, (replica, history), REPLICAS);
    }

    pub(super) fn was_found_empty(&self, history: &str) -> bool {
        lock(&self.memory).found_empty.iter().any(|found| found == history)
    }

    pub(super) fn found_empty(&self, history: &str) {
        let found = &mut lock(&self.memory).found_empty;
        if !found.iter().any(|found| found == history) {
            push(found, history.to_owned(), FEW);
        }
    }

    /// The operator means it.
    pub(super) fn forgive(&self, history: &str) {
        lock(&self.memory).found_empty.retain(|found| found != history);
    }

    // ---- Full syncs ----

    /// A place among at most `most`.
    pub(super) fn place(&self, most: u64) -> Option<Place> {
        let room = |taken: u64| (taken < most).then_some(taken + 1);
        self.full_syncs.fetch_update(Relaxed, Relaxed, room).ok()?;
        Some(Place(Arc::clone(&self.full_syncs)))
    }

    /// For one that cannot be refused any more.
    pub(super) fn any_place(&self) -> Place {
        self.full_syncs.fetch_add(1, Relaxed);
        Place(Arc::clone(&self.full_syncs))
    }

    /// Keeps a place for the second connection of the same replica. The ticket takes it back.
    pub(super) fn park(&self, place: Place) -> u64 {
        let mut memory = lock(&self.memory);
        memory.tickets += 1;
        let ticket = memory.tickets;
        memory.parked.push((ticket, place));
        ticket
    }

    pub(super) fn unpark(&self, ticket: u64) -> Option<Place> {
        let mut memory = lock(&self.memory);
        let at = memory.parked.iter().position(|(of, _)| *of == ticket)?;
        Some(memory.parked.swap_remove(at).1)
    }

    /// For a second connection: the place that waits for it, or one more.
    pub(super) fn adopt(&self) -> Place {
        let waiting = lock(&self.memory).parked.pop().map(|(_, place)| place);
        waiting.unwrap_or_else(|| self.any_place())
    }

    /// The second connection of the first one with this number says where the stream begins.
    pub(super) fn begins(&self, main: u64, begin: Begin) {
        let begun = &mut lock(&self.memory).begun;
        begun.retain(|(id, _)| *id != main);
        push(begun, (main, begin), FEW);
    }

    pub(super) fn begun(&self, main: u64) -> Option<Begin> {
        let memory = lock(&self.memory);
        memory.begun.iter().find(|(id, _)| *id == main).map(|(_, begin)| begin.clone())
    }

    // ---- What is counted and said ----

    /// Counts a refusal; whether to write a line of the log.
    pub(super) fn denied(&self, why: Why, now: Instant) -> bool {
        match why {
            Why::Turn => &self.denied_full,
            Why::Empty | Why::Unsure | Why::Loading => &self.denied_empty,
        }
        .fetch_add(1, Relaxed);
        self.says(why, now)
    }

    pub(super) fn says(&self, why: Why, now: Instant) -> bool {
        let said = &mut lock(&self.memory).said[why as usize];
        let due = said.is_none_or(|last| now.saturating_duration_since(last) >= AGAIN);
        if due {
            *said = Some(now);
        }
        due
    }

    pub(super) fn enter(&self, progress: &Arc<Progress>) {
        let mut replicas = lock(&self.replicas);
        if !replicas.iter().any(|other| Arc::ptr_eq(other, progress)) {
            replicas.push(Arc::clone(progress));
        }
    }

    pub(super) fn leave(&self, progress: &Arc<Progress>) {
        lock(&self.replicas).retain(|other| !Arc::ptr_eq(other, progress));
    }

    pub(super) fn watched(&self) -> Watched {
        let now = Instant::now();
        let mut watched = Watched {
            full_syncs: self.full_syncs.load(Relaxed),
            denied_empty: self.denied_empty.load(Relaxed),
            denied_full: self.denied_full.load(Relaxed),
            ..Watched::default()
        };
        for replica in lock(&self.replicas).iter() {
            if let Some((bytes, total)) = replica.rdb() {
                watched.rdb_bytes += bytes;
                watched.rdb_total += total;
            }
            if let Some(seen) = replica.seen(now) {
                watched.lag_bytes = watched.lag_bytes.max(Some(seen.lag_bytes));
                watched.lag = watched.lag.max(Some(seen.lag));
                watched.headroom = [watched.headroom, seen.headroom].into_iter().flatten().min();
            }
        }
        watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_wait_for_second_connections() {
        let desk = Desk::default();
        let one = desk.place(2).expect("a place");
        let two = desk.place(2).expect("a place");
        assert!(desk.place(2).is_none());
        let ticket = desk.park(one);
        assert!(desk.place(2).is_none(), "a place that waits is taken");
        let adopted = desk.adopt();
        assert_eq!(desk.watched().full_syncs, 2);
        assert!(desk.unpark(ticket).is_none(), "it was adopted");
        let more = desk.adopt();
        assert_eq!(desk.watched().full_syncs, 3, "nobody that the master lets in is refused");
        drop((two, adopted, more));
        assert_eq!(desk.watched().full_syncs, 0);
        let ticket = desk.park(desk.any_place());
        assert!(desk.unpark(ticket).is_some());
        assert_eq!(desk.watched().full_syncs, 0);
    }

    #[test]
    fn replicas_are_remembered_up_to_a_bound() {
        let desk = Desk::default();
        desk.follows("first".to_owned(), "old".to_owned());
        desk.follows("first".to_owned(), "new".to_owned());
        assert_eq!(desk.followed("first").as_deref(), Some("new"));
        for number in 0..REPLICAS {
            desk.follows(number.to_string(), "x".to_owned());
        }
        assert_eq!(desk.followed("first"), None);
        assert_eq!(desk.followed("0").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_said_is_said_once_a_minute_and_anew_after_an_order() {
        let (desk, now) = (Desk::default(), Instant::now());
        assert!(desk.denied(Why::Empty, now) && !desk.denied(Why::Empty, now + AGAIN / 2));
        assert!(desk.denied(Why::Turn, now) && desk.denied(Why::Empty, now + AGAIN));
        assert_eq!((desk.watched().denied_empty, desk.watched().denied_full), (3, 1));
        assert!(!desk.is_allowed(now));
        desk.allow(Duration::from_secs(60));
        assert!(desk.is_allowed(Instant::now()) && !desk.is_allowed(now + Duration::from_secs(120)));
        assert!(desk.denied(Why::Empty, now));
    }
}
