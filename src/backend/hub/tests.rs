//! The table and the feed against a node that is played by hand.

use std::cell::RefCell;
use std::rc::Rc;

use super::entry::Sums;
use super::feed::Feed;
use super::registry::Registry;
use super::subscriber::{Outcome, Subscriber, Ticket};
use super::table::Table;
use super::topic::Kind;
use crate::limits;
use crate::metrics::WorkerCounters;
use crate::resp::encode;
use crate::topology::NodeId;

const NODE: NodeId = NodeId(1);

#[derive(Default)]
struct Client {
    resp3: bool,
    got: RefCell<Vec<u8>>,
    /// How often it was handed something.
    times: std::cell::Cell<usize>,
    revoked: RefCell<Option<String>>,
}

impl Client {
    fn new(resp3: bool) -> Rc<Self> {
        Rc::new(Self { resp3, ..Self::default() })
    }

    fn got(&self) -> String {
        String::from_utf8_lossy(&self.got.take()).into_owned()
    }
}

impl Subscriber for Client {
    fn speaks_resp3(&self) -> bool {
        self.resp3
    }

    fn messages(&self, node: NodeId, bytes: &[u8]) {
        assert_eq!(node, NODE);
        self.got.borrow_mut().extend_from_slice(bytes);
        self.times.set(self.times.get() + 1);
    }

    fn look(&self) {}

    fn revoked(&self, why: &str) {
        self.revoked.replace(Some(why.to_owned()));
    }
}

struct Stage {
    table: Table,
    feed: Feed,
    registry: Registry,
    counters: std::sync::Arc<WorkerCounters>,
}

impl Stage {
    fn new() -> Self {
        let (registry, counters) = (Registry::default(), std::sync::Arc::<WorkerCounters>::default());
        let sums = Sums { registry: registry.clone(), counters: counters.clone() };
        Self { table: Table::new(sums), feed: Feed::default(), registry, counters }
    }

    fn connected() -> Self {
        let mut stage = Self::new();
        stage.table.connected(NODE);
        stage
    }

    fn join(&mut self, id: u64, client: &Rc<Client>, kind: Kind, names: &[&str]) -> Rc<Ticket> {
        let to = Rc::clone(client) as Rc<dyn Subscriber>;
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        self.table.join(id, &to, kind, kind.subscribe().as_bytes(), &names).0
    }

    fn part(&mut self, id: u64, client: &Rc<Client>, kind: Kind, name: &str) -> Rc<Ticket> {
        let to = Rc::clone(client) as Rc<dyn Subscriber>;
        self.table.part(id, &to, &[(kind, name.as_bytes().into())])
    }

    /// A subscriber that was told so.
    fn subscribed(&mut self, id: u64, client: &Rc<Client>, name: &str) {
        let asked = self.join(id, client, Kind::Channel, &[name]).outcome() == Outcome::Waiting;
        self.asks();
        if asked {
            self.confirms("subscribe", name);
        }
        self.table.activate(id, Kind::Channel, name.as_bytes());
    }

    /// How many got what was published on this channel, of whom the node counted so many.
    fn reached(&self, name: &str, counted: i64) -> i64 {
        self.registry.reached(name.as_bytes(), NODE, counted)
    }

    /// What the node is asked, as words.
    fn asks(&mut self) -> String {
        self.table.prepare();
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.table.out)).into_owned();
        let words: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with('$') && !line.is_empty()).collect();
        words.join(" ")
    }

    fn says(&mut self, bytes: &[u8]) -> Result<(), String> {
        for piece in bytes.chunks(limits::CLIENT_READ) {
            self.feed.room()[..piece.len()].copy_from_slice(piece);
            self.feed.came(piece.len(), &mut self.table, &self.counters)?;
        }
        Ok(())
    }

    fn confirms(&mut self, verb: &str, name: &str) {
        let mut out = Vec::new();
        encode::array(&mut out, 3);
        encode::bulk(&mut out, verb.as_bytes());
        encode::bulk(&mut out, name.as_bytes());
        encode::integer(&mut out, 1);
        assert_eq!(self.says(&out), Ok(()));
    }

    fn counts(&self) -> (u64, u64) {
        (self.counters.subscriptions.get(), self.counters.upstream_subscriptions.get())
    }
}

