use std::time::Duration;

use super::*;
use crate::config::link::{Announced, Replicas};
use crate::link::fuzz::replication::{UNGUARDED as PLAIN, link};
use crate::resp::encode;

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const GUARDED: Replicas = Replicas { empty_master: EmptyMaster::Refuse, ..PLAIN };

/// One connection as the pump drives it. Both sides' bytes come in pieces of this size.
struct Pumped {
    replication: Replication,
    piece: usize,
    now: Instant,
}

impl Pumped {
    fn new(link: &Arc<Link>, counters: &Arc<LinkCounters>, piece: usize) -> Self {
        let replication = Replication::new(link, counters, "10.0.0.1:5000".to_owned(), "10.0.0.1".to_owned());
        Self { replication, piece, now: Instant::now() }
    }

    /// What has become of `bytes` from the local side or from the wire: what both get to read.
    fn pump(&mut self, bytes: &[u8], of_local: bool) -> (String, String) {
        let (mut local, mut wire) = (Vec::new(), Vec::new());
        for part in bytes.chunks(self.piece) {
            let replication = &mut self.replication;
            match (replication.mediates(), of_local) {
                (true, true) => replication.local_said(part, self.now),
                (true, false) => assert_eq!(replication.wire_said(part, self.now), part.len()),
                (false, true) => {
                    replication.saw_from_local(part, self.now);
                    wire.extend_from_slice(part);
                }
                (false, false) => {
                    replication.saw_from_wire(part, self.now);
                    local.extend_from_slice(part);
                }
            }
            wire.extend(replication.take_for_wire());
            local.extend_from_slice(replication.for_local());
            replication.local_took(replication.for_local().len());
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(local), text(wire))
    }

    /// What the replica hears, and the master.
    fn replica(&mut self, said: &str) -> (String, String) {
        let is_entry = self.replication.is_entry;
        let (local, wire) = self.pump(said.as_bytes(), is_entry);
        if is_entry { (local, wire) } else { (wire, local) }
    }

    fn master(&mut self, said: &str) -> (String, String) {
        let is_entry = self.replication.is_entry;
        let (local, wire) = self.pump(said.as_bytes(), !is_entry);
        if is_entry { (local, wire) } else { (wire, local) }
    }

    /// What replicas say first, up to PSYNC.
    fn greet(&mut self, more: &[&str]) {
        let greeting = [command(&["PING"]), command(&["AUTH", "secret"]), command(more)].concat();
        assert_eq!(self.replica(&greeting), (String::new(), greeting.clone()));
        let answers = "+PONG\r\n+OK\r\n+OK\r\n";
        assert_eq!(self.master(answers), (answers.to_owned(), String::new()));
    }

    /// Asks for a sync, of which the master must not hear yet.
    fn ask(&mut self, psync: &str) {
        self.greet(&["REPLCONF", "listening-port", "6379"]);
        let (heard, asked) = self.replica(psync);
        assert_eq!(heard, "");
        assert_eq!(asked, questions());
    }

    /// The whole answer to PSYNC with data of ten bytes.
    fn sync(&mut self, history: &str) {
        let answer = format!("\n+FULLRESYNC {history} 100\r\n\n$10\r\n0123456789");
        assert_eq!(self.master(&answer), (answer.clone(), String::new()));
    }
}

fn command(words: &[&str]) -> String {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    String::from_utf8(bytes).expect("text")
}

fn psync(history: &str, offset: i64) -> String {
    command(&["PSYNC", history, &offset.to_string()])
}

fn questions() -> String {
    ["replication", "keyspace", "persistence"].map(|section| command(&["INFO", section])).concat()
}

fn answers(history: &str, keys: u64) -> String {
    let replication = format!(
        "# Replication\r\nmaster_replid:{history}\r\nmaster_replid2:{}\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:1\r\n\
         repl_backlog_size:1000\r\nrepl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:500\r\n",
        "0".repeat(40)
    );
    let keyspace =
        if keys > 0 { format!("# Keyspace\r\ndb0:keys={keys},expires=0\r\n") } else { "# Keyspace\r\n".to_owned() };
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    [bulk(&replication), bulk(&keyspace), bulk("# Persistence\r\nloading:0\r\n")].concat()
}

