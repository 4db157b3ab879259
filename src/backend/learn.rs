//! Asks the master about commands that the table does not name, when a client first uses one.
//!
//! One question at a time per name and worker; sessions that wait are woken when the answer is there, whatever it is.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::pool::Pool;
use super::question;
use crate::command::learned::{Learned, Lesson, lesson};
use crate::resp::encode;
use crate::resp::value;
use crate::topology::Version;
use crate::topology::edition::{Edition, Since};

/// A master that does not say within this is asked again by the next client; this one's command gets a connection of its own.
const PATIENCE: Duration = Duration::from_secs(1);

/// Redis looks a command up only where it is not the last one of its connection, whose true name it compares: right behind a
/// renamed command its old name works.
const SLIPS: Since = Since::redis(Version(8, 0, 0));

#[derive(Default)]
pub(super) struct Learning {
    pub(super) learned: RefCell<Learned>,
    /// Names that the master is being asked about, and who waits for each: a session that waits for another name is left in
    /// peace, for it would look through all of its input again.
    asking: RefCell<HashMap<Box<[u8]>, Vec<Waker>>>,
}

impl Pool {
    pub(crate) fn learned(&self) -> Ref<'_, Learned> {
        self.learning.learned.borrow()
    }

    /// Sees to it that the command is known soon, and wakes `waker` then.
    pub(crate) fn learn(self: &Rc<Self>, name: &[u8], waker: &Waker) {
        let name: Box<[u8]> = name.to_ascii_lowercase().into();
        {
            let mut asking = self.learning.asking.borrow_mut();
            if let Some(waiting) = asking.get_mut(&name) {
                waiting.push(waker.clone());
                return;
            }
            asking.insert(name.clone(), vec![waker.clone()]);
        }
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let lesson = pool.lesson_about(&name).await;
            pool.learning.learned.borrow_mut().learn(&name, lesson);
            let waiting = pool.learning.asking.borrow_mut().remove(&name);
            waiting.into_iter().flatten().for_each(Waker::wake);
        });
    }

    async fn lesson_about(self: &Rc<Self>, name: &[u8]) -> Lesson {
        let Some(master) = self.snapshot().master().cloned() else {
            return Lesson::Refused;
        };
        let mut command = Vec::new();
        encode::command(&mut command, &[b"COMMAND", b"INFO", name]);
        let reply = question::ask(self, &master, &command, PATIENCE).await;
        let value = reply.and_then(|reply| value::decode(&reply, false).ok().flatten());
        let slips = Edition::of(Some(&master)).has(SLIPS);
        value.map_or(Lesson::Refused, |(value, _)| lesson(name, &value, slips))
    }
}
