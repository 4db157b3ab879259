//! Runs one case on one of two sides: straight at a server, or through Redan.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::script::{Case, Step};
use crate::support::beside::{Group, PATIENCE, Plain, words};
use crate::support::redis::Redis;
use crate::support::value::Value;

/// Where a case runs.
pub(super) struct Side<'a> {
    pub(super) group: &'a Group,
    /// For clients, and for those of `@admin` cases.
    pub(super) addresses: [String; 2],
    pub(super) resp3: bool,
    /// A server that keys can be moved to.
    pub(super) other: &'a Redis,
}

/// What a step came to: a reply's bytes, nothing to compare, or what went wrong.
pub(super) type Outcome = Result<Option<Vec<u8>>, String>;

impl Side<'_> {
    /// Leaves nothing of the last case behind, neither data nor settings.
    pub(super) fn clear(&self) {
        let mut client = Plain::connect(&self.addresses[1]);
        for line in ["CLIENT UNPAUSE", "FLUSHALL", "FUNCTION FLUSH", "SCRIPT FLUSH", "ACL LOG RESET", "SLOWLOG RESET"] {
            let words = words(line);
            let reply = client.ask(&words);
            assert!(reply.as_ref().is_ok_and(|reply| reply == b"+OK\r\n"), "{line}: {reply:?}");
        }
    }

    /// Runs the case; after a step that went wrong the rest is left out.
    pub(super) fn run(&self, case: &Case) -> Vec<Outcome> {
        let address = &self.addresses[usize::from(case.admin)];
        let names = case.steps.iter().filter_map(|(_, step)| step.client());
        let mut clients: HashMap<char, Plain> = names
            .collect::<HashSet<char>>()
            .into_iter()
            .map(|name| (name, Plain::speaking(address, self.resp3)))
            .collect();
        let mut kept: HashMap<String, Vec<u8>> = HashMap::new();
        kept.insert("other".to_owned(), self.other.port().to_string().into_bytes());
        let mut outcomes = Vec::new();
        for (_, step) in &case.steps {
            let outcome = match (step, step.client().and_then(|name| clients.get_mut(&name))) {
                (Step::Ask { words, keep, .. }, Some(client)) => client.ask(&filled(words, &kept)).map(|reply| {
                    if let Some(keep) = keep {
                        kept.insert(keep.clone(), Value::of(&reply).text);
                    }
                    Some(reply)
                }),
                (Step::Send { words, .. }, Some(client)) => client.send(&filled(words, &kept)).map(|()| None),
                (Step::Receive { .. }, Some(client)) => client.reply().map(Some),
                (Step::Closed { .. }, Some(client)) => client.closed().map(|()| None),
                (Step::Blocked { clients }, _) => {
                    let clients = Some(clients.to_string());
                    self.wait_for(|master| master.info("blocked_clients") == clients).map(|()| None)
                }
                (Step::Busy, _) => {
                    self.wait_for(|master| master.command(&["PING"]).starts_with("-BUSY")).map(|()| None)
                }
                (step, None) => unreachable!("{step:?} names a client, and all were opened"),
            };
            let failed = outcome.is_err();
            outcomes.push(outcome);
            if failed {
                break;
            }
        }
        outcomes
    }

    fn wait_for(&self, so: impl Fn(&Redis) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !so(&self.group.master) {
            if start.elapsed() > PATIENCE {
                return Err("what the step waits for does not come about".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// `$name` stands for what was kept under that name.
fn filled(words: &[Vec<u8>], kept: &HashMap<String, Vec<u8>>) -> Vec<Vec<u8>> {
    let fill = |word: &Vec<u8>| {
        let name = word.strip_prefix(b"$").and_then(|name| std::str::from_utf8(name).ok());
        name.and_then(|name| kept.get(name)).unwrap_or(word).clone()
    };
    words.iter().map(fill).collect()
}