fn counts(counters: &Arc<LinkCounters>) -> (u64, u64, u64, u64) {
    let numbers = counters.numbers();
    let replicas = numbers.replicas;
    (numbers.full_syncs, numbers.partial_syncs, replicas.denied_empty, replicas.denied_full)
}

#[test]
fn a_replica_with_data_is_not_given_an_empty_master_at_either_end() {
    for (is_entry, piece) in [(true, 1), (true, 7), (true, 5000), (false, 1), (false, 13), (false, 5000)] {
        let (link, counters) = (link(None, is_entry, GUARDED), Arc::new(LinkCounters::default()));
        let mut pumped = Pumped::new(&link, &counters, piece);
        pumped.ask(&psync(OLD, 501));
        let (heard, forwarded) = pumped.master(&answers(NEW, 0));
        assert!(heard.starts_with("-NOMASTERLINK Redan keeps") && heard.ends_with("\r\n"), "{heard}");
        assert_eq!((forwarded.as_str(), counts(&counters)), ("", (0, 0, 1, 0)));
        // It tries again, and a key that the master got meanwhile does not help.
        let mut again = Pumped::new(&link, &counters, piece);
        again.ask(&psync(OLD, 501));
        assert!(again.master(&answers(NEW, 1)).0.starts_with("-NOMASTERLINK"));
        // With its data back, which is another life of it, it does.
        let mut back = Pumped::new(&link, &counters, piece);
        back.ask(&psync(OLD, 501));
        assert_eq!(back.master(&answers(&"3".repeat(40), 1)), (String::new(), psync(OLD, 501)));
        // As does an order.
        counters.desk.allow(Duration::from_secs(60));
        let mut ordered = Pumped::new(&link, &counters, piece);
        ordered.ask(&psync(OLD, 501));
        assert_eq!(ordered.master(&answers(NEW, 0)), (String::new(), psync(OLD, 501)));
        ordered.sync(NEW);
        assert_eq!(counts(&counters), (1, 0, 2, 0));
    }
}

#[test]
fn a_replica_that_forgot_its_history_is_remembered() {
    let (link, counters) = (link(None, true, GUARDED), Arc::new(LinkCounters::default()));
    let mut first = Pumped::new(&link, &counters, 50);
    first.ask(&psync("?", -1));
    assert_eq!(first.master(&answers(OLD, 0)), (String::new(), psync("?", -1)));
    first.sync(OLD);
    drop(first);
    for (history, keys, passes) in [(OLD, 0, true), (NEW, 0, false), ("3333", 5, true)] {
        let mut again = Pumped::new(&link, &counters, 50);
        again.ask(&psync("?", -1));
        assert_eq!(again.master(&answers(history, keys)).1.is_empty(), !passes, "{history} {keys}");
    }
}

#[test]
fn a_master_that_does_not_tell_is_trusted_or_not_as_configured() {
    for (policy, passes) in [(EmptyMaster::Refuse, true), (EmptyMaster::RefuseUnsure, false)] {
        let link = link(None, true, Replicas { empty_master: policy, ..PLAIN });
        let counters = Arc::new(LinkCounters::default());
        let mut pumped = Pumped::new(&link, &counters, 9);
        pumped.ask(&psync(OLD, 501));
        let (heard, forwarded) = pumped.master(&"-NOPERM this user has no permissions\r\n".repeat(3));
        assert_eq!(heard.starts_with("-NOMASTERLINK"), !passes, "{heard}");
        assert_eq!(forwarded == psync(OLD, 501), passes, "{forwarded}");
        let mut fresh = Pumped::new(&link, &counters, 9);
        fresh.ask(&psync("?", -1));
        assert_eq!(fresh.master(&"-NOPERM no\r\n".repeat(3)), (String::new(), psync("?", -1)));
    }
}

