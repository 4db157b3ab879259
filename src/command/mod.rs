//! What each command is: where it may go and what it does to the session. One static table made from data.
//!
//! Pure. `route` and `session` ask it; it must never guess that a command only reads: a command it does not
//! know is asked of the master ([`learned`]), and gets a connection of its own where that does not say enough.

pub(crate) mod blocking;
pub(crate) mod classify;
pub(crate) mod learned;
pub(crate) mod permissions;
pub(crate) mod repeat;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub(crate) use blocking::has_block_option;
pub(crate) use table::lookup;

/// One command, or one subcommand of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// As servers write it since 7.0: `get`, `config|get`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Arguments it takes, name included (and the container's); negative: at least so many.
    pub(crate) arity: i16,
    /// Its number in the data, by which [`permissions`] know it; [`NO_ROW`] of a command that is not in it.
    pub(crate) row: u16,
    pub(crate) care: Care,
}

/// Of a command without a row: whether a server may take it for one that has a row. Servers compare names as C strings but
/// hash all of their bytes, so a name that goes on behind a NUL byte is found where both happen to share a place in the
/// server's hash table: some ending behind the NUL always hits. Nobody could say what such a command does.
pub(crate) fn is_ambiguous(name: &[u8], second: Option<&[u8]>) -> bool {
    name.contains(&0) || second.is_some_and(|second| second.contains(&0) && lookup(name, None).is_some())
}

/// Whether a command that is carried as a write is one: messages are gone when they are delivered, and scripts are not data.
pub(crate) fn leaves_data(name: &[u8]) -> bool {
    ![&b"PUBLISH"[..], b"SPUBLISH", b"SCRIPT"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Beyond every row.
pub(crate) const NO_ROW: u16 = u16::MAX;

impl Spec {
    /// Whether a server would take so many arguments. Only local answers need to ask; nodes check their own.
    pub(crate) fn takes(&self, arguments: u32) -> bool {
        let least = u32::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= least } else { arguments == least }
    }

    /// Of a read: nothing in its nature makes it run for seconds, as a script does, or what looks at every key.
    pub(crate) fn is_short(&self) -> bool {
        !matches!(self.name, "keys" | "sort_ro" | "eval_ro" | "evalsha_ro" | "fcall_ro")
    }
}

/// What Redan must do about a command besides carrying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    None,
    /// SCAN: its cursor is the first argument, and belongs to one run of one node.
    Cursor,
    /// HSCAN, SSCAN, ZSCAN: the cursor is the second argument.
    KeyCursor,
    /// Its reply tells of one server; Redan adds what there is to tell of itself.
    Info,
    /// PUBLISH, SPUBLISH: the reply counts connections, of which Redan's may stand for many clients or none.
    Publish,
    /// PUBSUB NUMSUB and SHARDNUMSUB: so does theirs, channel by channel.
    Subscribers,
    /// EVAL, SCRIPT LOAD: the script is remembered, for a node that will be asked for it and does not know it.
    Body,
    /// EVALSHA: a node that does not know the script is sent its text.
    Digest,
    /// SCRIPT FLUSH: every node forgets, and so does Redan.
    Flush,
}

/// Where a command goes and over what kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// May go to a replica, over a lane.
    Read,
    /// To the master over a lane; changes nothing, so it may be sent again.
    MasterRead,
    /// To the master over a lane; sent again only if it is proven that it did nothing.
    Write,
    /// XREAD: `Read`, or `Pin(Blocking)` when [`has_block_option`].
    ReadUnlessBlock,
    /// XREADGROUP: `Write`, or `Pin(Blocking)` when [`has_block_option`].
    WriteUnlessBlock,
    /// To the master over a connection of the session's own.
    Pin(Pin),
    /// Answered by Redan.
    Local(Local),
    /// Refused unless the listener allows admin commands; then over a pin to the master.
    Admin(Admin),
    /// Never carried.
    Refused(Refused),
}

/// Why a command needs a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// Waits at the node, which would stall a lane.
    Blocking,
    Discard,
    Exec,
    Multi,
    /// SCRIPT KILL, FUNCTION KILL: on a lane they would queue behind the script they should stop.
    Script,
    /// READONLY, ASKING, SCRIPT DEBUG …: changes the connection in a way that RESET may not undo.
    Stateful,
    /// All six of (S|P)(UN)SUBSCRIBE.
    Subscribe,
    /// CLIENT TRACKING and CACHING: invalidations come from the connection that read.
    Tracking,
    /// What it does to the connection is not known, so the connection is closed after it.
    Unknown,
    Unwatch,
    Wait,
    WaitAof,
    Watch,
}

/// How long a pin is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// Until this command's reply; the connection is clean then, if it was before.
    Command,
    /// Until EXEC or DISCARD is answered (or UNWATCH outside MULTI); the connection is clean then.
    Transaction,
    /// Until the session ends; the connection is closed with it and never lent again.
    Session,
}

impl Pin {
    /// How long the session keeps the connection on this command's account; a pin it already holds for
    /// longer stays.
    pub(crate) fn lasts(self) -> Lasts {
        match self {
            Self::Blocking
            | Self::Discard
            | Self::Exec
            | Self::Script
            | Self::Unknown
            | Self::Unwatch
            | Self::Wait
            | Self::WaitAof => Lasts::Command,
            Self::Multi | Self::Watch => Lasts::Transaction,
            Self::Stateful | Self::Subscribe | Self::Tracking => Lasts::Session,
        }
    }
}

/// What Redan answers itself: the session's own state, which no node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// ACL WHOAMI: the node would name Redan's user.
    AclWhoAmI,
    Auth,
    /// CLIENT CAPA (Valkey): survives RESET, so it must not reach a connection that is lent again.
    ClientCapa,
    ClientGetName,
    ClientGetRedir,
    ClientId,
    ClientInfo,
    ClientKill,
    ClientList,
    /// CLIENT MAINT_NOTIFICATIONS: `-ERR unknown subcommand`, on which clients go on without.
    ClientMaintNotifications,
    ClientNoEvict,
    ClientNoTouch,
    ClientPause,
    ClientReply,
    ClientSetInfo,
    ClientSetName,
    ClientTrackingInfo,
    ClientUnblock,
    ClientUnpause,
    Echo,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
}

/// How an allowed admin command uses its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admin {
    /// One reply, then the pin is returned.
    Command,
    /// MONITOR: a stream without end; the pin lasts like `Lasts::Session`.
    Monitor,
    /// SHUTDOWN: answered only when it fails; otherwise the connection ends.
    Shutdown,
}

/// Why a command is never carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Servers may take its name for another's: given to a command on its arrival, see [`is_ambiguous`].
    Ambiguous,
    /// By the operator's `deny` or `allow`: given to a command on its arrival, not by the table.
    Forbidden,
    /// POST, HOST: — a browser tricked into talking to Redis. Servers close the connection unanswered.
    Http,
    /// SYNC, PSYNC, REPLCONF: a replica that dialled a listener. PSYNC is answered `-NOMASTERLINK`, on which it
    /// tries again once a second; `-ERR` would make it reconnect without a pause.
    Replication,
}
