//! Links beside stunnel, spiped and Redis's own TLS: the same bytes through each, on the same machine, in the same run.
//!
//! Run by `make bench-link`. Starts everything itself on free ports of 127.0.0.1 in a temporary folder, and stops it. A
//! complete run writes `docs/benchmarks-link.md`; a partial one (words on the command line) only prints. Reading order:
//! `contenders`, `traffic`, `sync`, `report`.

#[path = "../peers/machine.rs"]
#[allow(dead_code, reason = "the other benchmark needs more of it")]
mod machine;
#[path = "../peers/proc.rs"]
#[allow(dead_code, reason = "the other benchmark needs more of it")]
mod proc;
#[path = "../peers/process.rs"]
#[allow(dead_code, reason = "the other benchmark needs more of it")]
mod process;

mod contenders;
mod report;
mod sync;
mod traffic;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use contenders::Contender;
use report::{Figures, Row};

const USAGE: &str = "\
words narrow it down: direct, plaintext, redan, stunnel, spiped, redis-tls (contenders); bulk, small, sync (measurements); quick: one \
round; without any everything is measured three times and docs/benchmarks-link.md is written";

const CONTENDERS: [&str; 6] = ["direct", "plaintext", "redan", "stunnel", "spiped", "redis-tls"];
const MEASUREMENTS: [&str; 3] = ["bulk", "small", "sync"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let known = |word: &String| word == "quick" || CONTENDERS.iter().chain(&MEASUREMENTS).any(|known| known == word);
    if !words.iter().all(known) {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    }
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("the benchmark stopped: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let began = Instant::now();
    let load_average = machine::load_average();
    let wanted = |all: &[&'static str]| -> Vec<&'static str> {
        let some: Vec<&str> = all.iter().copied().filter(|one| words.iter().any(|word| word == one)).collect();
        if some.is_empty() { all.to_vec() } else { some }
    };
    let (contenders, measurements) = (wanted(&CONTENDERS), wanted(&MEASUREMENTS));
    let rounds = if words.iter().any(|word| word == "quick") { 1 } else { 3 };
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut rows: Vec<Row> = Vec::new();
    // Contenders take turns, so that a noisy minute hits all of them.
    for round in 0..rounds {
        for name in &contenders {
            eprintln!("[{:3.0} s, round {}] {name}", began.elapsed().as_secs_f64(), round + 1);
            for (case, figures) in measure(folder.path(), name, &measurements)? {
                report::add(&mut rows, name, &case, figures);
            }
        }
    }
    let mut lines = machine_lines(&load_average);
    lines.push(match words.join(" ") {
        none if none.is_empty() => "Command: `make bench-link`".to_owned(),
        words => format!("Command: `make bench-link BENCH=\"{words}\"`"),
    });
    let text = report::write(&lines, rounds, &rows);
    if words.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks-link.md");
        std::fs::write(&path, &text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {} after {:.0} s", path.display(), began.elapsed().as_secs_f64());
    } else {
        println!("{text}");
    }
    Ok(())
}

/// A case that fails is left out and said so: the others are worth having.
fn measure(folder: &Path, name: &str, measurements: &[&str]) -> Result<Vec<(String, Figures)>, String> {
    let mut measured = Vec::new();
    let wants = |what: &str| measurements.contains(&what);
    let mut keep = |case: String, figures: Result<Figures, String>, said: &str| match figures {
        Ok(figures) => measured.push((case, figures)),
        Err(why) => eprintln!("{name}, {case}: {why}; it printed: {said}"),
    };
    if name != "redis-tls" && (wants("bulk") || wants("small")) {
        let target = traffic::Target::start()?;
        let contender = Contender::start(folder, name, target.port)?;
        for connections in [1, 4].into_iter().filter(|_| wants("bulk")) {
            for (direction, up) in [("to the target", true), ("from the target", false)] {
                let case = format!("bulk, {direction}, connections: {connections}");
                keep(case, traffic::bulk(&contender, connections, up), &contender.said());
            }
        }
        for connections in [1, 50].into_iter().filter(|_| wants("small")) {
            let case = format!("small requests, connections: {connections}");
            keep(case, traffic::small(&contender, connections), &contender.said());
        }
    }
    if wants("sync") {
        keep("full sync".to_owned(), sync::full(folder, name), "");
    }
    Ok(measured)
}

fn machine_lines(load_average: &str) -> Vec<String> {
    let peers = ["HAProxy", "twemproxy", "Client"];
    let mut lines = machine::describe(load_average);
    lines.retain(|line| !peers.iter().any(|peer| line.starts_with(&format!("{peer}:"))));
    let said = |program: &str, option: &str| {
        let output = std::process::Command::new(program).arg(option).output();
        let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().find(|line| line.contains(program)).unwrap_or("not installed").to_owned()
    };
    lines.push(format!("stunnel: {}", said("stunnel", "-version")));
    lines.push(format!("spiped: {}", said("spiped", "-v")));
    lines
}