#[test]
fn full_syncs_wait_their_turn_and_partial_ones_do_not() {
    let link = link(None, true, Replicas { full_syncs: Some(1), ..PLAIN });
    let counters = Arc::new(LinkCounters::default());
    let ask = |psync: &str| {
        let mut pumped = Pumped::new(&link, &counters, 11);
        pumped.ask(psync);
        let (heard, forwarded) = pumped.master(&answers(OLD, 9));
        assert_eq!(heard.is_empty(), forwarded == psync, "{heard} {forwarded}");
        (pumped, heard.is_empty())
    };
    let (mut one, passes) = ask(&psync("?", -1));
    assert!(passes);
    assert!(!ask(&psync("?", -1)).1);
    assert!(ask(&psync(OLD, 400)).1, "a partial sync is foreseen");
    assert!(!ask(&psync(OLD, 600)).1, "the backlog does not have it");
    one.master(&format!("+FULLRESYNC {OLD} 100\r\n$10\r\n01234"));
    assert!(!ask(&psync("?", -1)).1);
    assert_eq!(counters.numbers().replicas.rdb_bytes, 5);
    one.master("56789stream");
    let (two, passes) = ask(&psync("?", -1));
    assert!(passes, "the first has its data");
    drop(two);
    let (mut three, passes) = ask(&psync("?", -1));
    assert!(passes, "the second is gone");
    three.master("-LOADING\r\n");
    let (mut four, passes) = ask(&psync("?", -1));
    assert!(passes, "the master refused the third");
    let mark = "a".repeat(40);
    four.master(&format!("+FULLRESYNC {OLD} 100\r\n$EOF:{mark}\r\n0123456789"));
    assert!(!ask(&psync("?", -1)).1);
    four.master(&mark);
    assert!(ask(&psync("?", -1)).1, "the fourth has its data");
    assert_eq!(counts(&counters), (2, 0, 0, 4));
}

#[test]
fn the_second_connection_of_a_replica_belongs_to_the_first() {
    let link = link(None, true, Replicas { full_syncs: Some(1), ..GUARDED });
    let counters = Arc::new(LinkCounters::default());
    let full = || counters.numbers().replicas.full_syncs;
    // Redis: the first connection's number is said on the second.
    let mut main = Pumped::new(&link, &counters, 17);
    main.ask(&psync("?", -1));
    main.master(&answers(OLD, 9));
    main.master("+RDBCHANNELSYNC 77\r\n");
    assert_eq!(full(), 1);
    let mut second = Pumped::new(&link, &counters, 17);
    second.greet(&["REPLCONF", "main-ch-client-id", "77"]);
    assert_eq!(second.replica(&psync("?", -1)), (String::new(), psync("?", -1)));
    assert_eq!(full(), 1);
    main.master("stream");
    second.sync(OLD);
    assert_eq!((full(), counts(&counters)), (0, (1, 0, 0, 0)));
    main.master("more");
    // Acknowledgements are read where they come whole.
    main.piece = 5000;
    main.replica(&command(&["REPLCONF", "ACK", "104"]));
    assert_eq!(counters.numbers().replicas.lag_bytes, Some(6), "it begins behind 100, and ten bytes came");
    drop(main);
    // Valkey: the first connection asks again, in the middle.
    let mut main = Pumped::new(&link, &counters, 17);
    main.ask(&psync("?", -1));
    main.master(&answers(OLD, 9));
    main.master("+DUALCHANNELSYNC\r\n");
    let mut second = Pumped::new(&link, &counters, 17);
    second.greet(&["REPLCONF", "rdb-channel", "1", "listening-port", "6379"]);
    assert_eq!(second.replica("SYNC\r\n"), (String::new(), "SYNC\r\n".to_owned()));
    second.master(&format!("$ENDOFF:200 {OLD} 0 5\r\n"));
    let asked = [command(&["REPLCONF", "set-rdb-client-id", "5"]), psync(OLD, 201)].concat();
    assert_eq!(main.replica(&asked), (String::new(), asked.clone()));
    main.master("+OK\r\n+CONTINUE\r\nstream");
    assert_eq!(full(), 1);
    second.master("$10\r\n0123456789");
    main.piece = 5000;
    main.replica(&command(&["REPLCONF", "ACK", "206", "FACK", "206"]));
    assert_eq!((full(), counts(&counters)), (0, (2, 0, 0, 0)));
    assert_eq!(counters.numbers().replicas.lag_bytes, Some(0));
    // A first connection that is lost before the second comes keeps no place.
    let mut main = Pumped::new(&link, &counters, 17);
    main.ask(&psync("?", -1));
    main.master(&answers(OLD, 9));
    main.master("+DUALCHANNELSYNC\r\n");
    assert_eq!(full(), 1);
    drop(main);
    assert_eq!(full(), 0);
}

