//! What a reload makes of a worker's connections to a group: other settings of the same group, or its end.
//!
//! Called by the worker. It must never forget what is known of the nodes, nor lose a command that is under way.

use std::sync::Arc;

use super::dial::Dialer;
use super::pool::Pool;

impl Pool {
    pub(super) fn dialer(&self) -> Arc<Dialer> {
        Arc::clone(&self.dialer.borrow())
    }

    /// Other settings of the same group. What is known of its nodes stays true, and whoever waits goes on waiting. `anew`: it
    /// shows itself to nodes otherwise, so new connections take the place of those that are open.
    pub(crate) fn reconfigure(&self, dialer: Arc<Dialer>, anew: bool) {
        self.dialer.replace(dialer);
        self.watch.forget_paces();
        let snapshot = Arc::clone(&self.snapshot());
        self.follow(&snapshot);
        if anew {
            self.lanes.borrow().iter().for_each(|lane| lane.retire());
        }
        self.keyring_changed();
        self.wake_waiting();
    }

    /// The group is gone, and nobody is served by it any more.
    pub(crate) fn close(&self) {
        self.idle_pins.borrow_mut().keep_only(None);
        self.provers.forget();
        self.lanes.borrow().iter().for_each(|lane| lane.close("the group is gone"));
        self.hubs.borrow().iter().for_each(|hub| hub.end());
    }
}
