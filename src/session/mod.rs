//! One client connection: its bytes in, its commands out to lanes or a pin, its replies back in order.
//!
//! A session is one task. The task reads, routes and waits; replies come from the lanes' tasks, which write them to
//! the client's socket themselves ([`Recipient`]) and wake the session's task only when it has something to do.
//! A session uses one lane at a time: it turns to another only when nothing is in flight, which keeps its replies in
//! order, its reads behind its writes, and its view from going back in time.

mod adapted;
mod assured;
mod assured_pins;
mod audience;
mod barrier;
mod batch;
mod bounds;
pub(crate) mod clients;
pub(crate) mod context;
mod cursor;
mod departing;
mod doubt;
mod elements;
mod end;
mod exec;
mod fallback;
mod fanned;
mod hedge;
mod hello;
mod held;
mod hold;
pub(crate) mod holding;
mod identity;
mod info;
mod input;
mod kill;
mod leaving;
mod local;
mod loss;
mod login;
mod metered;
mod noting;
mod output;
mod pinned;
mod pinned_forward;
mod pinned_replies;
mod pinned_turn;
mod plan;
mod policy;
mod queued;
mod recipient;
mod reading;
pub(crate) mod rows;
mod replay;
mod scripts;
mod special;
mod stand_in;
mod stash;
pub(crate) mod switchboard;
mod told;
mod tracking;
mod trust;
mod turn;
mod upload;
mod waiting;
mod watched;
mod subscribe;
mod subscriptions;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Instant;

use self::assured::Gate;
use self::batch::Routed;
use self::clients::Asking;
use self::context::Context;
use self::doubt::Repeat;
use self::held::Held;
pub(crate) use self::held::relieve;
use self::hold::{Hold, Sleeping};
use self::holding::Exhausted;
use self::identity::Identity;
pub(crate) use self::identity::Peer;
use self::login::Asked;
use self::output::Output;
use self::pinned::{Mode, Severed};
use self::reading::Reading;
use self::stash::Stash;
use self::subscriptions::Subscriptions;
use self::tracking::Tracking;
use self::waiting::Waiting;
use crate::backend::dial::Dialect;
use crate::backend::lane::Lane;
use crate::backend::login::LoggedIn;
use crate::command::Spec;
use crate::command::permissions::Permissions;
use crate::limits;
use crate::mark::Sight;
use crate::metrics::{PinReason, Stamp};
use crate::resp::request::RequestScanner;
use crate::transport::Stream;

pub(crate) struct Session {
    pub(crate) id: u64,
    context: Rc<Context>,
    inner: RefCell<Inner>,
    waker: RefCell<Option<Waker>>,
    /// Why the command in front may not wait.
    exhausted: Cell<Option<Exhausted>>,
}

/// Whether a step led to another, or waits for a wake-up that is arranged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Again,
    Wait,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyMode {
    On,
    Off,
    /// The next command is not answered.
    SkipNext,
}

