//! Commands that no row of the table names (modules', newer servers'), as the master's COMMAND INFO tells of them.
//!
//! Pure: `backend` asks the master and keeps one of these per worker and group; the session's plan looks names up here when
//! the table has none. What is not known yet, or could not be learnt, is never guessed to be a read.

use std::collections::HashMap;

use super::classify::learnt;
use super::{Kind, Pin, Refused};
use crate::limits;
use crate::resp::value::Value;

#[derive(Debug)]
struct Entry {
    lesson: Lesson,
    /// Seconds since it was learnt.
    age: u32,
}

/// What there is to know about a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lesson {
    Known {
        kind: Kind,
        /// Of a container.
        subcommands: Vec<(Box<[u8]>, Kind)>,
    },
    /// The master knows no such command.
    Absent,
    /// The master would not say.
    Refused,
}

/// How long each stands, in seconds. A module may be loaded at any moment, but its commands seldom change what they are; who
/// may not ask COMMAND does not get the right every second.
const KNOWN: u32 = 300;
const ABSENT: u32 = 1;
const REFUSED: u32 = 10;

#[derive(Debug, Default)]
pub(crate) struct Learned {
    entries: HashMap<Box<[u8]>, Entry>,
}

impl Learned {
    /// The kind of a command that has no row; `None` when the master must be asked first.
    pub(crate) fn find(&self, name: &[u8], second: Option<&[u8]>) -> Option<Kind> {
        if name.len() > limits::LEARNED_NAME {
            return Some(Kind::Pin(Pin::Unknown));
        }
        if self.entries.is_empty() {
            return None;
        }
        Some(match &self.entries.get(&*name.to_ascii_lowercase())?.lesson {
            Lesson::Known { kind, subcommands } => {
                let sub = subcommands.iter().find(|(sub, _)| second.is_some_and(|word| word.eq_ignore_ascii_case(sub)));
                // As of commands with a row: the server may find one of them by it.
                let ambiguous = !subcommands.is_empty() && second.is_some_and(|word| word.contains(&0));
                let other = if ambiguous { Kind::Refused(Refused::Ambiguous) } else { *kind };
                sub.map_or(other, |(_, kind)| *kind)
            }
            // The server answers with its own error. As a write it keeps its place and is not sent twice, should the
            // command have come into being meanwhile.
            Lesson::Absent => Kind::Write,
            Lesson::Refused => Kind::Pin(Pin::Unknown),
        })
    }

    pub(crate) fn learn(&mut self, name: &[u8], lesson: Lesson) {
        // Names are the clients' to invent.
        if self.entries.len() >= limits::LEARNED_COMMANDS {
            self.entries.clear();
        }
        self.entries.insert(name.to_ascii_lowercase().into(), Entry { lesson, age: 0 });
    }

    /// Another master: its commands may be others.
    pub(crate) fn forget_all(&mut self) {
        self.entries.clear();
    }

    /// Called once a second.
    pub(crate) fn tick(&mut self) {
        self.entries.retain(|_, entry| {
            entry.age += 1;
            entry.age
                <= match entry.lesson {
                    Lesson::Known { .. } => KNOWN,
                    Lesson::Absent => ABSENT,
                    Lesson::Refused => REFUSED,
                }
        });
    }
}

/// Reads the reply to `COMMAND INFO name` (RESP2): one element per name, null for a name that is no command.
/// `slips`: the server takes a renamed command by its old name too, right behind itself on one connection.
pub(crate) fn lesson(name: &[u8], reply: &Value, slips: bool) -> Lesson {
    match reply.items() {
        Some([Value::Null]) => Lesson::Absent,
        Some([command]) if slips && is_renamed(name, command) => unshared(command).unwrap_or(Lesson::Refused),
        Some([command]) => known(command).unwrap_or(Lesson::Refused),
        _ => Lesson::Refused,
    }
}

/// The server calls it by another name.
fn is_renamed(name: &[u8], command: &Value) -> bool {
    let own = command.items().and_then(|parts| parts.first()?.bytes());
    own.is_some_and(|own| !own.eq_ignore_ascii_case(name))
}

/// On a shared connection the old name, which the operator took away, would work for whoever comes next: it gets one of its
/// own, which is closed after it.
fn unshared(command: &Value) -> Option<Lesson> {
    let kind = match one(command)?.1 {
        kind @ Kind::Admin(_) => kind,
        _ => Kind::Pin(Pin::Unknown),
    };
    Some(Lesson::Known { kind, subcommands: Vec::new() })
}

/// name, arity, flags, first key, last key, step, and since 7.0 categories, tips, key specifications, subcommands.
fn known(command: &Value) -> Option<Lesson> {
    let (_, kind) = one(command)?;
    let subcommands = command.items()?.get(9).and_then(Value::items).unwrap_or_default();
    let subcommands = subcommands.iter().filter_map(|sub| {
        let (name, kind) = one(sub)?;
        let (_, name) = name.split_once('|')?;
        Some((name.as_bytes().into(), kind))
    });
    Some(Lesson::Known { kind, subcommands: subcommands.collect() })
}

