//! Random commands of several clients, sent to a server and through Redan: both must answer the same.
//!
//! One event at a time over all clients, so that both sides have the same history. With `session` consistency each client
//! has databases of its own, because what others wrote it may see late; with `strong` all share theirs.
//! `REDAN_TEST_SEED` and `REDAN_TEST_COMMANDS` make a run with another seed, or a longer one.

mod commands;
mod pair;
mod random;
mod stream;

use std::fmt::Write;
use std::time::{Duration, Instant};

use commands::Command;
use pair::{Mismatch, Pair};
use stream::{Event, Stream, What};

use crate::support::beside::{self, Group};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;

const CLIENTS: usize = 4;

#[test]
fn clients_see_what_a_server_would_show_them() {
    run(1, 24_000, true);
}

#[test]
fn clients_see_each_other_as_at_a_server() {
    run(2, 12_000, false);
}

struct Sides {
    bare: Redis,
    behind: Group,
    proxy: Proxy,
    own_databases: bool,
}

impl Sides {
    fn start(own_databases: bool) -> Self {
        let (bare, behind) = (beside::options().start(), Group::start());
        let proxy = beside::redan(&behind);
        Self { bare, behind, proxy, own_databases }
    }

    fn pair(&self) -> Pair {
        let listener = if self.own_databases { 1 } else { 3 };
        Pair::connect(&self.bare.address(), &self.proxy.address(listener))
    }
}

/// A run's clients, and one more that pushes what others wait for.
struct Clients<'a> {
    sides: &'a Sides,
    pairs: Vec<Pair>,
    helper: Pair,
    commands: usize,
}

impl<'a> Clients<'a> {
    /// At empty servers.
    fn start(sides: &'a Sides, stream: &Stream) -> Result<Self, Mismatch> {
        let mut helper = sides.pair();
        helper.run(&[Command::of(&["FLUSHALL"]), Command::of(&["SCRIPT", "FLUSH"])], false)?;
        let mut pairs: Vec<Pair> = (0..CLIENTS).map(|_| sides.pair()).collect();
        for (index, pair) in pairs.iter_mut().enumerate() {
            pair.run(&stream.opening(index), false)?;
        }
        Ok(Self { sides, pairs, helper, commands: 0 })
    }

    fn act(&mut self, event: &Event) -> Result<(), Mismatch> {
        let pair = &mut self.pairs[event.client];
        match &event.what {
            What::Commands { commands, inline } => {
                self.commands += commands.len();
                pair.run(commands, *inline)
            }
            What::Expire { set, after } => {
                self.commands += after.len() + 1;
                pair.run(std::slice::from_ref(set), false)?;
                std::thread::sleep(Duration::from_millis(3));
                pair.run(after, false)
            }
            What::Scan { command, cursor_at } => {
                self.commands += 1;
                pair.scan(command, *cursor_at)
            }
            What::Block { blocking, push } => {
                self.commands += 3;
                self.helper.run(&[Command::of(&["SELECT", &event.db.to_string()])], false)?;
                pair.send(std::slice::from_ref(blocking), false)?;
                for master in [&self.sides.bare, &self.sides.behind.master] {
                    wait_for_one_blocked(master, blocking)?;
                }
                self.helper.run(std::slice::from_ref(push), false)?;
                pair.receive(blocking)
            }
        }
    }
}

fn wait_for_one_blocked(master: &Redis, blocking: &Command) -> Result<(), Mismatch> {
    let start = Instant::now();
    while master.info("blocked_clients").as_deref() != Some("1") {
        if start.elapsed() > beside::PATIENCE {
            let there = format!("blocked at {}: {:?}", master.address(), master.info("blocked_clients"));
            return Err(Mismatch { command: blocking.show(), server: "blocks".to_owned(), redan: there });
        }
    }
    Ok(())
}

