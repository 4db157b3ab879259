//! Reads that a lane's node does not answer in time, and that may be asked elsewhere.
//!
//! The pool's watch asks for them tick by tick; sessions ask for their own. It must never touch a write, nor a read of which part
//! of the answer has gone.

use std::rc::Rc;
use std::task::Waker;

use super::super::recipient::{Fate, Lost, Recipient};
use super::Lane;
use crate::metrics::Tag;

impl Lane {
    /// Called once a tick of the pool's watch: whether an answer has been owed for longer than reads may take. A lane that
    /// serves nobody new was given up already, or waits for a client and not for its node.
    pub(in crate::backend) fn is_late(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let answered = inner.submitted - inner.flights.len() as u64;
        let old = usize::try_from(inner.age.tick(inner.submitted, answered)).unwrap_or(usize::MAX);
        self.serves() && inner.flights.iter().take(old).any(|flight| flight.moves && flight.to.is_some())
    }

    /// Called once a tick where reads are hedged: tells the senders of those that are due.
    pub(in crate::backend) fn tell_slow(&self) {
        let inner = &mut *self.inner.borrow_mut();
        let answered = inner.submitted - inner.flights.len() as u64;
        let old = usize::try_from(inner.hedge_age.tick(inner.submitted, answered)).unwrap_or(usize::MAX);
        for flight in inner.flights.iter().take(old).filter(|flight| flight.moves) {
            flight.to.iter().for_each(|to| to.slow());
        }
    }

    /// How many reads of one sender are unanswered here; `None` if any of its commands may not be asked elsewhere, or part of
    /// an answer has gone already.
    pub(crate) fn count_moving<R: Recipient>(&self, sender: &Rc<R>) -> Option<usize> {
        let inner = self.inner.borrow();
        let mut own = inner.flights.iter().enumerate().filter(|(_, flight)| flight.is_of(sender));
        own.try_fold(0, |count, (position, flight)| {
            let torn = position == 0 && inner.replies.in_piece();
            (flight.moves && !torn).then_some(count + 1)
        })
    }

    /// The unanswered commands of one sender, from the oldest on.
    pub(crate) fn each_read_of<R: Recipient>(&self, sender: &Rc<R>, mut each: impl FnMut(u64, &[u8], Tag)) {
        let inner = self.inner.borrow();
        let mut offset = 0;
        for flight in &inner.flights {
            let len = flight.len as usize;
            if flight.is_of(sender) {
                each(flight.sequence, inner.log.at(offset, len), flight.tag);
            }
            offset += len;
        }
    }

    /// Takes nothing new, and gives back what may be asked elsewhere; returns how much that is. When nobody waits for anything
    /// else the connection is closed, so that what the node still sends for it answers nobody.
    pub(in crate::backend) fn give_back(&self) -> u64 {
        self.retire();
        let inner = &mut *self.inner.borrow_mut();
        let (mut offset, mut given, mut awaited) = (0, 0, false);
        let mut torn = inner.replies.in_piece();
        for flight in &mut inner.flights {
            let len = flight.len as usize;
            let stays = std::mem::take(&mut torn) || !flight.moves;
            if let Some(to) = flight.to.take_if(|_| !stays) {
                let request = inner.log.at(offset, len);
                let (sequence, effect, tag) = (flight.sequence, flight.effect, flight.tag);
                to.lost(Lost { sequence, request, effect, fate: Fate::Late, tag });
                given += 1;
            }
            awaited |= flight.to.is_some();
            offset += len;
        }
        inner.waiting.drain(..).for_each(Waker::wake);
        if !awaited {
            self.close("its node does not answer in time");
        }
        given
    }
}
