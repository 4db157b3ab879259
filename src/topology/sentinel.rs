//! What a Sentinel says: its replies made into one [`Statement`], its messages into a [`Notice`].
//!
//! Pure. `control` asks and calls it, the tracker judges the result. What a Sentinel did not say is never guessed.

use std::sync::Arc;

use super::address::join_host_port;
use crate::resp::value::Value;

/// How many replicas and other Sentinels of one list are looked at: a bound for hostile or broken lists.
const LISTED: usize = 64;

/// The events that tell of a change of the master, or of what leads to one. Which of them name the node that takes over
/// [`notice`] knows; the others mean: look.
pub(crate) const EVENTS: [&str; 29] = [
    "+switch-master",
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    "+new-epoch",
    "+try-failover",
    "+elected-leader",
    "+failover-state-select-slave",
    "+selected-slave",
    "+failover-state-send-slaveof-noone",
    "+failover-state-wait-promotion",
    "+promoted-slave",
    "+failover-state-reconf-slaves",
    "+failover-end",
    "+slave",
    "+slave-reconf-sent",
    "+slave-reconf-done",
    "+convert-to-slave",
    "+reboot",
    "+role-change",
    "-role-change",
    "+config-update-from",
    "+reset-master",
    "+sentinel",
    "+tilt",
    "-tilt",
    "-failover-abort-slave-timeout",
    "-failover-abort-no-good-slave",
];

/// A Sentinel's answer to one round of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Equal at two addresses means one Sentinel.
    pub(crate) id: Option<Arc<str>>,
    /// `None`: it knows no master of the configured name.
    pub(crate) subject: Option<Subject>,
    /// Its clock jumped, or it was frozen: it does not act, and what it says may be old.
    pub(crate) tilt: bool,
}

/// What it says of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// `host:port`, as announced.
    pub(crate) master: String,
    /// Of the configuration that made it the master; grows with each failover.
    pub(crate) epoch: u64,
    /// It holds the master for down.
    pub(crate) down: bool,
    /// Sentinels that have to agree on that before one of them acts.
    pub(crate) quorum: Option<usize>,
    pub(crate) replicas: Vec<String>,
    pub(crate) sentinels: Vec<Peer>,
}

/// Another Sentinel, as one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) id: Option<Arc<str>>,
}

/// The replies to one round of questions. Errors among them are what the user may not ask, save that of `master`.
#[derive(Debug)]
pub(crate) struct Replies<'a> {
    /// SENTINEL MASTER: `None` where it knows no such master.
    pub(crate) master: Option<&'a Value>,
    /// SENTINEL GET-MASTER-ADDR-BY-NAME, asked after `master`: a leader names the promoted node here long before it does
    /// there, and has raised the epoch there by then.
    pub(crate) address: &'a Value,
    pub(crate) replicas: &'a Value,
    pub(crate) sentinels: &'a Value,
    /// SENTINEL MYID, since 6.2.
    pub(crate) id: &'a Value,
    /// INFO, for the id of older ones and for TILT.
    pub(crate) info: &'a Value,
}

/// Reads a round; `None` when the reply about the master makes no sense.
pub(crate) fn statement(replies: &Replies<'_>) -> Option<Statement> {
    let info = replies.info.text().unwrap_or_default();
    let line = |key: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(key)?.strip_prefix(':'));
    let id = replies.id.text().or_else(|| line("run_id")).map(Arc::from);
    let subject = match replies.master {
        None => None,
        Some(master) => Some(subject(master, replies)?),
    };
    Some(Statement { id, subject, tilt: line("sentinel_tilt") == Some("1") })
}

fn subject(master: &Value, replies: &Replies<'_>) -> Option<Subject> {
    let own = replies.address.items().and_then(|pair| join(pair.first(), pair.get(1)));
    let number = |key: &str| master.field(key).and_then(Value::integer);
    Some(Subject {
        master: own.or_else(|| address(master))?,
        epoch: number("config-epoch").and_then(|epoch| u64::try_from(epoch).ok())?,
        down: flags(master).any(|flag| flag == "s_down" || flag == "o_down"),
        quorum: number("quorum").and_then(|quorum| usize::try_from(quorum).ok()),
        replicas: listed(replies.replicas).filter_map(address).collect(),
        sentinels: listed(replies.sentinels)
            .filter_map(|peer| {
                let id = peer.field("runid").and_then(Value::text).filter(|id| !id.is_empty());
                Some(Peer { address: address(peer)?, id: id.map(Arc::from) })
            })
            .collect(),
    })
}

fn listed(list: &Value) -> impl Iterator<Item = &Value> {
    list.items().unwrap_or_default().iter().take(LISTED)
}

fn flags(instance: &Value) -> impl Iterator<Item = &str> {
    instance.field("flags").and_then(Value::text).unwrap_or_default().split(',')
}

fn address(instance: &Value) -> Option<String> {
    join(instance.field("ip"), instance.field("port"))
}

