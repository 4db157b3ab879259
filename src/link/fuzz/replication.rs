//! What must hold of a replica's conversation with its master, seen from one end of a link, for any bytes of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Bind;
use crate::config::link::{Announced, Commands, EmptyMaster, End, Link, Pinned, Replicas, Trust};
use crate::link::counters::LinkCounters;
use crate::link::replication::Replication;

pub(in crate::link) const UNGUARDED: Replicas =
    Replicas { empty_master: EmptyMaster::Allow, empty_below: 1, full_syncs: None, rdb_rate: None };

/// What each side got to read, or was to read.
#[derive(Debug, Default)]
struct Heard {
    replica: Vec<u8>,
    master: Vec<u8>,
}

/// One end of a link, with nothing around it.
pub(in crate::link) fn link(announce: Option<Announced>, is_entry: bool, replicas: Replicas) -> Arc<Link> {
    let to = "there:7443".to_owned();
    let end = match is_entry {
        true => End::Entry { to, service: "main".to_owned(), announce },
        false => End::Exit { services: BTreeMap::new(), commands: Commands::All },
    };
    Arc::new(Link {
        name: "there".to_owned(),
        bind: Some(Bind::Tcp(([127, 0, 0, 1], 8000).into())),
        end,
        trust: Trust::Link(Pinned { identity: "key".into(), peers: Vec::new(), peers_file: None }),
        resume: Duration::ZERO,
        replay: 1,
        connect_timeout: Duration::ZERO,
        max_connections: 1,
        replicas,
        compression: None,
    })
}

/// The first byte says which end this is and what it guards. The rest are turns: a byte for who speaks and how much, then that.
pub(crate) fn conversation(seed: u8, script: &[u8]) {
    let (is_entry, guards, announces) = (seed & 1 == 0, seed & 2 != 0, seed & 4 != 0);
    let announced = Announced { host: "replica.dc2".to_owned(), port: 7000 };
    let replicas = match guards {
        true => Replicas { empty_master: EmptyMaster::RefuseUnsure, full_syncs: Some(1), ..UNGUARDED },
        false => UNGUARDED,
    };
    let link = link(Some(announced).filter(|_| announces), is_entry, replicas);
    let mut said = Heard::default();
    for (of_replica, words) in turns(script) {
        if of_replica { &mut said.master } else { &mut said.replica }.extend_from_slice(words);
    }
    for piece in [1, 7, usize::MAX] {
        let heard = converse(&link, script, piece);
        let refused = guards && heard.replica.windows(14).any(|words| words == b"-NOMASTERLINK ");
        if guards {
            assert!(refused || is_part(&heard.replica, &said.replica), "the replica reads what nobody has said");
        } else {
            assert_eq!(heard.replica, said.replica, "the replica reads something else than the master has said");
            // Its address may be another one for the master.
            assert!(announces && is_entry || heard.master == said.master, "the master reads something else: {heard:?}");
        }
    }
}

/// The turns of a script: whether the replica speaks, and what.
fn turns(mut script: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    std::iter::from_fn(move || {
        let (&turn, rest) = script.split_first()?;
        let (words, behind) = rest.split_at(rest.len().min(usize::from(turn & 0x7f) * 8 + 1));
        script = behind;
        Some((turn & 0x80 == 0, words))
    })
}

/// Whether all of it stands in the other, in this order.
fn is_part(some: &[u8], of: &[u8]) -> bool {
    let mut of = of.iter();
    some.iter().all(|byte| of.any(|other| other == byte))
}

/// As the pump drives it; what is not taken yet waits, as in a socket.
struct Conversation {
    replication: Replication,
    is_entry: bool,
    now: Instant,
    /// Of the replica.
    waits: Vec<u8>,
    heard: Heard,
}

fn converse(link: &Arc<Link>, script: &[u8], piece: usize) -> Heard {
    let counters = Arc::new(LinkCounters::default());
    let replication = Replication::new(link, &counters, "10.0.0.1:5000".to_owned(), "10.0.0.1".to_owned());
    let (is_entry, now) = (!link.is_exit(), Instant::now());
    let mut talk = Conversation { replication, is_entry, now, waits: Vec::new(), heard: Heard::default() };
    for (of_replica, words) in turns(script) {
        talk.now += Duration::from_millis(100);
        for part in words.chunks(piece) {
            if of_replica {
                talk.waits.extend_from_slice(part);
            } else {
                talk.says(part, false);
            }
            talk.replica_goes_on();
        }
    }
    talk.ends()
}

