//! Every bound of the data plane in one place, each with the reason for its number.
//!
//! Read by whoever enforces a bound; nothing here may depend on another module.

use std::time::Duration;

/// Groups in one configuration. Each costs a control loop of probes and one gauge per worker; more groups than
/// this belong into several processes, where one cannot starve the other.
pub(crate) const GROUPS: usize = 64;

/// Numbers of groups in the life of a process: one that is removed and added again gets another one. Each worker has a counter
/// of 8 bytes for each; whoever uses them up restarts Redan.
pub(crate) const GROUP_NUMBERS: usize = 1024;

/// Nodes whose commands a worker counts by name; the last slot takes what is left over. 64 × 250 bytes per
/// worker, and at most 63 of each series for whoever scrapes, whatever the number of workers.
pub(crate) const NODE_COUNTERS: usize = 64;

/// Cells for commands: every row of the command table, and a last one for all that has none. 24 bytes each.
pub(crate) const COMMANDS: usize = 512;

/// Listeners that are counted apart; those beyond share the last place. 64 × 200 bytes per worker.
pub(crate) const LISTENER_COUNTERS: usize = 64;

/// Bytes one worker reads from a client at a time. One buffer serves all sessions of a worker, so it costs
/// nothing per client; 64 KiB holds a pipeline of 16 commands of 4 KiB.
pub(crate) const CLIENT_READ: usize = 64 * 1024;

/// The rest of a read that is moved in front of the next one, so that a command cut in two is routed from one place. A
/// longer rest is gathered in the session's own buffer instead: byte by byte, moving it would cost its square.
pub(crate) const HALF_COMMAND: usize = 32 * 1024;

/// What a lane reads into. A partial reply of up to [`GATHERED_REPLY`] and a header line of up to 64 KiB wait here for
/// their rest, and TLS needs room for 64 KiB more.
pub(crate) const LANE_READ: usize = 192 * 1024;

/// A command longer than this is not gathered in memory but streamed over a pin. 256 KiB keeps a pipeline
/// of sixteen 16 KB values on the lane and bounds what a session can hold of a half-sent command.
pub(crate) const GATHERED_COMMAND: usize = 256 * 1024;

/// The longest argument (Redis `proto-max-bulk-len` default): 512 MB.
pub(crate) const BULK: u64 = 512 * 1024 * 1024;

/// The most arguments of a command: 2^31 - 1, as Redis 7.0. Servers before it accept 1024 × 1024 and close the connection
/// over more: that is one of the session's own then, because so many arguments, at six bytes each, are never gathered.
pub(crate) const ARGUMENTS: u32 = i32::MAX as u32;

/// The longest inline command and the longest header line (Redis `PROTO_INLINE_MAX_SIZE`), as long as its end has not come.
pub(crate) const INLINE: usize = 64 * 1024;

/// Before AUTH a client may send at most 10 arguments of at most 16 KiB (Redis 6.0.20 and later).
pub(crate) const UNAUTHENTICATED_ARGUMENTS: u32 = 10;
pub(crate) const UNAUTHENTICATED_BULK: u64 = 16 * 1024;

/// A reply longer than this passes a lane in pieces as it comes; a shorter one is gathered first, so that a node
/// dying in its middle costs no client its connection. 64 KiB holds four values of 16 KB.
pub(crate) const GATHERED_REPLY: usize = 64 * 1024;

/// A reply that Redan rewrites as a whole (INFO) is gathered up to here, and beyond it passes as it is: a server's INFO with
/// all its statistics has some 60 KiB.
pub(crate) const ADAPTED_REPLY: usize = 4 * 1024 * 1024;

/// The longest reply to EXEC that is kept to put into it what Redan must not leave out: more than any sane transaction that
/// also changes its connection reads.
pub(crate) const SETTLED_REPLY: u64 = 64 * 1024 * 1024;

/// How long a drain leaves a client in peace that watches keys and says nothing: between WATCH and MULTI it reads and thinks
/// for milliseconds, and whoever takes a second may as well be idle.
pub(crate) const WATCH_AT_DRAIN: Duration = Duration::from_secs(1);

