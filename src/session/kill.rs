//! SCRIPT KILL and FUNCTION KILL: to every node, for nobody knows on which the script runs.
//!
//! Not over the lanes of commands, where they would queue behind the script. In the script's first seconds its server listens to
//! nobody, also not to a new connection: the master is asked until it answers, for as long as a client is held. What
//! the others say does not stand for it, unless one of them had a script to kill.

use std::rc::Rc;
use std::task;

use super::fanned::{Chosen, side_lanes};
use super::plan::Arrived;
use super::replay::Stashed;
use super::{Flow, Inner, Session};
use crate::backend::dial::Dialect;
use crate::backend::lane::Lane;
use crate::backend::recipient::{Effect, Errand};
use crate::command::learned::Learned;
use crate::command::{Kind, Pin};
use crate::resp::request::{Bounds, Request, RequestScanner};
use crate::topology::Role;

impl Session {
    pub(super) fn kill_script(
        self: &Rc<Self>,
        inner: &mut Inner,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        if let Some(flow) = inner.settled() {
            return Some(flow);
        }
        let Some(lanes) = self.lanes_to_kill(inner) else {
            if self.hold_for_any_reason(inner, cx) == Flow::Wait {
                return Some(Flow::Wait);
            }
            self.answer_error(inner, &self.hold_error());
            return None;
        };
        let sequence = inner.next;
        inner.next += 1;
        inner.mute_next();
        self.kill(inner, &lanes, sequence, raw);
        None
    }

    /// For what waits to be sent again. `None`: it is something else.
    pub(super) fn kill_again(self: &Rc<Self>, inner: &mut Inner, cx: &mut task::Context<'_>) -> Option<Flow> {
        // It goes alone, so nothing else waits with it.
        let asks = inner.stash.front().is_some_and(|(_, stashed)| match stashed {
            Stashed::Retry { request, .. } => asks_to_kill(request),
            _ => false,
        });
        if !asks {
            return None;
        }
        let waited_enough = inner.retrying_since.is_some_and(|since| since.elapsed() >= self.context.listener().hold);
        let lanes = if waited_enough { None } else { self.lanes_to_kill(inner) };
        let Some(lanes) = lanes else {
            if !waited_enough && self.hold_for_any_reason(inner, cx) == Flow::Wait {
                return Some(Flow::Wait);
            }
            self.give_up(inner);
            return Some(Flow::Again);
        };
        if let Some((sequence, Stashed::Retry { request, .. })) = inner.stash.pop_front() {
            self.context.workspace.counters.replays.increment();
            self.kill(inner, &lanes, sequence, &request);
        }
        inner.retrying = false;
        Some(Flow::Again)
    }

    fn kill(self: &Rc<Self>, inner: &mut Inner, lanes: &[Rc<Lane>], sequence: u64, raw: &[u8]) {
        self.end_hold(inner);
        inner.in_lane += 1;
        // So that nothing is sent behind it.
        inner.lane = None;
        self.fan_out(lanes, sequence, raw, Errand::own(Effect::Write), Chosen::AnyOk);
    }

    /// The master's first. `None` while that, or everything, must be left alone.
    fn lanes_to_kill(&self, inner: &Inner) -> Option<Vec<Rc<Lane>>> {
        let pool = &self.context.pool;
        // A busy server takes neither SELECT nor questions, so the database is the one it begins with.
        let mut lanes = side_lanes(pool, Dialect { db: 0, ..inner.dialect }, None);
        let snapshot = pool.snapshot();
        // One that a script keeps from answering is not believed to be the master any more after a while, nor anything else.
        let of_role = |role| snapshot.nodes.iter().find(|node| node.role == role);
        let master = snapshot.master().or_else(|| of_role(Role::Master)).or_else(|| of_role(Role::Unknown));
        if let Some(master) = master {
            let place = lanes.iter().position(|lane| lane.key.node == master.id)?;
            lanes.swap(0, place);
        }
        (!lanes.is_empty()).then_some(lanes)
    }
}

fn asks_to_kill(request: &[u8]) -> bool {
    match RequestScanner::new().scan(request, &Bounds::AUTHENTICATED) {
        Ok(Request::Command(frame)) => Arrived::new(request, frame, &Learned::default()).kind == Kind::Pin(Pin::Script),
        _ => false,
    }
}
