//! What a session does when other certificates are believed than at its beginning.
//!
//! Called by its worker, which judges the client's; the pool judges the node's. Never touched by a command.

use std::rc::Rc;

use rustls::pki_types::CertificateDer;

use super::context::Context;
use super::pinned::Mode;
use super::{Inner, Session};

impl Session {
    /// Whether it came by this listener.
    pub(crate) fn is_of(&self, context: &Rc<Context>) -> bool {
        Rc::ptr_eq(&self.context, context)
    }

    /// What `look` says of the chain that the client has shown.
    pub(crate) fn with_certificates<T>(&self, look: impl FnOnce(Option<&[CertificateDer<'static>]>) -> T) -> T {
        look(self.inner.borrow().stream.peer_certificates())
    }

    /// For the log.
    pub(crate) fn address(&self) -> String {
        self.inner.borrow().identity.peer.remote()
    }

    /// Without another word.
    pub(crate) fn disconnect(&self) {
        self.close_now(&mut self.inner.borrow_mut());
    }

    /// Cuts the connection that the session has for itself if its node is not believed any more. It is lost then as if the
    /// node had closed it.
    pub(crate) fn question_pin(&self) {
        let inner: &Inner = &self.inner.borrow();
        let Mode::Pinned(pinned) = &inner.mode else { return };
        let address = self.context.pool.snapshot().node(pinned.pin.node).map(|node| node.address.clone());
        if let Some(address) = address
            && self.context.pool.is_disbelieved(&address, &pinned.pin.stream)
        {
            pinned.pin.stream.cut();
            self.wake();
        }
    }
}
