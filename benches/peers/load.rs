//! One run of redis-benchmark, read from its CSV.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cases::Case;
use crate::resp::KEYS;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Sends `requests` of the case to `port`. `ca` signs the certificates of TLS contenders.
pub(crate) fn run(case: &Case, port: u16, ca: &Path, requests: u64) -> Result<Load, String> {
    // A lost reply or a refused handshake stops redis-benchmark for ever.
    let mut command = Command::new("timeout");
    command.args(["30", "redis-benchmark", "-h", "127.0.0.1", "--csv", "-t", case.command]);
    let numbers = [("-p", u64::from(port)), ("-d", case.size as u64), ("-c", case.clients as u64)];
    let more = [("-P", case.pipeline as u64), ("-n", requests), ("-r", KEYS as u64)];
    for (option, number) in numbers.into_iter().chain(more) {
        command.args([option, &number.to_string()]);
    }
    if case.tls {
        command.arg("--tls").arg("--cacert").arg(ca);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("redis-benchmark did not start: {error}; `make bench` installs it"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("redis-benchmark failed ({}): {} {}", output.status, text.trim(), errors.trim())
    })
}

/// Finds the columns by their names: older versions print only the rate.
fn parse(text: &str) -> Option<Load> {
    let header = text.lines().find(|line| line.starts_with("\"test\""))?;
    let values = text.lines().skip_while(|line| *line != header).nth(1)?;
    let column = |name: &str| {
        let index = header.split(',').position(|field| field.trim_matches('"') == name)?;
        values.split(',').nth(index)?.trim_matches('"').parse().ok()
    };
    Some(Load { per_second: column("rps")?, p50_ms: column("p50_latency_ms")?, p99_ms: column("p99_latency_ms")? })
}