fn run(seed: u64, commands: usize, own_databases: bool) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("REDAN_TEST_SEED").unwrap_or(seed);
    let commands = number("REDAN_TEST_COMMANDS").map_or(commands, |many| usize::try_from(many).expect("few enough"));
    let sides = Sides::start(own_databases);
    let mut stream = Stream::new(seed, CLIENTS, own_databases);
    let mut clients = Clients::start(&sides, &stream).expect("a beginning");
    let mut history = Vec::new();
    while clients.commands < commands {
        let event = stream.next();
        history.push(event.clone());
        if let Err(mismatch) = clients.act(&event) {
            let done = clients.commands;
            drop(clients);
            panic!("{}", told(seed, done, &sides, &history, &mismatch));
        }
    }
}

/// What differed, after which commands.
fn told(seed: u64, done: usize, sides: &Sides, history: &[Event], mismatch: &Mismatch) -> String {
    let mut text = format!(
        "seed {seed}, after {} events and {done} commands:\n  {}\n  a server: {}\n  Redan:    {}\n",
        history.len(),
        mismatch.command,
        shorten(&mismatch.server),
        shorten(&mismatch.redan)
    );
    let replay = Replay { sides, seed, deadline: Instant::now() + REDUCING };
    let reduced = replay.reduced(history);
    let last = reduced.as_deref().unwrap_or_else(|| &history[history.len().saturating_sub(5)..]);
    let which = if reduced.is_some() { "These suffice" } else { "It does not happen again; the last events" };
    let _ = writeln!(text, "{which} ({}):", last.len());
    for event in &last[last.len().saturating_sub(60)..] {
        let _ = writeln!(text, "  {} in {}: {}", event.client, event.db, shorten(&show(&event.what)));
    }
    text
}

/// How long a failed run looks for a short way to fail again.
const REDUCING: Duration = Duration::from_secs(60);

/// Runs parts of a history on empty servers.
struct Replay<'a> {
    sides: &'a Sides,
    seed: u64,
    deadline: Instant,
}

impl Replay<'_> {
    fn differs(&self, events: &[Event]) -> bool {
        let stream = Stream::new(self.seed, CLIENTS, self.sides.own_databases);
        match Clients::start(self.sides, &stream) {
            Ok(mut clients) => events.iter().any(|event| clients.act(event).is_err()),
            Err(_) => true,
        }
    }

    /// A short history after which the two still differ: the last events, then without those that do not matter, then
    /// without the commands that do not.
    fn reduced(&self, history: &[Event]) -> Option<Vec<Event>> {
        let mut count = 1;
        let mut events = loop {
            let last = &history[history.len().saturating_sub(count)..];
            if self.differs(last) {
                break last.to_vec();
            }
            if last.len() == history.len() || Instant::now() > self.deadline {
                return None;
            }
            count *= 2;
        };
        events = self.without(events, |events| self.differs(events));
        for at in 0..events.len() {
            let What::Commands { commands, inline } = events[at].what.clone() else { continue };
            let with = |commands: &[Command]| {
                let mut events = events.clone();
                events[at].what = What::Commands { commands: commands.to_vec(), inline };
                events
            };
            let commands = self.without(commands, |commands| self.differs(&with(commands)));
            events = with(&commands);
        }
        Some(events)
    }

    /// Leaves out pieces, large ones first, as long as the rest still `fails`.
    fn without<T: Clone>(&self, mut items: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
        let mut size = items.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < items.len() && Instant::now() < self.deadline {
                let rest = [&items[..at], &items[(at + size).min(items.len())..]].concat();
                if fails(&rest) { items = rest } else { at += size }
            }
            size /= 2;
        }
        items
    }
}

fn show(what: &What) -> String {
    let lines = |commands: &[Command]| commands.iter().map(Command::show).collect::<Vec<_>>().join(" ; ");
    match what {
        What::Commands { commands, inline: false } => lines(commands),
        What::Commands { commands, inline: true } => format!("as lines: {}", lines(commands)),
        What::Block { blocking, push } => format!("{}, then another client {}", blocking.show(), push.show()),
        What::Expire { set, after } => format!("{}, after 3 ms {}", set.show(), lines(after)),
        What::Scan { command, .. } => format!("all pages of {}", command.show()),
    }
}

fn shorten(text: &str) -> String {
    let end = text.char_indices().nth(1500).map_or(text.len(), |(at, _)| at);
    if end < text.len() { format!("{} …", &text[..end]) } else { text.to_owned() }
}
