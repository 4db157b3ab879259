//! The cases as text: which rows of the command table a case is for, and its steps.
//!
//! ```text
//! = get mget @admin      for these rows; `@admin`: over the listener that carries administrative commands
//! GET k                  client `a` sends it and waits for the reply
//! b: GET k               client `b` does
//! b! BLPOP l 0           `b` sends it and waits for nothing
//! b<                     the next reply (or push) of `b`
//! b closed               the server closes the connection of `b`
//! id = CLIENT ID         the reply is kept for `$id` in later words
//! @blocked 1             until so many clients are blocked at the master
//! @busy                  until the master says that a script keeps it busy
//! ```
//!
//! Words may stand in double quotes, with the escapes of redis-cli.

use crate::support::beside::words;

/// Who does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Ask { client: char, words: Vec<Vec<u8>>, keep: Option<String> },
    Send { client: char, words: Vec<Vec<u8>> },
    Receive { client: char },
    Closed { client: char },
    Blocked { clients: usize },
    Busy,
}

impl Step {
    pub(super) fn client(&self) -> Option<char> {
        match self {
            Self::Ask { client, .. }
            | Self::Send { client, .. }
            | Self::Receive { client }
            | Self::Closed { client } => Some(*client),
            Self::Blocked { .. } | Self::Busy => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    /// As in the table: `get`, `config|set`.
    pub(super) rows: Vec<String>,
    pub(super) admin: bool,
    /// With the line as it was written.
    pub(super) steps: Vec<(String, Step)>,
}

/// All cases of one file.
pub(super) fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix("= ") {
            let (marks, rows): (Vec<&str>, Vec<&str>) = header.split(' ').partition(|word| word.starts_with('@'));
            let rows = rows.into_iter().map(str::to_owned).collect();
            cases.push(Case { rows, admin: marks.contains(&"@admin"), steps: Vec::new() });
        } else {
            let case = cases.last_mut().expect("a header before the first step");
            case.steps.push((line.to_owned(), step(line)));
        }
    }
    cases
}

fn step(line: &str) -> Step {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut letters = first.chars();
    let client = letters.next().expect("a line has letters");
    match (letters.as_str(), rest) {
        (":", rest) => ask(client, rest),
        ("!", rest) => Step::Send { client, words: words(rest) },
        ("<", "") => Step::Receive { client },
        ("", "closed") => Step::Closed { client },
        ("blocked", count) if client == '@' => Step::Blocked { clients: count.parse().expect("a count") },
        ("busy", "") if client == '@' => Step::Busy,
        _ => ask('a', line),
    }
}

/// `GET k`, or `name = GET k`.
fn ask(client: char, line: &str) -> Step {
    match line.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
        Some((name, command)) => Step::Ask { client, words: words(command), keep: Some(name.to_owned()) },
        None => Step::Ask { client, words: words(line), keep: None },
    }
}