fn join(host: Option<&Value>, port: Option<&Value>) -> Option<String> {
    let port = u16::try_from(port?.integer()?).ok().filter(|&port| port != 0)?;
    let host = host?.text().filter(|host| !host.is_empty())?;
    Some(join_host_port(host, port))
}

/// What a message of a Sentinel means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Something is going on: ask everyone.
    Stir,
    /// It makes this node, `host:port` as announced, the master, or has done so.
    Promotes(String),
    /// It gave up.
    Aborts,
}

/// Reads a message; `None` when it is about another master.
pub(crate) fn notice(event: &str, payload: &str, name: &str) -> Option<Notice> {
    let words: Vec<&str> = payload.split(' ').collect();
    // "slave NAME IP PORT @ MASTER IP PORT"; a master has no "@" part, and stands first in "+switch-master".
    let about = match (words.iter().position(|word| *word == "@"), event) {
        (Some(at), _) => words.get(at + 1),
        (None, "+switch-master") => words.first(),
        (None, _) if words.first() == Some(&"master") => words.get(1),
        // "+tilt", "+new-epoch": about the Sentinel as a whole.
        (None, _) => None,
    };
    if about.is_some_and(|about| *about != name) {
        return None;
    }
    let at = |host: usize| {
        let port = words.get(host + 1)?.parse().ok().filter(|&port: &u16| port != 0)?;
        Some(join_host_port(words.get(host).filter(|host| !host.is_empty())?, port))
    };
    let promoted = match event {
        "+switch-master" => at(3),
        "+failover-state-wait-promotion" | "+promoted-slave" => at(2),
        _ if event.starts_with("-failover-abort") => return Some(Notice::Aborts),
        _ => None,
    };
    Some(promoted.map_or(Notice::Stir, Notice::Promotes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    fn texts(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| text(word)).collect())
    }

    #[test]
    fn the_leader_names_the_promoted_node_before_its_own_record_does() {
        let master = texts(&[
            "name",
            "m",
            "ip",
            "10.0.0.1",
            "port",
            "1",
            "flags",
            "master,o_down",
            "config-epoch",
            "7",
            "quorum",
            "2",
        ]);
        let replicas = Value::Array(vec![
            texts(&["ip", "fe80::1", "port", "2"]),
            texts(&["ip", "", "port", "2"]),
            texts(&["ip", "x", "port", "0"]),
        ]);
        let sentinels = Value::Array(vec![texts(&["ip", "10.0.0.9", "port", "26379", "runid", "abc"])]);
        let mut replies = Replies {
            master: Some(&master),
            address: &texts(&["redis-2", "2"]),
            replicas: &replicas,
            sentinels: &sentinels,
            id: &Value::Error("ERR Unknown".into()),
            info: &text("run_id:me\r\nsentinel_tilt:1\r\n"),
        };
        let said = statement(&replies).expect("a statement");
        assert_eq!((said.id.as_deref(), said.tilt), (Some("me"), true));
        let subject = said.subject.expect("known");
        assert_eq!((subject.master.as_str(), subject.epoch, subject.quorum), ("redis-2:2", 7, Some(2)));
        assert!(subject.down);
        assert_eq!(subject.replicas, ["[fe80::1]:2"]);
        assert_eq!(subject.sentinels, [Peer { address: "10.0.0.9:26379".into(), id: Some("abc".into()) }]);
        // Who may not ask for the address hears of the record.
        let denied = Value::Error("NOPERM".into());
        replies.address = &denied;
        assert_eq!(statement(&replies).and_then(|said| said.subject).expect("known").master, "10.0.0.1:1");
        replies.master = None;
        assert_eq!(statement(&replies).map(|said| said.subject), Some(None));
        replies.master = Some(&denied);
        assert_eq!(statement(&replies), None);
    }

    #[test]
    fn messages_name_who_takes_over_and_what_is_about_others_is_nothing() {
        let promotes = |address: &str| Some(Notice::Promotes(address.to_owned()));
        let replica = "slave 10.0.0.2:2 10.0.0.2 2 @ m 10.0.0.1 1";
        for (event, payload, want) in [
            ("+switch-master", "m 10.0.0.1 1 10.0.0.2 2", promotes("10.0.0.2:2")),
            ("+switch-master", "other 10.0.0.1 1 10.0.0.2 2", None),
            ("+promoted-slave", replica, promotes("10.0.0.2:2")),
            ("+failover-state-wait-promotion", replica, promotes("10.0.0.2:2")),
            ("+failover-state-wait-promotion", "slave x", Some(Notice::Stir)),
            ("-failover-abort-slave-timeout", "master m 10.0.0.1 1", Some(Notice::Aborts)),
            ("+sdown", "master m 10.0.0.1 1", Some(Notice::Stir)),
            ("+sdown", "master other 10.0.0.1 1", None),
            ("+slave", "slave 10.0.0.2:2 10.0.0.2 2 @ other 10.0.0.1 1", None),
            ("+tilt", "#tilt mode entered", Some(Notice::Stir)),
        ] {
            assert_eq!(notice(event, payload, "m"), want, "{event} {payload}");
        }
    }
}
