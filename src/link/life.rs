//! The life of one stream at either end: pump, and when the wire breaks wait for another one, as long as the link says.
//!
//! What differs between the ends is where a new wire comes from: the entry dials, the exit is called ([`Renew`]).

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as RawUnix;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};

use super::Context;
use super::frame::{Code, Control, Decoder, Event, Position};
use super::keyring::{Guest, KeyChange};
use super::moving::{self, Leave, Who};
use super::pump::{Pump, Stop};
use super::wire::{Scratch, Wire};
use crate::handover::Outbox;
use crate::limits::LINK_DEAD;
use crate::net::Socket;
use crate::tls::pinned;

/// For a last word to a peer that may be gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// For the other end to take the last word, behind what it is just saying itself: as long as it may be silent.
const PARTING: Duration = LINK_DEAD;

/// A wire that is ready to go on, and where its other end stands.
pub(super) struct Fresh {
    pub(super) wire: Wire,
    pub(super) position: Position,
    /// What came behind the greeting.
    pub(super) rest: Vec<u8>,
}

/// Where a new wire comes from.
pub(super) trait Renew {
    /// The other end has made a new wire while this end still believes in the old one.
    async fn interrupted(&mut self) -> Fresh;
    /// The next wire. Both this and `interrupted` may be dropped and called again.
    async fn renew(&mut self, position: Position, until: Instant) -> Result<Fresh, NoMore>;
    /// Whether this end answers the greeting of a new wire, instead of having said hello.
    const ANSWERS: bool;
}

/// Why there is no next wire.
pub(super) struct NoMore {
    pub(super) why: String,
    /// The other end does not know the stream.
    pub(super) unknown: bool,
}

/// The other end's first frame.
pub(super) struct Greeting {
    pub(super) first: Control,
    pub(super) wire: Wire,
    pub(super) rest: Vec<u8>,
}

/// Says hello and reads the answer.
pub(super) async fn greet(mut wire: Wire, hello: &Control) -> Result<Greeting, String> {
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    wire.send(&bytes).await.map_err(|error| error.to_string())?;
    first_frame(wire).await
}

/// Reads one frame that is not data.
pub(super) async fn first_frame(mut wire: Wire) -> Result<Greeting, String> {
    // Not the thread's: this waits.
    let mut scratch = Scratch::small();
    let mut decoder = Decoder::default();
    loop {
        let read = poll_fn(|cx| wire.poll_read(cx, &mut scratch)).await.map_err(|error| pinned::trouble(&error))?;
        if read == 0 {
            return Err("it closed the connection without a word".to_owned());
        }
        let plain = scratch.plain().collect::<Vec<_>>().concat();
        let mut bytes = &plain[..];
        match decoder.next(&mut bytes) {
            Err(malformed) => return Err(format!("it does not keep to the protocol: it sent {malformed}")),
            Ok(Some(Event::Data(_) | Event::Packed(..))) => {
                return Err("it does not keep to the protocol: it began with data".to_owned());
            }
            Ok(Some(Event::Control(first))) => return Ok(Greeting { first, wire, rest: bytes.to_vec() }),
            Ok(None) => {}
        }
    }
}

/// What ended a stream.
enum Ending {
    Finished,
    /// For the log, and what the other end is to be told.
    Given(String, Option<(Code, String)>),
    /// Another process goes on with it.
    Moves(Outbox),
}

/// Until the stream ends, and then ends it at both sides; or until another process goes on with it. Without a `first` wire it waits
/// for one.
pub(super) async fn live(
    context: &Context,
    mut pump: Pump,
    first: Option<Fresh>,
    mut source: impl Renew,
    mut guest: Guest,
    stream: Who<'_>,
) {
    let (name, from) = (&context.link.name, stream.from);
    let mut stopping = context.change.clone();
    let mut wire = None;
    let (expelled, change) = guest.watch();
    let ending = tokio::select! {
        // In this order, without drawing lots for every message: the first one never keeps the others from their turn.
        biased;
        ending = until_it_ends(context, &mut pump, &mut wire, first, &mut source, change, &stream) => ending,
        why = expelled.happens() => {
            context.counters.untrusted();
            Ending::Given(why, Some((Code::Untrusted, "the other end does not believe this one any more".to_owned())))
        }
        () = stopping.ends() => {
            Ending::Given("Redan ends".to_owned(), Some((Code::Leaving, "the Redan at the other end is ending".to_owned())))
        }
    };
    let peer = wire.as_ref().map_or(stream.peer, |wire| wire.peer);
    match ending {
        Ending::Moves(outbox) if moving::depart(context, &stream, peer, &pump, &outbox) => {}
        Ending::Moves(_) => pump.local.reset_when_closed(),
        Ending::Finished => {
            if let Some(wire) = wire {
                wire.close();
            }
        }
        Ending::Given(why, last_words) => {
            tracing::warn!("link '{name}': the connection of {from} is reset: {why}");
            pump.local.reset_when_closed();
            if let (Some(mut wire), Some((code, reason))) = (wire, last_words) {
                let frame = pump.stream.give_up(code, reason);
                // The program need not wait for the other end, nor what is kept for it.
                drop(pump);
                // What it was about to be told is told by the end of the connection, if not by this.
                let _ = tokio::time::timeout(LAST_WORDS, wire.send(&frame)).await;
                match code {
                    Code::Local | Code::Policy => wire.part(PARTING).await,
                    Code::Leaving => wire.part(LAST_WORDS).await,
                    // Nobody listens to whoever is not believed or does not keep to the rules.
                    _ => wire.close(),
                }
            }
        }
    }
}

