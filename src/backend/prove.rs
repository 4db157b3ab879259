//! Asks a node whether a client is who it says: AUTH on connections kept for that alone.
//!
//! Every AUTH of a client is asked anew: a password that was right yesterday may be wrong today, and a shared connection
//! that was opened with it would go on working. A client that says nothing is asked for too: whether the node
//! takes commands from someone without a password.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::dial::{DialError, Wire};
use super::login::Claim;
use super::pool::Pool;
use crate::resp::encode;
use crate::resp::reply::ReplyScanner;
use crate::topology::{Node, NodeId};

/// Proofs of one worker at once. One takes a round trip, so eight make tens of thousands a second, and a herd of
/// reconnecting clients does not become a herd of connections to the node.
const AT_ONCE: usize = 8;
/// As for idle pins: below the `timeout` that people set.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Connections that prove logins, and nothing else.
pub(super) struct Provers {
    permits: Semaphore,
    /// At most `AT_ONCE`.
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    since: Instant,
    node: NodeId,
    wire: Box<dyn Wire>,
}

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Right,
    /// In these words.
    Wrong(String),
}

impl Default for Provers {
    fn default() -> Self {
        Self { permits: Semaphore::new(AT_ONCE), idle: RefCell::default() }
    }
}

impl Provers {
    fn take(&self, node: NodeId) -> Option<Box<dyn Wire>> {
        let mut idle = self.idle.borrow_mut();
        let index = idle.iter().rposition(|idle| idle.node == node)?;
        Some(idle.swap_remove(index).wire)
    }

    fn keep(&self, node: NodeId, wire: Box<dyn Wire>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= AT_ONCE {
            idle.remove(0);
        }
        idle.push(Idle { since: Instant::now(), node, wire });
    }

    pub(super) fn forget(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Called about once a second.
    pub(super) fn tick(&self, now: Instant) {
        self.idle.borrow_mut().retain(|idle| now.saturating_duration_since(idle.since) < KEPT_FOR);
    }
}

impl Pool {
    /// The node to ask: the master; while there is none, another that is healthy. `None`: nobody can be asked now.
    pub(crate) fn witness(&self) -> Option<Node> {
        let snapshot = self.snapshot();
        let usable = |node: &&Node| !self.is_troubled(node.id);
        match snapshot.master() {
            Some(master) => Some(master).filter(usable).cloned(),
            None => snapshot.nodes.iter().filter(|node| node.readable.is_ok()).find(usable).cloned(),
        }
    }

