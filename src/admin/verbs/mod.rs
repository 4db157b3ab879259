//! The verbs of REDAN: a table of them, and how one is found and run.
//!
//! A verb belongs to a file of its kind, which has a table of its own; a new one needs a line there, and a new file a line in
//! [`TABLES`]. A verb reads the report, asks workers through the switchboard or hands an order on. It must never wait without a
//! limit, nor do what an order's owner shall do.

mod events;
mod insight;
mod lookups;
mod nodes;
mod overview;
mod pause;
mod process;
mod sessions;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use super::{AdminState, Known};
use crate::config;
use crate::resp::value::Value;

/// What a verb answers.
#[derive(Debug)]
pub(super) enum Shown {
    /// A sentence.
    Line(String),
    /// Lines for people.
    Text(String),
    Json(String),
    /// What a node said.
    Raw(Value),
}

/// A sentence for the operator, without the `ERR` before it.
pub(super) type Outcome = Result<Shown, String>;
type Doing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One verb.
pub(super) struct Verb {
    /// One word, or two.
    pub(super) name: &'static str,
    /// What stands behind the name.
    pub(super) usage: &'static str,
    pub(super) help: &'static str,
    /// Words behind the name, at least and at most.
    pub(super) arity: (usize, usize),
    pub(super) run: fn(Call) -> Doing,
}

/// More words than any verb has.
const ANY: usize = 1 << 20;

const TABLES: &[&[Verb]] =
    &[overview::VERBS, sessions::VERBS, pause::VERBS, nodes::VERBS, process::VERBS, events::VERBS, insight::VERBS];

/// All verbs, in the order of HELP.
pub(super) fn all() -> impl Iterator<Item = &'static Verb> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// What somebody asks for.
pub(super) struct Call {
    pub(super) state: Arc<AdminState>,
    /// What is configured when it is asked.
    now: Arc<Known>,
    /// What stands behind the verb.
    words: Vec<Vec<u8>>,
    json: bool,
    /// Told of each step of what takes long.
    steps: mpsc::UnboundedSender<String>,
}

/// Runs `REDAN words…`.
pub(super) async fn run(mut call: Call) -> Outcome {
    if call.words.is_empty() {
        call.words.push(b"HELP".to_vec());
    }
    let (verb, named) = find(&call.words).ok_or_else(|| unknown(&call.text(0)))?;
    // What is meant for a node is the node's.
    let takes_json = verb.name != nodes::NODE;
    call.words.drain(..named);
    if takes_json && call.words.last().is_some_and(|word| word.eq_ignore_ascii_case(b"JSON")) {
        call.words.pop();
        call.json = true;
    }
    let (least, most) = verb.arity;
    if !(least..=most).contains(&call.words.len()) {
        return Err(format!("wrong number of arguments; it is REDAN {}", verb.line()));
    }
    (verb.run)(call).await
}

fn find(words: &[Vec<u8>]) -> Option<(&'static Verb, usize)> {
    all().find_map(|verb| {
        let mut named = 0;
        for part in verb.name.split(' ') {
            words.get(named).filter(|word| word.eq_ignore_ascii_case(part.as_bytes()))?;
            named += 1;
        }
        Some((verb, named))
    })
}

fn unknown(word: &str) -> String {
    let halves = all().filter(|verb| {
        let first = verb.name.split(' ').next().unwrap_or_default();
        first.eq_ignore_ascii_case(word) && verb.name.contains(' ')
    });
    match halves.map(Verb::line).collect::<Vec<_>>().join(", or ") {
        more if more.is_empty() => format!("unknown verb '{word}'; REDAN HELP lists them"),
        more => format!("'{word}' is not the whole of it; it is REDAN {more}"),
    }
}

impl Verb {
    fn line(&self) -> String {
        format!("{} {}", self.name, self.usage).trim_end().to_owned()
    }
}

impl Call {
    pub(super) fn new(state: Arc<AdminState>, words: Vec<Vec<u8>>, steps: mpsc::UnboundedSender<String>) -> Self {
        Self { now: state.now.load_full(), state, words, json: false, steps }
    }

    fn text(&self, index: usize) -> String {
        self.words.get(index).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
    }

    fn tell(&self, step: &str) {
        // Who asked may have gone away.
        let _ = self.steps.send(step.to_owned());
    }

    /// Text for people, or the same as JSON.
    fn shown(&self, text: String, data: &impl Serialize) -> Outcome {
        if !self.json {
            return Ok(Shown::Text(text));
        }
        json(data)
    }

    /// A sentence, or the same as JSON.
    fn said(&self, line: impl Into<String>) -> Outcome {
        let line = line.into();
        if self.json { json(&serde_json::json!({ "said": line })) } else { Ok(Shown::Line(line)) }
    }

    /// Options in pairs from the `from`-th word on, each of `known` once at most.
    fn options<const N: usize>(&self, from: usize, known: [&'static str; N]) -> Result<[Option<String>; N], String> {
        let mut found = [const { None }; N];
        for pair in self.words.get(from..).unwrap_or_default().chunks(2) {
            let name = String::from_utf8_lossy(&pair[0]).to_ascii_uppercase();
            let place = known.iter().position(|known| *known == name);
            let place = place.ok_or_else(|| match known.is_empty() {
                true => format!("'{name}' is one word too many"),
                false => format!("'{name}' is no option here; there is {}", known.join(", ")),
            })?;
            let value = pair.get(1).ok_or_else(|| format!("{name} lacks its value"))?;
            found[place] = Some(String::from_utf8_lossy(value).into_owned());
        }
        Ok(found)
    }
}

fn json(data: &impl Serialize) -> Outcome {
    serde_json::to_string(data).map(Shown::Json).map_err(|error| format!("no JSON: {error}: a defect of Redan"))
}

/// A time of at most `most`.
fn time(text: &str, most: Duration) -> Result<Duration, String> {
    let time = config::duration(text)?;
    if time > most {
        return Err(format!("{text} is longer than {most:?}, the most that is possible here"));
    }
    Ok(time)
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} is a number, and '{text}' is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_verb_as_it_is() {
        let manual = include_str!("../../../docs/admin.md");
        for verb in all() {
            assert!(
                manual.contains(&format!("`REDAN {}`", verb.line())),
                "docs/admin.md lacks `REDAN {}`",
                verb.line()
            );
        }
        let listed = manual.lines().filter(|line| line.starts_with("### `REDAN ")).count();
        assert_eq!(listed, all().count(), "docs/admin.md has a heading for each verb and for nothing else");
    }

    #[test]
    fn no_verb_hides_another_and_each_says_what_it_does() {
        let names: Vec<&str> = all().map(|verb| verb.name).collect();
        for verb in all() {
            let words: Vec<Vec<u8>> = verb.name.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(find(&words).map(|(found, named)| (found.name, named)), Some((verb.name, words.len())));
            assert!(!verb.help.is_empty() && verb.arity.0 <= verb.arity.1, "{}", verb.name);
            assert_eq!(names.iter().filter(|name| **name == verb.name).count(), 1, "{}", verb.name);
        }
        assert!(unknown("LOG").contains("LOG LEVEL"));
    }
}
