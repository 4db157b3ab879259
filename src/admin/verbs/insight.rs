//! Verbs about single commands: SLOWLOG, HOTKEYS, BIGREPLIES. Workers are asked, and what they say is put together.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::sessions::STUCK;
use super::{Call, Doing, Verb, number};
use crate::admin::table::{bytes, seconds, table};
use crate::insight::hot::HotKey;
use crate::insight::large::Large;
use crate::insight::slow::Slow;
use crate::insight::{self, Answer, Ask};
use crate::session::switchboard;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "SLOWLOG",
        usage: "[GET n | LEN | RESET]",
        help: "commands that took longer than slowlog_threshold, the newest first, and where the time went",
        arity: (0, 2),
        run: slowlog,
    },
    Verb {
        name: "HOTKEYS",
        usage: "[ON | OFF | RESET]",
        help: "keys that are asked for most; ON begins to count, and costs a few nanoseconds a command",
        arity: (0, 1),
        run: hotkeys,
    },
    Verb {
        name: "BIGREPLIES",
        usage: "[RESET]",
        help: "the largest replies of at least big_reply bytes, by command and key",
        arity: (0, 1),
        run: bigreplies,
    },
];

/// As servers do.
const USUAL: usize = 10;

impl Call {
    /// Every worker's answer.
    async fn ask_workers(&self, ask: Ask) -> Result<Vec<Answer>, String> {
        // Whichever group is named, each worker is asked once.
        let answers = self.state.switchboard.ask(0, switchboard::Ask::Insight(ask)).await.ok_or(STUCK)?;
        let insight = |answer| match answer {
            switchboard::Answer::Insight(answer) => Some(answer),
            _ => None,
        };
        Ok(answers.into_iter().filter_map(insight).collect())
    }
}

fn slowlog(call: Call) -> Doing {
    Box::pin(async move {
        let verb = call.text(0).to_ascii_uppercase();
        match (verb.as_str(), call.words.len()) {
            ("RESET", 1) => {
                call.ask_workers(Ask::ForgetSlow).await?;
                call.said("the slow log is empty")
            }
            ("LEN", 1) => {
                let all = insight::all_slow(call.ask_workers(Ask::Slow).await?, usize::MAX);
                call.shown(all.len().to_string(), &json!({ "length": all.len() }))
            }
            ("", 0) | ("GET", 1 | 2) => {
                let count = match call.words.get(1) {
                    Some(_) => number("the count", &call.text(1))? as usize,
                    None => USUAL,
                };
                let all = insight::all_slow(call.ask_workers(Ask::Slow).await?, count);
                let rows: Vec<serde_json::Value> = all.iter().map(slow_json).collect();
                call.shown(slow_table(&all), &json!({ "slowlog": rows }))
            }
            _ => Err("it is REDAN SLOWLOG, with GET and a number, LEN or RESET behind it".to_owned()),
        }
    })
}

fn slow_table(all: &[Slow]) -> String {
    if all.is_empty() {
        return "no command took longer than slowlog_threshold".to_owned();
    }
    let time = |micros: u64| seconds(micros as f64 / 1e6);
    let row = |slow: &Slow| {
        vec![
            slow.id.to_string(),
            ago(slow.at_ms),
            time(slow.micros),
            time(slow.waited_us),
            time(slow.node_us),
            time(slow.client_us),
            slow.node.clone(),
            slow.listener.clone(),
            slow.user.clone(),
            slow.client.clone(),
            bytes(slow.bytes),
            line(&slow.words),
        ]
    };
    let names = [
        "id", "ago", "took", "in redan", "at node", "client", "node", "listener", "user", "address", "reply", "command",
    ];
    table(&names, &all.iter().map(row).collect::<Vec<_>>())
}

fn slow_json(slow: &Slow) -> serde_json::Value {
    json!({
        "id": slow.id,
        "at_ms": slow.at_ms,
        "microseconds": slow.micros,
        "in_redan": slow.waited_us,
        "at_node": slow.node_us,
        "at_client": slow.client_us,
        "command": slow.words.iter().map(|word| word_shown(word)).collect::<Vec<_>>(),
        "node": slow.node,
        "listener": slow.listener,
        "user": slow.user,
        "address": slow.client,
        "name": slow.client_name,
        "reply_bytes": slow.bytes,
    })
}

