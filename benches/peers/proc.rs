//! What the kernel knows of a process: time on a core, and memory.
//!
//! Time comes from `schedstat`, which counts nanoseconds, because `stat` counts in ticks of 10 ms and a run
//! of a second would be known to 1 % at best. Nothing is subtracted: probes and timers are part of the price.

use std::fs;

/// Nanoseconds that all threads of `pid` have spent on a core since they began.
pub(crate) fn on_cpu_ns(pid: u32) -> Result<u64, String> {
    let folder = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&folder).map_err(|error| format!("cannot read {folder}, did it end? {error}"))?;
    let mut total = 0;
    for task in tasks.flatten() {
        // A thread may end between the listing and here; its time is then lost, not wrong by more than that.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    if total == 0 {
        return Err(format!("/proc/{pid}/task/*/schedstat counts nothing: this kernel lacks CONFIG_SCHED_INFO"));
    }
    Ok(total)
}

/// The same in ticks of 10 ms, with the time of threads that have ended, for programs that make one for each connection, and of
/// child processes that have, for servers that save in one.
#[allow(dead_code, reason = "only links are compared with such programs")]
pub(crate) fn process_cpu_ns(pid: u32) -> Result<u64, String> {
    const TICK_NS: u64 = 10_000_000;
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}, did it end? {error}"))?;
    // The name of the program is in brackets and may have spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok((11..=14).map(ticks).sum::<u64>() * TICK_NS)
}

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Pages in memory (`VmRSS`).
    pub(crate) resident: u64,
    /// The same with shared pages divided by their users (`Pss`).
    pub(crate) proportional: u64,
    /// Pages of nobody else.
    pub(crate) private: u64,
}

pub(crate) fn memory(pid: u32) -> Result<Memory, String> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).map_err(|error| format!("cannot read {path}, did it end? {error}"))
    };
    let status = read("status")?;
    let rollup = read("smaps_rollup")?;
    Ok(Memory {
        resident: kib(&status, "VmRSS:"),
        proportional: kib(&rollup, "Pss:"),
        private: kib(&rollup, "Private_Clean:") + kib(&rollup, "Private_Dirty:"),
    })
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
