//! Makes the events of a run: what which client does next. The same for the same seed.

use super::commands::{self, Command};
use super::random::Random;

#[derive(Clone, Debug)]
pub(super) enum What {
    /// In one piece, with all their replies after it; as lines of text where that can be.
    Commands { commands: Vec<Command>, inline: bool },
    /// The client blocks; then another, in the same database, sends the push.
    Block { blocking: Command, push: Command },
    /// A key with a lifetime of a millisecond, and what is seen of it once that is over.
    Expire { set: Command, after: Vec<Command> },
    /// From cursor 0, at this place among the words, to cursor 0.
    Scan { command: Command, cursor_at: usize },
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) client: usize,
    /// Where the client is, if it is known.
    pub(super) db: usize,
    pub(super) what: What,
}

/// What the stream must know of a client.
#[derive(Clone, Debug)]
struct Client {
    dbs: [usize; 2],
    db: usize,
    resp3: bool,
    in_multi: bool,
    /// Something was queued that makes the database or the protocol unknown.
    lost: bool,
}

pub(super) struct Stream {
    random: Random,
    clients: Vec<Client>,
    /// For ids of streams' entries that must grow.
    entry: usize,
}

impl Stream {
    /// With databases of their own clients never see what others do; otherwise all share the first two.
    pub(super) fn new(seed: u64, clients: usize, own_databases: bool) -> Self {
        let client = |index: usize| {
            let dbs = if own_databases { [2 * index, 2 * index + 1] } else { [0, 1] };
            Client { dbs, db: dbs[0], resp3: index % 2 == 1, in_multi: false, lost: false }
        };
        Self { random: Random::new(seed), clients: (0..clients).map(client).collect(), entry: 0 }
    }

    /// How a client begins.
    pub(super) fn opening(&self, client: usize) -> Vec<Command> {
        let client = &self.clients[client];
        vec![
            Command::of(&["HELLO", if client.resp3 { "3" } else { "2" }]),
            Command::of(&["SELECT", &client.db.to_string()]),
        ]
    }

    pub(super) fn next(&mut self) -> Event {
        let client = self.random.below(self.clients.len());
        let what = self.what(client);
        Event { client, db: self.clients[client].db, what }
    }

    fn what(&mut self, client: usize) -> What {
        let kind = self.random.below(400);
        if self.clients[client].lost && !self.clients[client].in_multi {
            self.clients[client].lost = false;
            let hello = ["HELLO", if self.clients[client].resp3 { "3" } else { "2" }];
            return several(vec![Command::of(&hello), self.select(client)]);
        }
        match kind {
            _ if self.clients[client].in_multi => one(self.queued(client)),
            0..=1 => self.block(),
            2..=4 => self.expire(),
            5..=8 => self.scan(),
            9..=10 => {
                let (resp3, db) = (self.clients[client].resp3, self.clients[client].db.to_string());
                let hello = ["HELLO", if resp3 { "3" } else { "2" }];
                several(vec![Command::of(&["RESET"]), Command::of(&hello), Command::of(&["SELECT", &db])])
            }
            11..=13 => {
                self.clients[client].resp3 ^= true;
                one(Command::of(&["HELLO", if self.clients[client].resp3 { "3" } else { "2" }]))
            }
            14..=20 => one(self.select(client)),
            21..=30 => {
                self.clients[client].in_multi = true;
                one(Command::of(&["MULTI"]))
            }
            31..=40 => one(Command { words: vec![b"WATCH".to_vec(), self.key()], any_order: false }),
            41..=43 => one(Command::of(&["UNWATCH"])),
            44 => one(Command::of(&[*self.random.of(&["EXEC", "DISCARD"])])),
            45..=120 => self.burst(client),
            121..=140 => What::Commands { commands: vec![self.command()], inline: true },
            _ => one(self.command()),
        }
    }

    /// While a transaction is open.
    fn queued(&mut self, client: usize) -> Command {
        match self.random.below(20) {
            0..=3 => {
                self.clients[client].in_multi = false;
                Command::of(&["EXEC"])
            }
            4 => {
                self.clients[client].in_multi = false;
                Command::of(&["DISCARD"])
            }
            5 if self.random.once_in(3) => Command::of(&["MULTI"]),
            6 if self.random.once_in(3) => Command::of(&["WATCH", "s0"]),
            7 if self.random.once_in(3) => {
                self.clients[client].lost = true;
                self.select(client)
            }
            8..=9 => {
                self.clients[client].lost = true;
                commands::of_the_connection(&mut self.random)
            }
            _ => self.command(),
        }
    }

