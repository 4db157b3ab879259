//! Opens a pool's connections as whoever they are for, and ends those of a user whom the master accepts no more.
//!
//! Lanes, pins and whatever else a worker dials come through here, so that no connection is ever opened as somebody else.

use std::rc::Rc;
use std::time::Instant;

use super::dial::{DialError, Dialect, Opened};
use super::login::{Claim, LoggedIn, Login, UserKey};
use super::pool::Pool;
use super::prove::Proof;
use crate::topology::Node;

impl Pool {
    /// A connection to the node. A login that it refuses has been seen to when this returns.
    pub(crate) async fn connect(&self, node: &Node, dialect: Dialect) -> Result<Opened, DialError> {
        if dialect.user == UserKey::GROUP {
            return self.connect_as_group(node, dialect).await;
        }
        let ended = || DialError::Login("the login has ended".to_owned());
        let login = self.login(dialect.user).ok_or_else(ended)?;
        if self.is_master(node.id) && !self.view.scripts.missing_on(node.run).texts.is_empty() {
            // Scripts are given by Redan's own user: this one may lack the right. Without them it goes on all the same.
            let _ = self.connect_as_group(node, Dialect::GROUP).await;
        }
        let opened = self.dialer().dial(&node.address, dialect, Some(&login.claim), &[]).await;
        if let Err(DialError::Login(words)) = &opened {
            self.refused(&login, node, words);
        }
        // It may have ended in between: then this connection must not outlive it.
        if login.is_revoked() { Err(ended()) } else { opened }
    }

    /// To the master not before it knows every script that Redan does, so that a transaction, which cannot be mended
    /// half-way, finds them too.
    async fn connect_as_group(&self, node: &Node, dialect: Dialect) -> Result<Opened, DialError> {
        let run = self.snapshot().master().filter(|master| master.id == node.id).map(|master| master.run);
        let Some(run) = run else {
            return self.dialer().dial(&node.address, dialect, None, &[]).await;
        };
        let missing = self.view.scripts.missing_on(run);
        let opened = self.dialer().dial(&node.address, dialect, None, &missing.texts).await?;
        if opened.loaded {
            self.view.scripts.loaded(run, &missing);
        }
        Ok(opened)
    }

    /// `None` for the group's own user, and for what has ended.
    pub(super) fn login(&self, key: UserKey) -> Option<Rc<Login>> {
        self.logins.borrow().get(key)
    }

    /// Connections under this key may be opened.
    pub(super) fn knows(&self, key: UserKey) -> bool {
        key == UserKey::GROUP || self.login(key).is_some()
    }

    /// Whether any connection speaks under this key.
    pub(super) fn is_spoken(&self, key: UserKey) -> bool {
        self.lanes.borrow().iter().any(|lane| lane.key.dialect.user == key)
            || self.idle_pins.borrow().has_of(key)
            // Also while its connection is broken: it is opened again for clients that have become others since.
            || self.hubs.borrow().iter().any(|hub| hub.dialect.user == key)
    }

    /// The login has ended: nothing may go over its connections.
    fn close_all_of(&self, key: UserKey) {
        for lane in self.lanes.borrow().iter().filter(|lane| lane.key.dialect.user == key) {
            lane.close("the node refuses its user");
        }
        self.idle_pins.borrow_mut().drop_of(key);
        self.wake_waiting();
    }

    /// A connection under this key was closed by its node. If that is because the user is gone, its sessions go too.
    pub(crate) fn suspect(self: &Rc<Self>, key: UserKey) {
        let Some(login) = self.login(key).filter(|login| !login.suspected.replace(true)) else {
            return;
        };
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let master = pool.witness().filter(|node| pool.is_master(node.id));
            if let Some(master) = master
                && let Ok(Proof::Wrong(words)) = Rc::clone(&pool).prove(master.clone(), login.claim.clone()).await
            {
                pool.refused(&login, &master, &words);
            }
            login.suspected.set(false);
        });
    }

    /// `node` does not accept the login any more. The master's word ends it; a replica's only keeps its reads away.
    pub(super) fn refused(&self, login: &Login, node: &Node, words: &str) {
        let name = login.claim.name();
        if !self.is_master(node.id) {
            if login.note_unknown_at(node.id, Instant::now()) {
                tracing::warn!(
                    "user '{name}' reads from the master: {} refuses it ({words}); ACLs are not replicated, set them on \
                     every node",
                    node.address
                );
            }
            return;
        }
        if let Some(sessions) = self.logins.borrow_mut().revoke(login) {
            tracing::warn!(
                "closed {sessions} clients that had logged in as '{name}': {} refuses it now ({words})",
                node.address
            );
        }
        self.close_all_of(login.key);
    }

    /// A proven claim becomes a login. `None`: there are too many.
    pub(crate) fn log_in(&self, claim: &Claim) -> Option<LoggedIn> {
        self.logins.borrow_mut().enter(claim, |key| self.is_spoken(key))
    }
}
