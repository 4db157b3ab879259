//! What is said. Fields may be added with a default; whoever changes the meaning of one raises [`PROTOCOL`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Of the talk as a whole. A process that is started by one of another protocol refuses, and nothing has happened.
pub(crate) const PROTOCOL: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Message {
    /// First, from the old process.
    Hello(Hello),
    /// As many as the hello says; with a socket each.
    Socket(Given),
    /// From the new one: it could begin now.
    Ready(Ready),
    /// From the new one: it never will.
    Failed { why: String },
    /// The new one is in charge from here on.
    Begin { next_id: u64 },
    /// With its socket, and what of its bytes was not looked at.
    Client(Box<Client>),
    /// With its socket, and its two buffers one behind the other.
    Stream(Box<Stream>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) version: String,
    /// Socket messages that follow.
    pub(crate) sockets: usize,
    /// The new process is born with the rules of the old one's sandbox.
    pub(crate) sandboxed: bool,
    /// Groups that have a master now; the new one must find it too.
    pub(crate) mastered: Vec<String>,
    /// The old process waits no longer than that.
    pub(crate) patience_ms: u64,
}

/// A socket that listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Given {
    /// As the configuration of the old process writes it.
    pub(crate) bind: String,
    pub(crate) name: String,
    /// It came from the system, by its name.
    pub(crate) by_name: bool,
    pub(crate) unix: bool,
}

/// Whom the new process takes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Names of listeners whose clients need no handshake.
    pub(crate) listeners: Vec<String>,
    /// Names of links.
    pub(crate) links: Vec<String>,
}

/// A client at a moment at which nothing is owed to it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Client {
    pub(crate) listener: String,
    pub(crate) unix: bool,
    pub(crate) id: u64,
    pub(crate) resp3: bool,
    pub(crate) db: u32,
    pub(crate) authenticated: bool,
    /// As whom, as CLIENT INFO shows it.
    pub(crate) user: String,
    /// Where the nodes judge logins.
    pub(crate) login: Option<Login>,
    /// A node has said that who names nobody may do nothing.
    pub(crate) stranger: bool,
    pub(crate) name: String,
    pub(crate) library: String,
    pub(crate) library_version: String,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    pub(crate) takes_redirects: bool,
    pub(crate) age_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) received: u64,
    pub(crate) commands: u64,
}

/// What a client has proven to the nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Login {
    Nobody,
    Password { user: Option<Vec<u8>>, password: Hidden },
}

/// Not to be printed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hidden(pub(crate) Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A connection over a link, without its wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) link: String,
    pub(crate) id: [u8; 16],
    /// The key that the other end has shown.
    pub(crate) peer: [u8; 32],
    /// For the log.
    pub(crate) from: String,
    pub(crate) unix: bool,
    pub(crate) numbers: Numbers,
    pub(crate) replica: Option<Replica>,
}

/// Where a stream stands, counted as docs/link.md says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbers {
    // From the program to the other end.
    pub(crate) acknowledged: u64,
    pub(crate) ever_sent: u64,
    pub(crate) end: Option<u64>,
    /// The length of the first buffer: what was not acknowledged.
    pub(crate) replay: u64,
    // From the other end to the program. The second buffer is what was not delivered.
    pub(crate) received: u64,
    pub(crate) delivered: u64,
    pub(crate) peer_end: Option<u64>,
    pub(crate) window: u64,
}

impl Numbers {
    /// Nothing has come of either side.
    pub(crate) fn is_untouched(&self) -> bool {
        self.acknowledged + self.replay + self.received == 0
    }
}

/// What is known of a stream that is a replica's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) name: String,
    /// The history that it followed last.
    pub(crate) history: Option<String>,
    pub(crate) phase: ReplicaPhase,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ReplicaPhase {
    /// It may become one.
    Greeting,
    /// The data of a full sync comes.
    Data {
        passed: u64,
        /// Without a mark at its end.
        left: Option<u64>,
        /// The mark, and the last bytes that came.
        mark: Option<(Vec<u8>, Vec<u8>)>,
        begins: Option<(String, u64)>,
        backlog: u64,
    },
    Stream {
        offset: u64,
        backlog: u64,
    },
}
