//! How many clients a message reached: replies of PUBLISH, SPUBLISH and PUBSUB NUMSUB, put right.
//!
//! A node counts connections. Those of this process stand for many clients, or for none that is left; the registry knows
//! both. Used by `adapted`, and only while the process has any subscription.

use crate::backend::hub::registry::Registry;
use crate::backend::hub::topic::Kind;
use crate::command::Care;
use crate::resp::encode;
use crate::resp::request::arguments;
use crate::topology::NodeId;

#[derive(Debug)]
pub(super) struct Audience {
    registry: Registry,
    node: NodeId,
    of: Of,
}

#[derive(Debug)]
enum Of {
    /// Who gets a message on this channel.
    Message(Kind, Vec<u8>),
    /// Who subscribes to these channels, one by one.
    Each(Kind, Vec<Vec<u8>>),
}

impl Audience {
    /// What is to be put right in the reply of `node` to this command; `None`: nothing.
    pub(super) fn of(care: Care, raw: &[u8], registry: &Registry, node: NodeId) -> Option<Self> {
        if registry.is_empty() {
            return None;
        }
        let mut words = arguments(raw);
        let first = words.next()?;
        let of = match care {
            Care::Publish => {
                let shard = first.eq_ignore_ascii_case(b"SPUBLISH");
                Of::Message(if shard { Kind::Shard } else { Kind::Channel }, words.next()?.to_vec())
            }
            Care::Subscribers => {
                let shard = words.next()?.eq_ignore_ascii_case(b"SHARDNUMSUB");
                Of::Each(if shard { Kind::Shard } else { Kind::Channel }, words.map(<[u8]>::to_vec).collect())
            }
            _ => return None,
        };
        Some(Self { registry: registry.clone(), node, of })
    }

    /// A complete reply, put right. What is no such reply, an error for instance, stays as it is.
    pub(super) fn reply(&self, reply: &[u8]) -> Vec<u8> {
        self.put_right(reply).unwrap_or_else(|| reply.to_vec())
    }

    fn put_right(&self, reply: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(reply.len() + 16);
        match &self.of {
            Of::Message(kind, channel) => {
                let (counted, _) = integer(reply, 0)?;
                let reached = match kind {
                    Kind::Shard => self.registry.subscribers(*kind, channel, self.node, counted),
                    Kind::Channel | Kind::Pattern => self.registry.reached(channel, self.node, counted),
                };
                encode::integer(&mut out, reached);
            }
            Of::Each(kind, channels) => {
                encode::array(&mut out, channels.len() * 2);
                if !reply.starts_with(&out) {
                    return None;
                }
                let mut at = out.len();
                for channel in channels {
                    let start = out.len();
                    encode::bulk(&mut out, channel);
                    if !reply.get(at..)?.starts_with(&out[start..]) {
                        return None;
                    }
                    let (counted, end) = integer(reply, at + out.len() - start)?;
                    at = end;
                    encode::integer(&mut out, self.registry.subscribers(*kind, channel, self.node, counted));
                }
            }
        }
        Some(out)
    }
}

/// The integer at `at`, and where it ends.
fn integer(reply: &[u8], at: usize) -> Option<(i64, usize)> {
    let line = reply.get(at..)?.strip_prefix(b":")?;
    let end = memchr::memchr(b'\r', line)?;
    Some((std::str::from_utf8(&line[..end]).ok()?.parse().ok()?, at + end + 3))
}
