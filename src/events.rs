//! What has happened of late, in words: a bounded list of the log's lines that are about the whole and not about one client.
//!
//! Pure. [`crate::chronicle`] fills it from the log and gives it to many threads; the dashboard, `/events` and the terminal
//! view show it. It must never hold what a client sent.

use std::collections::VecDeque;
use std::time::Duration;

/// As many as a day of trouble has. Each is a sentence.
const KEPT: usize = 512;

/// A sentence that says the same again is counted where it stands, if it comes within so long.
const AGAIN_MS: u64 = 10_000;

/// How far back a sentence is looked for that says the same.
const LOOK_BACK: usize = 8;

/// Bytes of one sentence; the longest of Redan's own have a quarter of it.
const WORDS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Info,
    Warn,
    Error,
}

impl Weight {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One sentence, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    /// Grows by one with each; begins with 1.
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) weight: Weight,
    /// A group's name, `link 'x'`, `listener 'x'`; nothing where it is about the process.
    pub(crate) about: Option<String>,
    pub(crate) words: String,
    /// How often it was said, lately.
    pub(crate) times: u64,
    /// The number that it had when it was said before.
    pub(crate) replaces: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: VecDeque<Happened>,
    last: u64,
}

impl Events {
    /// Takes in a line of the log. `group` is the group that it names beside its text.
    pub(crate) fn add(&mut self, at_ms: u64, weight: Weight, group: Option<String>, line: &str) {
        let (about, words) = match group {
            Some(group) => (Some(group), line),
            None => subject(line),
        };
        let words = shortened(words);
        let (times, replaces) = self.take_back(at_ms, weight, about.as_deref(), words).unwrap_or((1, None));
        self.last += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        let words = words.to_owned();
        self.kept.push_back(Happened { number: self.last, at_ms, weight, about, words, times, replaces });
    }

    /// Removes the sentence that says the same; how often it is said with this time, and what was its number.
    fn take_back(
        &mut self,
        at_ms: u64,
        weight: Weight,
        about: Option<&str>,
        words: &str,
    ) -> Option<(u64, Option<u64>)> {
        let from = self.kept.len().saturating_sub(LOOK_BACK);
        let says_the_same = |old: &Happened| {
            let close = at_ms.saturating_sub(old.at_ms) <= AGAIN_MS;
            close && old.weight == weight && old.about.as_deref() == about && alike(about, &old.words, words)
        };
        let place = from + self.kept.iter().skip(from).position(says_the_same)?;
        let old = self.kept.remove(place)?;
        Some((old.times + 1, Some(old.number)))
    }

    /// The number of the last one; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Those with greater numbers, oldest first.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = &Happened> {
        self.kept.iter().filter(move |happened| happened.number > number)
    }
}

/// Connections of a link come and go in thousands, and their sentences differ in port numbers and times alone.
fn alike(about: Option<&str>, one: &str, other: &str) -> bool {
    if about.is_some_and(|about| about.starts_with("link '")) {
        return letters(one).eq(letters(other));
    }
    one == other
}

fn letters(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|letter| !letter.is_ascii_digit() && *letter != '.')
}

/// Splits `link 'x': it broke` into what it is about and what happened.
fn subject(line: &str) -> (Option<String>, &str) {
    let named = ["link '", "listener '", "group '"].iter().find_map(|kind| {
        let name = line.strip_prefix(kind)?;
        let end = kind.len() + name.find('\'')? + 1;
        Some(line.split_at(end))
    });
    let Some((about, words)) = named else { return (None, line) };
    let words = words.strip_prefix(':').unwrap_or(words).trim_start();
    // A group is called by its name alone, as the lines of control do it.
    let group = about.strip_prefix("group '").and_then(|name| name.strip_suffix('\''));
    (Some(group.unwrap_or(about).to_owned()), words)
}

fn shortened(words: &str) -> &str {
    let end = (0..=WORDS.min(words.len())).rev().find(|end| words.is_char_boundary(*end)).unwrap_or_default();
    &words[..end]
}

/// A master that is lost is known to be lost sooner.
const BEFORE: Duration = Duration::from_secs(1);

/// What is counted of clients while there is no master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) waits: u64,
    pub(crate) expired: u64,
    pub(crate) in_doubt: u64,
}

/// Follows the master of one group, and tells of each move when it is over.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// The last master, and until when it was one.
    last: Option<(String, Duration)>,
    /// What had been counted while it was, twice: the newer may have been read when it was gone already and only not yet
    /// known to be.
    calm: [(Duration, Tally); 2],
    /// There is no master since.
    lost: bool,
}

