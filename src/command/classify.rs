//! Gives every row of the command table its [`Kind`].
//!
//! The table calls it once per row while it is built. Rules by name come first: they are what the servers' own
//! flags do not say or say wrongly (a server's `readonly` is no promise about the connection). Only then do
//! the flags `write` and `readonly` count, which were right for data commands on every server examined.

use super::{Admin, Care, Kind, Local, Pin, Refused};

/// The kind of the command `name`, whose flags are a comma-separated list as in COMMAND's reply.
pub(crate) fn kind(name: &str, flags: &str) -> Kind {
    let (container, sub) = name.split_once('|').map_or((name, None), |(container, sub)| (container, Some(sub)));
    let by_name = match sub {
        None => connection(name).or_else(|| answered_by_master(name)).or_else(|| admin(name)),
        // Every container's HELP only lists its subcommands.
        Some("help") => Some(Kind::MasterRead),
        Some(sub) => subcommand(container, sub),
    };
    by_name.unwrap_or_else(|| by_flags(flags))
}

/// What must be done about the command `name` besides carrying it.
pub(crate) fn care(name: &str) -> Care {
    match name {
        "scan" => Care::Cursor,
        "hscan" | "sscan" | "zscan" => Care::KeyCursor,
        "info" => Care::Info,
        "publish" | "spublish" => Care::Publish,
        "pubsub|numsub" | "pubsub|shardnumsub" => Care::Subscribers,
        "eval" | "eval_ro" | "script|load" => Care::Body,
        "evalsha" | "evalsha_ro" => Care::Digest,
        "script|flush" => Care::Flush,
        _ => Care::None,
    }
}

/// The kind of a command of which only its flags are known. A module's command without `write` and
/// `readonly` may do anything.
pub(crate) fn learnt(flags: &[&str]) -> Kind {
    let has = |flag: &str| flags.contains(&flag);
    if has("admin") {
        Kind::Admin(Admin::Command)
    } else if has("blocking") {
        Kind::Pin(Pin::Blocking)
    } else if has("pubsub") || has("noscript") {
        Kind::Pin(Pin::Unknown)
    } else if has("write") {
        Kind::Write
    } else if has("readonly") {
        Kind::Read
    } else {
        Kind::Pin(Pin::Unknown)
    }
}

/// Commands that change a connection, wait on it, or are about it.
fn connection(name: &str) -> Option<Kind> {
    Some(match name {
        "auth" => Kind::Local(Local::Auth),
        "echo" => Kind::Local(Local::Echo),
        "hello" => Kind::Local(Local::Hello),
        "ping" => Kind::Local(Local::Ping),
        "quit" => Kind::Local(Local::Quit),
        "reset" => Kind::Local(Local::Reset),
        "select" => Kind::Local(Local::Select),
        "discard" => Kind::Pin(Pin::Discard),
        "exec" => Kind::Pin(Pin::Exec),
        "multi" => Kind::Pin(Pin::Multi),
        "unwatch" => Kind::Pin(Pin::Unwatch),
        "watch" => Kind::Pin(Pin::Watch),
        "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe" => {
            Kind::Pin(Pin::Subscribe)
        }
        "wait" => Kind::Pin(Pin::Wait),
        "waitaof" => Kind::Pin(Pin::WaitAof),
        "asking" | "readonly" | "readwrite" => Kind::Pin(Pin::Stateful),
        "xread" => Kind::ReadUnlessBlock,
        "xreadgroup" => Kind::WriteUnlessBlock,
        // A subcommand without a row could do anything to the connection.
        "client" | "function" | "script" => Kind::Pin(Pin::Unknown),
        "monitor" => Kind::Admin(Admin::Monitor),
        "shutdown" => Kind::Admin(Admin::Shutdown),
        "psync" | "replconf" | "sync" => Kind::Refused(Refused::Replication),
        "host:" | "post" => Kind::Refused(Refused::Http),
        _ => return None,
    })
}

/// Commands whose flags do not say that only the master's answer will do, or that they need no admin rights.
fn answered_by_master(name: &str) -> Option<Kind> {
    Some(match name {
        // Differs from node to node, or says what the endpoint is: clients judge it by these.
        "command" | "info" | "lastsave" | "lolwut" | "role" => Kind::MasterRead,
        // A cursor belongs to the node that gave it.
        "clusterscan" | "hscan" | "scan" | "sscan" | "zscan" => Kind::MasterRead,
        // Moves the clocks by which a node evicts; on a replica that would keep nothing alive.
        "touch" => Kind::MasterRead,
        // With an unknown subcommand, so that the node's own error comes back.
        "cluster" | "object" | "pubsub" | "xinfo" => Kind::MasterRead,
        "xgroup" => Kind::Write,
        "eval" | "evalsha" | "fcall" | "publish" | "spublish" => Kind::Write,
        "time" => Kind::Read,
        _ => return None,
    })
}

