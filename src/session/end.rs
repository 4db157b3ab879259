//! How a session ends when its task is dropped, whatever the reason.

use std::rc::Rc;

use super::Session;

/// However the task ends, also by a panic: replies that still come for the session go nowhere.
pub(super) struct EndOnDrop(pub(super) Rc<Session>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.0.inner.try_borrow_mut() {
            inner.let_go(&self.0.context);
            inner.lane = None;
            inner.reading.hedge = None;
            inner.tracking = None;
            self.0.leave_all(&mut inner);
            inner.login = None;
            inner.asked = None;
            self.0.end_hold(&mut inner);
        }
    }
}