#[test]
fn psync_that_comes_with_the_greeting_waits_for_the_answers_before_it() {
    let (link, counters) = (link(None, true, GUARDED), Arc::new(LinkCounters::default()));
    let mut pumped = Pumped::new(&link, &counters, 5000);
    let said = [command(&["PING"]), psync(OLD, 501)].concat();
    assert_eq!(pumped.replica(&said).1, command(&["PING"]) + &questions());
    let (heard, forwarded) = pumped.master(&("+PONG\r\n".to_owned() + &answers(OLD, 0)));
    assert_eq!((heard.as_str(), forwarded), ("+PONG\r\n", psync(OLD, 501)));
    let stream = format!("+CONTINUE\r\n{}", command(&["SET", "ACK", "$1"]));
    assert_eq!(pumped.master(&stream), (stream.clone(), String::new()));
    assert_eq!(counts(&counters), (0, 1, 0, 0));
}

#[test]
fn an_exit_hears_the_questions_of_the_entry_and_asks_its_own() {
    for replicas in [PLAIN, GUARDED] {
        let (link, counters) = (link(None, false, replicas), Arc::new(LinkCounters::default()));
        let mut pumped = Pumped::new(&link, &counters, 19);
        pumped.greet(&["REPLCONF", "listening-port", "6379"]);
        assert_eq!(pumped.replica(&questions()), (String::new(), questions()));
        assert_eq!(pumped.master(&answers(OLD, 5)), (answers(OLD, 5), String::new()));
        let (_, heard) = pumped.replica(&psync(OLD, 501));
        if replicas == GUARDED {
            assert_eq!(heard, questions());
            assert_eq!(pumped.master(&answers(OLD, 5)), (String::new(), psync(OLD, 501)));
        } else {
            assert_eq!(heard, psync(OLD, 501));
        }
        pumped.sync(OLD);
        assert_eq!(counts(&counters), (1, 0, 0, 0));
    }
}

#[test]
fn what_answers_otherwise_ends_the_conversation() {
    let (link, counters) = (link(None, true, GUARDED), Arc::new(LinkCounters::default()));
    let mut pumped = Pumped::new(&link, &counters, 3);
    pumped.ask(&psync(OLD, 501));
    let (heard, forwarded) = pumped.master("HTTP/1.1 400 Bad Request\r\n");
    assert!(heard.starts_with("-NOMASTERLINK") && forwarded.is_empty(), "{heard}");
    assert!(pumped.replication.is_over());
    // A server that speaks first is heard.
    let mut other = Pumped::new(&link, &counters, 3);
    assert_eq!(other.master("220 mail.example\r\n"), ("220 mail.example\r\n".to_owned(), String::new()));
    assert_eq!(other.replica("EHLO\r\n"), (String::new(), "EHLO\r\n".to_owned()));
}

// ---- Without a question ----

fn announced() -> Option<Announced> {
    Some(Announced { host: "replica.dc2".to_owned(), port: 7000 })
}

