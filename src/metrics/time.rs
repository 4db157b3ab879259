//! When a command came and when it went on: what its times are measured by.
//!
//! A [`Stamp`] is four bytes, so that what is known of a command on its way stays small. The clock is read where something is read
//! from a socket anyway, once for all that came: by the session for what a client sent, by the lane for what a node answered.
//! That is one reading of some 20 ns beside a system call of a microsecond, and none for each command of a pipeline.

use std::sync::LazyLock;
use std::time::Instant;

use super::cell::Gauge;
use crate::command::NO_ROW;

/// The first stamp of the process.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since the first stamp. It begins anew after 71 minutes, which differences survive that are shorter: no command
/// stays on a lane for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    pub(crate) fn now() -> Self {
        Self::of(Instant::now())
    }

    /// For whoever has read the clock already.
    pub(crate) fn of(instant: Instant) -> Self {
        Self(instant.saturating_duration_since(*START).as_micros() as u32)
    }

    /// Microseconds from `earlier` until this one.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    #[cfg(test)]
    pub(crate) fn later(self, micros: u32) -> Self {
        Self(self.0.wrapping_add(micros))
    }
}

/// What is known of a command on its way to a node, for those who count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// In the command table.
    pub(crate) row: u16,
    /// In the configuration; [`Tag::NOBODY`]: a question of Redan's own, which is not counted.
    pub(crate) listener: u8,
    /// The read that brought its end.
    pub(crate) arrived: Stamp,
    /// When it was handed to a lane.
    pub(crate) submitted: Stamp,
    /// It is one of those that are told of one by one.
    pub(crate) traced: bool,
}

impl Tag {
    pub(crate) const NOBODY: u8 = u8::MAX;
    /// Redan's own.
    pub(crate) const OWN: Self =
        Self { row: NO_ROW, listener: Self::NOBODY, arrived: Stamp(0), submitted: Stamp(0), traced: false };

    /// Whatever is counted of one of them is counted of the other in the same place.
    #[inline]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.row, self.listener, self.arrived, self.submitted)
            == (other.row, other.listener, other.arrived, other.submitted)
    }

    /// A client's.
    #[inline]
    pub(crate) fn counts(&self) -> bool {
        self.listener != Self::NOBODY
    }
}

/// Which answers are worth a note. Written by the worker that owns the block.
#[derive(Debug)]
pub(crate) struct Notable {
    /// Microseconds from the command's arrival; the largest number is never.
    slow_us: Gauge,
    big: Gauge,
}

impl Default for Notable {
    fn default() -> Self {
        let notable = Self { slow_us: Gauge::default(), big: Gauge::default() };
        notable.slow_us.set(u64::MAX);
        notable.big.set(u64::MAX);
        notable
    }
}

impl Notable {
    /// Nothing is slow at `None`.
    pub(crate) fn slow_from(&self, micros: Option<u64>) {
        self.slow_us.set(micros.unwrap_or(u64::MAX));
    }

    pub(crate) fn big_from(&self, bytes: Option<u64>) {
        self.big.set(bytes.unwrap_or(u64::MAX));
    }

    #[inline]
    pub(crate) fn is_slow(&self, micros: u32) -> bool {
        u64::from(micros) >= self.slow_us.get()
    }

    #[inline]
    pub(crate) fn is_big(&self, bytes: u64) -> bool {
        bytes >= self.big.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_go_on_when_they_begin_anew() {
        let late = Stamp(u32::MAX - 5);
        assert_eq!(late.later(10).since(late), 10);
        let first = Stamp::now();
        assert!(Stamp::now().since(first) < 1_000_000_000, "time does not go back");
    }

    #[test]
    fn nothing_is_notable_until_somebody_says_so() {
        let notable = Notable::default();
        assert!(!notable.is_slow(u32::MAX) && !notable.is_big(1 << 40));
        notable.slow_from(Some(10));
        notable.big_from(Some(100));
        assert!(!notable.is_slow(9) && notable.is_slow(10) && !notable.is_big(99) && notable.is_big(100));
        notable.slow_from(None);
        assert!(!notable.is_slow(u32::MAX));
    }
}
