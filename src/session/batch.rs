//! Routes a client's bytes: batch after batch to a lane, and what stands between them alone.

use std::rc::Rc;
use std::task;
use std::time::Instant;

use super::assured::TOO_FEW_REPLICAS;
use super::hello;
use super::local::{self, Facts};
use super::pinned::Pinned;
use super::plan::{self, Item, Next, Part, Plan, Rules};
use super::replay;
use super::{Flow, Inner, ReplyMode, Session};
use crate::backend::lane::{Lane, Purpose};
use crate::backend::recipient::{Effect, Errand};
use crate::command::{Care, Local};
use crate::config::Reads;
use crate::limits;
use crate::resp::encode;
use crate::resp::inline;
use crate::resp::request::{Bounds, Frame, Request, RequestError, RequestScanner};
use crate::route::{self, Candidates, Read, ReadRoute};
use crate::topology::NodeId;

/// What a batch asks of its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) writes: bool,
    pub(super) needs_master: bool,
}

/// Why there is no lane now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLane {
    /// What is in flight must be answered first.
    Drain,
    /// No node can serve it.
    Unserved,
    /// A mark is about to come.
    Mark,
}

/// What routing a buffer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// Everything complete is on its way; the rest, if any, is half a command.
    NeedsMore,
    Again,
    Wait,
}

impl Inner {
    /// For a command that must not stand behind others on their way. `None`: everything before it is answered.
    pub(super) fn settled(&mut self) -> Option<Flow> {
        if self.in_lane > 0 {
            return Some(self.wait_until_at_most(0));
        }
        (!self.owes_nothing()).then_some(Flow::Again)
    }

    /// What goes to a lane now is answered, or not, as CLIENT REPLY says. Nothing of the other sort is in flight.
    pub(super) fn mute_next(&mut self) {
        self.muted = self.reply_mode != ReplyMode::On;
        if self.reply_mode == ReplyMode::SkipNext {
            self.reply_mode = ReplyMode::On;
        }
    }
}

impl Session {
    /// Routes what stands in `buf`; returns how many bytes are done with.
    pub(super) fn route(self: &Rc<Self>, inner: &mut Inner, buf: &[u8], cx: &mut task::Context<'_>) -> (usize, Routed) {
        let mut used = 0;
        loop {
            let mut items = self.context.workspace.plan.take();
            let learned = self.context.pool.learned();
            let rules = Rules {
                bounds: if inner.authenticated { &Bounds::AUTHENTICATED } else { &Bounds::UNAUTHENTICATED },
                alone: inner.is_in_severed_transaction() || inner.only_listens() || inner.tracking.is_some(),
                // Of a transaction that begins again the client may have replies already, which only a pin knows to skip.
                blocks: inner.severed.is_none() && inner.reply_mode == ReplyMode::On && inner.skip_replies == 0,
                paused: self.context.pool.pause.now(),
                permissions: inner.permissions.as_deref(),
                learned: &learned,
            };
            let in_flight = (inner.next - inner.front) as usize;
            // Without replies there is no telling which command one belongs to, so they are sent one by one.
            let room = if inner.reply_mode == ReplyMode::On { limits::IN_FLIGHT.saturating_sub(in_flight) } else { 1 };
            let rest = &buf[used..];
            let plan = plan::plan(&mut inner.scanner, &rules, rest, room, &mut items);
            drop(learned);
            let sent = self.send_batch(inner, rest, &plan, &items, cx);
            let flow = if sent { self.after_batch(inner, rest, &plan, cx, &mut used) } else { Some(Routed::Wait) };
            let stuck = !sent;
            *self.context.workspace.plan.borrow_mut() = items;
            if stuck {
                // The batch is cut again from its start, so what was scanned of the command behind it is forgotten.
                inner.scanner = RequestScanner::new();
            }
            if let Some(flow) = flow {
                return (used, flow);
            }
            if inner.output.len() > limits::OUTPUT_PAUSE {
                // Short commands may have long answers: what there is goes out first.
                return (used, Routed::Again);
            }
        }
    }