impl Moves {
    /// A snapshot is published; the tally is read at its time. Says what came to an end with it. Counts are the process's: where
    /// two groups are without a master at once, both lines have all.
    pub(crate) fn see(&mut self, now: Duration, master: Option<&str>, reason: &str, tally: Tally) -> Option<String> {
        let Some(master) = master else {
            if let Some((_, until)) = self.last.as_mut().filter(|_| !self.lost) {
                *until = now;
            }
            self.lost = true;
            return None;
        };
        let lost = std::mem::take(&mut self.lost);
        let [(_, counted), _] = self.calm;
        if lost || self.last.is_none() {
            self.calm = [(now, tally); 2];
        } else if now.saturating_sub(self.calm[1].0) > BEFORE {
            self.calm = [self.calm[1], (now, tally)];
        }
        let (old, until) = self.last.replace((master.to_owned(), now))?;
        let held = now.saturating_sub(until).as_secs_f64();
        let waits = tally.waits.wrapping_sub(counted.waits);
        let expired = tally.expired.wrapping_sub(counted.expired);
        let doubt = tally.in_doubt.wrapping_sub(counted.in_doubt);
        let refused = if expired > 0 { format!(" ({expired} of them ended with an error)") } else { String::new() };
        let counted = |number: u64, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        let (waits, doubt) = (counted(waits, "wait"), counted(doubt, "command"));
        let price = format!("held for {held:.1} s, {waits}{refused}, {doubt} in doubt");
        match (old == master, lost) {
            (true, false) => None,
            (true, true) => Some(format!("{master} is the master again; {price}")),
            (false, true) => Some(format!("the master moved from {old} to {master}: {reason}; {price}")),
            (false, false) => Some(format!("the master moved from {old} to {master}: {reason}; {doubt} in doubt")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(events: &Events, after: u64) -> Vec<String> {
        let said = |one: &Happened| format!("{} {:?} {} ×{}", one.number, one.about.as_deref(), one.words, one.times);
        events.after(after).map(said).collect()
    }

    #[test]
    fn a_line_is_split_into_what_it_is_about_and_what_happened() {
        let table = [
            ("link 'a b': it broke: why", Some("link 'a b'"), "it broke: why"),
            ("listener 'app' refused 3 clients: full", Some("listener 'app'"), "refused 3 clients: full"),
            ("group 'main': its certificates", Some("main"), "its certificates"),
            ("SIGTERM: no new clients", None, "SIGTERM: no new clients"),
            ("link 'unfinished", None, "link 'unfinished"),
        ];
        for (line, about, words) in table {
            assert_eq!(subject(line), (about.map(ToOwned::to_owned), words), "{line}");
        }
    }

    #[test]
    fn what_is_said_again_is_counted_and_moves_to_the_end() {
        let mut events = Events::default();
        events.add(0, Weight::Warn, None, "link 'x': the link of 127.0.0.1:4001 broke: reset");
        events.add(1, Weight::Info, Some("main".to_owned()), "10.0.0.1:6379 serves reads");
        events.add(2, Weight::Warn, None, "link 'x': the link of 127.0.0.1:4002 broke: reset");
        events.add(3, Weight::Info, Some("main".to_owned()), "10.0.0.2:6379 serves reads");
        assert_eq!(
            texts(&events, 0),
            [
                "2 Some(\"main\") 10.0.0.1:6379 serves reads ×1",
                "3 Some(\"link 'x'\") the link of 127.0.0.1:4002 broke: reset ×2",
                "4 Some(\"main\") 10.0.0.2:6379 serves reads ×1",
            ]
        );
        assert_eq!(events.after(2).next().and_then(|happened| happened.replaces), Some(1));
        events.add(3 + AGAIN_MS, Weight::Info, Some("main".to_owned()), "10.0.0.1:6379 serves reads");
        assert_eq!(texts(&events, 4), ["5 Some(\"main\") 10.0.0.1:6379 serves reads ×1"], "later it is news");
    }

    #[test]
    fn the_oldest_go_and_numbers_go_on() {
        let mut events = Events::default();
        for number in 0..KEPT as u64 + 10 {
            events.add(number, Weight::Info, None, &format!("event {}", "x".repeat(number as usize % 700)));
        }
        assert_eq!((events.after(0).count(), events.last()), (KEPT, KEPT as u64 + 10));
        assert_eq!(events.after(events.last() - 2).count(), 2);
        events.add(0, Weight::Info, None, &"é".repeat(WORDS));
        assert!(events.after(events.last() - 1).all(|happened| happened.words.len() <= WORDS));
    }

    #[test]
    fn a_move_is_told_when_it_is_over() {
        let mut moves = Moves::default();
        let ms = Duration::from_millis;
        let tally = |waits, in_doubt| Tally { waits, expired: 0, in_doubt };
        assert_eq!(moves.see(ms(0), None, "", tally(0, 0)), None);
        assert_eq!(moves.see(ms(5), Some("a:1"), "the only one", tally(3, 0)), None, "the first is no move");
        assert_eq!(moves.see(ms(1000), Some("a:1"), "the only one", tally(3, 0)), None);
        assert_eq!(moves.see(ms(2000), None, "it does not answer", tally(4, 1)), None);
        assert_eq!(moves.see(ms(2500), None, "it does not answer", tally(90, 1)), None);
        assert_eq!(
            moves.see(ms(3900), Some("b:1"), "both agree", tally(217, 1)).as_deref(),
            Some("the master moved from a:1 to b:1: both agree; held for 1.9 s, 214 waits, 1 command in doubt")
        );
        assert_eq!(moves.see(ms(4000), None, "", tally(217, 1)), None);
        let again = moves.see(ms(4100), Some("b:1"), "", Tally { waits: 219, expired: 1, in_doubt: 1 });
        assert_eq!(
            again.as_deref(),
            Some(
                "b:1 is the master again; held for 0.1 s, 2 waits (1 of them ended with an error), 0 commands in doubt"
            )
        );
    }
}
