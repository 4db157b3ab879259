//! Counters that are told apart by a label with few values: kinds of memory, reasons of pins, codes of errors.
//!
//! Each set is an enumeration or a fixed list, so that the number of series is known before anything runs.

use super::cell::{Counter, Gauge};

/// What buffers of clients are for. `ALL` and `name` are the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    /// Commands read from clients and not yet routed.
    Input,
    /// Replies and messages that clients have not taken.
    Output,
    /// Answers whose turn has not come, and commands to be sent again.
    Stash,
    /// What sessions with a connection of their own have for it, and from it.
    Pins,
    /// Unanswered commands and partial replies of shared connections.
    Lanes,
    /// Kept to be used again.
    Spare,
}

impl MemoryKind {
    pub(crate) const ALL: [Self; 6] = [Self::Input, Self::Output, Self::Stash, Self::Pins, Self::Lanes, Self::Spare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Stash => "stash",
            Self::Pins => "pins",
            Self::Lanes => "lanes",
            Self::Spare => "spare",
        }
    }
}

/// Bytes that buffers of clients hold, by kind.
#[derive(Debug, Default)]
pub(crate) struct MemoryGauges([Gauge; MemoryKind::ALL.len()]);

impl MemoryGauges {
    pub(crate) fn of(&self, kind: MemoryKind) -> &Gauge {
        // `ALL` lists the variants in the order of their discriminants, which a test holds it to.
        &self.0[kind as usize]
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(Gauge::get).sum()
    }
}

/// Why a session was lent a connection of its own. `ALL` and `name` are the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinReason {
    /// MULTI whose EXEC did not stand in the same buffer.
    Multi,
    Watch,
    Blocking,
    /// WAIT and WAITAOF.
    Wait,
    Tracking,
    /// A command that changes its connection in a way no other session may see.
    Stateful,
    /// SCRIPT KILL and the like, which must not queue behind what they end.
    Script,
    Admin,
    /// A command too long to gather, streamed as it comes.
    Large,
    /// A command Redan does not know.
    Unknown,
}

impl PinReason {
    pub(crate) const ALL: [Self; 10] = [
        Self::Multi,
        Self::Watch,
        Self::Blocking,
        Self::Wait,
        Self::Tracking,
        Self::Stateful,
        Self::Script,
        Self::Admin,
        Self::Large,
        Self::Unknown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Multi => "multi",
            Self::Watch => "watch",
            Self::Blocking => "blocking",
            Self::Wait => "wait",
            Self::Tracking => "tracking",
            Self::Stateful => "stateful",
            Self::Script => "script",
            Self::Admin => "admin",
            Self::Large => "large",
            Self::Unknown => "unknown",
        }
    }
}

/// Pins taken, by reason.
#[derive(Debug, Default)]
pub(crate) struct PinCounters([Counter; PinReason::ALL.len()]);

impl PinCounters {
    pub(crate) fn of(&self, reason: PinReason) -> &Counter {
        // `ALL` lists the variants in the order of their discriminants, which a test holds it to.
        &self.0[reason as usize]
    }
}

/// Codes of errors that are counted by name: those of servers that clients see in practice, and Redan's own. Anything else, such
/// as what scripts make up, is [`OTHER`]: a client must not be able to make series.
pub(crate) const ERROR_CODES: [&str; 30] = [
    "ERR",
    "WRONGTYPE",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    "NOPROTO",
    "LOADING",
    "BUSY",
    "READONLY",
    "MASTERDOWN",
    "MISCONF",
    "OOM",
    "NOREPLICAS",
    "NOSCRIPT",
    "NOTBUSY",
    "UNKILLABLE",
    "EXECABORT",
    "BUSYGROUP",
    "NOGROUP",
    "BUSYKEY",
    "INPROG",
    "UNBLOCKED",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "CROSSSLOT",
    "CLUSTERDOWN",
    "INDOUBT",
    "NOTDURABLE",
    OTHER,
];
const OTHER: &str = "other";

/// Which of them stands in an error reply.
pub(crate) fn error_code(reply: &[u8]) -> &'static str {
    ERROR_CODES[place_of(reply)]
}

/// The same of any reply; `None`: it is no error.
pub(crate) fn error_of(reply: &[u8]) -> Option<&'static str> {
    (reply.first() == Some(&b'-')).then(|| error_code(reply))
}

fn place_of(reply: &[u8]) -> usize {
    let code = reply.get(1..).unwrap_or_default().split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
    let known = ERROR_CODES.iter().position(|known| known.as_bytes() == code);
    known.unwrap_or(ERROR_CODES.len() - 1)
}

/// Errors, by their code.
#[derive(Debug, Default)]
pub(crate) struct ErrorCounters([Counter; ERROR_CODES.len()]);

impl ErrorCounters {
    /// Counts a reply if it is an error. Never inlined: errors are rare, and what looks for their code need not stand in the way
    /// of other replies.
    #[cold]
    #[inline(never)]
    pub(crate) fn note(&self, reply: &[u8]) {
        self.0[place_of(reply)].increment();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ERROR_CODES.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_known_codes_alone() {
        let errors = ErrorCounters::default();
        for reply in ["-ERR no\r\n", "-ERR\r\n", "-LOADING wait\r\n", "-MINE of a script\r\n", "-other x\r\n", "-"] {
            errors.note(reply.as_bytes());
        }
        let counted: Vec<_> = errors.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("ERR", 2), ("LOADING", 1), (OTHER, 3)]);
        assert_eq!([b"-NOAUTH x\r\n".as_slice(), b"-SECRET x\r\n"].map(error_code), ["NOAUTH", OTHER]);
        assert_eq!([b"-NOAUTH x\r\n".as_slice(), b"+OK\r\n"].map(error_of), [Some("NOAUTH"), None]);
    }

    #[test]
    fn every_pin_reason_has_its_own_counter_and_name() {
        let pins = PinCounters::default();
        for (index, reason) in PinReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            pins.of(reason).add(index as u64 + 1);
        }
        for (index, reason) in PinReason::ALL.into_iter().enumerate() {
            assert_eq!(pins.of(reason).get(), index as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> = PinReason::ALL.map(PinReason::name).into();
        assert_eq!(names.len(), PinReason::ALL.len());
    }

    #[test]
    fn every_kind_of_memory_has_its_own_gauge_and_name() {
        let memory = MemoryGauges::default();
        for (index, kind) in MemoryKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            memory.of(kind).moved(0, index as u64 + 1);
        }
        assert_eq!(memory.sum(), 1 + 2 + 3 + 4 + 5 + 6);
        memory.of(MemoryKind::Spare).moved(6, 2);
        assert_eq!(memory.of(MemoryKind::Spare).get(), 2);
        let names: std::collections::BTreeSet<_> = MemoryKind::ALL.map(MemoryKind::name).into();
        assert_eq!(names.len(), MemoryKind::ALL.len());
    }
}