    /// Handles what ended the batch. `None`: go on behind it.
    fn after_batch(
        self: &Rc<Self>,
        inner: &mut Inner,
        buf: &[u8],
        plan: &Plan<'_>,
        cx: &mut task::Context<'_>,
        used: &mut usize,
    ) -> Option<Routed> {
        *used += plan.end;
        match plan.next {
            Next::Incomplete => Some(Routed::NeedsMore),
            Next::Full => {
                // Half of what may be in flight is answered before more is sent, so that batches stay large.
                let too_many = ((inner.next - inner.front) as usize).saturating_sub(limits::IN_FLIGHT / 2);
                if too_many == 0 {
                    // That many commands at a time; then it may be the turn of others.
                    return Some(Routed::Again);
                }
                inner.wait_until_at_most(inner.in_lane.saturating_sub(too_many));
                Some(Routed::Wait)
            }
            Next::Alone(arrived) => match self.special(inner, &arrived, cx) {
                Some(flow) => {
                    inner.scanner = RequestScanner::new();
                    Some(if flow == Flow::Wait { Routed::Wait } else { Routed::Again })
                }
                None => {
                    self.count_alone(&arrived);
                    *used += arrived.frame.len;
                    inner.closing.then_some(Routed::Again)
                }
            },
            Next::Paused => {
                inner.scanner = RequestScanner::new();
                self.context.pool.pause.wait(cx.waker());
                Some(Routed::Wait)
            }
            Next::Inline { start } => {
                if let Err(error) = self.inline(inner, &buf[start..]) {
                    self.protocol_error(inner, &error);
                }
                *used += buf.len() - start;
                Some(Routed::Again)
            }
            Next::Large => match self.enter_large(inner, &buf[plan.end..], cx) {
                Flow::Wait => Some(Routed::Wait),
                Flow::Again => Some(Routed::Again),
            },
            // What is too much for a stranger need not be too much for this client: a node says who it is.
            Next::Broken(_) if self.context.listener().passthrough && !inner.authenticated && !inner.stranger => {
                inner.scanner = RequestScanner::new();
                Some(if self.examine(inner, cx) == Flow::Wait { Routed::Wait } else { Routed::Again })
            }
            Next::Broken(error) => {
                self.protocol_error(inner, &error);
                Some(Routed::Again)
            }
        }
    }

    /// Lines of text become commands like any other: they are rewritten in the session's input, with what follows them.
    /// A line that cannot be understood stays as it is; an error is returned when it is the first.
    pub(super) fn inline(&self, inner: &mut Inner, buf: &[u8]) -> Result<(), RequestError> {
        let mut input = self.context.workspace.buffer();
        let mut rest = buf;
        // Lines need no bounds but their own, and a fresh scanner finds their ends.
        while let Ok(Request::Inline { len }) = RequestScanner::new().scan(rest, &Bounds::AUTHENTICATED) {
            let before = input.len();
            if before > 0 && !inner.authenticated {
                // What the bounds of the next line are, the one before it decides.
                break;
            }
            if let Err(error) = inline::to_multibulk(&rest[..len], &mut input) {
                if before == 0 {
                    return Err(error);
                }
                input.truncate(before);
                break;
            }
            rest = &rest[len..];
            if !inner.authenticated && RequestScanner::new().scan(&input, &Bounds::UNAUTHENTICATED).is_err() {
                // Redis has these bounds for the protocol's own form alone, where it believes a length before it has
                // the bytes. A line is there already, and no command of such a length logs anyone in.
                input.clear();
                self.answer_error(inner, hello::NOT_AUTHENTICATED);
            }
        }
        input.extend_from_slice(rest);
        inner.input = input;
        Ok(())
    }