impl Conversation {
    fn replica_goes_on(&mut self) {
        let words = std::mem::take(&mut self.waits);
        if words.is_empty() || !self.replication.reads_local() || !self.says(&words, true) {
            self.waits = words;
        }
    }

    /// Whether the words were taken.
    fn says(&mut self, words: &[u8], of_replica: bool) -> bool {
        let of_local = of_replica == self.is_entry;
        let mut taken = words.len();
        if !self.replication.mediates() {
            if of_replica { &mut self.heard.master } else { &mut self.heard.replica }.extend_from_slice(words);
            if of_local {
                self.replication.saw_from_local(words, self.now);
            } else {
                self.replication.saw_from_wire(words, self.now);
            }
        } else if of_local {
            self.replication.local_said(words, self.now);
        } else {
            taken = self.replication.wire_said(words, self.now);
        }
        self.hand_on();
        taken > 0
    }

    fn hand_on(&mut self) {
        let local = self.replication.for_local().to_vec();
        self.replication.local_took(local.len());
        let wire = self.replication.take_for_wire();
        let (replica, master) = if self.is_entry { (local, wire) } else { (wire, local) };
        self.heard.replica.extend(replica);
        self.heard.master.extend(master);
    }

    fn ends(mut self) -> Heard {
        if self.is_entry {
            self.replication.local_ended()
        } else {
            self.replication.wire_ended()
        }
        self.hand_on();
        self.heard.master.extend(self.waits);
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::conversation;

    const HISTORY: &str = "1111111111111111111111111111111111111111";

    fn words() -> Vec<(bool, String)> {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let about = format!("master_replid:{HISTORY}\r\nrepl_backlog_active:1\r\nrepl_backlog_histlen:500\r\n");
        let words = [
            (true, "PING\r\n".to_owned()),
            (true, "*3\r\n$8\r\nREPLCONF\r\n$14\r\nlistening-port\r\n$4\r\n6379\r\n".to_owned()),
            (true, format!("PSYNC {HISTORY} 501\r\n")),
            (true, "PSYNC ? -1\r\n".to_owned()),
            (true, "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$3\r\n510\r\n".to_owned()),
            (false, "+OK\r\n".to_owned()),
            (false, "-NOPERM no\r\n".to_owned()),
            (false, [bulk(&about), bulk("db0:keys=5,expires=0\r\n"), bulk("loading:0\r\n")].concat()),
            (false, format!("+FULLRESYNC {HISTORY} 100\r\n$10\r\n0123456789")),
            (false, format!("+FULLRESYNC {HISTORY} 100\r\n$EOF:{HISTORY}\r\n0123456789{HISTORY}")),
            (false, "+CONTINUE\r\n".to_owned()),
            (false, "*1\r\n$4\r\nPING\r\n".to_owned()),
        ];
        words.into()
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_lost_or_added_between_any_two(seed: u8, script: Vec<u8>) {
            conversation(seed, &script);
        }

        #[test]
        fn no_bytes_are_lost_or_added_between_nearly_a_replica_and_a_master(
            seed: u8,
            said in proptest::collection::vec(0_usize..12, 0..16),
            at: usize,
            by: u8,
        ) {
            let words = words();
            let mut script = Vec::new();
            for (of_replica, words) in said.iter().map(|said| &words[*said]) {
                // A turn has its length in eights and one.
                let eights = words.len().saturating_sub(1).div_ceil(8);
                script.push(u8::from(!of_replica) << 7 | eights as u8);
                script.extend(words.bytes().chain(std::iter::repeat(b'\n')).take(eights * 8 + 1));
            }
            conversation(seed, &script);
            let length = script.len().max(1);
            if let Some(byte) = script.get_mut(at % length) {
                *byte = by;
            }
            conversation(seed, &script);
        }
    }
}
