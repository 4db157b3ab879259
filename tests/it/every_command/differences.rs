//! Everything in which a reply through Redan may differ from a server's own, with the reason. The only such list.
//!
//! Most of it differs between any two servers: times, addresses, orders of hash tables. What is Redan's own doing says so.

use crate::support::value::Value;

/// What is compared in place of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// The kind of the reply.
    Kind,
    /// Kinds all the way down.
    Types,
    /// Elements in any order.
    AnyOrder,
    /// Everything but what follows these names.
    But(&'static [&'static str]),
    /// The names of the fields.
    Fields,
    /// The server's fields are there, in their order; Redan's own may stand between.
    MoreFields,
    /// Redan answers this error instead.
    Refused(&'static str),
}

/// Commands by their first words, and why they may differ.
const DIFFERENCES: &[(&str, How, &str)] = &[
    ("ACL CAT", How::AnyOrder, "the order of a hash table"),
    ("ACL GENPASS", How::Kind, "random"),
    (
        "ACL LOG",
        How::But(&["age-seconds", "client-info", "entry-id", "timestamp-created", "timestamp-last-updated"]),
        "times, addresses",
    ),
    ("BGSAVE", How::Kind, "the next save may have to wait for the last"),
    ("CLIENT ID", How::Kind, "ids"),
    ("CLIENT INFO", How::Fields, "addresses, times, memory"),
    ("CLIENT LIST TYPE", How::MoreFields, "as CLIENT INFO; clients of other cases may be there still"),
    ("CLIENT LIST", How::Fields, "as CLIENT INFO"),
    ("CLIENT TRACKING ON REDIRECT", How::Kind, "ids in its error"),
    ("COMMANDLOG GET", How::Kind, "as SLOWLOG GET"),
    ("COMMANDLOG LEN", How::Kind, "as SLOWLOG GET"),
    ("COMMAND COUNT", How::Kind, "the endpoint may know more commands"),
    ("COMMAND DOCS", How::AnyOrder, "the order of a hash table"),
    ("COMMAND INFO", How::AnyOrder, "the order of a set of flags"),
    ("COMMAND LIST", How::AnyOrder, "the order of a hash table"),
    ("COMMAND", How::AnyOrder, "the order of a hash table"),
    ("CONFIG GET", How::AnyOrder, "the order of a hash table"),
    ("DEBUG OBJECT", How::Fields, "an address in memory, a clock"),
    ("FUNCTION STATS", How::Types, "times"),
    ("HELLO", How::But(&["id"]), "ids"),
    ("HPTTL", How::Types, "time"),
    ("INFO", How::MoreFields, "figures; Redan adds a section of its own"),
    ("KEYS", How::AnyOrder, "the order of a hash table"),
    ("LASTSAVE", How::Kind, "time"),
    ("LATENCY HISTOGRAM", How::Types, "times"),
    ("LATENCY DOCTOR", How::Kind, "times"),
    ("LOLWUT", How::Kind, "a random picture"),
    ("MEMORY DOCTOR", How::Kind, "memory"),
    ("MEMORY MALLOC-STATS", How::Kind, "memory"),
    ("MEMORY STATS", How::Fields, "memory"),
    ("OBJECT IDLETIME", How::Kind, "seconds, which may be over between the two"),
    ("PEXPIRETIME", How::Kind, "time"),
    ("PSYNC", How::Refused("NOMASTERLINK"), "a replica belongs on a link or on the node itself"),
    ("PTTL", How::Kind, "time"),
    ("PUBSUB CHANNELS", How::AnyOrder, "the order of a hash table"),
    ("REPLCONF", How::Refused("NOMASTERLINK"), "as PSYNC"),
    ("ROLE", How::Types, "ports and offsets"),
    ("SDIFF", How::AnyOrder, "the order of a hash table"),
    ("SINTER", How::AnyOrder, "the order of a hash table"),
    ("SLOWLOG GET", How::Kind, "times; backend connections have their own slow commands"),
    ("SLOWLOG LEN", How::Kind, "as SLOWLOG GET"),
    ("SMEMBERS", How::AnyOrder, "the order of a hash table"),
    ("SUNION", How::AnyOrder, "the order of a hash table"),
    ("SYNC", How::Refused("NOMASTERLINK"), "as PSYNC"),
    ("TIME", How::Types, "time"),
    ("VADD v VALUES 3", How::Kind, "the server's own tail of this error is not terminated"),
    ("VINFO", How::But(&["vset-uid", "hnsw-max-node-uid", "max-level"]), "numbers of this server"),
    ("VLINKS", How::Kind, "as many levels as chance gives"),
    ("VRANDMEMBER v 10", How::AnyOrder, "random"),
    ("WAITAOF 0 0", How::Types, "a count of this moment"),
    // A server counts who has told it by now, which they do once a second; Redan who tells it within 50 ms.
    ("WAIT 0 0", How::Kind, "a count of this moment"),
    ("WAIT -1 0", How::Kind, "as WAIT 0 0"),
    ("XINFO CONSUMERS", How::But(&["idle", "inactive"]), "times"),
    ("XINFO STREAM s FULL", How::But(&["seen-time", "pending", "pel"]), "times"),
    ("XPENDING s g -", How::Types, "times"),
    ("XPENDING s g IDLE", How::Types, "times"),
];

