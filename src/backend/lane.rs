//! A lane: one backend connection that many sessions of a worker share, in order.
//!
//! Sessions append commands; the lane's task sends all that was appended with one write, reads replies and hands
//! each run of them to its sender. It keeps the bytes of every unanswered command, so that the sender can send it
//! again elsewhere. It never waits for a session: a client that takes a large reply too slowly retires the lane,
//! which then serves nobody else.

pub(super) mod life;
mod moving;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::dial::Dialect;
use super::log::Log;
use super::recipient::{Effect, Errand, Fate, Lost, Origin, Recipient};
use super::replies::{Replies, Scene};
use crate::limits;
use crate::metrics::{MemoryKind, NodeHandle, Stamp, Tag};
use crate::reading::Usage;
use crate::reading::age::Age;
use crate::topology::NodeId;
use crate::transport::{CipherBuffer, Stream};

/// What a lane is for. Lanes of different purposes to one node never share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Everything that must stay in order: writes, and what their session does until they are answered.
    Ordered,
    /// Reads that owe no order: a paused or slow write must not stall them.
    Reads,
    /// Questions for offsets.
    Marks,
}

/// Two commands may share a lane only if they agree on all of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneKey {
    pub(crate) node: NodeId,
    pub(crate) purpose: Purpose,
    pub(crate) dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    /// Finishes what it owes and takes nothing new.
    Retired,
    Closed,
}

/// Why a lane's task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It was retired and owes nothing.
    Finished,
    /// The connection broke, in these words.
    Broken(String),
    /// The topology says that nothing good can come from this node any more.
    Ordered(&'static str),
    /// No end yet: the node must be believed anew for it to go on. See [`Lane::question`].
    Questioned,
}

/// In the place of a reason to end.
const QUESTIONED: &str = "the node is to be believed anew";

pub(super) struct Flight {
    /// `None`: nobody wants the reply any more.
    pub(super) to: Option<Rc<dyn Recipient>>,
    pub(super) sequence: u64,
    pub(super) len: u32,
    /// Replies still to come: a transaction has several, which are handed on together.
    pub(super) replies: u32,
    pub(super) effect: Effect,
    /// If its answer does not come in time it may be asked elsewhere.
    pub(super) moves: bool,
    pub(super) tag: Tag,
}

impl Flight {
    fn is_of<R: Recipient>(&self, sender: &Rc<R>) -> bool {
        self.to.as_ref().is_some_and(|to| std::ptr::addr_eq(Rc::as_ptr(to), Rc::as_ptr(sender)))
    }
}

pub(crate) struct Lane {
    pub(crate) key: LaneKey,
    state: Cell<State>,
    /// Set by `close`: the task ends with it at its next turn.
    ordered_end: Cell<Option<&'static str>>,
    /// Unanswered commands.
    load: Cell<usize>,
    /// What is known of the node by all lanes to it.
    usage: Rc<Usage>,
    inner: RefCell<Inner>,
    waker: RefCell<Option<Waker>>,
    /// The task is already going to run.
    woken: Cell<bool>,
    counters: NodeHandle,
    /// What its buffers held when its worker's memory was last brought up to date.
    held: Cell<u64>,
}

/// What the operator is shown of a lane.
pub(crate) struct Numbers {
    pub(crate) open: bool,
    /// Commands so far.
    pub(crate) submitted: u64,
    /// Since anything was in flight.
    pub(crate) idle_seconds: u64,
    pub(crate) bytes: u64,
}

pub(super) struct Inner {
    pub(super) log: Log,
    pub(super) flights: VecDeque<Flight>,
    pub(super) replies: Replies,
    /// The client that is too slow for its large reply. Nothing is read until its backlog is gone.
    pub(super) clogged: Option<Rc<dyn Recipient>>,
    /// Since when.
    pub(super) clogged_since: Option<Stamp>,
    /// Sessions that wait for room in the log.
    waiting: Vec<Waker>,
    /// Ticks, a second apart, at which nothing was in flight; a command between two of them starts the count again.
    idle_ticks: u64,
    /// Commands so far, answered or not.
    submitted: u64,
    /// The command whose time is taken, by its number, and when it was submitted.
    sample: Option<(u64, Instant)>,
    age: Age<8>,
    hedge_age: Age<4>,
    /// The connection is open.
    open: bool,
}

impl Lane {
    pub(crate) fn new(key: LaneKey, counters: NodeHandle, usage: Rc<Usage>) -> Rc<Self> {
        Rc::new(Self {
            key,
            state: Cell::new(State::Serving),
            ordered_end: Cell::new(None),
            load: Cell::new(0),
            usage,
            inner: RefCell::new(Inner {
                log: Log::default(),
                flights: VecDeque::new(),
                replies: Replies::new(),
                clogged: None,
                clogged_since: None,
                waiting: Vec::new(),
                idle_ticks: 0,
                submitted: 0,
                sample: None,
                age: Age::default(),
                hedge_age: Age::default(),
                open: false,
            }),
            waker: RefCell::new(None),
            woken: Cell::new(false),
            counters,
            held: Cell::new(0),
        })
    }