fn hotkeys(call: Call) -> Doing {
    Box::pin(async move {
        let done = match call.text(0).to_ascii_uppercase().as_str() {
            "" => None,
            "ON" => Some((Ask::WatchKeys(true), "keys are counted from now on, until HOTKEYS OFF or the next start")),
            "OFF" => Some((Ask::WatchKeys(false), "keys are not counted any more")),
            "RESET" => Some((Ask::ForgetKeys, "counting begins anew, where it is on")),
            _ => return Err("it is REDAN HOTKEYS, with ON, OFF or RESET behind it".to_owned()),
        };
        if let Some((ask, said)) = done {
            call.ask_workers(ask).await?;
            if let Ask::WatchKeys(_) = ask {
                tracing::info!("{said}, as ordered");
            }
            return call.said(said);
        }
        let Some(keys) = insight::all_hot(call.ask_workers(Ask::Hot).await?) else {
            return Err("keys are not counted; REDAN HOTKEYS ON begins, or `hot_keys = \"on\"`".to_owned());
        };
        let rows: Vec<serde_json::Value> = keys
            .iter()
            .map(|key| {
                let name = word_shown(&key.key);
                json!({ "key": name, "commands": key.commands, "writes": key.writes, "over": key.over })
            })
            .collect();
        call.shown(hot_table(&keys), &json!({ "hotkeys": rows }))
    })
}

/// As many as a person reads.
const SHOWN: usize = 32;

fn hot_table(keys: &[HotKey]) -> String {
    if keys.is_empty() {
        return "no key was asked for yet".to_owned();
    }
    let row = |key: &HotKey| {
        vec![key.commands.to_string(), key.over.to_string(), key.writes.to_string(), word_shown(&key.key)]
    };
    let rows: Vec<Vec<String>> = keys.iter().take(SHOWN).map(row).collect();
    table(&["commands", "too many by at most", "writes", "key"], &rows)
}

fn bigreplies(call: Call) -> Doing {
    Box::pin(async move {
        if call.text(0).eq_ignore_ascii_case("RESET") {
            call.ask_workers(Ask::ForgetLarge).await?;
            return call.said("all are forgotten");
        }
        if !call.words.is_empty() {
            return Err("it is REDAN BIGREPLIES, with RESET or nothing behind it".to_owned());
        }
        let all = insight::all_large(call.ask_workers(Ask::Large).await?);
        let rows: Vec<serde_json::Value> = all.iter().map(large_json).collect();
        call.shown(large_table(&all), &json!({ "bigreplies": rows }))
    })
}

fn large_table(all: &[Large]) -> String {
    if all.is_empty() {
        return "no reply had big_reply bytes".to_owned();
    }
    let row = |large: &Large| {
        vec![
            bytes(large.bytes),
            large.count.to_string(),
            word_shown(&large.command),
            ago(large.at_ms),
            large.node.clone(),
            large.client.clone(),
            word_shown(&large.key),
        ]
    };
    table(&["largest", "times", "command", "ago", "node", "address", "key"], &all.iter().map(row).collect::<Vec<_>>())
}

fn large_json(large: &Large) -> serde_json::Value {
    json!({
        "bytes": large.bytes,
        "count": large.count,
        "command": word_shown(&large.command),
        "key": word_shown(&large.key),
        "at_ms": large.at_ms,
        "node": large.node,
        "address": large.client,
    })
}

fn ago(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    seconds((now.saturating_sub(at_ms) / 1000) as f64)
}

fn line(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| word_shown(word)).collect::<Vec<_>>().join(" ")
}

/// A client's bytes on a terminal: nothing in them may move its cursor.
fn word_shown(word: &[u8]) -> String {
    let mut out = String::new();
    for letter in String::from_utf8_lossy(word).chars() {
        if letter.is_control() { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    if out.is_empty() { "\"\"".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_where_the_time_went_and_no_control_letters() {
        let slow = Slow {
            id: 7,
            micros: 12_500,
            waited_us: 500,
            node_us: 12_000,
            words: vec![b"SET".to_vec(), b"a\x1b[31m\r\n".to_vec(), Vec::new()],
            node: "10.0.0.1:6379".into(),
            ..Slow::default()
        };
        let text = slow_table(std::slice::from_ref(&slow));
        assert!(text.contains("SET a\\u{1b}[31m\\r\\n \"\""), "{text}");
        assert!(text.contains("12ms") && text.contains("500us") && text.contains("10.0.0.1:6379"), "{text}");
        assert_eq!(text.lines().count(), 2);
        assert_eq!(slow_json(&slow)["at_node"], 12_000);
        assert!(slow_table(&[]).contains("no command"));
    }
}
