//! Cuts a client's bytes into a batch that can be routed as one.
//!
//! Pure but for the buffers it is lent. A batch ends before the first command that does more than ride a lane: that
//! command is handled alone, after everything before it. The whole batch goes to one lane, so replies need no sorting
//! and a read in front of a write in the same batch cannot be overtaken by it.

use super::local;
use crate::command::{self, Kind, Local, Pin, Spec};
use crate::resp::request::{Bounds, Frame, Request, RequestError, RequestScanner, arguments};

/// What becomes of one command of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Read,
    MasterRead,
    Write,
    /// Answered by Redan, without a change to what follows.
    Answer(Local),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(super) start: usize,
    pub(super) frame: Frame,
    pub(super) part: Part,
}

/// One complete command with what the table says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived<'a> {
    pub(super) raw: &'a [u8],
    pub(super) frame: Frame,
    pub(super) kind: Kind,
    pub(super) spec: Option<&'static Spec>,
}

impl<'a> Arrived<'a> {
    /// `buf` begins with the command.
    pub(super) fn new(buf: &'a [u8], frame: Frame) -> Self {
        let raw = &buf[..frame.len];
        let spec = command::lookup(frame.name.of(raw), frame.second.map(|second| second.of(raw)));
        Self { raw, frame, kind: kind_of(spec, raw), spec }
    }
}

/// What stands behind the batch.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// Nothing, or half a command.
    Incomplete,
    /// The batch is as long as it may be.
    Full,
    /// A command to be handled alone, where the batch ends.
    Alone(Arrived<'a>),
    /// A line of text, at this place.
    Inline {
        start: usize,
    },
    /// A command too long to be gathered.
    Large,
    Broken(RequestError),
}

#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) next: Next<'a>,
    /// Where the batch ends: the first byte that is not part of it, blanks included.
    pub(super) end: usize,
    pub(super) writes: bool,
    pub(super) needs_master: bool,
    /// Some commands ride a lane.
    pub(super) rides: bool,
}

/// How a batch is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) bounds: &'static Bounds,
    /// The most commands it may have.
    pub(super) room: usize,
    /// Every command is handled alone: none may ride a lane.
    pub(super) alone: bool,
}

/// Fills `items` with commands, as the rules allow.
pub(super) fn plan<'a>(scanner: &mut RequestScanner, rules: Rules, buf: &'a [u8], items: &mut Vec<Item>) -> Plan<'a> {
    let Rules { bounds, room, alone } = rules;
    let may_ride = bounds.authenticated && !alone;
    items.clear();
    let mut plan = Plan { next: Next::Incomplete, end: 0, writes: false, needs_master: false, rides: false };
    loop {
        if items.len() >= room {
            plan.next = Next::Full;
            return plan;
        }
        let start = plan.end;
        let frame = match scanner.scan(&buf[start..], bounds) {
            Ok(Request::Command(frame)) => frame,
            Ok(Request::Blank { len }) => {
                plan.end += len;
                continue;
            }
            Ok(Request::Inline { .. }) => {
                plan.next = Next::Inline { start };
                return plan;
            }
            Ok(Request::Incomplete) => {
                if scanner.announced() > crate::limits::GATHERED_COMMAND as u64 {
                    plan.next = Next::Large;
                }
                return plan;
            }
            Err(error) => {
                plan.next = Next::Broken(error);
                return plan;
            }
        };
        let arrived = Arrived::new(&buf[start..], frame);
        let part = match arrived.kind {
            Kind::Read if may_ride => Part::Read,
            Kind::MasterRead if may_ride => Part::MasterRead,
            Kind::Write if may_ride => Part::Write,
            Kind::Local(local) if may_ride && !local::changes_what_follows(local) => Part::Answer(local),
            _ => {
                plan.next = Next::Alone(arrived);
                return plan;
            }
        };
        plan.writes |= part == Part::Write;
        plan.needs_master |= matches!(part, Part::Write | Part::MasterRead);
        plan.rides |= !matches!(part, Part::Answer(_));
        plan.end += frame.len;
        items.push(Item { start, frame, part });
    }
}

/// A command without a row is one that Redan does not know: its own connection to the master.
fn kind_of(spec: Option<&Spec>, raw: &[u8]) -> Kind {
    match spec.map(|spec| spec.kind) {
        None => Kind::Pin(Pin::Unknown),
        Some(Kind::ReadUnlessBlock) if command::has_block_option(arguments(raw)) => Kind::Pin(Pin::Blocking),
        Some(Kind::ReadUnlessBlock) => Kind::Read,
        Some(Kind::WriteUnlessBlock) if command::has_block_option(arguments(raw)) => Kind::Pin(Pin::Blocking),
        Some(Kind::WriteUnlessBlock) => Kind::Write,
        Some(kind) => kind,
    }
}
