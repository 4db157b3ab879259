//! Cuts a client's bytes into a batch that can be routed as one.
//!
//! Pure but for the buffers it is lent. A batch ends before the first command that does more than ride a lane: that
//! command is handled alone, after everything before it. The whole batch goes to one lane, so replies need no sorting
//! and a read in front of a write in the same batch cannot be overtaken by it.

use super::local;
use super::upload::is_known;
use crate::backend::pause::Paused;
use crate::command::learned::Learned;
use crate::command::permissions::Permissions;
use crate::command::{self, Care, Kind, Local, Pin, Refused, Spec};
use crate::limits;
use crate::resp::request::{Bounds, Frame, Request, RequestError, RequestScanner, arguments, blank_lines};

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
    /// The command; of a transaction its MULTI.
    pub(super) frame: Frame,
    /// Bytes: the frame's, or the whole transaction's.
    pub(super) len: usize,
    /// Replies it will have: one, or those of a whole transaction.
    pub(super) replies: u32,
    pub(super) part: Part,
    /// Of the command in the table; of a transaction MULTI's.
    pub(super) row: u16,
    pub(super) care: Care,
    /// A read that takes a server no time to speak of: unanswered, it may be asked elsewhere.
    pub(super) moves: bool,
}

/// What the session's state has to say about its commands.
pub(super) struct Rules<'a> {
    pub(super) bounds: &'a Bounds,
    /// Every command is handled alone.
    pub(super) alone: bool,
    /// A transaction that stands complete in the buffer rides the lane in one piece.
    pub(super) blocks: bool,
    pub(super) paused: Paused,
    /// `None`: everything may be sent.
    pub(super) permissions: Option<&'a Permissions>,
    /// Commands that no row of the table names.
    pub(super) learned: &'a Learned,
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
    /// Its number in the table.
    pub(super) fn row(&self) -> u16 {
        self.spec.map_or(command::NO_ROW, |spec| spec.row)
    }

    pub(super) fn care(&self) -> Care {
        self.spec.map_or(Care::None, |spec| spec.care)
    }

    /// `buf` begins with the command.
    pub(super) fn new(buf: &'a [u8], frame: Frame, learned: &Learned) -> Self {
        let raw = &buf[..frame.len];
        let (name, second) = (frame.name.of(raw), frame.second.map(|second| second.of(raw)));
        let spec = command::lookup(name, second);
        let kind = match spec {
            Some(spec) => kind_of(spec, raw),
            None if command::is_ambiguous(name, second) => Kind::Refused(Refused::Ambiguous),
            None => learned.find(name, second).unwrap_or(Kind::Pin(Pin::Unknown)),
        };
        Self { raw, frame, kind, spec }
    }

    /// The same, but that what the operator does not permit is forbidden.
    #[inline]
    pub(super) fn under(mut self, permissions: Option<&Permissions>) -> Self {
        if permissions.is_some_and(|permissions| !permissions.permits(self.spec)) {
            self.kind = Kind::Refused(Refused::Forbidden);
        }
        self
    }
}

impl Arrived<'_> {
    /// Whether a pause stops it, as it would on a server: whatever may be replicated, or everything.
    pub(super) fn waits_for(&self, paused: Paused) -> bool {
        match (paused, self.kind) {
            (Paused::Nobody, _) | (_, Kind::Local(Local::Quit)) => false,
            (Paused::Everyone, _) => true,
            (Paused::Writers, Kind::Write | Kind::Pin(Pin::Unknown)) => true,
            // XREAD waits and writes nothing.
            (Paused::Writers, Kind::Pin(Pin::Blocking)) => {
                self.spec.is_none_or(|spec| spec.kind != Kind::ReadUnlessBlock)
            }
            // It may write down what it has counted.
            (Paused::Writers, Kind::Read) => self.spec.is_some_and(|spec| spec.name == "pfcount"),
            (Paused::Writers, _) => false,
        }
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
    /// A command that waits for the end of a pause.
    Paused,
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
    /// The last command of the batch.
    pub(super) last: Option<&'static Spec>,
}