fn one(command: &Value) -> Option<(&str, Kind)> {
    let [name, _, flags, ..] = command.items()? else {
        return None;
    };
    let flags: Vec<&str> = flags.items()?.iter().filter_map(Value::text).collect();
    Some((name.text()?, learnt(&flags)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Admin;
    use crate::resp::value::decode;

    fn read(reply: &str) -> Lesson {
        lesson(b"MOD.GET", &decode(reply.as_bytes(), false).expect("RESP").expect("all of it").0, false)
    }

    fn plain(flags: &[&str]) -> Lesson {
        let flags: String = flags.iter().map(|flag| format!("+{flag}\r\n")).collect::<String>();
        let count = flags.matches('+').count();
        read(&format!("*1\r\n*6\r\n$7\r\nmod.get\r\n:2\r\n*{count}\r\n{flags}:1\r\n:1\r\n:1\r\n"))
    }

    fn is(kind: Kind) -> Lesson {
        Lesson::Known { kind, subcommands: Vec::new() }
    }

    #[test]
    fn flags_decide_and_in_doubt_it_is_a_connection_of_its_own() {
        assert_eq!(plain(&["readonly", "fast", "module"]), is(Kind::Read));
        assert_eq!(plain(&["write", "denyoom", "module"]), is(Kind::Write));
        assert_eq!(plain(&["write", "blocking"]), is(Kind::Pin(Pin::Blocking)));
        assert_eq!(plain(&["readonly", "blocking"]), is(Kind::Pin(Pin::Blocking)));
        assert_eq!(plain(&["readonly", "admin"]), is(Kind::Admin(Admin::Command)));
        assert_eq!(plain(&["readonly", "pubsub"]), is(Kind::Pin(Pin::Unknown)));
        assert_eq!(plain(&["module"]), is(Kind::Pin(Pin::Unknown)));
        assert_eq!(plain(&[]), is(Kind::Pin(Pin::Unknown)));
        assert_eq!(read("*1\r\n*-1\r\n"), Lesson::Absent);
        assert_eq!(read("*1\r\n$-1\r\n"), Lesson::Absent);
        assert_eq!(read("-NOPERM no\r\n"), Lesson::Refused);
        assert_eq!(read("*0\r\n"), Lesson::Refused);
    }

    #[test]
    fn a_container_has_its_subcommands_kinds() {
        let sub = |name: &str, flag: &str| format!("*3\r\n${}\r\n{name}\r\n:2\r\n*1\r\n+{flag}\r\n", name.len());
        let reply = format!(
            "*1\r\n*10\r\n$3\r\nmod\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*2\r\n{}{}",
            sub("mod|get", "readonly"),
            sub("mod|set", "write")
        );
        let mut learned = Learned::default();
        learned.learn(b"MOD", read(&reply));
        assert_eq!(learned.find(b"mod", Some(b"GET")), Some(Kind::Read));
        assert_eq!(learned.find(b"Mod", Some(b"set")), Some(Kind::Write));
        assert_eq!(learned.find(b"mod", Some(b"other")), Some(Kind::Pin(Pin::Unknown)));
        assert_eq!(learned.find(b"mod", None), Some(Kind::Pin(Pin::Unknown)));
        assert_eq!(learned.find(b"mod", Some(b"set\0")), Some(Kind::Refused(Refused::Ambiguous)));
        assert_eq!(learned.find(b"nod", None), None);
    }

    #[test]
    fn a_renamed_command_shares_no_connection_where_its_old_name_would_slip_through() {
        let reply = |flags: &str| {
            let count = flags.matches('+').count();
            let reply = format!("*1\r\n*6\r\n$3\r\nget\r\n:2\r\n*{count}\r\n{flags}:1\r\n:1\r\n:1\r\n");
            decode(reply.as_bytes(), false).expect("RESP").expect("all of it").0
        };
        let (reads, steers) = (reply("+readonly\r\n+fast\r\n"), reply("+admin\r\n"));
        assert_eq!(lesson(b"FETCH", &reads, true), is(Kind::Pin(Pin::Unknown)));
        assert_eq!(lesson(b"FETCH", &steers, true), is(Kind::Admin(Admin::Command)));
        assert_eq!(lesson(b"FETCH", &reads, false), is(Kind::Read));
        assert_eq!(lesson(b"GET", &reads, true), is(Kind::Read));
    }

    #[test]
    fn what_is_absent_is_asked_for_again_soon_and_names_do_not_pile_up() {
        let mut learned = Learned::default();
        learned.learn(b"known", is(Kind::Read));
        learned.learn(b"absent", Lesson::Absent);
        assert_eq!(learned.find(b"absent", None), Some(Kind::Write));
        learned.tick();
        learned.tick();
        assert_eq!(learned.find(b"absent", None), None);
        assert_eq!(learned.find(b"known", None), Some(Kind::Read));
        let long = vec![b'n'; limits::LEARNED_NAME + 1];
        assert_eq!(learned.find(&long, None), Some(Kind::Pin(Pin::Unknown)), "it is not asked about");
        for n in 0..10 * limits::LEARNED_COMMANDS {
            learned.learn(format!("made.up.{n}").as_bytes(), Lesson::Absent);
        }
        assert!(learned.entries.len() <= limits::LEARNED_COMMANDS);
    }
}
