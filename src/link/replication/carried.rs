//! What is known of a replica's connection, for another process that goes on with it; and the same there.
//!
//! Only behind the beginning of the data, or before anything was said that counts: what is said in between is not carried. It must
//! never carry what it knows in part.

use std::sync::Arc;
use std::time::Instant;

use super::handshake::Channel;
use super::inquiry::Master;
use super::lag::Lag;
use super::rdb::Rdb;
use super::{Link, LinkCounters, Phase, Replication};
use crate::handover::{Replica, ReplicaPhase};
use crate::link::desk::Begin;

impl Replication {
    pub(in crate::link) fn carried(&self) -> Option<Replica> {
        let idle = self.to_master.is_empty() && self.to_replica.is_empty();
        if self.handshake.channel() != Channel::Main || !idle {
            return None;
        }
        let phase = match &self.phase {
            Phase::Data(rdb, passed, begin) => {
                let (left, mark) = match rdb {
                    Rdb::Bytes { left } => (Some(*left), None),
                    Rdb::Until { mark, tail } => (None, Some((mark.to_vec(), tail.to_vec()))),
                };
                let begins = begin.as_ref().map(|begin| (begin.history.clone(), begin.offset));
                let backlog = self.master.as_ref().map_or(0, |master| master.backlog_size);
                ReplicaPhase::Data { passed: *passed, left, mark, begins, backlog }
            }
            Phase::Stream(lag, None) => {
                let (offset, backlog) = lag.standing();
                ReplicaPhase::Stream { offset, backlog }
            }
            Phase::Greeting if self.owed == 0 && self.handshake.is_fresh() => ReplicaPhase::Greeting,
            _ => return None,
        };
        let name = self.handshake.name(&self.who);
        Some(Replica { history: self.desk().followed(&name), name, phase })
    }

    pub(in crate::link) fn resumed(
        link: &Arc<Link>,
        counters: &Arc<LinkCounters>,
        from: String,
        replica: &Replica,
        now: Instant,
    ) -> Self {
        let mut resumed = Self::new(link, counters, from, replica.name.clone());
        resumed.handshake.known_as = Some(replica.name.clone());
        if let Some(history) = &replica.history {
            resumed.desk().follows(replica.name.clone(), history.clone());
        }
        resumed.phase = match &replica.phase {
            ReplicaPhase::Greeting => Phase::Greeting,
            ReplicaPhase::Stream { offset, backlog } => {
                Phase::Stream(Lag::new(Arc::clone(&resumed.progress), *offset, *backlog, now), None)
            }
            ReplicaPhase::Data { passed, left, mark, begins, backlog } => match rdb(*left, mark.as_ref()) {
                None => Phase::Other,
                Some(rdb) => {
                    // One that has begun cannot be refused any more.
                    resumed.place = Some(resumed.desk().any_place());
                    resumed.master = Some(Master { backlog_size: *backlog, ..Master::default() });
                    resumed.progress.rdb_begins(left.map(|left| left + passed));
                    resumed.progress.rdb_passed(*passed);
                    let begin = begins.clone().map(|(history, offset)| Begin { history, offset });
                    Phase::Data(rdb, *passed, begin)
                }
            },
        };
        resumed.desk().enter(&resumed.progress);
        resumed
    }
}

fn rdb(left: Option<u64>, mark: Option<&(Vec<u8>, Vec<u8>)>) -> Option<Rdb> {
    match (left, mark) {
        (Some(left), _) => Some(Rdb::Bytes { left }),
        (None, Some((mark, tail))) => {
            Some(Rdb::Until { mark: mark.as_slice().try_into().ok()?, tail: tail.as_slice().try_into().ok()? })
        }
        (None, None) => None,
    }
}