fn message(channel: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, &[b"message", channel.as_bytes(), text.as_bytes()]);
    out
}

#[test]
fn the_node_is_asked_once_and_told_when_the_last_one_leaves() {
    let mut stage = Stage::connected();
    let (a, b) = (Client::new(false), Client::new(true));
    let first = stage.join(1, &a, Kind::Channel, &["news"]);
    let second = stage.join(2, &b, Kind::Channel, &["news"]);
    assert_eq!(stage.asks(), "*2 subscribe news");
    assert_eq!((first.outcome(), second.outcome()), (Outcome::Waiting, Outcome::Waiting));
    stage.confirms("subscribe", "news");
    assert_eq!((first.outcome(), second.outcome()), (Outcome::Confirmed, Outcome::Confirmed));
    assert_eq!(stage.join(3, &a, Kind::Channel, &["news"]).outcome(), Outcome::Confirmed, "without a question");
    stage.table.leave(3, Kind::Channel, b"news");

    // Who has not been told that it is subscribed gets nothing.
    stage.table.activate(1, Kind::Channel, b"news");
    stage.says(&message("news", "one")).unwrap();
    assert_eq!((a.got(), b.got()), ("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\none\r\n".into(), String::new()));
    stage.table.activate(2, Kind::Channel, b"news");
    assert_eq!(stage.counts(), (2, 1));

    stage.table.leave(1, Kind::Channel, b"news");
    assert_eq!(stage.asks(), "");
    stage.table.leave(2, Kind::Channel, b"news");
    assert_eq!(stage.asks(), "*2 unsubscribe news");
    stage.confirms("unsubscribe", "news");
    assert!(stage.table.is_empty() && stage.registry.is_empty());
    assert_eq!(stage.counts(), (0, 0));
}

#[test]
fn the_last_one_stays_until_the_node_has_confirmed_the_end() {
    let mut stage = Stage::connected();
    let (a, b) = (Client::new(false), Client::new(false));
    stage.subscribed(1, &a, "news");
    stage.subscribed(2, &b, "news");
    assert_eq!(stage.part(2, &b, Kind::Channel, "news").outcome(), Outcome::Confirmed, "another one stays");
    assert_eq!((stage.asks(), stage.reached("news", 1)), (String::new(), 1));

    let parting = stage.part(1, &a, Kind::Channel, "news");
    assert_eq!((stage.asks(), parting.outcome()), ("*2 unsubscribe news".to_owned(), Outcome::Waiting));
    // What was published before the node knew comes, and was counted; a stranger counts as before.
    stage.says(&message("news", "last")).unwrap();
    assert!(a.got().contains("last"));
    assert_eq!((stage.reached("news", 1), stage.reached("news", 0), stage.reached("news", 2)), (1, 0, 2));
    stage.confirms("unsubscribe", "news");
    assert_eq!(parting.outcome(), Outcome::Confirmed);
    assert!(stage.table.is_empty() && stage.registry.is_empty());
    assert_eq!(stage.counts(), (0, 0));
}

#[test]
fn who_goes_without_a_word_is_counted_as_long_as_the_node_counts() {
    let mut stage = Stage::connected();
    let client = Client::new(false);
    stage.subscribed(1, &client, "news");
    stage.table.leave(1, Kind::Channel, b"news");
    assert_eq!((stage.asks(), stage.reached("news", 0)), ("*2 unsubscribe news".to_owned(), 0));
    assert_eq!(stage.reached("news", 1), 1, "a stranger, where the node knows already");
    // Somebody comes before the node was told: nothing is asked, and only who is there counts.
    stage.confirms("unsubscribe", "news");
    stage.subscribed(2, &client, "news");
    stage.table.leave(2, Kind::Channel, b"news");
    stage.subscribed(3, &client, "news");
    assert_eq!((stage.asks(), stage.reached("news", 1)), (String::new(), 1));
    assert_eq!(stage.counts(), (1, 1));
}