    /// The client cannot be understood any more: everything before is answered, then it is closed.
    pub(super) fn protocol_error(&self, inner: &mut Inner, error: &RequestError) {
        self.context.workspace.counters.protocol_errors.increment();
        tracing::info!("closed client {}: {error}", inner.identity.peer.remote());
        let mut reply = Vec::new();
        encode::error(&mut reply, &format!("ERR {error}"));
        // The one letter that is not ASCII is a byte of the client's, which it gets back as it was.
        let reply = String::from_utf8_lossy(&reply).chars().map(|letter| letter as u8).collect();
        inner.reply_mode = ReplyMode::On;
        inner.answer(reply, &self.context);
        inner.closing = true;
    }

    /// Sends a batch on its way. `false`: it must wait, and nothing of it was sent.
    fn send_batch(
        self: &Rc<Self>,
        inner: &mut Inner,
        buf: &[u8],
        plan: &Plan<'_>,
        items: &[Item],
        cx: &mut task::Context<'_>,
    ) -> bool {
        if items.is_empty() {
            return true;
        }
        inner.last = plan.last;
        // What is muted in flight was skipped, and what comes behind it must not be, nor the other way round.
        if (inner.reply_mode != ReplyMode::On || inner.muted) && !inner.owes_nothing() {
            inner.wait_until_at_most(0);
            return false;
        }
        let mut lane = None;
        if plan.rides {
            let demand = Demand { writes: plan.writes, needs_master: plan.needs_master };
            match self.lane(inner, demand, cx) {
                Ok(found) if found.has_room(cx.waker()) => lane = Some(found),
                Ok(_) | Err(NoLane::Mark) => return false,
                Err(NoLane::Drain) => {
                    inner.wait_until_at_most(0);
                    return false;
                }
                Err(NoLane::Unserved) => {
                    if self.hold(inner, cx) == Flow::Wait {
                        return false;
                    }
                    // It has waited as long as it may: the commands that need a lane are answered with an error.
                }
            }
            if lane.is_some() && inner.hold.is_some() {
                self.end_hold(inner);
            }
        }
        let moves = lane.as_ref().is_some_and(|lane| self.may_move(inner, lane));
        let refuses = plan.writes && self.lacks_replicas();
        self.context.counters().commands.add(items.len() as u64);
        if lane.is_some() {
            self.note_keys(items, buf);
        }
        for item in items {
            let raw = &buf[item.start..item.start + item.len];
            match (item.part, &lane) {
                (Part::Write, Some(_)) if refuses && self.refuses_write(raw) => {
                    self.answer_unsent(inner, item, raw, TOO_FEW_REPLICAS);
                }
                (Part::Answer(command), _) => {
                    self.context.counted_here(item.row);
                    self.answer_local(inner, command, item, raw);
                }
                (_, Some(lane)) => self.ride(inner, lane, item, raw, moves),
                (_, None) => self.answer_unsent(inner, item, raw, &self.unserved_error(inner)),
            }
        }
        if let Some(lane) = lane {
            self.count(&lane, items, plan, inner.reading.fell_back);
            inner.lane = Some(lane);
        }
        true
    }

    /// Whether a read that this lane owes for too long could be asked elsewhere. One that only the master may serve, by the
    /// listener's policy or for what the session has seen, could not.
    fn may_move(&self, inner: &Inner, lane: &Lane) -> bool {
        let reads = self.context.listener().reads;
        let has_others = reads != Reads::Master && (route::allows_master(reads) || !self.is_at_master(lane));
        has_others && lane.key.purpose == Purpose::Reads && inner.attempts == 0
    }

    fn is_at_master(&self, lane: &Lane) -> bool {
        self.context.pool.snapshot().master().is_some_and(|master| master.id == lane.key.node)
    }

