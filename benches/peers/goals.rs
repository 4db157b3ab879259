//! The goals, as data, and whether the figures meet them.

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

struct Goal {
    tls: bool,
    clients: usize,
    pipeline: usize,
    quantity: Quantity,
    /// The contender that Redan is divided by.
    peer: &'static str,
    bound: Bound,
}

const fn goal(
    tls: bool,
    clients: usize,
    pipeline: usize,
    quantity: Quantity,
    peer: &'static str,
    bound: Bound,
) -> Goal {
    Goal { tls, clients, pipeline, quantity, peer, bound }
}

/// All at 32 bytes, where a proxy's own work shows most.
const GOALS: [Goal; 13] = {
    use Bound::{AtLeast, AtMost};
    use Quantity::{ProxyCpu, RedisCpu, Throughput};
    [
        goal(false, 50, 1, ProxyCpu, "haproxy", AtMost(0.7)),
        goal(false, 50, 1, ProxyCpu, "twemproxy", AtMost(0.9)),
        goal(false, 50, 1, Throughput, "direct", AtLeast(0.95)),
        goal(false, 50, 1, Throughput, "twemproxy", AtLeast(1.0)),
        goal(false, 50, 16, ProxyCpu, "haproxy", AtMost(0.75)),
        goal(false, 50, 16, ProxyCpu, "twemproxy", AtMost(0.3)),
        goal(false, 50, 16, Throughput, "direct", AtLeast(0.75)),
        goal(true, 50, 1, ProxyCpu, "haproxy", AtMost(0.65)),
        goal(true, 50, 16, ProxyCpu, "haproxy", AtMost(0.65)),
        goal(true, 500, 1, ProxyCpu, "haproxy", AtMost(0.65)),
        goal(true, 500, 1, Throughput, "direct", AtLeast(1.0)),
        goal(false, 500, 1, RedisCpu, "direct", AtMost(0.35)),
        goal(true, 500, 1, RedisCpu, "direct", AtMost(0.35)),
    ]
};

/// KiB per idle client, plain and TLS.
const IDLE: [(bool, f64); 2] = [(false, 4.0), (true, 24.0)];

/// Judged for `redan`, the contender of that name. Cases that nobody asked for are left out.
pub(crate) fn judge(redan: &str, measured: &[Measured]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for goal in &GOALS {
        for command in ["get", "set"] {
            let asked_for = measured.iter().find(|Measured { case, .. }| {
                (case.tls, case.clients, case.pipeline) == (goal.tls, goal.clients, goal.pipeline)
                    && case.command == command
                    && case.size == 32
            });
            let Some(asked_for) = asked_for else { continue };
            let ratio = asked_for.ratio(redan, goal.peer, |run| goal.quantity.of(run));
            let (sign, met) = match goal.bound {
                Bound::AtMost(most) => (format!("≤ {most}"), ratio.map(|ratio| ratio <= most)),
                Bound::AtLeast(least) => (format!("≥ {least}"), ratio.map(|ratio| ratio >= least)),
            };
            let peer = if goal.peer == "direct" && goal.tls { "direct, Redis's own TLS" } else { goal.peer };
            let wire = if goal.tls { "TLS" } else { "plain" };
            verdicts.push(Verdict {
                what: format!(
                    "{wire}, {} clients, pipeline {}, {}: {}",
                    goal.clients,
                    goal.pipeline,
                    command.to_uppercase(),
                    goal.quantity.words()
                ),
                goal: format!("{sign} × {peer}"),
                measured: ratio,
                met,
            });
        }
    }
    verdicts
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
