//! Measures one case: every contender in turn, round after round, so that a noisy minute hits all of them.

use std::path::Path;

use crate::cases::Case;
use crate::contenders::{Contender, Field};
use crate::{load, proc, resp};

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// `None` where there is no proxy.
    pub(crate) proxy_us: Option<f64>,
    pub(crate) redis_us: f64,
}

/// All runs of one contender in one case, or why there are none.
pub(crate) struct Cell {
    pub(crate) contender: &'static str,
    pub(crate) runs: Result<Vec<Run>, String>,
}

pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) cells: Vec<Cell>,
}

impl Measured {
    fn runs(&self, contender: &str) -> Option<&[Run]> {
        self.cells.iter().find(|cell| cell.contender == contender)?.runs.as_deref().ok()
    }

    /// The median over the rounds of `value` of one contender.
    pub(crate) fn median(&self, contender: &str, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        median(self.runs(contender)?.iter().filter_map(value).collect())
    }

    /// The median over the rounds of one contender's value divided by the other's *of the same round*:
    /// what slows a whole round down cancels out.
    pub(crate) fn ratio(&self, above: &str, below: &str, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        let pairs = self.runs(above)?.iter().zip(self.runs(below)?);
        median(pairs.filter_map(|(a, b)| Some(value(a)? / value(b)?)).collect())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

pub(crate) fn case(case: Case, field: &Field, ca: &Path, rounds: usize) -> Measured {
    let mut cells = Vec::new();
    let mut lanes = Vec::new();
    for contender in &field.contenders {
        let Some(port) = (if case.tls { contender.tls_port } else { contender.port }) else { continue };
        let calibrated = match &contender.absent {
            Some(why) => Err(why.clone()),
            None => calibrate(&case, port, ca),
        };
        let (requests, runs) = match calibrated {
            Ok(requests) => (requests, Ok(Vec::new())),
            Err(why) => (0, Err(why)),
        };
        lanes.push((contender, port, requests));
        cells.push(Cell { contender: contender.name, runs });
    }
    for _ in 0..rounds {
        for (cell, (contender, port, requests)) in cells.iter_mut().zip(&lanes) {
            let Ok(runs) = &mut cell.runs else { continue };
            match once(&case, field, contender, *port, ca, *requests) {
                Ok(run) => runs.push(run),
                Err(why) => {
                    eprintln!("{case}: {} failed: {why}", cell.contender);
                    cell.runs = Err(why);
                }
            }
        }
    }
    Measured { case, cells }
}

/// How many requests make a run of the wanted length. It also warms the contender up.
fn calibrate(case: &Case, port: u16, ca: &Path) -> Result<u64, String> {
    let guess = case.first_guess();
    let load = load::run(&case.to_calibrate(), port, ca, guess)?;
    Ok(((load.per_second * case.seconds()) as u64).max(guess))
}

fn once(case: &Case, field: &Field, contender: &Contender, port: u16, ca: &Path, requests: u64) -> Result<Run, String> {
    let counted = resp::counted(field.redis_port)?;
    let proxy_before = contender.server.as_ref().map(|server| proc::on_cpu_ns(server.pid())).transpose()?;
    let redis_before = proc::on_cpu_ns(field.redis.pid())?;
    let load = load::run(case, port, ca, requests)?;
    let redis_after = proc::on_cpu_ns(field.redis.pid())?;
    let proxy_after = contender.server.as_ref().map(|server| proc::on_cpu_ns(server.pid())).transpose()?;
    let after = resp::counted(field.redis_port)?;

    // redis-benchmark takes an error reply for a reply. What Redis executed cannot be faked.
    let executed = after.commands - counted.commands;
    if executed < requests {
        return Err(format!("Redis executed {executed} of {requests} requests: the rest got errors"));
    }
    // A proxy may ask things that Redis refuses (probes), but not often.
    let errors = after.errors - counted.errors;
    if errors > 100 {
        return Err(format!("Redis answered {errors} errors"));
    }
    let each_us = |before: u64, after: u64| (after - before) as f64 / 1000.0 / requests as f64;
    let proxy_us = proxy_before.zip(proxy_after).map(|(before, after)| each_us(before, after));
    let load::Load { per_second, p50_ms, p99_ms } = load;
    Ok(Run { per_second, p50_ms, p99_ms, proxy_us, redis_us: each_us(redis_before, redis_after) })
}