    fn ride(self: &Rc<Self>, inner: &mut Inner, lane: &Rc<Lane>, item: &Item, raw: &[u8], moves: bool) {
        let sequence = inner.next;
        inner.next += 1;
        inner.in_lane += 1;
        let effect = if item.part == Part::Write { Effect::Write } else { Effect::Read };
        if effect == Effect::Write {
            inner.last_write = Some(sequence);
        }
        inner.mute_next();
        let tag = self.tag(inner, item.row);
        match item.care {
            Care::None if moves && item.moves => lane.submit_read(self, sequence, raw, tag),
            Care::None => self.hand_over(lane, self, sequence, raw, Errand { effect, replies: item.replies, tag }),
            care => {
                inner.fanned |= care == Care::Flush;
                self.submit_adapted(lane, sequence, care, raw, Errand { effect, replies: item.replies, tag });
            }
        }
    }

    /// An error in the place of a node's answer.
    #[cold]
    fn answer_unsent(&self, inner: &mut Inner, item: &Item, raw: &[u8], words: &str) {
        inner.tell_refused(&self.context, inner.next, self.tag(inner, item.row), words);
        inner.answer(replay::failure(raw, words), &self.context);
    }

    fn answer_local(&self, inner: &mut Inner, command: Local, item: &Item, raw: &[u8]) {
        self.answer_own(inner, command, &item.frame, raw, None);
    }

    /// Answers what speaks of the session alone. `pinned` is its own connection, if it is at work with one.
    pub(super) fn answer_own(
        &self,
        inner: &mut Inner,
        command: Local,
        frame: &Frame,
        raw: &[u8],
        pinned: Option<&Pinned>,
    ) {
        let mut reply = self.context.workspace.buffer();
        self.own_reply(inner, command, frame, raw, pinned, &mut reply);
        self.context.workspace.counters.commands_local.increment();
        inner.answer(reply, &self.context);
    }

    /// The reply alone.
    pub(super) fn own_reply(
        &self,
        inner: &mut Inner,
        command: Local,
        frame: &Frame,
        raw: &[u8],
        pinned: Option<&Pinned>,
        reply: &mut Vec<u8>,
    ) {
        if local::is_unknown(command, || self.context.edition()) {
            return encode::error(reply, &local::unknown_subcommand(raw));
        }
        let info = match command {
            Local::ClientInfo => Some(self.line(inner, pinned, Instant::now())),
            Local::ClientGetRedir => return encode::integer(reply, inner.redirection()),
            Local::ClientTrackingInfo => return inner.tracking_info(reply),
            _ => None,
        };
        let facts = Facts { resp3: inner.dialect.resp3, info };
        local::answer(command, frame, raw, &mut inner.identity, &facts, reply);
    }

    fn count(&self, lane: &Lane, items: &[Item], plan: &Plan<'_>, fell_back: bool) {
        let counters = &self.context.workspace.counters;
        let writes = if plan.writes { items.iter().filter(|item| item.part == Part::Write).count() } else { 0 };
        let locals = items.iter().filter(|item| matches!(item.part, Part::Answer(_))).count();
        let reads = (items.len() - writes - locals) as u64;
        counters.commands_write.add(writes as u64);
        counters.commands_read.add(reads);
        if fell_back {
            self.note_fallback(reads);
        }
        lane.counters().reads.add(reads);
        self.context.pool.save_for_hedges(reads);
        if self.is_at_master(lane) { &counters.reads_master } else { &counters.reads_replica }.add(reads);
    }

    /// The lane for a batch. While something is in flight it is the same lane, if that fits, or none.
    pub(super) fn lane(
        self: &Rc<Self>,
        inner: &mut Inner,
        demand: Demand,
        cx: &task::Context<'_>,
    ) -> Result<Rc<Lane>, NoLane> {
        let was_capped = std::mem::take(&mut inner.reading.capped);
        let found =
            if inner.in_lane > 0 { self.same_lane(inner, demand, cx) } else { self.next_lane(inner, demand, cx) };
        if inner.reading.capped && !was_capped {
            self.context.workspace.counters.reads_capped.increment();
        }
        found
    }

