//! Which commands a link lets through, where its exit says so: `commands` of a `[[link]]`.
//!
//! Pure. The rules are here, by names; `conversation` keeps the order of what passes and what is refused. What a rule does not
//! name is refused, commands of modules and of servers to come included.

pub(super) mod conversation;

use crate::command::permissions::{Entry, Permissions};
use crate::command::{Kind, Spec, lookup};
use crate::config::link::Commands;
use crate::resp::request::arguments;

/// On which Sentinels speak of themselves, to each other and at the nodes.
const HELLO: &[u8] = b"__sentinel__:hello";

/// What a replica says to its master, PSYNC aside.
const REPLICATION: [&str; 7] = ["auth", "hello", "info", "ping", "quit", "replconf", "role"];

/// What a Sentinel says to nodes and to other Sentinels, and what is asked of Sentinels; with a bar where the second word counts.
const SENTINEL: [&str; 32] = [
    "auth",
    "client|kill",
    "client|setinfo",
    "client|setname",
    "config|rewrite",
    "discard",
    "exec",
    "failover",
    "hello",
    "info",
    "multi",
    "ping",
    "publish|__sentinel__:hello",
    "quit",
    "replicaof",
    "role",
    "sentinel|ckquorum",
    "sentinel|get-master-addr-by-name",
    "sentinel|get-primary-addr-by-name",
    "sentinel|is-master-down-by-addr",
    "sentinel|is-primary-down-by-addr",
    "sentinel|master",
    "sentinel|masters",
    "sentinel|myid",
    "sentinel|primaries",
    "sentinel|primary",
    "sentinel|replicas",
    "sentinel|sentinels",
    "sentinel|slaves",
    "slaveof",
    "subscribe",
    "unsubscribe",
];

/// Beside commands that read: what a connection that reads needs. CLIENT REPLY is missing, because without replies nobody could
/// say which one is whose.
const CONNECTION: [&str; 28] = [
    "acl|whoami",
    "asking",
    "auth",
    "client|caching",
    "client|capa",
    "client|getname",
    "client|getredir",
    "client|id",
    "client|info",
    "client|no-touch",
    "client|setinfo",
    "client|setname",
    "client|tracking",
    "client|trackinginfo",
    "discard",
    "echo",
    "exec",
    "hello",
    "info",
    "multi",
    "ping",
    "quit",
    "readonly",
    "readwrite",
    "reset",
    "role",
    "select",
    "watch",
];

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    Refused,
    /// Its later arguments decide.
    Whole,
}

/// The rules of one link.
#[derive(Debug)]
pub(crate) struct Policy {
    commands: Commands,
    not_admin: Permissions,
}

impl Policy {
    /// `None` lets everything through, and costs nothing.
    pub(crate) fn new(commands: Commands) -> Option<Self> {
        let not_admin = || Permissions::new(None, &[Entry::Category("admin")]);
        (commands != Commands::All).then(|| Self { commands, not_admin: not_admin() })
    }

    /// In the words of the configuration.
    pub(super) fn name(&self) -> &'static str {
        self.commands.name()
    }

    /// `second` is the second argument, `None` if there is none or it is longer than any word that counts; `whole` are all bytes of
    /// the command, in the protocol's own form, once they have come.
    pub(super) fn judge(&self, name: &[u8], second: Option<&[u8]>, whole: Option<&[u8]>) -> Verdict {
        match self.commands {
            Commands::All => Verdict::Passes,
            Commands::Replication if [&b"psync"[..], b"sync"].iter().any(|sync| name.eq_ignore_ascii_case(sync)) => {
                ordinary_sync(whole)
            }
            Commands::Replication => passes(named(&REPLICATION, name, second)),
            Commands::Sentinel if name.eq_ignore_ascii_case(b"subscribe") => hello_alone(whole),
            Commands::Sentinel => passes(named(&SENTINEL, name, second)),
            Commands::ReadOnly => passes(named(&CONNECTION, name, second) || self.reads(lookup(name, second))),
        }
    }

    /// CONFIG GET and its like only read as well, but what they tell is the server's, passwords included.
    fn reads(&self, spec: Option<&Spec>) -> bool {
        let reads = |spec: &Spec| matches!(spec.kind, Kind::Read | Kind::MasterRead | Kind::ReadUnlessBlock);
        spec.is_some_and(reads) && self.not_admin.permits(spec)
    }
}

fn passes(named: bool) -> Verdict {
    if named { Verdict::Passes } else { Verdict::Refused }
}

/// Whether one of the words names the command. Channels have their case, commands have none.
fn named(words: &[&str], name: &[u8], second: Option<&[u8]>) -> bool {
    words.iter().any(|word| match word.split_once('|') {
        None => name.eq_ignore_ascii_case(word.as_bytes()),
        Some((first, rest)) if name.eq_ignore_ascii_case(first.as_bytes()) => {
            second.is_some_and(|second| match first {
                "publish" => second == rest.as_bytes(),
                _ => second.eq_ignore_ascii_case(rest.as_bytes()),
            })
        }
        Some(_) => false,
    })
}

/// With a fourth word, FAILOVER, it makes a replica the master.
fn ordinary_sync(whole: Option<&[u8]>) -> Verdict {
    whole.map_or(Verdict::Whole, |whole| passes(arguments(whole).count() <= 3))
}

