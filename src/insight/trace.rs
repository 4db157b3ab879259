//! One of the commands that are told of one by one: how long it waited, which node answered it, and with what outcome.
//!
//! Pure. Sessions make a [`Traced`] for a command that was sampled; the log tells of it, or whoever has the other end of an
//! [`Outlet`]. It must never hold anything that a client wrote: names are those of tables and of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "the log has no room for all of it"))]
pub(crate) struct Traced {
    pub(crate) ids: Ids,
    /// What the client is told is the end of it. Otherwise it is sent again, and this was one attempt.
    pub(crate) whole: bool,
    /// In the table of commands, with `|` before a subcommand; `None`: it is not there.
    pub(crate) command: Option<&'static str>,
    pub(crate) listener: String,
    pub(crate) group: String,
    pub(crate) database: u32,
    pub(crate) way: Way,
    /// `None`: over a Unix socket.
    pub(crate) client: Option<SocketAddr>,
    /// `None`: Redan answered in the place of a node.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) outcome: Outcome,
    /// Microseconds since 1970, when it was over.
    pub(crate) ended_us: u64,
    /// Microseconds from its arrival until then, and until it was handed to a connection.
    pub(crate) total_us: u64,
    pub(crate) waited_us: u64,
    /// From when to when it waited for a master meanwhile, in microseconds from its arrival.
    pub(crate) held: Option<(u64, u64)>,
    /// For so long the client did not take the reply.
    pub(crate) stalled_us: u64,
    pub(crate) bytes: u64,
}

/// What ties the attempts of one command together. Made of numbers that no two commands share, so that nothing has to be
/// remembered between two attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: u128,
    pub(crate) span: u64,
}

impl Ids {
    /// `seed` tells one process from another.
    pub(crate) fn of(seed: u64, session: u64, number: u64) -> Self {
        let high = mix(mix(seed ^ session) ^ number);
        let low = mix(high ^ seed.rotate_left(32));
        // Zeros stand for no trace and no span.
        Self { trace: (u128::from(high) << 64 | u128::from(low)).max(1), span: mix(low).max(1) }
    }
}

/// Spreads what differs in a few bits over all of them (the last step of splitmix64). Two numbers never become the same.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The connection it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A lane: for what must stay in order, or for reads that owe none.
    Ordered,
    Reads,
    /// Its session's own, for this reason.
    Pin(&'static str),
    /// None: it found no node.
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// An error reply with this code, which is one of those that are known.
    Refused(&'static str),
    /// The connection had no reply for it.
    Lost(&'static str),
}

/// Where workers put what shall be told outside of the process. Whatever becomes of it there, they never wait.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(SyncSender<Traced>);

impl Outlet {
    /// `false`: there is no room.
    pub(crate) fn takes(&self, traced: Traced) -> bool {
        // Nobody waits at the other end but by looking now and then, so that this wakes no thread.
        self.0.try_send(traced).is_ok()
    }
}

/// Room for so many.
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nobody tells of them then but the log"))]
pub(crate) fn outlet(room: usize) -> (Outlet, Receiver<Traced>) {
    let (sender, receiver) = sync_channel(room);
    (Outlet(sender), receiver)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A GET that a node answered within 300 of its 500 µs.
    pub(crate) fn get() -> Traced {
        Traced {
            ids: Ids::of(1, 2, 3),
            whole: true,
            command: Some("get"),
            listener: "app".to_owned(),
            group: "main".to_owned(),
            database: 3,
            way: Way::Reads,
            client: Some("10.0.0.9:4000".parse().expect("an address")),
            node: Some("10.0.0.1:6379".into()),
            outcome: Outcome::Answered,
            ended_us: 1_000_000,
            total_us: 500,
            waited_us: 200,
            held: None,
            stalled_us: 0,
            bytes: 11,
        }
    }

    #[test]
    fn no_two_commands_have_the_same_numbers_and_two_attempts_of_one_do() {
        let mut seen = BTreeSet::new();
        for seed in [0, 1, u64::MAX] {
            for session in 0..50 {
                for number in 0..50 {
                    let ids = Ids::of(seed, session, number);
                    assert_eq!(ids, Ids::of(seed, session, number));
                    assert!(ids.trace != 0 && ids.span != 0);
                    assert!(seen.insert(ids.trace) && seen.insert(ids.span.into()), "{seed} {session} {number}");
                }
            }
        }
    }

    #[test]
    fn a_full_outlet_takes_nothing_and_nobody_waits_for_it() {
        let (outlet, traces) = outlet(2);
        assert!(outlet.takes(get()) && outlet.takes(get()) && !outlet.takes(get()));
        assert_eq!(traces.try_recv(), Ok(get()));
        assert!(outlet.takes(get()) && !outlet.takes(get()));
        drop(traces);
        assert!(!outlet.takes(get()), "also when nobody is there any more");
    }
}