    /// Asks `node` about `claim`. An error says nothing about the claim.
    pub(crate) async fn prove(self: Rc<Self>, node: Node, claim: Claim) -> Result<Proof, DialError> {
        // The semaphore is never closed, so there is always a permit at last.
        let _permit = self.provers.permits.acquire().await;
        if let Some(mut wire) = self.provers.take(node.id)
            // The node may have closed it since: then another says more.
            && let Some(proof) = self.ask(&mut wire, &claim, true).await
        {
            self.provers.keep(node.id, wire);
            return Ok(proof);
        }
        let unreachable = |words: String| {
            self.last_failure.replace(words.clone());
            self.trouble(node.id);
            DialError::Unreachable(words)
        };
        let mut wire = match self.dialer().connect(&node.address).await {
            Ok(wire) => wire,
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let Some(proof) = self.ask(&mut wire, &claim, false).await else {
            return Err(unreachable(format!("{} did not say whether a login is right", node.address)));
        };
        self.provers.keep(node.id, wire);
        Ok(proof)
    }

    async fn ask(&self, wire: &mut Box<dyn Wire>, claim: &Claim, used: bool) -> Option<Proof> {
        let limit = self.dialer().group().connect_timeout;
        tokio::time::timeout(limit, ask(wire, claim, used)).await.ok().flatten()
    }
}

/// `None`: the connection is of no use. `used`: someone has been proven on it before.
async fn ask(wire: &mut Box<dyn Wire>, claim: &Claim, used: bool) -> Option<Proof> {
    let mut bytes = Vec::new();
    let replies = match claim {
        Claim::Password { user: Some(user), password } => {
            encode::command(&mut bytes, &[b"AUTH", user, password]);
            1
        }
        Claim::Password { user: None, password } => {
            encode::command(&mut bytes, &[b"AUTH", password]);
            1
        }
        Claim::Nothing if used => {
            // Whoever was proven on it before is forgotten. Servers before 6.2 do not know RESET.
            encode::command(&mut bytes, &[b"RESET"]);
            encode::command(&mut bytes, &[b"PING"]);
            2
        }
        Claim::Nothing => {
            encode::command(&mut bytes, &[b"PING"]);
            1
        }
    };
    wire.write_all(&bytes).await.ok()?;
    wire.flush().await.ok()?;
    let replies = read(wire, replies).await?;
    if replies.len() == 2 && replies[0] != "+RESET" {
        return None;
    }
    judge(replies.last()?, claim)
}

/// So many lines, without their ends; `None` when something else comes.
async fn read(wire: &mut Box<dyn Wire>, count: usize) -> Option<Vec<String>> {
    let mut buf = Vec::with_capacity(512);
    let (mut start, mut at) = (0, 0);
    let mut scanner = ReplyScanner::new();
    let mut replies = Vec::with_capacity(count);
    while replies.len() < count {
        let scanned = scanner.advance(&buf[at..]).ok()?;
        at += scanned.consumed;
        if scanned.done {
            replies.push(String::from_utf8_lossy(&buf[start..at]).trim_end().to_owned());
            start = at;
        } else if wire.read_buf(&mut buf).await.ok()? == 0 {
            return None;
        }
    }
    (start == buf.len()).then_some(replies)
}

/// Errors that speak of the connection or the node, not of the claim.
const BESIDE_THE_POINT: [&str; 5] = ["-ERR max number of clients", "-DENIED", "-LOADING", "-BUSY", "-MASTERDOWN"];

fn judge(reply: &str, claim: &Claim) -> Option<Proof> {
    let wrong = || reply.strip_prefix('-').map(|words| Proof::Wrong(words.to_owned()));
    match claim {
        _ if BESIDE_THE_POINT[..2].iter().any(|words| reply.starts_with(words)) => None,
        Claim::Nothing if reply.starts_with("-NOAUTH") => wrong(),
        // Whatever else it says of PING, it says to someone it knows.
        Claim::Nothing => Some(Proof::Right),
        Claim::Password { .. } if reply == "+OK" => Some(Proof::Right),
        Claim::Password { .. } if BESIDE_THE_POINT.iter().any(|words| reply.starts_with(words)) => None,
        Claim::Password { .. } => wrong(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_a_claim() {
        let password = Claim::Password { user: None, password: b"p"[..].into() };
        let wrong = |words: &str| Some(Proof::Wrong(words.to_owned()));
        for (claim, reply, expected) in [
            (&password, "+OK", Some(Proof::Right)),
            (&password, "-WRONGPASS invalid", wrong("WRONGPASS invalid")),
            (&password, "-ERR invalid password", wrong("ERR invalid password")),
            (&password, "-ERR max number of clients reached", None),
            (&password, "-DENIED Redis is running in protected mode", None),
            (&password, "-LOADING Redis is loading the dataset in memory", None),
            (&password, ":1", None),
            (&Claim::Nothing, "+PONG", Some(Proof::Right)),
            (&Claim::Nothing, "-NOAUTH Authentication required.", wrong("NOAUTH Authentication required.")),
            (&Claim::Nothing, "-NOPERM this user has no permissions to run the 'ping' command", Some(Proof::Right)),
            (&Claim::Nothing, "-MISCONF Redis is configured to save", Some(Proof::Right)),
            (&Claim::Nothing, "-LOADING Redis is loading the dataset in memory", Some(Proof::Right)),
            (&Claim::Nothing, "-DENIED Redis is running in protected mode", None),
        ] {
            assert_eq!(judge(reply, claim), expected, "{reply}");
        }
    }
}