fn passed(said: &[u8], piece: usize, announced: Option<Announced>) -> (Vec<u8>, Replication) {
    let (link, counters) = (link(announced, true, PLAIN), Arc::new(LinkCounters::default()));
    let mut replication = Replication::new(&link, &counters, "a:1".to_owned(), "a".to_owned());
    let mut out = Vec::new();
    for part in said.chunks(piece) {
        match replication.mediates() {
            true => replication.local_said(part, Instant::now()),
            false => out.extend_from_slice(part),
        }
        out.extend(replication.take_for_wire());
    }
    replication.local_ended();
    out.extend(replication.take_for_wire());
    (out, replication)
}

#[test]
fn a_replica_is_announced_and_nothing_behind_psync_is_touched() {
    let behind = "*3\r\n$8\r\nREPLCONF\r\n$14\r\nlistening-port\r\n$1\r\n1\r\n\n\n\0".to_owned();
    let said = [
        command(&["PING"]),
        command(&["AUTH", "user", "secret"]),
        command(&["REPLCONF", "listening-port", "6379"]),
        command(&["REPLCONF", "ip-address", "10.0.0.1"]),
        command(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
        command(&["PSYNC", "?", "-1"]),
        behind.clone(),
    ];
    let mut expected = said.clone();
    expected[2] = command(&["REPLCONF", "listening-port", "7000", "ip-address", "replica.dc2"]);
    expected[3] = command(&["REPLCONF", "ip-address", "replica.dc2"]);
    let said = said.concat();
    for piece in [1, 2, 3, 7, 64, said.len()] {
        let (out, replication) = passed(said.as_bytes(), piece, announced());
        assert_eq!(String::from_utf8_lossy(&out), expected.concat(), "pieces of {piece}");
        assert!(matches!(replication.phase, Phase::Answering(..)));
        assert_eq!(passed(said.as_bytes(), piece, None).0, said.as_bytes());
    }
}

#[test]
fn the_second_connection_of_a_replica_is_announced_too() {
    let said = command(&["REPLCONF", "rdb-only", "1", "rdb-channel", "1", "listening-port", "6379"]);
    let expected =
        ["REPLCONF", "rdb-only", "1", "rdb-channel", "1", "listening-port", "7000", "ip-address", "replica.dc2"];
    assert_eq!(passed(said.as_bytes(), 5, announced()).0, command(&expected).as_bytes());
}

#[test]
fn old_servers_speak_in_lines() {
    let said = b"PING\r\nREPLCONF listening-port 6379\r\nREPLCONF capa eof\r\nPSYNC ? -1\r\nrest";
    let mut expected = "PING\r\n".to_owned();
    expected += &command(&["REPLCONF", "listening-port", "7000", "ip-address", "replica.dc2"]);
    expected += &command(&["REPLCONF", "capa", "eof"]);
    expected += "PSYNC ? -1\r\nrest";
    assert_eq!(passed(said, 4, announced()).0, expected.as_bytes());
}

#[test]
fn what_is_no_replica_passes_untouched() {
    let long = command(&["PING", &"x".repeat(20_000)]).into_bytes();
    for said in [
        command(&["GET", "key"]).into_bytes(),
        b"PING\r\nSET a b\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00garbage".to_vec(),
        b"*2\r\n$4\r\nPINGxx".to_vec(),
        b"SSH-2.0-client".to_vec(),
        b"PRI * HTTP/2.0".to_vec(),
        b"\r\n".to_vec(),
        b"PIN".to_vec(),
        long,
        [command(&["PING"]), command(&["INFO"]), command(&["REPLCONF", "listening-port", "1"])].concat().into_bytes(),
    ] {
        for piece in [1, 5, said.len()] {
            let (out, replication) = passed(&said, piece, announced());
            assert_eq!(out, said, "{:?}", String::from_utf8_lossy(&said));
            assert!(said == b"PIN" || matches!(replication.phase, Phase::Other));
        }
    }
}