async fn until_it_ends<R: Renew>(
    context: &Context,
    pump: &mut Pump,
    wire: &mut Option<Wire>,
    first: Option<Fresh>,
    source: &mut R,
    mut change: KeyChange<'_>,
    stream: &Who<'_>,
) -> Ending {
    let mut leave = Leave::of(context, stream);
    let mut next = match first {
        Some(first) => first,
        None => match detached(context, pump, source, None, stream, &mut leave).await {
            Ok(fresh) => fresh,
            Err(ending) => return ending,
        },
    };
    loop {
        if let Err(ending) = attach::<R>(pump, wire, next).await {
            return ending;
        }
        let stop = match over_a_wire(context, pump, wire, source, &mut change, &mut leave).await {
            Pumped::Stopped(stop) => stop,
            Pumped::Moves(outbox) => return Ending::Moves(outbox),
            Pumped::Interrupted(fresh) => {
                next = *fresh;
                let from = stream.from;
                tracing::info!("link '{}': the other end of {from} has begun a new connection", context.link.name);
                context.counters.resumed();
                continue;
            }
        };
        let why = match judge(stop) {
            Ok(why) => why,
            Err(ending) => return ending,
        };
        // Closed now, so that the other end learns of it if it can.
        drop(wire.take());
        if pump.stream.has_arrived() {
            return Ending::Finished;
        }
        match detached(context, pump, source, Some(&why), stream, &mut leave).await {
            Ok(fresh) => next = fresh,
            Err(ending) => return ending,
        }
    }
}

/// What happened while there was a wire.
enum Pumped {
    Stopped(Stop),
    Interrupted(Box<Fresh>),
    Moves(Outbox),
}

async fn over_a_wire<R: Renew>(
    context: &Context,
    pump: &mut Pump,
    wire: &mut Option<Wire>,
    source: &mut R,
    change: &mut KeyChange<'_>,
    leave: &mut Leave,
) -> Pumped {
    loop {
        let Some(current) = wire.as_mut() else { return Pumped::Stopped(Stop::Finished) };
        let shown = current.peer;
        tokio::select! {
            biased;
            stop = pump.run(Some(current)) => return Pumped::Stopped(stop),
            why = change.replaces(shown) => return Pumped::Stopped(Stop::Broken(why)),
            fresh = source.interrupted() => return Pumped::Interrupted(Box::new(fresh)),
            outbox = leave.is_due(&context.link.name) => {
                if pump.may_move() {
                    return Pumped::Moves(outbox);
                }
            }
        }
    }
}

/// The reason why a wire broke, if that is what happened.
fn judge(stop: Stop) -> Result<String, Ending> {
    Err(match stop {
        Stop::Broken(why) => return Ok(why),
        Stop::Finished => Ending::Finished,
        Stop::Local(error) => {
            let words = format!("the connection at this side broke: {error}");
            Ending::Given(words, Some((Code::Local, format!("the connection at the other side broke: {error}"))))
        }
        Stop::Reset(reset) => Ending::Given(format!("the other end says: {}", reset.reason), None),
        Stop::Refused(why) => Ending::Given(why.clone(), Some((Code::Policy, why))),
        Stop::Violation(violation) => {
            let words = format!("the other end does not keep to the protocol: {violation}");
            Ending::Given(words, Some((Code::Protocol, violation.to_string())))
        }
    })
}

/// Tells the other end where this one stands, if that was not said in the hello.
async fn welcome<R: Renew>(pump: &mut Pump, wire: &mut Wire) {
    if R::ANSWERS {
        let mut bytes = Vec::new();
        Control::Welcome(pump.stream.position()).encode(&mut bytes);
        // A few bytes always fit; where the wire is broken already, the pump will say so.
        let _ = tokio::time::timeout(LAST_WORDS, wire.send(&bytes)).await;
    }
}

