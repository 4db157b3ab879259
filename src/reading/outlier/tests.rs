//! Ejection on a virtual clock: tables of single rules, and a simulation of a group with a bad replica.

use super::*;

const TICK: Duration = Duration::from_millis(125);

struct Bench {
    outliers: Outliers,
    now: Instant,
    /// Who was taken out at the last tick.
    out: Vec<(usize, Cause, Duration)>,
}

impl Bench {
    /// Node 0 is the master, with so many replicas, all at the same distance.
    fn new(replicas: usize) -> Self {
        let mut bench = Self { outliers: Outliers::default(), now: Instant::now(), out: Vec::new() };
        bench.follow(replicas, 0, &[]);
        bench
    }

    fn follow(&mut self, replicas: usize, master: usize, unreadable: &[usize]) {
        self.outliers.follow((0..=replicas).map(|index| Member {
            node: NodeId(index as u32),
            readable: !unreadable.contains(&index),
            master: index == master,
            round_trip: Some(Duration::from_micros(200)),
        }));
    }

    fn tick(&mut self, seen: &[(usize, Seen)]) -> &[(usize, Cause, Duration)] {
        self.now += TICK;
        seen.iter().for_each(|(index, seen)| self.outliers.note(self.now, *index, seen));
        self.out.clear();
        self.outliers.judge(self.now, |index, cause, length| self.out.push((index, cause, length)));
        &self.out
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick(&[]);
            assert_eq!(self.out, [], "time alone takes nobody out");
        }
    }

    fn share(&self, index: usize) -> u32 {
        self.outliers.share(index, self.now)
    }
}

const LATE: Seen = Seen { late: true, refused: false, lost: 0, samples: 0, total_us: 0 };
const REFUSED: Seen = Seen { late: false, refused: true, lost: 0, samples: 0, total_us: 0 };
const BROKE: Seen = Seen { late: false, refused: false, lost: 1, samples: 0, total_us: 0 };

fn answers(each_us: u64) -> Seen {
    Seen { samples: 10, total_us: each_us * 10, ..Seen::default() }
}

#[test]
fn a_late_replica_is_out_for_a_growing_time_and_returns_by_and_by() {
    let mut bench = Bench::new(2);
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(bench.tick(&[(1, LATE)]), [(1, Cause::Late, Duration::from_secs(seconds))]);
        assert_eq!((bench.share(0), bench.share(1), bench.share(2)), (100, 0, 100));
        assert!(!bench.outliers.is_settled());
        bench.pass(Duration::from_secs(seconds) - TICK);
        assert_eq!(bench.share(1), 0);
        bench.pass(TICK);
        assert_eq!(bench.share(1), FIRST_SHARE);
    }
    let mut before = 0;
    for _ in 0..9 {
        bench.pass(Duration::from_secs(1));
        let share = bench.share(1);
        assert!(share > before && share <= 100, "{before} then {share}");
        before = share;
    }
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.share(1), 100);
    assert!(bench.outliers.is_settled());
    bench.pass(FORGIVEN_AFTER);
    assert_eq!(bench.tick(&[(1, LATE)]), [(1, Cause::Late, FIRST_OUT)], "forgiven");
}

#[test]
fn never_the_master_and_never_more_than_half() {
    for (replicas, most) in [(1, 1), (2, 1), (3, 2), (4, 2), (7, 4)] {
        let mut bench = Bench::new(replicas);
        let all: Vec<_> = (0..=replicas).map(|index| (index, LATE)).collect();
        let out = bench.tick(&all).iter().map(|(index, ..)| *index).collect::<Vec<_>>();
        assert_eq!(out, (1..=most).collect::<Vec<_>>(), "{replicas} replicas");
        assert_eq!(bench.tick(&all), [], "nor by and by");
    }
    // Without a master there is one node less to carry what the others do not.
    let mut bench = Bench::new(1);
    bench.follow(1, 9, &[0]);
    assert_eq!(bench.tick(&[(1, LATE)]), []);
}

#[test]
fn who_says_that_it_cannot_serve_is_out_whoever_else_is() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.tick(&[(1, REFUSED), (2, REFUSED), (3, REFUSED)]).len(), 3);
    bench.pass(REFUSED_OUT);
    assert_eq!(bench.share(2), FIRST_SHARE);
    assert_eq!(bench.tick(&[(0, REFUSED)]), [], "the master's refusals are the tracker's to judge");
}

