//! The notices that package and image carry: of every crate that the linker has put into the program.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{PROGRAM, run, tree};

/// `name-version` of the crates whose source files the program's line numbers name.
fn linked() -> BTreeSet<String> {
    const BEFORE: &[u8] = b"/registry/src/";
    let program = fs::read(PROGRAM).unwrap();
    let named = program.windows(BEFORE.len()).enumerate().filter(|(_, bytes)| *bytes == BEFORE);
    let named = named.filter_map(|(at, _)| {
        let mut folders = program[at + BEFORE.len()..].split(|byte| *byte == b'/' || *byte == 0).skip(1);
        Some(String::from_utf8_lossy(folders.next()?).into_owned())
    });
    named.collect()
}

#[test]
fn every_crate_in_the_program_is_in_the_notices() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notices");
    run(Command::new(tree("packaging/notices")).arg(&file));
    let notices = fs::read_to_string(file).unwrap();
    let list = notices.lines().skip(2).take_while(|line| !line.is_empty());
    let listed: Vec<(&str, &str)> = list.filter_map(|line| line.split_once(" (")?.0.split_once(' ')).collect();
    let linked = linked();
    assert!(linked.len() > 80, "{linked:?}");
    for name in linked {
        assert!(listed.iter().any(|(crate_name, version)| format!("{crate_name}-{version}") == name), "{name}");
    }
    let words = notices.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, version) in listed {
        assert!(words.matches(&format!("{name} {version}")).count() > 1, "{name} {version} has no licence's text");
    }
    assert!(words.contains("The Rust Project Developers"));
}
