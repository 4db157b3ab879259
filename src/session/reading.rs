//! What a session remembers of how its reads are being served. `batch`, `fallback` and `hedge` keep it.

use super::hedge::Hedge;
use crate::topology::NodeId;

#[derive(Default)]
pub(super) struct Reading {
    /// The node that has owed it a read for too long: until another has answered, it is not asked again.
    pub(super) avoid: Option<NodeId>,
    /// What is in flight went to the master because no replica could serve it.
    pub(super) fell_back: bool,
    /// Its next reads wait because of the listener's `master_reads_limit`.
    pub(super) capped: bool,
    /// What is in flight has been owed for so long that another node may be asked too.
    pub(super) hedge_due: bool,
    /// And is.
    pub(super) hedge: Option<Hedge>,
}