    /// Takes new commands.
    pub(crate) fn serves(&self) -> bool {
        self.state.get() == State::Serving
    }

    /// Unanswered commands.
    pub(crate) fn load(&self) -> usize {
        self.load.get()
    }

    fn set_load(&self, load: usize) {
        let before = self.load.replace(load);
        self.usage.load_moved(before, load);
        self.counters.in_flight.moved(before as u64, load as u64);
    }

    /// Whether a session may append now; if not, `waker` is called when it may.
    pub(crate) fn has_room(&self, waker: &Waker) -> bool {
        let mut inner = self.inner.borrow_mut();
        let room = inner.log.len() < limits::LANE_LOG;
        if !room {
            inner.waiting.push(waker.clone());
        }
        room
    }

    /// Appends one command, or a transaction that has several replies; they will come to `to` together, under `sequence`.
    /// The lane must be serving.
    pub(crate) fn submit(&self, to: &Rc<impl Recipient + 'static>, sequence: u64, command: &[u8], errand: Errand) {
        self.append(Rc::clone(to) as Rc<dyn Recipient>, sequence, command, errand, false);
    }

    /// The same for a read that may be asked elsewhere when its answer does not come in time: it is lost as
    /// [`Fate::Late`] then.
    pub(crate) fn submit_read(&self, to: &Rc<impl Recipient + 'static>, sequence: u64, command: &[u8], tag: Tag) {
        let errand = Errand { effect: Effect::Read, replies: 1, tag };
        self.append(Rc::clone(to) as Rc<dyn Recipient>, sequence, command, errand, true);
    }

    fn append(&self, to: Rc<dyn Recipient>, sequence: u64, command: &[u8], errand: Errand, moves: bool) {
        let Errand { effect, replies, tag } = errand;
        debug_assert!(self.serves());
        let mut inner = self.inner.borrow_mut();
        inner.log.push(command);
        inner.idle_ticks = 0;
        if moves && inner.open && inner.sample.is_none() && self.usage.wants_sample() {
            inner.sample = Some((inner.submitted, Instant::now()));
        }
        inner.submitted += 1;
        // A gathered command is at most `limits::GATHERED_COMMAND` long.
        let len = command.len() as u32;
        inner.flights.push_back(Flight { to: Some(to), sequence, len, replies, effect, moves, tag });
        self.set_load(inner.flights.len());
        self.counters.commands.increment();
        drop(inner);
        self.wake();
    }

    pub(crate) fn numbers(&self) -> Numbers {
        let inner = self.inner.borrow();
        Numbers { open: inner.open, submitted: inner.submitted, idle_seconds: inner.idle_ticks, bytes: inner.holds() }
    }

    /// Takes nothing new, and ends when everything is answered.
    pub(crate) fn retire(&self) {
        if self.serves() {
            self.state.set(State::Retired);
            self.wake();
        }
    }

