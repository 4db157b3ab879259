//! What becomes of a pool's connections when other nodes are believed than when they were opened.
//!
//! Called by the worker when the files of TLS have changed. Lanes and hubs ask again themselves, at their next turn; sessions
//! ask for their pins.

use super::pool::Pool;
use crate::transport::Stream;

impl Pool {
    /// Other nodes may be believed now: connections to those that are not must end, and with them what has no user.
    pub(crate) fn keyring_changed(&self) {
        self.idle_pins.borrow_mut().keep_only(None);
        self.provers.forget();
        self.lanes.borrow().iter().for_each(|lane| lane.question());
        self.hubs.borrow().iter().for_each(|hub| hub.question());
    }

    /// Whether the node behind this connection is not believed any more; the log says why.
    pub(crate) fn is_disbelieved(&self, address: &str, stream: &Stream) -> bool {
        let chain = stream.peer_certificates();
        let verdict = chain.map_or(Ok(()), |chain| self.dialer().still_accepts(address, chain));
        if let Err(why) = &verdict {
            tracing::warn!("closed a connection to {address}: its certificate is not accepted any more: {why}");
        }
        verdict.is_err()
    }
}