/// How the reply to this step may differ; `None`: not in a byte.
pub(super) fn of(line: &str) -> Option<How> {
    let line = line.split_once(": ").filter(|(client, _)| client.len() == 1).map_or(line, |(_, line)| line);
    let line = line.split_once(" = ").filter(|(name, _)| !name.contains(' ')).map_or(line, |(_, line)| line);
    let begins = |prefix: &str| line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let ends = |prefix: &str| matches!(line.as_bytes().get(prefix.len()), None | Some(b' '));
    DIFFERENCES.iter().find(|(prefix, ..)| begins(prefix) && ends(prefix)).map(|(_, how, _)| *how)
}

/// `None`: alike as far as they must be.
pub(super) fn between(how: Option<How>, server: &[u8], redan: &[u8]) -> Option<String> {
    if server == redan && !matches!(how, Some(How::Refused(_))) {
        return None;
    }
    let (ours, theirs) = (Value::of(redan), Value::of(server));
    let alike = match how {
        None => false,
        // An error is never the same as an answer, nor as another error.
        Some(How::Refused(code)) => return (!redan.starts_with(format!("-{code} ").as_bytes())).then(|| ours.show()),
        Some(_) if ours.kind == b'-' && theirs.kind == b'-' => false,
        Some(How::Kind) => ours.kind == theirs.kind,
        Some(How::Types) => ours.types() == theirs.types(),
        Some(How::AnyOrder) => ours.sorted() == theirs.sorted(),
        Some(How::But(names)) => ours.masked(names) == theirs.masked(names),
        Some(How::Fields) => ours.kind == theirs.kind && ours.fields() == theirs.fields(),
        Some(How::MoreFields) => {
            let mine = ours.fields();
            let mut mine = mine.iter();
            // What was counted depends on what happened before.
            let counted =
                |field: &str| ["cmdstat_", "errorstat_", "latency_perc"].iter().any(|start| field.starts_with(start));
            let theirs_fields = theirs.fields();
            let missing = theirs_fields.iter().find(|field| !counted(field) && !mine.any(|own| own == *field));
            if let Some(missing) = missing {
                return Some(format!("no field '{missing}' in its place in {}", short(&ours.show())));
            }
            ours.kind == theirs.kind
        }
    };
    (!alike).then(|| format!("a server: {}\n      Redan:    {}", short(&theirs.show()), short(&ours.show())))
}

fn short(text: &str) -> String {
    let end = text.char_indices().nth(700).map_or(text.len(), |(at, _)| at);
    if end < text.len() { format!("{} …", &text[..end]) } else { text.to_owned() }
}
