//! Memory, descriptors and threads of each Redan over time, and whether a line through them rises.

use std::time::Instant;

/// Caches fill, pools and allocators reach their size: what comes before this part of a run says nothing.
const WARM_UP: f64 = 0.25;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: f64,
    /// Nothing was going on.
    calm: bool,
    pub(crate) rss_kib: f64,
    pub(crate) files: f64,
    pub(crate) threads: f64,
}

/// One process over time.
pub(crate) struct Line {
    pub(crate) name: String,
    id: u32,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) struct Course {
    pub(crate) lines: Vec<Line>,
    began: Instant,
}

/// A straight line through calm samples after the warm-up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trend {
    pub(crate) first: f64,
    /// How much it rises over the time that was looked at.
    pub(crate) rise: f64,
    pub(crate) per_hour: f64,
    pub(crate) most: f64,
}

impl Course {
    pub(crate) fn new(processes: Vec<(String, u32)>, began: Instant) -> Self {
        let lines = processes.into_iter().map(|(name, id)| Line { name, id, samples: Vec::new() });
        Self { lines: lines.collect(), began }
    }

    pub(crate) fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub(crate) fn sample(&mut self, calm: bool) {
        let at = self.elapsed();
        for line in &mut self.lines {
            // A process that has ended is found out at the end of the run.
            line.samples.extend(look(line.id, at, calm));
        }
    }
}

impl Line {
    pub(crate) fn trend(&self, value: impl Fn(&Sample) -> f64) -> Trend {
        let end = self.samples.last().map_or(0.0, |sample| sample.at);
        let most = self.samples.iter().map(&value).fold(0.0, f64::max);
        let used: Vec<(f64, f64)> = self
            .samples
            .iter()
            .filter(|sample| sample.calm && sample.at >= end * WARM_UP)
            .map(|sample| (sample.at, value(sample)))
            .collect();
        let Some((slope, start)) = fit(&used) else { return Trend { most, ..Trend::default() } };
        let from = used[0].0;
        let span = used[used.len() - 1].0 - from;
        Trend { first: start + slope * from, rise: slope * span, per_hour: slope * 3600.0, most }
    }
}

/// The slope and the value at 0 of the line with the least squares.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    (below > 0.0).then(|| (above / below, mean_y - above / below * mean_x))
}

fn look(id: u32, at: f64, calm: bool) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as f64;
    Some(Sample { at, calm, rss_kib: field("VmRSS:")?, files, threads: field("Threads:")? })
}