    fn same_lane(&self, inner: &mut Inner, demand: Demand, cx: &task::Context<'_>) -> Result<Rc<Lane>, NoLane> {
        let alone = inner.fanned || inner.reading.hedge.is_some();
        let lane = inner.lane.clone().filter(|_| !alone).ok_or(NoLane::Drain)?;
        let at_master = self.is_at_master(&lane);
        let fits = lane.serves()
            && lane.key.dialect == inner.dialect
            && match demand {
                Demand { writes: true, .. } => at_master && lane.key.purpose == Purpose::Ordered,
                Demand { needs_master: true, .. } => at_master,
                _ => at_master || self.still_serves(&lane),
            };
        inner.reading.fell_back &= !demand.needs_master;
        // Who has no more to spend on the master waits, with nothing in flight.
        let may = !inner.reading.fell_back || self.may_fall_back(inner, cx);
        if fits && may { Ok(lane) } else { Err(NoLane::Drain) }
    }

    /// A replica may serve the session's next read as it did the one before.
    fn still_serves(&self, lane: &Lane) -> bool {
        let (snapshot, lag) = (self.context.pool.snapshot(), self.context.lag());
        let index = snapshot.nodes.iter().position(|node| node.id == lane.key.node);
        !lane.usage().is_out() && index.is_some_and(|index| snapshot.nodes[index].readable.is_ok() && lag.admits(index))
    }

    /// With nothing in flight.
    fn next_lane(
        self: &Rc<Self>,
        inner: &mut Inner,
        demand: Demand,
        cx: &task::Context<'_>,
    ) -> Result<Rc<Lane>, NoLane> {
        let pool = &self.context.pool;
        let snapshot = pool.snapshot();
        (inner.muted, inner.fanned, inner.reading.fell_back) = (false, false, false);
        let purpose = if demand.writes { Purpose::Ordered } else { Purpose::Reads };
        let dialect = inner.dialect;
        let master = || {
            let master = snapshot.master().ok_or(NoLane::Unserved)?;
            pool.lane(master, purpose, dialect).ok_or(NoLane::Unserved)
        };
        if demand.needs_master {
            return master();
        }
        let route = self.route_read(inner, inner.reading.avoid);
        let reads = self.context.listener().reads;
        let falls_back = match route.to {
            Read::Nodes(set) => {
                // These allow the master, but while a nearer one only waits for its proof a session must not stay.
                let prefers_others = matches!(reads, Reads::Nearest | Reads::ZoneAny);
                let far = prefers_others && set.len() == 1 && snapshot.master == Some(set.at(0));
                if !far {
                    inner.kept_from_replicas = 0;
                    inner.patience = limits::PATIENCE;
                }
                if (far && self.waits_for_mark(inner, &route, cx)) || self.waits_to_choose(inner, &route, cx) {
                    return Err(NoLane::Mark);
                }
                if let Some(lane) = pool.read_lane(&set, &snapshot, dialect) {
                    return Ok(lane);
                }
                // None of them can be reached.
                !route::allows_master(reads)
            }
            Read::Master if self.waits_for_mark(inner, &route, cx) => return Err(NoLane::Mark),
            Read::Master => route.fallback,
            Read::Hold => return Err(NoLane::Unserved),
        };
        if falls_back && !self.may_fall_back(inner, cx) {
            return Err(NoLane::Unserved);
        }
        inner.reading.fell_back = falls_back;
        master()
    }

    /// Where the session may read, but for one node.
    pub(super) fn route_read(&self, inner: &Inner, avoid: Option<NodeId>) -> ReadRoute {
        let (pool, listener) = (&self.context.pool, &self.context.listener());
        let (snapshot, standings, lag) = (pool.snapshot(), pool.standings(), self.context.lag());
        let nodes = Candidates { snapshot: &snapshot, standings: &standings, lag: &lag, avoid };
        route::read(listener.reads, listener.consistency, &inner.sight, &pool.marks(), &nodes)
    }
}