#[test]
fn who_comes_while_the_last_one_parts() {
    let mut stage = Stage::connected();
    let (a, b) = (Client::new(false), Client::new(false));
    stage.subscribed(1, &a, "news");
    // Before the node is told: it is not told.
    let parting = stage.part(1, &a, Kind::Channel, "news");
    stage.subscribed(2, &b, "news");
    assert_eq!((stage.asks(), parting.outcome()), (String::new(), Outcome::Confirmed));
    assert_eq!(stage.reached("news", 1), 1);
    // After that: it waits for a new beginning. It goes before that comes, and nothing is left.
    let parting = stage.part(2, &b, Kind::Channel, "news");
    assert_eq!(stage.asks(), "*2 unsubscribe news");
    let coming = stage.join(1, &a, Kind::Channel, &["news"]);
    assert_eq!((stage.asks(), coming.outcome()), ("*2 subscribe news".to_owned(), Outcome::Waiting));
    stage.table.leave(1, Kind::Channel, b"news");
    assert_eq!(stage.asks(), "*2 unsubscribe news");
    stage.confirms("unsubscribe", "news");
    assert_eq!(parting.outcome(), Outcome::Confirmed);
    stage.confirms("subscribe", "news");
    stage.confirms("unsubscribe", "news");
    assert!(stage.table.is_empty() && stage.registry.is_empty());
    assert_eq!(stage.counts(), (0, 0));
}

#[test]
fn a_lost_connection_lets_everyone_part() {
    let mut stage = Stage::connected();
    let client = Client::new(false);
    stage.subscribed(1, &client, "news");
    let to = Rc::clone(&client) as Rc<dyn Subscriber>;
    let named_twice = [(Kind::Channel, b"news"[..].into()), (Kind::Channel, b"news"[..].into())];
    let parting = stage.table.part(1, &to, &named_twice);
    assert_eq!(parting.outcome(), Outcome::Waiting);
    stage.table.disconnected();
    assert_eq!(parting.outcome(), Outcome::Confirmed);
    assert!(stage.table.is_empty() && stage.registry.is_empty());
    stage.join(1, &client, Kind::Channel, &["news"]);
    assert_eq!(stage.part(1, &client, Kind::Channel, "news").outcome(), Outcome::Confirmed, "no node to tell");
    assert_eq!(stage.counts(), (0, 0));
}

#[test]
fn who_comes_back_while_the_end_is_under_way_waits_for_the_new_beginning() {
    let mut stage = Stage::connected();
    let client = Client::new(false);
    stage.join(1, &client, Kind::Pattern, &["p*"]);
    stage.table.leave(1, Kind::Pattern, b"p*");
    assert_eq!(stage.asks(), "*2 psubscribe p* *2 punsubscribe p*");
    let again = stage.join(1, &client, Kind::Pattern, &["p*"]);
    assert_eq!(stage.asks(), "*2 psubscribe p*");
    stage.confirms("psubscribe", "p*");
    assert_eq!(again.outcome(), Outcome::Waiting, "that was the first one");
    stage.confirms("punsubscribe", "p*");
    assert_eq!(again.outcome(), Outcome::Waiting);
    stage.confirms("psubscribe", "p*");
    assert_eq!(again.outcome(), Outcome::Confirmed);
    assert_eq!(stage.counts(), (0, 1));
}

