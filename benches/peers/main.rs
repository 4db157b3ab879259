//! Redan beside its peers: Redis itself, HAProxy and twemproxy, with the same client on the same machine.
//!
//! Run by `make bench`. Starts everything itself on free ports of 127.0.0.1 in a temporary folder, and stops
//! it. A complete run writes `docs/benchmarks.md`; a partial one (words on the command line) only prints.
//! Reading order: `cases`, `contenders`, `measure`, `goals`, `report`.

mod cases;
mod certificates;
mod contenders;
mod fanout;
mod goals;
mod idle;
mod load;
mod machine;
mod measure;
mod proc;
mod process;
mod report;
mod resp;
mod spread;
mod template;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use cases::Choice;
use contenders::Field;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "help") {
        println!("{}", cases::USAGE);
        return ExitCode::SUCCESS;
    }
    match Choice::parse(words.into_iter()).and_then(|choice| run(&choice)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("the benchmark stopped: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(choice: &Choice) -> Result<(), String> {
    let began = Instant::now();
    let load_average = machine::load_average();
    machine::raise_open_files();
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let authority = certificates::write(folder.path())?;

    let mut measured = Vec::new();
    let mut absent = Vec::new();
    if !choice.cases.is_empty() {
        let field = Field::start(folder.path(), &choice.contenders)?;
        let mut filled = None;
        for (number, case) in choice.cases.iter().enumerate() {
            if filled != Some(case.size) {
                resp::fill(field.redis_port, case.size)?;
                filled = Some(case.size);
            }
            eprintln!("[{:3.0} s, {}/{}] {case}", began.elapsed().as_secs_f64(), number + 1, choice.cases.len());
            measured.push(measure::case(*case, &field, &authority.file, choice.rounds));
        }
        absent = field.contenders.iter().filter_map(|one| Some((one.name, one.absent.clone()?))).collect();
    }
    let idle = choice.idle.then(|| idle::measure(folder.path(), &authority)).transpose()?;

    let fanout = choice.fanout.map(|subscribers| fanout::measure(folder.path(), subscribers)).transpose()?;

    let spread = choice.spread.then(|| spread::measure(folder.path(), choice.rounds)).transpose()?;

    let report = report::write(&report::Report {
        machine: &machine::describe(&load_average),
        rounds: choice.rounds,
        measured: &measured,
        idle: idle.as_deref(),
        fanout: fanout.as_deref(),
        spread: spread.as_deref(),
        absent: &absent,
    });
    if choice.complete {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
        std::fs::create_dir_all(path.with_file_name(""))
            .and_then(|()| std::fs::write(&path, &report))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {} after {:.0} s", path.display(), began.elapsed().as_secs_f64());
    } else {
        println!("{report}");
    }
    Ok(())
}