/// Fills `items` with at most `room` commands.
pub(super) fn plan<'a>(
    scanner: &mut RequestScanner,
    rules: &Rules<'_>,
    buf: &'a [u8],
    room: usize,
    items: &mut Vec<Item>,
) -> Plan<'a> {
    items.clear();
    let mut plan =
        Plan { next: Next::Incomplete, end: 0, writes: false, needs_master: false, rides: false, last: None };
    loop {
        if items.len() >= room {
            plan.next = Next::Full;
            return plan;
        }
        let frame = match next_frame(scanner, rules, buf, &mut plan.end) {
            Ok(frame) => frame,
            Err(next) => {
                plan.next = next;
                return plan;
            }
        };
        let start = plan.end;
        let arrived = Arrived::new(&buf[start..], frame, rules.learned).under(rules.permissions);
        if rules.paused != Paused::Nobody && rules.bounds.authenticated && arrived.waits_for(rules.paused) {
            plan.next = Next::Paused;
            return plan;
        }
        let in_batch = rules.bounds.authenticated && !rules.alone;
        let (mut len, mut replies, mut block_care) = (frame.len, 1, Care::None);
        let part = match arrived.kind {
            Kind::Read if in_batch => Part::Read,
            Kind::MasterRead if in_batch => Part::MasterRead,
            Kind::Write if in_batch => Part::Write,
            Kind::Local(local) if in_batch && !local::changes_what_follows(local) => Part::Answer(local),
            Kind::Pin(Pin::Multi)
                if in_batch
                    && rules.blocks
                    && let Some(block) = block(&buf[start..], &frame, rules) =>
            {
                (len, replies, block_care) = (block.len, block.replies, block.care);
                if block.writes { Part::Write } else { Part::MasterRead }
            }
            _ => {
                plan.next = Next::Alone(arrived);
                return plan;
            }
        };
        if rules.paused == Paused::Writers && part == Part::Write {
            // A transaction that writes; single commands were found above.
            plan.next = Next::Paused;
            return plan;
        }
        plan.last = arrived.spec;
        plan.writes |= part == Part::Write;
        plan.needs_master |= matches!(part, Part::Write | Part::MasterRead);
        plan.rides |= !matches!(part, Part::Answer(_));
        plan.end += len;
        let care = if replies == 1 { arrived.care() } else { block_care };
        let moves = part == Part::Read && care == Care::None && arrived.spec.is_some_and(Spec::is_short);
        items.push(Item { start, frame, len, replies, part, row: arrived.row(), care, moves });
        if care == Care::Flush {
            // Its answer waits for every node, and what stands behind it for that.
            plan.next = Next::Full;
            return plan;
        }
    }
}

/// The next complete command, behind blanks; otherwise what stands there.
#[inline]
fn next_frame<'a>(
    scanner: &mut RequestScanner,
    rules: &Rules<'_>,
    buf: &[u8],
    end: &mut usize,
) -> Result<Frame, Next<'a>> {
    loop {
        let rest = &buf[*end..];
        match scanner.scan(rest, rules.bounds) {
            Ok(Request::Command(frame)) => return Ok(frame),
            Ok(Request::Blank { len }) => {
                *end += len;
                *end += blank_lines(&buf[*end..]);
            }
            Ok(Request::Inline { .. }) => return Err(Next::Inline { start: *end }),
            // Without its name nobody can say whether it may be streamed.
            Ok(Request::Incomplete) if is_known(scanner, rest) && scanner.announced() > longest(scanner, rest) => {
                return Err(Next::Large);
            }
            Ok(Request::Incomplete) => return Err(Next::Incomplete),
            Err(error) => return Err(Next::Broken(error)),
        }
    }
}

/// The longest command that is gathered: channels are told to the hub by name, so all of a SUBSCRIBE must be there.
fn longest(scanner: &RequestScanner, buf: &[u8]) -> u64 {
    let spec = scanner.name().and_then(|name| command::lookup(name.of(buf), None));
    let subscribes = spec.is_some_and(|spec| spec.kind == Kind::Pin(Pin::Subscribe));
    (if subscribes { limits::GATHERED_SUBSCRIBE } else { limits::GATHERED_COMMAND }) as u64
}

/// A whole transaction.
struct Block {
    len: usize,
    replies: u32,
    writes: bool,
    /// In a transaction replies stay as the server writes them, but for the number of clients that a message reached.
    care: Care,
}

/// The transaction that `multi` opens at `buf[0]`, if it stands there up to its EXEC and does nothing but what rides a lane:
/// then the node takes it in one piece and nothing else can come between. Anything else, DISCARD included, takes a pin.
fn block(buf: &[u8], multi: &Frame, rules: &Rules<'_>) -> Option<Block> {
    let mut block = Block { len: multi.len, replies: 1, writes: false, care: Care::None };
    if multi.arguments != 1 {
        return None;
    }
    loop {
        let rest = &buf[block.len..];
        let Ok(Request::Command(frame)) = RequestScanner::new().scan(rest, &Bounds::AUTHENTICATED) else {
            return None;
        };
        block.len += frame.len;
        block.replies += 1;
        let arrived = Arrived::new(rest, frame, rules.learned).under(rules.permissions);
        match arrived.kind {
            _ if block.len > limits::GATHERED_COMMAND => return None,
            // A cursor's mark must be taken off for the node it goes to; SCRIPT FLUSH concerns other nodes too.
            _ if matches!(arrived.care(), Care::Cursor | Care::KeyCursor | Care::Flush) => return None,
            Kind::Pin(Pin::Exec) if frame.arguments == 1 => return Some(block),
            Kind::Write => block.writes = true,
            Kind::Read | Kind::MasterRead => {}
            _ => return None,
        }
        if matches!(arrived.care(), Care::Publish | Care::Subscribers) {
            block.care = Care::Publish;
        }
    }
}

fn kind_of(spec: &Spec, raw: &[u8]) -> Kind {
    match spec.kind {
        Kind::ReadUnlessBlock if command::has_block_option(arguments(raw)) => Kind::Pin(Pin::Blocking),
        Kind::ReadUnlessBlock => Kind::Read,
        Kind::WriteUnlessBlock if command::has_block_option(arguments(raw)) => Kind::Pin(Pin::Blocking),
        Kind::WriteUnlessBlock => Kind::Write,
        kind => kind,
    }
}
