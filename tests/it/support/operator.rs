//! The operator's commands of the built program, said to a running Redan.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::endpoint::Endpoint;

/// What `redan VERB --config FILE …` printed, and its exit code.
pub(crate) fn redan(config: &Path, words: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
    // Before the words: what stands behind a node's command is the node's.
    let (verb, rest) = words.split_first().expect("a verb");
    command.arg(verb).arg("--config").arg(config).args(rest);
    let output = command.output().expect("redan runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.code().unwrap_or(-1))
}

pub(crate) fn done(endpoint: &Endpoint, words: &[&str]) -> String {
    let (said, code) = redan(&endpoint.file(), words);
    assert_eq!(code, 0, "{words:?}: {said}");
    said
}

pub(crate) fn refused(endpoint: &Endpoint, words: &[&str]) -> String {
    let (said, code) = redan(&endpoint.file(), words);
    assert_eq!(code, 1, "{words:?}: {said}");
    said
}

pub(crate) fn json(endpoint: &Endpoint, words: &[&str]) -> Value {
    let said = done(endpoint, &[words, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}:\n{said}"))
}
