//! One client twice: at a server and through Redan. Whatever it sends goes to both, and what comes back is compared.

use super::commands::Command;
use crate::support::beside::Plain;
use crate::support::client::binary;
use crate::support::value::Value;

pub(super) struct Pair {
    server: Plain,
    redan: Plain,
    /// Between MULTI and EXEC: for each queued command whether its elements come in any order.
    pub(super) queued: Option<Vec<bool>>,
}

/// Two replies that should be alike and are not.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) command: String,
    pub(super) server: String,
    pub(super) redan: String,
}

impl Pair {
    pub(super) fn connect(server: &str, redan: &str) -> Self {
        Self { server: Plain::connect(server), redan: Plain::connect(redan), queued: None }
    }

    /// Commands in one piece, each of them as a line of text if `inline`; then all their replies.
    pub(super) fn run(&mut self, commands: &[Command], inline: bool) -> Result<(), Mismatch> {
        self.send(commands, inline)?;
        commands.iter().try_for_each(|command| self.receive(command))
    }

    pub(super) fn send(&mut self, commands: &[Command], inline: bool) -> Result<(), Mismatch> {
        let mut bytes = Vec::new();
        for command in commands {
            let words: Vec<&[u8]> = command.words.iter().map(Vec::as_slice).collect();
            if inline && command.is_plain() {
                bytes.extend_from_slice(&words.join(&b' '));
                bytes.extend_from_slice(b"\r\n");
            } else {
                bytes.extend_from_slice(&binary(&words));
            }
        }
        let (server, redan) = (self.server.raw(&bytes), self.redan.raw(&bytes));
        if server.is_err() || redan.is_err() {
            let command = commands.first().map(Command::show).unwrap_or_default();
            return Err(Mismatch { command, server: format!("{server:?}"), redan: format!("{redan:?}") });
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, command: &Command) -> Result<(), Mismatch> {
        let (server, redan) = (self.server.reply(), self.redan.reply());
        let (Ok(wanted), Ok(got)) = (&server, &redan) else {
            let show = |reply: Result<Vec<u8>, String>| reply.map_or_else(|why| why, |reply| Value::of(&reply).show());
            return Err(Mismatch { command: command.show(), server: show(server), redan: show(redan) });
        };
        if wanted == got || self.alike(command, &Value::of(wanted), &Value::of(got)) {
            self.note(command, wanted);
            return Ok(());
        }
        let (server, redan) = (Value::of(wanted).show(), Value::of(got).show());
        Err(Mismatch { command: command.show(), server, redan })
    }

    fn alike(&self, command: &Command, server: &Value, redan: &Value) -> bool {
        match (command.name().as_str(), &self.queued) {
            ("HELLO", _) => server.masked(&["id"]) == redan.masked(&["id"]),
            ("EXEC", Some(queued)) => {
                let orders = queued.iter();
                server.kind == redan.kind
                    && [server, redan].iter().all(|reply| reply.items.len() == queued.len())
                    && orders.zip(server.items.iter().zip(&redan.items)).all(|(any_order, (server, redan))| {
                        alike(*any_order, &server.masked(&["id"]), &redan.masked(&["id"]))
                    })
            }
            _ => alike(command.any_order, server, redan),
        }
    }

    fn note(&mut self, command: &Command, reply: &[u8]) {
        match (command.name().as_str(), &mut self.queued) {
            ("MULTI", None) if reply == b"+OK\r\n" => self.queued = Some(Vec::new()),
            ("EXEC" | "DISCARD", _) if command.words.len() == 1 => self.queued = None,
            ("RESET", _) => self.queued = None,
            (_, Some(queued)) if reply == b"+QUEUED\r\n" => queued.push(command.any_order),
            _ => {}
        }
    }

    /// Goes through a whole scan on either side; both must have found the same.
    pub(super) fn scan(&mut self, command: &Command, cursor_at: usize) -> Result<(), Mismatch> {
        let sides = [("server", &mut self.server), ("redan", &mut self.redan)];
        let mut found = sides.map(|(_, client)| {
            let mut words = command.words.clone();
            let mut elements = Vec::new();
            for _ in 0..10_000 {
                let reply = Value::of(&client.ask(&words)?);
                let [cursor, page] = reply.items.as_slice() else {
                    return Ok(vec![reply.show()]);
                };
                // Pairs stay together: of hashes and sorted sets.
                let width = if matches!(command.name().as_str(), "HSCAN" | "ZSCAN") { 2 } else { 1 };
                elements.extend(
                    page.items.chunks(width).map(|item| item.iter().map(Value::show).collect::<Vec<_>>().join("=")),
                );
                if cursor.text == b"0" {
                    // What a hash table moved while it grew may be seen twice.
                    elements.sort();
                    elements.dedup();
                    return Ok(elements);
                }
                words[cursor_at].clone_from(&cursor.text);
            }
            Err("a scan without end".to_owned())
        });
        let [server, redan] = &mut found;
        if server == redan {
            return Ok(());
        }
        Err(Mismatch { command: command.show(), server: format!("{server:?}"), redan: format!("{redan:?}") })
    }
}

fn alike(any_order: bool, server: &Value, redan: &Value) -> bool {
    server == redan || (any_order && server.sorted() == redan.sorted())
}
