//! Clients' own logins on the nodes: which there are, which backend connections belong to whom, and when one ends.
//!
//! The pool holds the table, sessions and lanes refer to it by key. A key is never given to another login while anything
//! speaks under it: a command must never travel over somebody else's connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::limits;
use crate::topology::NodeId;

/// As whom a backend connection speaks. Part of every lane's and pin's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UserKey(u32);

impl UserKey {
    /// Redan's own user of the group.
    pub(crate) const GROUP: Self = Self(0);
    /// Of a session that has proven nothing: no connection is ever opened for it.
    pub(crate) const NOBODY: Self = Self(u32::MAX);
}

/// What a client says of itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing: it is the server's `default` user, if that needs no password.
    Nothing,
    /// Without a user it is `AUTH password`, the only form that servers before 6.0 know.
    Password { user: Option<Box<[u8]>>, password: Box<[u8]> },
}

impl Claim {
    pub(crate) fn user(&self) -> &[u8] {
        match self {
            Self::Password { user: Some(user), .. } => user,
            Self::Password { user: None, .. } | Self::Nothing => b"default",
        }
    }

    /// For logs.
    pub(crate) fn name(&self) -> String {
        self.user().escape_ascii().to_string()
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ***", self.name())
    }
}

/// A claim that a node has accepted.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) key: UserKey,
    pub(crate) claim: Claim,
    sessions: Cell<usize>,
    /// The master accepts the claim no more.
    revoked: Cell<bool>,
    /// A proof is under way because a connection was closed.
    pub(super) suspected: Cell<bool>,
    /// Replicas that do not know it, until when they are not asked again. At most one entry for each node.
    unknown_at: RefCell<Vec<(NodeId, Instant)>>,
}

/// A replica that does not know a user gets one connection attempt in so long: the user may have been created since.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

impl Login {
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.get()
    }

    pub(super) fn is_unknown_at(&self, node: NodeId, now: Instant) -> bool {
        self.unknown_at.borrow().iter().any(|(at, until)| *at == node && *until > now)
    }

    /// `true` the first time.
    pub(super) fn note_unknown_at(&self, node: NodeId, now: Instant) -> bool {
        let mut nodes = self.unknown_at.borrow_mut();
        let before = nodes.len();
        nodes.retain(|(at, _)| *at != node);
        let first = nodes.len() == before;
        nodes.push((node, now + UNKNOWN_FOR));
        first
    }
}

/// One session's use of a login.
#[derive(Debug)]
pub(crate) struct LoggedIn(Rc<Login>);

impl LoggedIn {
    fn new(login: &Rc<Login>) -> Self {
        login.sessions.set(login.sessions.get() + 1);
        Self(Rc::clone(login))
    }
}

impl std::ops::Deref for LoggedIn {
    type Target = Login;

    fn deref(&self) -> &Login {
        &self.0
    }
}

impl Drop for LoggedIn {
    fn drop(&mut self) {
        self.0.sessions.set(self.0.sessions.get() - 1);
    }
}

/// The logins of one worker's clients in one group.
#[derive(Debug, Default)]
pub(super) struct Logins {
    table: Vec<Rc<Login>>,
    last: u32,
}

impl Logins {
    pub(super) fn get(&self, key: UserKey) -> Option<Rc<Login>> {
        self.table.iter().find(|login| login.key == key).map(Rc::clone)
    }