/// Applications have channels on the same nodes.
fn hello_alone(whole: Option<&[u8]>) -> Verdict {
    whole.map_or(Verdict::Whole, |whole| passes(arguments(whole).skip(1).all(|channel| channel == HELLO)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn verdict(commands: Commands, line: &str) -> Verdict {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut whole = Vec::new();
        encode::command(&mut whole, &words);
        let policy = Policy::new(commands).expect("one that refuses something");
        policy.judge(words[0], words.get(1).copied(), Some(&whole))
    }

    /// A policy, what passes and what is refused, one command a line.
    type Rules = (Commands, &'static str, &'static str);

    #[test]
    fn what_each_policy_lets_through() {
        #[rustfmt::skip]
        let table: &[Rules] = &[
            (
                Commands::Replication,
                "PING\nauth user secret\nREPLCONF listening-port 1\nREPLCONF ACK 7\nPSYNC ? -1\nSYNC\nINFO replication\nROLE",
                "GET key\nSET key value\nFLUSHALL\nCONFIG SET dir /\nCONFIG GET requirepass\nPSYNC x 1 FAILOVER\nREPLICAOF NO ONE\n\
                 MULTI\nEVAL return 0\nSUBSCRIBE x\nFT.SEARCH i q\nSHUTDOWN\nDEBUG SLEEP 1\nMIGRATE a\nCLIENT KILL x",
            ),
            (
                Commands::Sentinel,
                "PING\nAUTH secret\nINFO\nCLIENT SETNAME sentinel-1-cmd\nCLIENT KILL TYPE normal\nPUBLISH __sentinel__:hello x\n\
                 SUBSCRIBE __sentinel__:hello\nMULTI\nSLAVEOF NO ONE\nREPLICAOF a 1\nCONFIG REWRITE\nEXEC\nFAILOVER TO a 1\n\
                 sentinel IS-MASTER-DOWN-BY-ADDR a 1 0 *\nSENTINEL get-master-addr-by-name m\nROLE\nHELLO 3",
                "GET key\nSET key value\nFLUSHALL\nCONFIG SET dir /\nCONFIG GET requirepass\nPUBLISH news x\nSUBSCRIBE news\n\
                 SUBSCRIBE __sentinel__:hello news\nPSUBSCRIBE *\nSENTINEL SET m quorum 1\nSENTINEL REMOVE m\nSENTINEL FAILOVER m\n\
                 SENTINEL MONITOR m a 1 1\nPSYNC ? -1\nSHUTDOWN\nDEBUG SLEEP 1\nCLIENT LIST\nACL SETUSER x\nEVAL return 0\nMONITOR\n\
                 PUBLISH __SENTINEL__:HELLO x",
            ),
            (
                Commands::ReadOnly,
                "GET key\nmget a b\nHGETALL h\nSCAN 0\nKEYS *\nXREAD STREAMS s 0\nEVAL_RO x 0\nTTL key\nDBSIZE\nPING\nSELECT 1\n\
                 HELLO 3\nCLIENT SETNAME x\nCLIENT TRACKING on\nMULTI\nEXEC\nWATCH key\nINFO\nROLE\nCOMMAND DOCS\nOBJECT ENCODING x\n\
                 MEMORY USAGE x\nACL WHOAMI\nRESET\nQUIT\nTIME\nSORT_RO x\nDUMP key",
                "SET key value\nDEL key\nGETDEL key\nGETEX key\nFLUSHALL\nCONFIG SET dir /\nCONFIG GET requirepass\nSORT x\nEVAL x 0\n\
                 PUBLISH a b\nSUBSCRIBE a\nPSYNC ? -1\nREPLCONF ACK 1\nREPLICAOF a 1\nMONITOR\nSHUTDOWN\nCLIENT KILL a\nCLIENT LIST\n\
                 CLIENT REPLY OFF\nCLIENT PAUSE 1\nXREADGROUP GROUP g c\nBLPOP a 0\nFT.SEARCH i q\nDEBUG SLEEP 1\nSLOWLOG GET\nSAVE\n\
                 CLUSTER RESET\nSCRIPT FLUSH\nFUNCTION LOAD x\nWAIT 1 1\nMIGRATE a\nRESTORE k 0 x\nCOPY a b\nMODULE LIST\nLATENCY DOCTOR",
            ),
        ];
        for (commands, passes, refused) in table {
            for line in passes.split('\n') {
                assert_eq!(verdict(*commands, line), Verdict::Passes, "{commands:?} {line}");
            }
            for line in refused.split('\n') {
                assert_eq!(verdict(*commands, line), Verdict::Refused, "{commands:?} {line}");
            }
            for line in ["", "GET\0", "CONFIG\0GET", "\u{ff}", "*"] {
                assert_eq!(verdict(*commands, line), Verdict::Refused, "{commands:?} {line:?}");
            }
        }
        assert!(Policy::new(Commands::All).is_none());
    }

    #[test]
    fn what_the_table_calls_a_write_never_passes_as_a_read() {
        let policy = Policy::new(Commands::ReadOnly).expect("a policy");
        for spec in crate::command::table::rows() {
            let (name, second) = spec.name.split_once('|').map_or((spec.name, None), |(name, sub)| (name, Some(sub)));
            let verdict = policy.judge(name.as_bytes(), second.map(str::as_bytes), None);
            if matches!(spec.kind, Kind::Write | Kind::WriteUnlessBlock | Kind::Refused(_)) {
                assert_eq!(verdict, Verdict::Refused, "{}", spec.name);
            }
            if matches!(spec.kind, Kind::Admin(_)) {
                assert!(verdict == Verdict::Refused || spec.name == "role", "{}", spec.name);
            }
            if spec.kind == Kind::Read {
                assert!(verdict == Verdict::Passes || !policy.not_admin.permits(Some(spec)), "{}", spec.name);
            }
        }
    }
}