    pub(crate) fn counters(&self) -> &NodeHandle {
        &self.counters
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Replies to this sender are not wanted any more. Must not be called from what the lane itself tells.
    pub(crate) fn forget<R: Recipient>(&self, sender: &Rc<R>) {
        for flight in &mut self.inner.borrow_mut().flights {
            if flight.is_of(sender) {
                flight.to = None;
            }
        }
    }

    /// Ends now: what is unanswered is lost.
    pub(crate) fn close(&self, why: &'static str) {
        if self.state.replace(State::Closed) != State::Closed {
            self.ordered_end.set(Some(why));
            self.wake();
        }
    }

    /// Other nodes may be believed now than when it was opened: its task shall look, before it goes on.
    pub(super) fn question(&self) {
        if self.state.get() != State::Closed {
            self.ordered_end.set(Some(QUESTIONED));
            self.wake();
        }
    }

    /// Called about once a second: gives back memory that a burst took.
    /// A lane that has carried nothing for a minute is closed: clients that wander through many databases must not use up
    /// the node's connections.
    pub(crate) fn tick(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.log.trim();
        if inner.flights.is_empty() {
            inner.flights.shrink_to(limits::IN_FLIGHT);
        }
        inner.idle_ticks = if inner.flights.is_empty() { inner.idle_ticks + 1 } else { 0 };
        let idle = inner.idle_ticks >= limits::LANE_IDLE_S;
        self.account(inner.holds());
        drop(inner);
        if idle {
            self.retire();
        }
    }

    fn account(&self, now: u64) {
        let before = self.held.replace(now);
        if before != now {
            self.counters.worker().memory.of(MemoryKind::Lanes).moved(before, now);
        }
    }

    fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// One turn of the lane's task over its open connection. `generation` is the marks' current one.
    fn poll(&self, cx: &mut Context<'_>, stream: &mut Stream, cipher: &mut CipherBuffer, generation: u64) -> Poll<End> {
        self.woken.set(false);
        remember(&self.waker, cx);
        if let Some(why) = self.ordered_end.get() {
            if why != QUESTIONED {
                return Poll::Ready(End::Ordered(why));
            }
            self.ordered_end.set(None);
            return Poll::Ready(End::Questioned);
        }
        let origin = Origin { node: self.key.node, generation };
        let inner = &mut *self.inner.borrow_mut();
        inner.open = true;
        let turn = inner.turn(cx, stream, cipher, origin, &self.counters);
        self.set_load(inner.flights.len());
        if let Some((number, since)) = inner.sample
            && number < inner.submitted - inner.flights.len() as u64
        {
            inner.sample = None;
            if inner.clogged.is_none() {
                self.usage.sample(since.elapsed());
            }
        }
        self.account(inner.holds());
        if inner.clogged.is_some() {
            self.state.set(State::Retired);
        }
        if inner.log.len() < limits::LANE_LOG / 2 {
            inner.waiting.drain(..).for_each(Waker::wake);
        }
        if let Err(words) = turn {
            return Poll::Ready(End::Broken(words));
        }
        if self.state.get() == State::Retired && inner.flights.is_empty() {
            return Poll::Ready(End::Finished);
        }
        Poll::Pending
    }

    /// Remembers the task that will run the lane; used while it connects.
    fn poll_ordered_end(&self, cx: &mut Context<'_>) -> Poll<&'static str> {
        self.woken.set(false);
        remember(&self.waker, cx);
        match self.ordered_end.get() {
            // A connection that is not there yet is questioned when it is.
            None | Some(QUESTIONED) => Poll::Pending,
            Some(why) => Poll::Ready(why),
        }
    }

    /// Tells every sender that its reply will not come. `refused` are the node's words when it refused the lane.
    fn fail(&self, refused: Option<&str>) {
        self.state.set(State::Closed);
        let inner = &mut *self.inner.borrow_mut();
        let mut offset = 0;
        let mut torn = inner.replies.in_piece();
        for flight in inner.flights.drain(..) {
            let len = flight.len as usize;
            let fate = match refused {
                Some(words) => Fate::Refused(words),
                None if std::mem::take(&mut torn) => Fate::Torn,
                None if inner.log.has_sent(offset + len) => Fate::Unanswered,
                None => Fate::NotSent,
            };
            if let Some(to) = flight.to {
                let request = inner.log.at(offset, len);
                let (sequence, effect, tag) = (flight.sequence, flight.effect, flight.tag);
                to.lost(Lost { sequence, request, effect, fate, tag });
            }
            offset += len;
        }
        self.set_load(0);
        inner.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.account(0);
    }
}

fn remember(slot: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut slot = slot.borrow_mut();
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

impl Inner {
    fn holds(&self) -> u64 {
        let flights = self.flights.capacity() * size_of::<Flight>();
        (self.log.capacity() + self.replies.capacity() + flights) as u64
    }

    /// Sends what was appended, reads what came, until both would wait. An error is the connection's end.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        cipher: &mut CipherBuffer,
        origin: Origin,
        counters: &NodeHandle,
    ) -> Result<(), String> {
        loop {
            self.send(cx, stream).map_err(|error| error.to_string())?;
            if let Some(slow) = self.clogged.take_if(|slow| slow.backlog() > 0) {
                let others = |flight: &Flight| flight.to.as_ref().is_some_and(|to| !Rc::ptr_eq(to, &slow));
                slow.wake_when_drained(cx.waker(), self.flights.iter().any(others));
                self.clogged = Some(slow);
                return Ok(());
            }
            self.clogged = None;
            if let Some(since) = self.clogged_since.take() {
                self.replies.stalled += Stamp::now().since(since);
            }
            match stream.poll_read(cx, cipher, self.replies.room()) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err("the node closed the connection".to_owned()),
                Poll::Ready(Ok(n)) => self.deliver(n, &Scene::new(origin, counters, Stamp::now()))?,
                Poll::Ready(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> std::io::Result<()> {
        loop {
            let unsent = self.log.unsent();
            let result = if !unsent.is_empty() {
                stream.try_write(unsent)
            } else if stream.wants_flush() {
                stream.flush().map(|_| 0)
            } else {
                return Ok(());
            };
            match result {
                Ok(n) => self.log.sent(n),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.log.unsent().is_empty() && !stream.wants_flush() {
                return Ok(());
            }
            if stream.poll_write_ready(cx)?.is_pending() {
                return Ok(());
            }
        }
    }
}