    /// `claim` has just been proven. `spoken` tells whether any connection still speaks under a key. `None`: the table is full.
    pub(super) fn enter(&mut self, claim: &Claim, spoken: impl Fn(UserKey) -> bool) -> Option<LoggedIn> {
        if let Some(login) = self.table.iter().find(|login| login.claim == *claim) {
            return Some(LoggedIn::new(login));
        }
        if self.table.len() >= limits::LOGINS {
            let unused = self.table.iter().position(|login| login.sessions.get() == 0)?;
            self.table.swap_remove(unused);
        }
        let taken = |key| key == UserKey::GROUP || key == UserKey::NOBODY || self.get(key).is_some() || spoken(key);
        // The table and the connections are finite, so a free key is found soon.
        let mut key = UserKey(self.last.wrapping_add(1));
        while taken(key) {
            key = UserKey(key.0.wrapping_add(1));
        }
        self.last = key.0;
        let login = Rc::new(Login {
            key,
            claim: claim.clone(),
            sessions: Cell::new(0),
            revoked: Cell::new(false),
            suspected: Cell::new(false),
            unknown_at: RefCell::default(),
        });
        self.table.push(Rc::clone(&login));
        Some(LoggedIn::new(&login))
    }

    /// Returns how many sessions it ends; `None` when it has ended before.
    pub(super) fn revoke(&mut self, login: &Login) -> Option<usize> {
        self.table.retain(|other| other.key != login.key);
        (!login.revoked.replace(true)).then(|| login.sessions.get())
    }

    /// Called about once a second: what no session uses goes when its last connection has gone.
    pub(super) fn tick(&mut self, spoken: impl Fn(UserKey) -> bool) {
        self.table.retain(|login| login.sessions.get() > 0 || spoken(login.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(user: &str, password: &str) -> Claim {
        Claim::Password { user: Some(user.as_bytes().into()), password: password.as_bytes().into() }
    }

    #[test]
    fn the_same_claim_is_the_same_login_and_no_other_is() {
        let mut logins = Logins::default();
        let mut enter = |claim: &Claim| logins.enter(claim, |_| false).expect("room");
        let a = enter(&claim("a", "p"));
        let alone = Claim::Password { user: None, password: b"p"[..].into() };
        let others = [claim("a", "q"), claim("b", "p"), alone, Claim::Nothing].map(|other| enter(&other));
        assert_eq!(enter(&claim("a", "p")).key, a.key);
        for (index, other) in others.iter().enumerate() {
            assert!(![a.key, UserKey::GROUP, UserKey::NOBODY].contains(&other.key));
            assert!(others[..index].iter().all(|before| before.key != other.key));
        }
    }

    #[test]
    fn a_revoked_login_is_not_taken_up_again() {
        let mut logins = Logins::default();
        let first = logins.enter(&claim("a", "p"), |_| false).expect("room");
        assert_eq!(logins.revoke(&first), Some(1));
        assert_eq!(logins.revoke(&first), None);
        assert!(first.is_revoked() && logins.get(first.key).is_none());
        let second = logins.enter(&claim("a", "p"), |_| false).expect("room");
        assert!(second.key != first.key && !second.is_revoked());
    }

    #[test]
    fn a_key_is_not_given_again_while_a_connection_speaks_under_it() {
        let mut logins = Logins::default();
        let old = logins.enter(&claim("a", "p"), |_| false).expect("room").key;
        logins.tick(|key| key == old);
        assert!(logins.get(old).is_some(), "its lane is open");
        logins.tick(|_| false);
        assert!(logins.get(old).is_none());
        // As after four billion logins.
        logins.last = u32::MAX - 2;
        let keys: Vec<UserKey> = ["x", "y", "z"]
            .map(|user| logins.enter(&claim(user, "p"), |key| key == old))
            .iter()
            .map(|login| login.as_ref().expect("room").key)
            .collect();
        assert_eq!(keys, [UserKey(u32::MAX - 1), UserKey(2), UserKey(3)]);
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_where_nobody_is() {
        let mut logins = Logins::default();
        let mut held: Vec<LoggedIn> = (0..limits::LOGINS)
            .map(|number| logins.enter(&claim(&number.to_string(), ""), |_| false).expect("room"))
            .collect();
        assert!(logins.enter(&claim("one more", ""), |_| false).is_none());
        held.pop();
        assert!(logins.enter(&claim("one more", ""), |_| false).is_some());
        assert_eq!(logins.table.len(), limits::LOGINS);
    }

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(format!("{:?}", claim("a", "hunter2")), "a ***");
    }
}
