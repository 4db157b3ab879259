//! Every bound of the data plane in one place, each with the reason for its number.
//!
//! Read by whoever enforces a bound; nothing here may depend on another module.

/// Groups in one configuration. Each costs a control loop of probes and one gauge per worker; more groups than
/// this belong into several processes, where one cannot starve the other.
pub(crate) const GROUPS: usize = 64;

/// Nodes whose commands a worker counts by name; the last slot takes what is left over. 64 × 32 bytes per
/// worker, and at most 63 series per worker for whoever scrapes.
pub(crate) const NODE_COUNTERS: usize = 64;

/// Bytes one worker reads from a client at a time. One buffer serves all sessions of a worker, so it costs
/// nothing per client; 64 KiB holds a pipeline of 16 commands of 4 KiB.
pub(crate) const CLIENT_READ: usize = 64 * 1024;

/// Bytes a lane reads at a time, and keeps: a partial reply waits here for its rest.
pub(crate) const LANE_READ: usize = 128 * 1024;

/// A command longer than this is not gathered in memory but streamed over a pin. 256 KiB keeps a pipeline
/// of sixteen 16 KB values on the lane and bounds what a session can hold of a half-sent command.
pub(crate) const GATHERED_COMMAND: usize = 256 * 1024;

/// The longest argument (Redis `proto-max-bulk-len` default): 512 MB.
pub(crate) const BULK: u64 = 512 * 1024 * 1024;

/// The most arguments of a command: 1024 × 1024, what servers before 7.0 accept (7.0 accepts 2^31 - 1).
/// The weakest server decides, because a violation on a lane would cost every session its connection.
pub(crate) const ARGUMENTS: u32 = 1024 * 1024;

/// The longest inline command and the longest header line (Redis `PROTO_INLINE_MAX_SIZE`).
pub(crate) const INLINE: usize = 64 * 1024;

/// Before AUTH a client may send at most 10 arguments of at most 16 KiB (Redis 6.0.20 and later).
pub(crate) const UNAUTHENTICATED_ARGUMENTS: u32 = 10;
pub(crate) const UNAUTHENTICATED_BULK: u64 = 16 * 1024;
