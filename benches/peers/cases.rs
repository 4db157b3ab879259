//! What is measured: the cases, and the words on the command line that choose among them.
//!
//! Words of one kind add up, words of different kinds narrow down: `plain 50 500 get` is GET in plaintext
//! with 50 and with 500 clients. `quick` is 32 bytes and one round.

/// Bytes of a value. The large one fits one TLS record (16,384) together with its command: redis-benchmark
/// leaves Nagle's algorithm on, and a command of two records would wait 40 ms for an acknowledgement.
pub(crate) const SIZES: [usize; 2] = [32, 16_000];

use crate::fanout::SUBSCRIBERS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) tls: bool,
    pub(crate) command: &'static str,
    pub(crate) size: usize,
    pub(crate) clients: usize,
    pub(crate) pipeline: usize,
}

impl Case {
    /// How long one run should take. The cases that goals look at run longer. 500 TLS clients shake hands
    /// inside the run (about half a second of it), so that one must be long enough to bury them.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.tls, self.size, self.clients, self.pipeline) {
            (true, 32, 500, 1) => 4.0,
            (true, 32, 500, _) => 2.0,
            (true, _, 500, _) => 1.0,
            (_, 32, 50 | 500, _) => 1.0,
            _ => 0.4,
        }
    }

    /// The same with fewer clients, to learn the rate from: at 500, handshakes would be most of a short run.
    pub(crate) fn to_calibrate(self) -> Self {
        Self { clients: self.clients.min(50), ..self }
    }

    /// Requests of the first, calibrating run: a tenth of a second by a rough guess of the rate.
    pub(crate) fn first_guess(&self) -> u64 {
        let per_second: u64 = match (self.clients, self.pipeline) {
            (1, 1) => 10_000,
            (_, 1) => 60_000,
            (1, _) => 100_000,
            _ => 400_000,
        };
        let slower = if self.size > 1024 { 8 } else { 1 };
        per_second / 10 / slower
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wire = if self.tls { "TLS" } else { "plain" };
        let Self { command, size, clients, pipeline, .. } = self;
        write!(f, "{wire} {} {size} B, {clients} clients, pipeline {pipeline}", command.to_uppercase())
    }
}

/// What the command line asks for.
pub(crate) struct Choice {
    pub(crate) rounds: usize,
    pub(crate) cases: Vec<Case>,
    /// Names of contenders; empty is all.
    pub(crate) contenders: Vec<String>,
    pub(crate) idle: bool,
    /// So many subscribers of one channel.
    pub(crate) fanout: Option<usize>,
    /// Reads over two replicas.
    pub(crate) spread: bool,
    /// Nothing was left out, so the result may replace the document.
    pub(crate) complete: bool,
}

pub(crate) const USAGE: &str = "words: quick | plain tls | get set | 32b 16k | 1 50 500 | p1 p16 | idle | spread | pubsub subscribers=N | \
    direct haproxy twemproxy redan-1 redan-2 | rounds=N";

impl Choice {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        // `cargo bench` adds --bench for the harness that this program does not use.
        let words: Vec<String> = words.filter(|word| word != "--bench").collect();
        let mut rest = words.clone();
        let quick = take(&mut rest, &["quick"]).is_some();
        let wires = take(&mut rest, &["plain", "tls"]);
        let commands = take(&mut rest, &["get", "set"]);
        let sizes = take(&mut rest, &["32b", "16k"]).or_else(|| quick.then(|| vec!["32b".to_owned()]));
        let clients = take(&mut rest, &["1", "50", "500"]);
        let pipelines = take(&mut rest, &["p1", "p16"]);
        let idle = take(&mut rest, &["idle"]).is_some();
        let spread = take(&mut rest, &["spread"]).is_some();
        let mut fanout = take(&mut rest, &["pubsub"]).map(|_| SUBSCRIBERS);
        let contenders = take(&mut rest, &["direct", "haproxy", "twemproxy", "redan-1", "redan-2"]);
        let mut rounds = if quick { 1 } else { 3 };
        rest.retain(|word| {
            let number = |key: &str| word.strip_prefix(key)?.parse::<usize>().ok().filter(|number| *number > 0);
            match (number("rounds="), number("subscribers=")) {
                (Some(number), _) => rounds = number,
                (_, Some(number)) => fanout = Some(number),
                (None, None) => return true,
            }
            false
        });
        if let Some(word) = rest.first() {
            return Err(format!("'{word}' chooses nothing; {USAGE}"));
        }
        // `idle`, `spread` and `pubsub` alone mean only that; with other words, or none, the cases too.
        let only_those = (idle || spread || fanout.is_some())
            && [&wires, &commands, &sizes, &clients, &pipelines].iter().all(|kind| kind.is_none());
        let wanted =
            |kind: &Option<Vec<String>>, word: &str| kind.as_ref().is_none_or(|has| has.iter().any(|w| w == word));
        let mut cases = every_case();
        cases.retain(|case| {
            wanted(&wires, if case.tls { "tls" } else { "plain" })
                && wanted(&commands, case.command)
                && wanted(&sizes, if case.size == 32 { "32b" } else { "16k" })
                && wanted(&clients, &case.clients.to_string())
                && wanted(&pipelines, &format!("p{}", case.pipeline))
        });
        if only_those {
            cases.clear();
        }
        let complete = words.is_empty();
        fanout = fanout.or_else(|| complete.then_some(SUBSCRIBERS));
        let (idle, spread) = (idle || complete, spread || complete);
        Ok(Self { rounds, cases, contenders: contenders.unwrap_or_default(), idle, fanout, spread, complete })
    }
}

/// Removes those of `known` from `words`; `None` when there was none.
fn take(words: &mut Vec<String>, known: &[&str]) -> Option<Vec<String>> {
    let (found, rest) = words.drain(..).partition(|word| known.contains(&word.as_str()));
    *words = rest;
    Some(found).filter(|found: &Vec<String>| !found.is_empty())
}

/// Sizes outermost, because the keys are written anew when the size changes.
fn every_case() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for tls in [false, true] {
            for clients in [1, 50, 500] {
                for pipeline in [1, 16] {
                    for command in ["get", "set"] {
                        cases.push(Case { tls, command, size, clients, pipeline });
                    }
                }
            }
        }
    }
    cases
}
