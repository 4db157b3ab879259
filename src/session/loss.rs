//! What becomes of a session when the connection of its own is lost, or its node is not the master any more.
//!
//! What can be had again on the next master begins again there, unseen; the rest is answered with what is known of it.

use super::pinned::{Expect, Pinned, Severed};
use super::{Inner, ReplyMode, Session};
use crate::config::InDoubt;
use crate::resp::encode;

impl Session {
    /// What is open on the pin is on a node that is not the master any more. What that still owes comes first, unless it
    /// does not answer.
    pub(super) fn is_left_behind(&self, pinned: &Pinned) -> bool {
        let snapshot = self.context.pool.snapshot();
        let demoted = snapshot.master().is_some_and(|master| master.id != pinned.pin.node);
        let silent = || snapshot.node(pinned.pin.node).is_none_or(|node| node.silent);
        let open = pinned.in_multi || pinned.is_watching() || pinned.uploading || pinned.irreplaceable;
        let kept = pinned.tracks || pinned.for_session;
        demoted && (silent() || ((open || kept) && pinned.expected.is_empty()))
    }

    /// It waits at a node that goes on saying that it is the master while another is: nothing good will come from there.
    /// A node that was demoted ends the wait itself.
    pub(super) fn is_at_rival(&self, pinned: &Pinned) -> bool {
        let snapshot = self.context.pool.snapshot();
        let demoted = snapshot.master().is_some_and(|master| master.id != pinned.pin.node);
        demoted && snapshot.node(pinned.pin.node).is_none_or(crate::topology::Node::role_is_master)
    }

    /// The node did not execute what it was sent: everything is sent again, elsewhere.
    pub(super) fn begin_again(&self, inner: &mut Inner, pinned: &mut Pinned) {
        self.tracking_is_lost(inner, pinned);
        self.transaction_is_over(inner);
        restart(inner, pinned);
    }

    /// The connection is given up; if the session tracks over it the client must forget everything. `true`: it does.
    fn tracking_is_lost(&self, inner: &mut Inner, pinned: &Pinned) -> bool {
        let tracks = inner.tracking.is_some() && (pinned.tracks || pinned.to_set_up);
        if tracks {
            let announce = |expect: &Expect| matches!(expect, Expect::Tracking { announce: true });
            self.lost_tracking(inner, pinned.expected.iter().any(announce));
        }
        tracks
    }

    /// The connection is gone, and with it whatever was open on it.
    pub(super) fn lost_pin(&self, inner: &mut Inner, pinned: &mut Pinned, words: &str) {
        let pool = &self.context.pool;
        pool.look();
        pool.suspect(pinned.pin.dialect.user);
        self.transaction_is_over(inner);
        let executing = pinned.expected.iter().any(|expect| {
            matches!(expect, Expect::Exec { .. } | Expect::Reply | Expect::Adapted(_) | Expect::Select(_))
        });
        tracing::info!("client {} lost its own connection: {words}", inner.identity.peer.remote());
        // Part of its reply has come: then it has popped what it waited for.
        let answering = !pinned.pin.input.is_empty();
        let waits = pinned.is_blocked() && !answering && inner.waits_again(pinned.started);
        let shut_down = pinned.started && pinned.expected.iter().any(|expect| matches!(expect, Expect::Shutdown));
        if pinned.for_session || pinned.in_piece || shut_down {
            // What the connection stood for cannot be had again without the client's doing.
            inner.dead = true;
            return;
        }
        if self.tracking_is_lost(inner, pinned) && pinned.journal.as_ref().is_some_and(Vec::is_empty) {
            // What was not answered is all in the input.
            inner.skip_replies = pinned.to_skip;
            return;
        }
        let transacting = pinned.expected.iter().any(|expect| matches!(expect, Expect::Exec { .. }));
        let only_read = pinned.tracks && pinned.changes == 0 && !transacting;
        // A blocking command is issued again, as its client would.
        if pinned.journal.is_some() && (!executing || !pinned.started || waits || only_read) {
            restart(inner, pinned);
            return;
        }
        inner.end_waiting();
        let node = pinned.pin.node;
        for expect in pinned.expected.drain(..) {
            if pinned.to_skip > 0 && expect.is_given() {
                // The client has it from before everything began again.
                pinned.to_skip -= 1;
                continue;
            }
            let mut reply = Vec::new();
            match expect {
                Expect::Opening => encode::simple(&mut reply, "QUEUED"),
                Expect::Replace(bytes) => reply = bytes,
                Expect::Drop | Expect::Barrier | Expect::Login | Expect::Tracking { .. } => continue,
                Expect::Reply | Expect::Shutdown | Expect::Adapted(_) | Expect::Exec { .. } | Expect::Select(_) => {
                    self.context.workspace.counters.in_doubt.increment();
                    if self.context.listener().writes.in_doubt == InDoubt::Disconnect {
                        inner.disconnect_at(inner.next, &self.context);
                        return;
                    }
                    encode::error(&mut reply, &self.doubt_error(Some(node)));
                }
            }
            inner.emit(&reply, &self.context);
        }
        inner.severed = match (pinned.in_multi, pinned.is_watching()) {
            (true, true) => Some(Severed::WatchedTransaction),
            (true, false) => Some(Severed::Transaction),
            (false, true) => Some(Severed::Watch),
            (false, false) => None,
        };
        if pinned.uploading {
            inner.discarding = Some(String::new());
        }
    }
}

impl Expect {
    /// It is counted in `Pinned::given`.
    fn is_given(&self) -> bool {
        match self {
            Self::Reply
            | Self::Opening
            | Self::Exec { .. }
            | Self::Select(_)
            | Self::Shutdown
            | Self::Adapted(_)
            | Self::Replace(_) => true,
            Self::Barrier | Self::Login | Self::Drop | Self::Tracking { .. } => false,
        }
    }
}

/// Puts everything sent on the pin back in front of the input. Replies that the client has are skipped the second time.
fn restart(inner: &mut Inner, pinned: &mut Pinned) {
    inner.retrying_since.get_or_insert_with(std::time::Instant::now);
    inner.attempts += 1;
    inner.skip_replies = pinned.given + pinned.to_skip;
    if inner.muted && inner.reply_mode == ReplyMode::On {
        // CLIENT REPLY SKIP holds for a command that is about to be sent again.
        inner.reply_mode = ReplyMode::SkipNext;
    }
    let mut input = pinned.journal.take().unwrap_or_default();
    input.append(&mut inner.input);
    inner.input = input;
    inner.scanner = crate::resp::request::RequestScanner::new();
}