/// Commands that act on one node as a whole, with their containers' unknown subcommands.
fn admin(name: &str) -> Option<Kind> {
    match name {
        "acl" | "bgrewriteaof" | "bgsave" | "commandlog" | "config" | "debug" | "failover" | "hotkeys" | "latency"
        | "memory" | "module" | "pfdebug" | "pfselftest" | "replicaof" | "save" | "slaveof" | "slowlog"
        | "trimslots" => Some(Kind::Admin(Admin::Command)),
        _ => None,
    }
}

fn subcommand(container: &str, sub: &str) -> Option<Kind> {
    Some(match (container, sub) {
        ("acl", "whoami") => Kind::Local(Local::AclWhoAmI),
        ("acl", "cat" | "genpass") => Kind::MasterRead,
        ("client", sub) => client(sub),
        ("cluster", sub) => cluster(sub),
        ("config", "get") => Kind::MasterRead,
        ("memory", "usage") => Kind::MasterRead,
        ("acl" | "commandlog" | "config" | "hotkeys" | "latency" | "memory" | "module" | "slowlog", _) => {
            Kind::Admin(Admin::Command)
        }
        ("function" | "script", "kill") => Kind::Pin(Pin::Script),
        ("function", "dump" | "list" | "stats") => Kind::MasterRead,
        ("script", "debug") => Kind::Pin(Pin::Stateful),
        ("script", "exists" | "show") => Kind::MasterRead,
        // A replica does not know consumers that have read nothing, when one was seen, nor how many entries a group has read.
        ("xinfo", _) => Kind::MasterRead,
        ("script", "flush" | "load") => Kind::Write,
        ("command" | "object" | "pubsub", _) => Kind::MasterRead,
        _ => return None,
    })
}

fn client(sub: &str) -> Kind {
    match sub {
        "caching" | "tracking" => Kind::Pin(Pin::Tracking),
        "capa" => Kind::Local(Local::ClientCapa),
        "getname" => Kind::Local(Local::ClientGetName),
        "getredir" => Kind::Local(Local::ClientGetRedir),
        "id" => Kind::Local(Local::ClientId),
        "info" => Kind::Local(Local::ClientInfo),
        "maint_notifications" => Kind::Local(Local::ClientMaintNotifications),
        "no-evict" => Kind::Local(Local::ClientNoEvict),
        "no-touch" => Kind::Local(Local::ClientNoTouch),
        "reply" => Kind::Local(Local::ClientReply),
        "setinfo" => Kind::Local(Local::ClientSetInfo),
        "setname" => Kind::Local(Local::ClientSetName),
        "trackinginfo" => Kind::Local(Local::ClientTrackingInfo),
        "unblock" => Kind::Local(Local::ClientUnblock),
        // At a node they would see and stop Redan's connections, which many sessions share.
        "kill" => Kind::Local(Local::ClientKill),
        "list" => Kind::Local(Local::ClientList),
        "pause" => Kind::Local(Local::ClientPause),
        "unpause" => Kind::Local(Local::ClientUnpause),
        "import-source" => Kind::Pin(Pin::Stateful),
        _ => Kind::Pin(Pin::Unknown),
    }
}

/// What changes a cluster is for admins; the rest goes to the master, whose `cluster support disabled` tells
/// the client what it needs to know.
fn cluster(sub: &str) -> Kind {
    match sub {
        "addslots"
        | "addslotsrange"
        | "bumpepoch"
        | "cancelslotmigrations"
        | "delslots"
        | "delslotsrange"
        | "failover"
        | "flushslot"
        | "flushslots"
        | "forget"
        | "meet"
        | "migrateslots"
        | "migration"
        | "replicate"
        | "reset"
        | "saveconfig"
        | "set-config-epoch"
        | "setslot"
        | "syncslots" => Kind::Admin(Admin::Command),
        _ => Kind::MasterRead,
    }
}

/// Plain data commands. Without a flag that says so a command neither reads nor writes as far as anybody knows.
fn by_flags(flags: &str) -> Kind {
    let has = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
    if has("blocking") {
        Kind::Pin(Pin::Blocking)
    } else if has("write") {
        Kind::Write
    } else if has("readonly") && !has("admin") && !has("pubsub") {
        Kind::Read
    } else {
        Kind::Pin(Pin::Unknown)
    }
}