async fn attach<R: Renew>(pump: &mut Pump, wire: &mut Option<Wire>, fresh: Fresh) -> Result<(), Ending> {
    let Fresh { wire: mut new, position, rest } = fresh;
    welcome::<R>(pump, &mut new).await;
    *wire = Some(new);
    let attached = pump.stream.attach(position, Instant::now()).map_err(Stop::Violation);
    attached.and_then(|()| pump.take(&rest)).map_err(|stop| match judge(stop) {
        Ok(why) => Ending::Given(why, None),
        Err(ending) => ending,
    })
}

/// Waits for another wire. The program's side goes on meanwhile as far as it can. `why` there is none; `None`: it has come from
/// another process.
async fn detached<R: Renew>(
    context: &Context,
    pump: &mut Pump,
    source: &mut R,
    why: Option<&str>,
    stream: &Who<'_>,
    leave: &mut Leave,
) -> Result<Fresh, Ending> {
    let (name, patience, from) = (&context.link.name, context.link.resume, stream.from);
    let _detached = context.counters.detached();
    let given = |words: String| Ending::Given(words, None);
    if patience.is_zero() {
        return Err(given(format!("the link broke: {}", why.unwrap_or("this process has been replaced"))));
    }
    if let Some(why) = why {
        tracing::warn!("link '{name}': the link of {from} broke: {why}; both sides are kept for {patience:?}");
    }
    let why = why.unwrap_or("this end has been replaced by another process");
    let broke = Instant::now();
    let mut local_broke = None;
    let renewed = match next_wire(context, pump, source, leave, broke + patience, &mut local_broke).await {
        Ok(renewed) => renewed,
        Err(outbox) => return Err(Ending::Moves(outbox)),
    };
    match (renewed, local_broke) {
        (Ok(fresh), None) => {
            context.counters.resumed();
            let after = broke.elapsed();
            let again = pump.stream.sent_again(fresh.position);
            tracing::info!("link '{name}': the link of {from} goes on after {after:.1?}; {again} bytes are sent again");
            Ok(fresh)
        }
        (Ok(fresh), Some(ending)) => {
            tell_end::<R>(pump, fresh.wire, &ending).await;
            Err(ending)
        }
        (Err(NoMore { unknown, .. }), _)
            if pump.stream.has_given_all() && (unknown || pump.stream.unacknowledged() == 0) =>
        {
            tracing::info!("link '{name}': the connection of {from} had ended, the last word about it was lost");
            Err(Ending::Finished)
        }
        (Err(NoMore { why: last, .. }), local_broke) => {
            context.counters.lost();
            Err(local_broke.unwrap_or_else(|| given(format!("the link broke: {why}; {last}"))))
        }
    }
}

/// The next wire, if there is one in time, or who goes on with the stream instead. What ends the program's side meanwhile is left in
/// `local_broke`: the other end must learn of it all the same.
async fn next_wire<R: Renew>(
    context: &Context,
    pump: &mut Pump,
    source: &mut R,
    leave: &mut Leave,
    until: Instant,
    local_broke: &mut Option<Ending>,
) -> Result<Result<Fresh, NoMore>, Outbox> {
    let position = pump.stream.position();
    let renewed = async {
        let renewing = source.renew(position, until);
        tokio::pin!(renewing);
        loop {
            tokio::select! {
                renewed = &mut renewing => return Ok(renewed),
                outbox = leave.is_due(&context.link.name), if local_broke.is_none() => {
                    if pump.may_move() {
                        return Err(outbox);
                    }
                }
                stop = pump.run(None), if local_broke.is_none() => *local_broke = judge(stop).err(),
            }
        }
    };
    let late = || NoMore { why: format!("not resumed within {:?}", context.link.resume), unknown: false };
    tokio::time::timeout_at(until.into(), renewed).await.unwrap_or_else(|_| Ok(Err(late())))
}

/// Over a wire that came after the program's side had ended: nothing but that.
async fn tell_end<R: Renew>(pump: &mut Pump, mut wire: Wire, ending: &Ending) {
    if let Ending::Given(_, Some((code, reason))) = ending {
        welcome::<R>(pump, &mut wire).await;
        // As in `live`.
        let _ = tokio::time::timeout(LAST_WORDS, wire.send(&pump.stream.give_up(*code, reason.clone()))).await;
        wire.part(PARTING).await;
    }
}

/// A program's connection on its way from one thread to another.
pub(super) enum PackedLocal {
    Tcp(std::net::TcpStream),
    Unix(RawUnix),
}

pub(super) fn pack(local: Socket) -> io::Result<PackedLocal> {
    Ok(match local {
        Socket::Tcp(socket) => PackedLocal::Tcp(socket.into_std()?),
        Socket::Unix(socket) => PackedLocal::Unix(socket.into_std()?),
    })
}

pub(super) fn unpack(packed: PackedLocal) -> io::Result<Socket> {
    Ok(match packed {
        PackedLocal::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket)?),
        PackedLocal::Unix(socket) => Socket::Unix(UnixStream::from_std(socket)?),
    })
}