/// Bytes of scripts remembered per group, for nodes that do not know them: thousands of scripts of ordinary length.
pub(crate) const SCRIPTS: usize = 8 * 1024 * 1024;

/// Scripts that a worker knows to be remembered. An application that makes a new script for every call must not grow this.
pub(crate) const SCRIPTS_SEEN: usize = 4096;

/// Runs of servers of which it is known what scripts they have: 64 nodes, each restarted a few times.
pub(crate) const SCRIPT_RUNS: usize = 256;

/// Names of commands per worker and group of which it was learnt what they are: several large modules' worth.
pub(crate) const LEARNED_COMMANDS: usize = 1024;

/// The longest name that the master is asked about: names are the clients' to invent, up to the length of a command, and modules
/// get along with 30 bytes. What is longer gets a connection of its own.
pub(crate) const LEARNED_NAME: usize = 128;

/// Different logins (user and password) that clients of one worker and group may have at once where the nodes judge them.
/// Each has connections of its own, one or two to a node: 1024 of them are what a node of 10,000 `maxclients` can give to
/// four workers and have half left.
pub(crate) const LOGINS: usize = 1024;

/// Bytes of commands a lane may owe its node before sessions wait: 8 MiB is 4 s of a node that takes 2 MB/s.
pub(crate) const LANE_LOG: usize = 8 * 1024 * 1024;

/// Seconds without a command after which a lane is closed. It is opened again when it is wanted.
pub(crate) const LANE_IDLE_S: u64 = 60;

/// Times that one command may be sent again because a node refused it or died over it. Each time control is asked to
/// look and the session waits for what it finds, 20 ms doubled from time to time: a node that refuses after that means it.
pub(crate) const ATTEMPTS: u32 = 5;
pub(crate) const FIRST_PAUSE_MS: u64 = 20;

/// Capacity a lane or a session keeps when it has nothing to say.
pub(crate) const KEPT_BUFFER: usize = 64 * 1024;

/// Reply bytes that wait for one client before nothing more is read on its behalf: its own commands, its pin, and
/// the rest of a large reply on a lane (which then serves nobody else until the client has taken it).
pub(crate) const OUTPUT_PAUSE: usize = 1024 * 1024;

/// How long a client with waiting replies may take no byte: as such, while it keeps a lane from ending with a reply too
/// large to be kept, and while other sessions' replies wait there behind its own (then: not all of it).
pub(crate) const STALLED_ALONE_S: u64 = 60;
pub(crate) const STALLED_ON_A_LANE_S: u64 = 10;
pub(crate) const STALLED_IN_THE_WAY_S: u64 = 2;

/// Steps of a session, each at most one read and [`IN_FLIGHT`] commands, before others have their turn: about a third of a
/// millisecond. An ordinary command takes two, of which the second finds nothing more to read. Over a pin, where bytes are
/// moved and not looked at, a round is a read from each side.
pub(crate) const STEPS: u32 = 2;
pub(crate) const ROUNDS_WITH_A_PIN: u32 = 16;

/// Commands of one session that may be unanswered at once. Deeper pipelines work; the rest waits in the socket.
pub(crate) const IN_FLIGHT: usize = 1024;

/// Reads in a row from the master before a session waits for a mark: 32 of 60 µs are 2 ms, as long as the wait.
/// Where waiting does not help it waits ever less often, at last three rounds of 3 ms per 4096 reads: 4 %.
pub(crate) const PATIENCE: u32 = 32;
pub(crate) const LONGEST_PATIENCE: u32 = 4096;

/// A session that stays on one node chooses again after so long: one read in 2 s waits a few milliseconds for it.
pub(crate) const CHOOSE_AGAIN: Duration = Duration::from_secs(2);

/// Bytes of the commands in one transaction that Redan answers itself, each with some 60 of its own: ten thousand
/// CLIENT GETNAME, where a transaction of a sane client has one.
pub(crate) const STAND_INS: usize = 1024 * 1024;