    /// A whole transaction that changes its connection, or subscribes for as long as it lasts.
    fn of_the_connection(&mut self, client: usize, burst: &mut Vec<Command>) {
        self.clients[client].lost = true;
        let subscribes = self.random.once_in(3);
        burst.push(Command::of(&["MULTI"]));
        if subscribes {
            burst.push(Command::of(&["SUBSCRIBE", "topic"]));
        }
        for _ in 0..self.random.below(5) {
            let command =
                if self.random.once_in(2) { commands::of_the_connection(&mut self.random) } else { self.command() };
            burst.push(command);
        }
        if subscribes {
            burst.push(Command::of(&["UNSUBSCRIBE", "topic"]));
        }
        burst.push(Command::of(&[if self.random.once_in(8) { "DISCARD" } else { "EXEC" }]));
    }

    /// A pipeline, mostly of plain commands, with whole transactions in it.
    fn burst(&mut self, client: usize) -> What {
        let mut burst = Vec::new();
        for _ in 0..=self.random.below(60) {
            if self.random.once_in(15) {
                burst.push(Command::of(&["MULTI"]));
                for _ in 0..self.random.below(6) {
                    burst.push(self.command());
                }
                burst.push(Command::of(&[if self.random.once_in(6) { "DISCARD" } else { "EXEC" }]));
            } else if self.random.once_in(60) {
                self.of_the_connection(client, &mut burst);
            } else if self.random.once_in(40) {
                burst.push(self.select(client));
            } else {
                burst.push(self.command());
            }
        }
        What::Commands { commands: burst, inline: self.random.once_in(8) }
    }

    fn command(&mut self) -> Command {
        commands::random(&mut self.random)
    }

    fn select(&mut self, client: usize) -> Command {
        let db = *self.random.of(&self.clients[client].dbs.clone());
        self.clients[client].db = db;
        Command::of(&["SELECT", &db.to_string()])
    }

    fn key(&mut self) -> Vec<u8> {
        format!("{}{}", self.random.of(&["s", "l", "h", "z"]), self.random.below(4)).into_bytes()
    }

    fn block(&mut self) -> What {
        self.entry += 1;
        let id = format!("{}-0", 1000 + self.entry);
        let (blocking, push): (&[&str], &[&str]) = match self.random.below(5) {
            0 => (&["BLPOP", "bl", "0"], &["RPUSH", "bl", "one"]),
            1 => (&["BRPOP", "none", "bl", "100"], &["LPUSH", "bl", "one"]),
            2 => (&["BLMOVE", "bl", "bm", "LEFT", "RIGHT", "0"], &["RPUSH", "bl", "one"]),
            3 => (&["BZPOPMIN", "bz", "0"], &["ZADD", "bz", "1.5", "one"]),
            _ => (&["XREAD", "BLOCK", "0", "STREAMS", "bx", "$"], &["XADD", "bx", &id, "f", "v"]),
        };
        What::Block { blocking: Command::of(blocking), push: Command::of(push) }
    }

    fn expire(&mut self) -> What {
        let chances: [&[&str]; 13] = [
            &["GET", "gone"],
            &["EXISTS", "gone"],
            &["TTL", "gone"],
            &["TYPE", "gone"],
            &["STRLEN", "gone"],
            &["INCR", "gone"],
            &["GETDEL", "gone"],
            &["DUMP", "gone"],
            &["SETNX", "gone", "again"],
            &["APPEND", "gone", "x"],
            &["PERSIST", "gone"],
            &["EVAL", "return redis.call('GET', KEYS[1])", "1", "gone"],
            &["RENAME", "gone", "s1"],
        ];
        let count = 1 + self.random.below(4);
        let mut after: Vec<Command> = (0..count).map(|_| Command::of(self.random.of::<&[&str]>(&chances))).collect();
        // What is left over would be seen by DBSIZE and the like at a time that nobody knows.
        after.push(Command::of(&["DEL", "gone"]));
        What::Expire { set: Command::of(&["SET", "gone", "7", "PX", "1"]), after }
    }

    fn scan(&mut self) -> What {
        let number = self.random.below(4);
        let count = (1 + self.random.below(5)).to_string();
        let (words, cursor_at) = match self.random.below(4) {
            0 => (vec!["SCAN".to_owned(), "0".to_owned()], 1),
            1 => (vec!["HSCAN".to_owned(), format!("h{number}"), "0".to_owned()], 2),
            2 => (vec!["SSCAN".to_owned(), format!("t{number}"), "0".to_owned()], 2),
            _ => (vec!["ZSCAN".to_owned(), format!("z{number}"), "0".to_owned()], 2),
        };
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["COUNT", &count]).collect();
        What::Scan { command: Command::of(&words), cursor_at }
    }
}

fn one(command: Command) -> What {
    several(vec![command])
}

fn several(commands: Vec<Command>) -> What {
    What::Commands { commands, inline: false }
}