#[test]
fn a_refusal_goes_to_who_asked_and_others_ask_for_themselves() {
    let mut stage = Stage::connected();
    let (a, b) = (Client::new(false), Client::new(false));
    let both = stage.join(1, &a, Kind::Channel, &["free", "secret"]);
    let one = stage.join(2, &b, Kind::Channel, &["free"]);
    assert_eq!(stage.asks(), "*3 subscribe free secret");
    stage.says(b"-NOPERM no\r\n").unwrap();
    assert_eq!(both.outcome(), Outcome::Refused("NOPERM no".into()));
    assert_eq!(one.outcome(), Outcome::Waiting);
    assert_eq!(stage.asks(), "*2 subscribe free");
    stage.confirms("subscribe", "free");
    assert_eq!(one.outcome(), Outcome::Confirmed);
    stage.table.leave(2, Kind::Channel, b"free");
    stage.asks();
    stage.confirms("unsubscribe", "free");
    assert!(stage.table.is_empty());
}

#[test]
fn a_new_connection_is_asked_for_everything_in_pieces() {
    let mut stage = Stage::connected();
    let client = Client::new(false);
    let names: Vec<String> = (0..limits::HUB_PIECE + 10).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ticket = stage.join(1, &client, Kind::Channel, &names);
    stage.join(1, &client, Kind::Shard, &["s"]);
    assert_eq!(stage.asks().matches(" subscribe").count(), 1, "one command, as the client's");
    names.iter().for_each(|name| stage.confirms("subscribe", name));
    assert_eq!(ticket.outcome(), Outcome::Confirmed);
    for name in &names {
        stage.table.activate(1, Kind::Channel, name.as_bytes());
    }
    stage.confirms("ssubscribe", "s");
    assert!(stage.table.is_restored());
    assert_eq!(stage.counts(), (names.len() as u64, names.len() as u64 + 1));

    stage.table.disconnected();
    assert_eq!(stage.counts(), (names.len() as u64, 0));
    assert_eq!(stage.registry.subscribers(Kind::Channel, b"c1", NODE, 0), 0, "nothing reaches it now");
    // Whoever leaves now is not asked for, and whoever waits waits on.
    stage.table.leave(1, Kind::Shard, b"s");
    let late = stage.join(2, &client, Kind::Pattern, &["late"]);
    stage.table.connected(NODE);
    assert!(!stage.table.is_restored());
    let again = stage.asks();
    assert_eq!(again.matches(" subscribe").count(), 2, "{}", &again[..40]);
    assert!(!again.contains("ssubscribe"));
    stage.confirms("psubscribe", "late");
    assert_eq!(late.outcome(), Outcome::Confirmed);
    let order: Vec<&str> = again.split(' ').filter(|word| word.starts_with('c')).collect();
    order.iter().for_each(|name| stage.confirms("subscribe", name));
    assert!(stage.table.is_restored());
    assert_eq!(stage.registry.subscribers(Kind::Channel, b"c1", NODE, 1), 1);
}

#[test]
fn what_the_new_node_refuses_ends_its_subscribers_and_nobody_else() {
    let mut stage = Stage::connected();
    let (a, b) = (Client::new(false), Client::new(false));
    stage.join(1, &a, Kind::Channel, &["x"]);
    stage.join(2, &b, Kind::Channel, &["y"]);
    stage.table.activate(1, Kind::Channel, b"x");
    stage.table.activate(2, Kind::Channel, b"y");
    stage.table.disconnected();
    stage.table.connected(NODE);
    stage.asks();
    stage.says(b"-NOPERM no\r\n").unwrap();
    let order: Vec<String> = stage.asks().split("*2 subscribe ").skip(1).map(|name| name.trim().to_owned()).collect();
    assert_eq!(order.len(), 2, "one by one");
    for name in order {
        if name == "x" {
            stage.says(b"-NOPERM no\r\n").unwrap();
        } else {
            stage.confirms("subscribe", &name);
        }
    }
    assert!(a.revoked.borrow().is_some() && b.revoked.borrow().is_none());
}

