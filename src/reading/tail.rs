//! How slow the slowest of a node's answers are, followed sample by sample.
//!
//! Pure. [`super::Usage`] keeps one; `backend::watch` asks it when a read has taken long. Three numbers stand for all samples:
//! an answer slower than a percentile's estimate raises it, any other lowers it, in the proportion in which the two come when
//! the estimate is right.

use std::time::Duration;

/// Of how many in a hundred a slow read is the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Percentile {
    P90,
    P95,
    P99,
}

impl Percentile {
    const ALL: [Self; 3] = [Self::P90, Self::P95, Self::P99];

    const fn part(self) -> f64 {
        match self {
            Self::P90 => 0.90,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }
}

/// How far one sample moves an estimate: with 256 samples a second it doubles within about a tenth of one.
const STEP: f64 = 0.05;

/// Estimates in microseconds; 0: no sample yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail([f64; 3]);

impl Tail {
    pub(super) fn sample(&mut self, us: u64) {
        let us = us.max(1) as f64;
        for (percentile, estimate) in Percentile::ALL.into_iter().zip(&mut self.0) {
            let part = percentile.part();
            *estimate = match *estimate {
                0.0 => us,
                old if us > old => old * (1.0 + STEP * part),
                old => old * (1.0 - STEP * (1.0 - part)),
            };
        }
    }

    pub(super) fn of(&self, percentile: Percentile) -> Option<Duration> {
        let estimate = self.0[percentile as usize];
        (estimate > 0.0).then(|| Duration::from_micros(estimate as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of 100 to 199 µs, each as often as the others, in an order that has nothing to do with their length.
    fn uniform(tail: &mut Tail, samples: u64, scale: u64) {
        (0..samples).for_each(|number| tail.sample((100 + number * 37 % 100) * scale));
    }

    #[test]
    fn estimates_come_near_the_percentiles_and_follow_them() {
        let mut tail = Tail::default();
        assert_eq!(tail.of(Percentile::P95), None);
        for scale in [1, 20, 1] {
            uniform(&mut tail, 20_000, scale);
            for (percentile, expected) in [(Percentile::P90, 190), (Percentile::P95, 195), (Percentile::P99, 199)] {
                let found = tail.of(percentile).expect("sampled").as_micros() as f64 / scale as f64;
                assert!((found - f64::from(expected)).abs() < 15.0, "{percentile:?} x {scale}: {found}");
            }
        }
    }
}