struct Inner {
    stream: Stream,
    output: Output,
    /// Bytes read and not yet routed.
    input: Vec<u8>,
    scanner: RequestScanner,
    /// Sequence of the next command, and of the one whose reply the client gets next.
    next: u64,
    front: u64,
    /// Commands on the lane. `in_lane + commands in the stash == next - front`.
    in_lane: usize,
    /// Answers that are not at the front, and commands to be sent again. Ordered by sequence.
    stash: Stash,
    /// Keeps back replies to writes that are not assured yet.
    gate: Option<Box<Gate>>,
    /// Commands in the stash wait to be sent again.
    retrying: bool,
    /// Writes that are sent again although they may have been executed.
    repeats: Vec<Repeat>,
    /// Since when commands have been refused or lost, and none answered.
    retrying_since: Option<Instant>,
    /// How often commands have been sent again since the last answer.
    attempts: u32,
    /// What was refused is not sent again before this is over, or the pool has taken over so many snapshots.
    pause: Option<(Sleeping, u64)>,
    /// The lane of everything in flight.
    lane: Option<Rc<Lane>>,
    /// Several nodes answer what is in flight: nothing is sent behind it, for a large reply could not wait for all of them.
    fanned: bool,
    /// The last write on the lane that is not answered.
    last_write: Option<u64>,
    sight: Sight,
    /// The topology's epoch when the last write was answered.
    write_epoch: u64,
    /// Reads in a row that went to the master only for want of a mark.
    kept_from_replicas: u32,
    /// How many of them before it waits for a mark.
    patience: u32,
    /// When it last chose among all nodes that may serve it, and how many rounds it waits to do so now.
    chosen_at: Instant,
    choosing: u32,
    dialect: Dialect,
    authenticated: bool,
    /// Where the nodes judge logins: the client's.
    login: Option<LoggedIn>,
    /// A node is being asked about a login.
    asked: Option<Box<Asked>>,
    /// A node has said that who names nobody may do nothing.
    stranger: bool,
    /// What it may send; `None`: everything.
    permissions: Option<Arc<Permissions>>,
    identity: Box<Identity>,
    mode: Mode,
    /// Why it last had a connection of its own.
    pinned_for: Option<PinReason>,
    /// The command in front is dropped as it comes; at its end it is answered this, if anything.
    discarding: Option<String>,
    /// Replies on the next pin that the client has already.
    skip_replies: usize,
    /// What it subscribes to, and what it waits for.
    subscriptions: Option<Box<Subscriptions>>,
    /// A large reply has begun to go to the client: nothing may come between.
    mid_reply: bool,
    reading: Reading,
    /// A transaction or watch that lost its connection.
    severed: Option<Severed>,
    hold: Option<Box<Hold>>,
    /// From when to when the last one was, for those who are told of single commands. Most have had none.
    last_hold: Option<Box<(Instant, Instant)>>,
    /// Waits before it verifies a password.
    penance: Option<Sleeping>,
    penance_done: bool,
    /// An answer of other workers is awaited.
    asking: Option<Asking>,
    /// The blocking command in front.
    waiting: Option<Box<Waiting>>,
    tracking: Option<Box<Tracking>>,
    /// The last command of the last batch.
    last: Option<&'static Spec>,
    reply_mode: ReplyMode,
    /// What is in flight is not to be answered.
    muted: bool,
    /// The task is woken when at most so many commands are left on the lane.
    wake_at: Option<usize>,
    last_active: Instant,
    /// The read that brought what is routed now, and when that is done.
    arrived: Stamp,
    turned: Stamp,
    /// Bytes of the client.
    received: u64,
    /// Commands that were answered out of the sequence's numbers: over pins, and subscriptions.
    apart: u64,
    /// Where idle clients are closed: when it was last seen to wait for something else than its client.
    waited_until: Instant,
    /// What its buffers held when that was noted last.
    held: Held,
    /// The client has sent its last byte.
    ended_input: bool,
    /// Close when everything is answered and sent: QUIT, a protocol error, a drain.
    closing: bool,
    /// Close now.
    dead: bool,
}

impl Session {
    pub(crate) fn new(id: u64, stream: Stream, peer: Peer, context: Rc<Context>) -> Rc<Self> {
        let now = Instant::now();
        let inner = Inner {
            stream,
            output: Output::default(),
            input: Vec::new(),
            scanner: RequestScanner::new(),
            next: 0,
            front: 0,
            in_lane: 0,
            stash: Stash::default(),
            gate: None,
            retrying: false,
            repeats: Vec::new(),
            retrying_since: None,
            attempts: 0,
            pause: None,
            lane: None,
            fanned: false,
            last_write: None,
            sight: context.pool.first_sight(),
            write_epoch: 0,
            kept_from_replicas: 0,
            patience: limits::PATIENCE,
            chosen_at: now,
            choosing: 0,
            dialect: Dialect::of(login::first_user(&context.listener())),
            authenticated: context.listener().lets_anyone_in(),
            login: None,
            asked: None,
            stranger: false,
            permissions: context.listener().permissions.clone(),
            identity: Box::new(Identity::new(id, peer, now)),
            mode: Mode::Plain,
            pinned_for: None,
            discarding: None,
            skip_replies: 0,
            subscriptions: None,
            mid_reply: false,
            reading: Reading::default(),
            severed: None,
            hold: None,
            last_hold: None,
            penance: None,
            penance_done: false,
            asking: None,
            waiting: None,
            tracking: None,
            last: None,
            reply_mode: ReplyMode::On,
            muted: false,
            wake_at: None,
            last_active: now,
            arrived: Stamp::of(now),
            turned: Stamp::of(now),
            received: 0,
            apart: 0,
            waited_until: now,
            held: Held::default(),
            ended_input: false,
            closing: false,
            dead: false,
        };
        Rc::new(Self { id, context, inner: RefCell::new(inner), waker: RefCell::default(), exhausted: Cell::default() })
    }