#[test]
fn messages_in_a_row_are_handed_on_together_in_each_protocol_however_they_are_cut() {
    let mut bytes: Vec<u8> = Vec::new();
    for (channel, text) in [("a", "1"), ("a", "22"), ("b", "*3\r\n"), ("a", "4")] {
        bytes.extend(message(channel, text));
    }
    for piece in [1, 7, 40, bytes.len()] {
        let mut stage = Stage::connected();
        let (old, new) = (Client::new(false), Client::new(true));
        for (id, client) in [(1, &old), (2, &new)] {
            stage.join(id, client, Kind::Channel, &["a", "b"]);
            stage.table.activate(id, Kind::Channel, b"a");
            stage.table.activate(id, Kind::Channel, b"b");
        }
        stage.asks();
        stage.confirms("subscribe", "a");
        stage.confirms("subscribe", "b");
        for cut in bytes.chunks(piece) {
            stage.says(cut).unwrap();
        }
        let all = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(old.got(), all);
        assert_eq!(new.got(), all.replace("*3\r\n$7\r\nmessage", ">3\r\n$7\r\nmessage"));
        assert_eq!(stage.counters.messages_delivered.get(), 8);
        if piece == bytes.len() {
            assert_eq!(old.times.get(), 3, "two on the same channel go together");
        }
    }
}

#[test]
fn a_message_that_no_client_could_take_is_not_gathered() {
    let mut stage = Stage::connected();
    let (client, other) = (Client::new(false), Client::new(false));
    stage.join(1, &client, Kind::Channel, &["big"]);
    stage.join(2, &other, Kind::Channel, &["small"]);
    stage.table.activate(1, Kind::Channel, b"big");
    stage.table.activate(2, Kind::Channel, b"small");
    stage.asks();
    stage.confirms("subscribe", "big");
    stage.confirms("subscribe", "small");
    let length = limits::MESSAGE + 1;
    stage.says(format!("*3\r\n$7\r\nmessage\r\n$3\r\nbig\r\n${length}\r\n").as_bytes()).unwrap();
    assert!(client.revoked.borrow().is_some());
    let piece = vec![b'x'; limits::CLIENT_READ];
    let mut left = length;
    while left > 0 {
        let n = left.min(piece.len());
        stage.says(&piece[..n]).unwrap();
        left -= n;
        assert!(stage.feed.room().len() <= 2 * limits::CLIENT_READ);
    }
    stage.says(b"\r\n").unwrap();
    stage.says(&message("small", "still here")).unwrap();
    assert!(other.got().contains("still here"));
    assert_eq!(client.got(), "");
}

#[test]
fn a_node_that_answers_what_nobody_asked_is_not_trusted() {
    for bytes in [
        &b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"[..],
        b":1\r\n",
        b"-ERR what\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    ] {
        assert!(Stage::connected().says(bytes).is_err());
    }
    let mut stage = Stage::connected();
    stage.table.ping();
    assert_eq!(stage.says(b"+PONG\r\n"), Ok(()));
    stage.table.ping();
    assert_eq!(stage.says(b"-ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / QUIT allowed in this context\r\n"), Ok(()));
    // A message on a channel that was just left is nobody's.
    assert_eq!(stage.says(&message("a", "late")), Ok(()));
}

#[test]
fn what_was_wanted_before_there_was_a_node_is_asked_in_the_clients_own_words() {
    let mut stage = Stage::new();
    let client = Client::new(false);
    let to = Rc::clone(&client) as Rc<dyn Subscriber>;
    let (ticket, _) = stage.table.join(1, &to, Kind::Shard, b"SSubscribe", &[b"a", b"b"]);
    stage.table.join(2, &to, Kind::Shard, b"ssubscribe", &[b"c"]);
    stage.table.leave(2, Kind::Shard, b"c");
    stage.table.connected(NODE);
    assert_eq!(stage.asks(), "*3 SSubscribe a b");
    stage.says(b"-ERR unknown command 'SSubscribe'\r\n").unwrap();
    assert_eq!(ticket.outcome(), Outcome::Refused("ERR unknown command 'SSubscribe'".into()));
    assert!(stage.table.is_empty());
}