/// Subscriptions of one session: 65,536 channels of 100 bytes are some 20 MB with their tables, and more than one client
/// of a sane design has.
pub(crate) const SUBSCRIPTIONS: usize = 64 * 1024;

/// The longest SUBSCRIBE: as many channels as one session may have, with names of 60 bytes.
pub(crate) const GATHERED_SUBSCRIBE: usize = 4 * 1024 * 1024;

/// Subscriptions of all of one worker's sessions: one that shares its topic with nobody costs about 500 bytes, so 500 MB at
/// worst.
pub(crate) const WORKER_SUBSCRIPTIONS: u64 = 1024 * 1024;

/// A hub asks for what it has lost in commands of at most so many topics and about so many bytes, and has at most so many of
/// them unanswered: a million channels come back without a burst of tens of megabytes in either direction.
pub(crate) const HUB_PIECE: usize = 512;
pub(crate) const HUB_PIECE_BYTES: usize = 64 * 1024;
pub(crate) const HUB_PIECES_IN_FLIGHT: usize = 64;

/// Seconds of silence after which a hub asks its node whether it is there, and after which it looks elsewhere: a healthy node
/// answers in milliseconds, and 6 s is as long as a client waits for a message that it will not miss.
pub(crate) const HUB_ASKS_AFTER_S: u32 = 2;
pub(crate) const HUB_DEAD_AFTER_S: u32 = 6;

/// Seconds for which a hub's connection outlives its last subscription: clients that subscribe now and then find it open.
pub(crate) const HUB_LINGERS_S: u32 = 10;

/// The longest message that is handed to subscribers: as much as may wait for one by default.
pub(crate) const MESSAGE: usize = 32 * 1024 * 1024;

/// Links in one configuration: each costs a listening socket and a dozen counters.
pub(crate) const LINKS: usize = 64;

/// What a link reads from its network connection at a time, and encrypts ahead of it: large enough that system calls and waking
/// the other side cost little beside the encryption, small enough that both stay in a core's second-level cache of 1 or 2 MiB.
/// Measured with 128 KiB to 1 MiB; `docs/design/0008-loopback-is-not-paced.md` has the figures.
pub(crate) const LINK_READ: usize = 512 * 1024;
pub(crate) const LINK_AHEAD: usize = 512 * 1024;

/// Replay buffers grow in pieces of so many bytes; an idle connection has none.
pub(crate) const LINK_CHUNK: usize = 64 * 1024;

/// What is on its way over a link, at least, before it is known how much the path takes: two reads, so that one end can fill a piece
/// while the other empties one.
pub(crate) const LINK_FLIGHT: u64 = 1024 * 1024;

/// So many delivered bytes are acknowledged at once: a quarter of the above, so that the other end never has to stop.
pub(crate) const LINK_ACK: u64 = 256 * 1024;

/// A link's handshake and its first frame: what takes longer is nobody who means it.
pub(crate) const LINK_HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes of one exit at a time, and of one source: a stranger may keep so many of them busy and no more.
pub(crate) const LINK_HANDSHAKES: usize = 256;
pub(crate) const LINK_HANDSHAKES_OF_A_SOURCE: usize = 64;

/// Handshakes that one entry has under way; more of its connections wait their turn, which comes within milliseconds. Four
/// entries behind one address still get along with the exit's limit.
pub(crate) const LINK_DIALS: usize = 16;

/// A link that said nothing for a second says PING; one from which nothing came for five is dead.
pub(crate) const LINK_PING: Duration = Duration::from_secs(1);
pub(crate) const LINK_DEAD: Duration = Duration::from_secs(5);

/// Threads for links, at most one a core: with four, each of which encrypts more than a gigabyte a second, the network is
/// what is slow.
pub(crate) const LINK_THREADS: usize = 4;

/// A read is not asked of a second node sooner: less than what a busy machine takes to run a program is no sign of a slow node,
/// and the watch ticks four times as often.
pub(crate) const LEAST_HEDGE: Duration = Duration::from_millis(4);