#[test]
fn connections_that_break_count_only_together() {
    let mut bench = Bench::new(2);
    for _ in 0..5 {
        assert_eq!(bench.tick(&[(1, BROKE)]), []);
        assert_eq!(bench.tick(&[(1, BROKE)]), []);
        bench.pass(LOST_WITHIN + TICK);
    }
    bench.tick(&[(1, BROKE)]);
    bench.tick(&[(1, BROKE)]);
    assert_eq!(bench.tick(&[(1, BROKE)]), [(1, Cause::Lost, FIRST_OUT)]);
}

#[test]
fn what_becomes_the_master_is_in_again() {
    let mut bench = Bench::new(2);
    bench.tick(&[(1, LATE)]);
    bench.follow(2, 1, &[]);
    assert_eq!(bench.share(1), 100);
    assert_eq!(bench.tick(&[(1, LATE)]), []);
}

/// Mean answers of master and replicas in microseconds, for four seconds; who is found slow.
#[test]
fn slow_is_far_above_the_peers_and_not_a_little() {
    #[rustfmt::skip]
    let table: &[(&[u64], Option<usize>)] = &[
        (&[300, 300, 300],          None),
        (&[300, 300, 5_000],        None),    // sixteen times, but nobody waits for 5 ms
        (&[300, 300, 15_000],       Some(2)),
        (&[300, 15_000, 300],       Some(1)),
        (&[0, 300, 15_000],         Some(2)), // the master serves none; one peer is enough
        (&[0, 0, 15_000],           None),    // none to compare with
        (&[15_000, 300, 300],       None),    // the master
        (&[40_000, 40_000, 60_000], None),    // all are slow: load
        (&[300, 15_000, 15_000],    Some(1)), // half of three is one
    ];
    for (means, expected) in table {
        let mut bench = Bench::new(2);
        let mut found = Vec::new();
        for _ in 0..32 {
            let seen: Vec<_> =
                means.iter().enumerate().filter(|(_, mean)| **mean > 0).map(|(i, m)| (i, answers(*m))).collect();
            found.extend(bench.tick(&seen).iter().map(|(index, cause, _)| (*index, *cause)));
        }
        assert_eq!(found.first().copied(), expected.map(|index| (index, Cause::Slow)), "{means:?}");
    }
}

#[test]
fn one_slow_command_is_no_slow_node_and_a_far_node_is_not_slow() {
    let mut bench = Bench::new(2);
    for _ in 0..20 {
        for window in 0..4 {
            for _ in 0..8 {
                let second = answers(if window == 0 { 500_000 } else { 300 });
                assert_eq!(bench.tick(&[(0, answers(300)), (1, answers(300)), (2, second)]), []);
            }
        }
    }
    bench.outliers.records[2].distance_us = 80_000;
    for _ in 0..100 {
        assert_eq!(bench.tick(&[(1, answers(300)), (2, answers(81_000))]), []);
    }
}

/// Reads are shared out by the judged shares among three replicas, of which one turns bad for a minute and well again.
#[test]
fn simulated_reads_leave_the_bad_replica_and_come_back() {
    for seed in 1..=20u64 {
        let mut random = seed;
        let mut bench = Bench::new(3);
        let bad = 1 + (seed % 3) as usize;
        let (mut slow_reads, mut reads, mut after) = (0u32, 0u32, [0u32; 4]);
        for tick in 0..8 * 240u32 {
            let is_bad = (8 * 10..8 * 70).contains(&tick);
            let mut seen = [Seen::default(); 4];
            for _ in 0..60 {
                let shares = [1, 2, 3].map(|index| bench.share(index));
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let mut point = u32::try_from(random % u64::from(shares.iter().sum::<u32>())).expect("small");
                let chosen = 1 + shares
                    .iter()
                    .position(|share| {
                        point < *share || {
                            point -= share;
                            false
                        }
                    })
                    .expect("one");
                let us = if chosen == bad && is_bad { 40_000 } else { 300 + random % 200 };
                seen[chosen].samples += 1;
                seen[chosen].total_us += us;
                if is_bad {
                    reads += 1;
                    slow_reads += u32::from(us >= 40_000);
                }
                if tick >= 8 * 220 {
                    after[chosen] += 1;
                }
            }
            let seen: Vec<_> = seen.into_iter().enumerate().collect();
            for (index, cause, _) in bench.tick(&seen) {
                assert_eq!((*index, *cause), (bad, Cause::Slow), "seed {seed}");
            }
        }
        assert!(slow_reads * 10 < reads, "seed {seed}: {slow_reads} of {reads} reads were slow");
        let third = after.iter().sum::<u32>() / 3;
        assert!(after[1..].iter().all(|count| count.abs_diff(third) < third / 10), "seed {seed}: {after:?}");
    }
}
