//! The goals, as data, and whether the figures meet them.

use crate::cases::SIZES;
use crate::idle::Idle;
use crate::measure::{Measured, Run};

/// One goal at one place of the measured table.
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) measured: Option<f64>,
    pub(crate) met: Option<bool>,
}

#[derive(Clone, Copy)]
enum Quantity {
    ProxyCpu,
    RedisCpu,
    Throughput,
}

impl Quantity {
    fn of(self, run: &Run) -> Option<f64> {
        match self {
            Self::ProxyCpu => run.proxy_us,
            Self::RedisCpu => Some(run.redis_us),
            Self::Throughput => Some(run.per_second),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::ProxyCpu => "proxy CPU per request",
            Self::RedisCpu => "Redis's CPU per request",
            Self::Throughput => "requests per second",
        }
    }
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn words(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
        }
    }

    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

struct Goal {
    tls: bool,
    size: usize,
    clients: usize,
    pipeline: usize,
    quantity: Quantity,
    /// The contender that Redan is divided by.
    peer: &'static str,
    bound: Bound,
}

/// At 32 bytes, where a proxy's own work shows most.
const fn goal(
    tls: bool,
    clients: usize,
    pipeline: usize,
    quantity: Quantity,
    peer: &'static str,
    bound: Bound,
) -> Goal {
    Goal { tls, size: SIZES[0], clients, pipeline, quantity, peer, bound }
}

/// At 16 KB, where it is what a proxy does with bytes.
const fn large(tls: bool, quantity: Quantity, peer: &'static str, bound: Bound) -> Goal {
    Goal { size: SIZES[1], ..goal(tls, 50, 1, quantity, peer, bound) }
}

const GOALS: [Goal; 16] = {
    use Bound::{AtLeast, AtMost};
    use Quantity::{ProxyCpu, RedisCpu, Throughput};
    [
        goal(false, 50, 1, ProxyCpu, "haproxy", AtMost(0.65)),
        goal(false, 50, 1, ProxyCpu, "twemproxy", AtMost(0.9)),
        goal(false, 50, 1, Throughput, "direct", AtLeast(1.05)),
        goal(false, 50, 1, Throughput, "twemproxy", AtLeast(1.0)),
        goal(false, 50, 16, ProxyCpu, "haproxy", AtMost(0.6)),
        goal(false, 50, 16, ProxyCpu, "twemproxy", AtMost(0.3)),
        goal(false, 50, 16, Throughput, "direct", AtLeast(0.85)),
        goal(true, 50, 1, ProxyCpu, "haproxy", AtMost(0.55)),
        goal(true, 50, 1, Throughput, "direct", AtLeast(1.0)),
        goal(true, 50, 16, ProxyCpu, "haproxy", AtMost(0.55)),
        goal(true, 500, 1, ProxyCpu, "haproxy", AtMost(0.55)),
        goal(true, 500, 1, Throughput, "direct", AtLeast(1.15)),
        goal(false, 500, 1, RedisCpu, "direct", AtMost(0.25)),
        goal(true, 500, 1, RedisCpu, "direct", AtMost(0.25)),
        large(false, Throughput, "haproxy", AtLeast(1.0)),
        large(true, Throughput, "haproxy", AtLeast(1.0)),
    ]
};

/// What the way through Redan may add to the median of one client, plain and TLS, in microseconds.
const ADDED: [(bool, f64); 2] = [(false, 10.0), (true, 30.0)];

/// Two workers beside one. Client, Redis and both workers need a core each.
const TWO_WORKERS: Bound = Bound::AtLeast(1.8);
const CORES: usize = 4;

/// KiB per idle client, plain and TLS.
const IDLE: [(bool, f64); 2] = [(false, 2.0), (true, 12.0)];

/// Judged for `redan`, the contender of that name. Cases that nobody asked for are left out.
pub(crate) fn judge(redan: &str, measured: &[Measured]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for goal in &GOALS {
        for measured in at(measured, goal.tls, goal.size, goal.clients, goal.pipeline) {
            let ratio = measured.ratio(redan, goal.peer, |run| goal.quantity.of(run));
            let peer = if goal.peer == "direct" && goal.tls { "direct, Redis's own TLS" } else { goal.peer };
            verdicts.push(Verdict {
                what: format!("{}: {}", place(measured), goal.quantity.words()),
                goal: format!("{} × {peer}", goal.bound.words()),
                measured: ratio,
                met: ratio.map(|ratio| goal.bound.met(ratio)),
            });
        }
    }
    for (tls, most) in ADDED {
        for measured in at(measured, tls, SIZES[0], 1, 1) {
            let median = |who: &str| measured.median(who, |run| Some(run.p50_ms * 1000.0));
            let added = median(redan).zip(median("direct")).map(|(through, direct)| through - direct);
            verdicts.push(Verdict {
                what: format!("{}: p50, µs beyond direct", place(measured)),
                goal: Bound::AtMost(most).words(),
                measured: added,
                met: added.map(|added| added <= most),
            });
        }
    }
    if redan == "redan-2" {
        let enough = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= CORES);
        for measured in at(measured, false, SIZES[0], 50, 16) {
            let ratio = measured.ratio(redan, "redan-1", |run| Some(run.per_second));
            verdicts.push(Verdict {
                what: format!("{}: requests per second; judged from {CORES} cores on", place(measured)),
                goal: format!("{} × redan-1", TWO_WORKERS.words()),
                measured: ratio,
                met: ratio.filter(|_| enough).map(|ratio| TWO_WORKERS.met(ratio)),
            });
        }
    }
    verdicts
}

/// GET and SET there.
fn at(
    measured: &[Measured],
    tls: bool,
    size: usize,
    clients: usize,
    pipeline: usize,
) -> impl Iterator<Item = &Measured> {
    measured.iter().filter(move |Measured { case, .. }| {
        (case.tls, case.size, case.clients, case.pipeline) == (tls, size, clients, pipeline)
    })
}

fn place(Measured { case, .. }: &Measured) -> String {
    let wire = if case.tls { "TLS" } else { "plain" };
    let size = if case.size == SIZES[0] { "" } else { ", 16 KB" };
    let command = case.command.to_uppercase();
    format!("{wire}{size}, {} clients, pipeline {}, {command}", case.clients, case.pipeline)
}

pub(crate) fn judge_idle(idle: &[Idle]) -> Vec<Verdict> {
    let verdict = |(tls, most): (bool, f64)| {
        let found = idle.iter().find(|one| one.tls == tls && one.who == "redan-2");
        let each = found.and_then(|one| one.each.as_ref().ok()).map(|each| each.resident_kib);
        Verdict {
            what: format!("10,000 idle clients, {}: memory of each", if tls { "TLS" } else { "plain" }),
            goal: format!("≤ {most} KiB"),
            measured: each,
            met: each.map(|each| each <= most),
        }
    };
    IDLE.into_iter().map(verdict).collect()
}
