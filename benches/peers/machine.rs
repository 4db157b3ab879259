//! What the figures were measured on: without it they mean nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian puts servers into /usr/sbin, which is not on every user's PATH.
pub(crate) fn in_sbin(name: &str) -> PathBuf {
    Some(Path::new("/usr/sbin").join(name)).filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// Lines of a list in the document.
pub(crate) fn describe(load_before: &str) -> Vec<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        format!("Date: {}", first_line("date", &["-u", "+%F %R UTC"])),
        format!("Machine: {model}, {cores} cores for the client, the proxy and Redis together; loopback"),
        format!("Kernel: {}, congestion control {}", first_line("uname", &["-sr"]), congestion_control()),
        format!("Load average before the run: {load_before} (it should be near 0: anything else is noise)"),
        format!("Redis: {}", first_line("redis-server", &["--version"])),
        format!("HAProxy: {}", first_line(&in_sbin("haproxy").display().to_string(), &["-v"])),
        format!("twemproxy: {}", first_line(&in_sbin("nutcracker").display().to_string(), &["--version"])),
        format!("Redan: {}", first_line(env!("CARGO_BIN_EXE_redan"), &["--version"])),
        format!("Client: {}", first_line("redis-benchmark", &["--version"])),
    ]
}

/// BBR paces loopback by timers, which costs every contender that does not avoid it a good part of its CPU.
fn congestion_control() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default().trim().to_owned()
}

pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Raises this process's limit of open files, which its children inherit, to all it may have.
pub(crate) fn raise_open_files() {
    let pid = std::process::id().to_string();
    let hard = first_line("prlimit", &["--pid", &pid, "--nofile", "--noheadings", "--output", "HARD"]);
    let limit = format!("--nofile={hard}:{hard}");
    let raised = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    if !raised.is_ok_and(|status| status.success()) {
        eprintln!("the limit of open files stays as it is: ten thousand idle clients may not fit into it");
    }
}

/// twemproxy prints its version to standard error.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "not installed".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("says nothing").trim().to_owned()
}