    /// The session's task: ends when the client is gone or was closed.
    pub(crate) async fn run(self: Rc<Self>) {
        let _end = end::EndOnDrop(Rc::clone(&self));
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(self: &Rc<Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.remember(cx);
        let inner = &mut *self.inner.borrow_mut();
        let polled = self.serve(inner, cx);
        inner.account(&self.context);
        // It may have closed itself by that.
        if inner.dead { Poll::Ready(()) } else { polled }
    }

    fn serve(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Poll<()> {
        inner.wake_at = None;
        let mut steps = 0;
        while !inner.dead && !inner.is_revoked() {
            if inner.gate.is_some() {
                self.release(inner);
            }
            let workspace = &self.context.workspace;
            match inner.output.poll_flush(cx, &mut inner.stream, workspace) {
                Poll::Ready(Err(_)) => break,
                Poll::Pending if inner.output.len() > limits::OUTPUT_PAUSE => return Poll::Pending,
                Poll::Ready(Ok(())) if inner.is_finished() => break,
                _ => {}
            }
            if steps == limits::STEPS {
                // A client that sends without a pause would keep the others from theirs.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            steps += 1;
            let flow = match &inner.mode {
                Mode::Plain => self.step(inner, cx),
                Mode::Connecting(_) | Mode::Pinned(_) => self.step_pinned(inner, cx),
            };
            if flow == Flow::Wait && inner.is_held_up(&self.context) && self.looks_for_its_client(inner, cx) {
                continue;
            }
            if flow == Flow::Wait {
                // What the step appended must go out before the task sleeps.
                let paused = inner.output.len() > limits::OUTPUT_PAUSE;
                let flushed = inner.output.poll_flush(cx, &mut inner.stream, workspace);
                if paused && matches!(flushed, Poll::Ready(Ok(()))) && !inner.dead {
                    // A pin was left unread, and nothing else would wake the task for it.
                    continue;
                }
                if matches!(flushed, Poll::Ready(Err(_))) || inner.dead || (flushed.is_ready() && inner.is_finished()) {
                    break;
                }
                return Poll::Pending;
            }
        }
        inner.stream.say_goodbye();
        Poll::Ready(())
    }

    /// One step of a session without a pin.
    fn step(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Flow {
        if inner.does_penance(cx) {
            return Flow::Wait;
        }
        if inner.has_retries() && self.replay(inner, cx) == Flow::Wait {
            return Flow::Wait;
        }
        if inner.reading.hedge_due {
            self.hedge(inner);
        }
        if inner.takes_no_more() {
            return inner.wait_until_at_most(0);
        }
        if inner.discarding.is_some() && self.discard(inner) {
            return Flow::Again;
        }
        if !inner.input.is_empty() && inner.discarding.is_none() {
            let input = std::mem::take(&mut inner.input);
            // It has waited, or waits for its rest.
            inner.turned = Stamp::now();
            let (used, flow) = self.route(inner, &input, cx);
            self.keep_rest(inner, input, used);
            match flow {
                Routed::Wait => return Flow::Wait,
                Routed::Again => return Flow::Again,
                Routed::NeedsMore => {}
            }
        }
        if inner.ended_input {
            inner.closing = true;
            return Flow::Again;
        }
        if self.tracks_again(inner, cx) {
            return Flow::Again;
        }
        if self.context.workspace.draining.get()
            && let Some(flow) = self.departs(inner, cx)
        {
            return flow;
        }
        self.read(inner, cx)
    }

    fn remember(&self, cx: &task::Context<'_>) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
    }

    /// Lets the session look again at what it waits for: the topology has changed, or the worker is draining.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Inner {
    fn owes_nothing(&self) -> bool {
        self.next == self.front
    }

    /// Closing, and everything was answered (and, as the caller knows, sent).
    fn is_finished(&self) -> bool {
        self.closing && self.owes_nothing() && self.mode.owes_nothing() && !self.is_keeping_back()
    }

    fn wait_until_at_most(&mut self, in_lane: usize) -> Flow {
        self.wake_at = Some(in_lane);
        Flow::Wait
    }

    /// Whether the session's task has something to do now.
    fn wants_turn(&self) -> bool {
        self.dead
            || self.wake_at.is_some_and(|at| self.in_lane <= at)
            || !self.output.is_empty()
            || self.stream.wants_flush()
            || (self.in_lane == 0 && (self.closing || self.ended_input || self.has_retries()))
    }
}
