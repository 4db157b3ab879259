//! The end to which entries connect: lets in whoever is pinned, connects to the target, and keeps the stream when its wire breaks.
//!
//! Whoever is refused is one line of the log with the reason. A stranger costs one of a bounded number of handshakes and
//! nothing else.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::frame::{Code, Control, Hello, Position, Reset, StreamId, short};
use super::keyring::{Known, Proof};
use super::life::{self, Fresh, Greeting, NoMore, Renew};
use super::moving::{self, Arrivals, Moved, Who};
use super::pump::{Policed, Pump, Refusals};
use super::repeats::Repeats;
use super::replication::Replication;
use super::stream::Stream;
use super::threads::Shared;
use super::wire::{Packed, Wire};
use super::{Context, Reconfigured, accept_failed, lock, plain};
use crate::config::link::{End, Link, Target, Trust};
use crate::identity::Identity;
use crate::limits::{LINK_HANDSHAKE, LINK_HANDSHAKES, LINK_HANDSHAKES_OF_A_SOURCE};
use crate::net::{self, Listening, Socket};
use crate::rarely::Rarely;
use crate::tls::pinned;

/// A silent peer of a plain TLS link is asked after so long whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What all connections of one exit share.
struct Exit {
    context: Context,
    /// Handshakes that have not come to an end, by source.
    strangers: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// Also those that began as the link was configured before.
    streams: Arc<Mutex<HashMap<StreamId, Seat>>>,
    /// Where not every command is let through.
    refusals: Option<Arc<Refusals>>,
    /// The line about a target that cannot be reached: probes through a link come many times a second while it is down.
    unreached: Repeats,
    /// Streams of the process that this one has replaced may still come.
    expects: Arc<AtomicBool>,
}

/// Where a new wire for a stream goes.
struct Seat {
    peer: Arc<Known>,
    to: mpsc::UnboundedSender<Call>,
}

/// A wire for a stream that lives on some thread.
struct Call {
    wire: Packed,
    position: Position,
    rest: Vec<u8>,
}

pub(super) async fn accept(
    context: Context,
    socket: Listening,
    mut arrivals: Arrivals,
    mut changes: mpsc::UnboundedReceiver<Reconfigured>,
) {
    let listen = |socket: Listening| match socket {
        Listening::Tcp(socket) => TcpListener::from_std(socket),
        // The configuration gives an exit no other.
        Listening::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    let Ok(mut listener) = listen(socket) else { return };
    let (mut opening, mut closing) = (context.change.clone(), context.change.clone());
    let exit = Exit {
        refusals: Refusals::new(&context.link, &context.counters),
        context,
        strangers: Arc::default(),
        streams: Arc::default(),
        unreached: Repeats::default(),
        expects: Arc::new(AtomicBool::new(true)),
    };
    let mut exit = Arc::new(exit);
    let accepting = async {
        let crowded = Rarely::default();
        let mut open = false;
        loop {
            tokio::select! {
                biased;
                Some(Reconfigured { link, socket }) = changes.recv() => {
                    exit = Arc::new(exit.reconfigured(link));
                    match socket.flatten().map(listen) {
                        None => {}
                        Some(Ok(other)) => listener = other,
                        Some(Err(error)) => accept_failed(&exit.context.link.name, &error).await,
                    }
                }
                opens = opening.opens(), if !open => {
                    if !opens {
                        return;
                    }
                    open = true;
                }
                moved = arrivals.recv(), if exit.expects.load(Relaxed) => match moved {
                    Some(moved) => exit.go_on(moved),
                    // Those that came have their seats.
                    None => exit.expects.store(false, Relaxed),
                },
                accepted = listener.accept(), if open => match accepted {
                    Ok((stream, from)) => exit.begin(stream, from, &crowded),
                    Err(error) => accept_failed(&exit.context.link.name, &error).await,
                },
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        // Those that came go on without the listener.
        () = closing.closes() => {}
    }
}

/// One handshake that counts against its source.
struct Stranger {
    exit: Arc<Exit>,
    source: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut strangers = lock(&self.exit.strangers);
        if let Some(count) = strangers.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                strangers.remove(&self.source);
            }
        }
    }
}

impl Exit {
    /// For what begins from now on; what began before goes on, and can be resumed by either.
    fn reconfigured(&self, link: Arc<Link>) -> Self {
        Self {
            refusals: Refusals::new(&link, &self.context.counters),
            context: Context { link, ..self.context.clone() },
            strangers: Arc::clone(&self.strangers),
            streams: Arc::clone(&self.streams),
            unreached: Repeats::default(),
            expects: Arc::clone(&self.expects),
        }
    }

    fn begin(self: &Arc<Self>, socket: TcpStream, from: SocketAddr, crowded: &Rarely) {
        let Some(stranger) = self.let_stand(from.ip()) else {
            self.context.counters.refused();
            if let Some(more) = crowded.allow(Instant::now()) {
                let name = &self.context.link.name;
                tracing::warn!(
                    "link '{name}' refused {} connections, the last from {from}: too many there have not proven who they are",
                    more + 1
                );
            }
            return;
        };
        let Ok(socket) = socket.into_std() else { return };
        let exit = Arc::clone(self);
        self.context.threads.spawn(Box::new(move |shared| {
            Box::pin(async move {
                if let Ok(socket) = TcpStream::from_std(socket) {
                    exit.serve(socket, from, stranger, shared).await;
                }
            })
        }));
    }

    fn let_stand(self: &Arc<Self>, source: IpAddr) -> Option<Stranger> {
        let mut strangers = lock(&self.strangers);
        let all: usize = strangers.values().sum();
        let of_this = strangers.get(&source).copied().unwrap_or(0);
        if all >= LINK_HANDSHAKES || of_this >= LINK_HANDSHAKES_OF_A_SOURCE {
            return None;
        }
        strangers.insert(source, of_this + 1);
        Some(Stranger { exit: Arc::clone(self), source })
    }

    fn refuse(&self, from: SocketAddr, why: &str) {
        self.context.counters.refused();
        tracing::warn!("link '{}': the connection from {from} is refused: {why}", self.context.link.name);
    }

    async fn serve(self: Arc<Self>, socket: TcpStream, from: SocketAddr, stranger: Stranger, shared: Shared) {
        if !matches!(self.context.link.trust, Trust::Link(_)) {
            return self.plain(socket, from, stranger).await;
        }
        match self.in_time(self.hello(socket)).await {
            Err(why) => self.refuse(from, &why),
            Ok((hello, wire, rest)) => {
                drop(stranger);
                match hello.resume {
                    true => self.resume(hello, wire, rest, from).await,
                    false => self.begin_stream(hello, wire, rest, from, shared).await,
                }
            }
        }
    }

    async fn in_time<T>(&self, handshake: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let done = tokio::time::timeout(LINK_HANDSHAKE, handshake).await;
        done.unwrap_or_else(|_| Err(format!("it did not finish the handshake within {LINK_HANDSHAKE:?}")))
    }

    async fn hello(&self, socket: TcpStream) -> Result<(Hello, Wire, Vec<u8>), String> {
        // As the files say at this moment.
        let tls = self.context.keyring.answers().ok_or("this link is an entry: a defect of Redan")?;
        let wire = Wire::accepted(socket, tls).await;
        let wire = wire.map_err(|error| pinned::trouble(&error))?;
        match life::first_frame(wire).await? {
            Greeting { first: Control::Hello(hello), wire, rest } => Ok((hello, wire, rest)),
            _ => Err("it does not keep to the protocol: its first frame is no hello".to_owned()),
        }
    }

    /// Tells the entry why not, and the log.
    async fn send_away(&self, mut wire: Wire, from: SocketAddr, code: Code, why: String) {
        let again = match code {
            Code::Target => self.unreached.allow(&why, Instant::now()),
            _ => Some(String::new()),
        };
        match again {
            Some(again) => self.refuse(from, &format!("{why} (peer {}){again}", short(&wire.peer))),
            None => self.context.counters.refused(),
        }
        let mut frame = Vec::new();
        Control::Reset(Reset { code, reason: why }).encode(&mut frame);
        // Whoever does not take a few bytes learns it from the end of the connection.
        let _ = tokio::time::timeout(LINK_HANDSHAKE, wire.send(&frame)).await;
        wire.close();
    }

    async fn begin_stream(self: Arc<Self>, hello: Hello, wire: Wire, rest: Vec<u8>, from: SocketAddr, shared: Shared) {
        let (counters, link) = (&self.context.counters, &self.context.link);
        let Some(_open) = counters.open(link.max_connections) else {
            let why = format!("there are {} connections already, `max_connections` of the exit", link.max_connections);
            return self.send_away(wire, from, Code::Full, why).await;
        };
        let guest = match self.context.keyring.admit(Proof::Key(wire.peer)) {
            Ok(guest) => guest,
            Err(why) => return self.send_away(wire, from, Code::Untrusted, why).await,
        };
        let local = match self.connect(&hello.service).await {
            Ok(local) => local,
            Err((code, why)) => return self.send_away(wire, from, code, why).await,
        };
        let (to, calls) = mpsc::unbounded_channel();
        let Some(_seat) = self.seat(hello.id, Seat { peer: guest.known(), to }) else {
            return self.send_away(wire, from, Code::Protocol, "it began a stream that exists".to_owned()).await;
        };
        let whom = format!("{} from {from}", short(&wire.peer));
        let stream = Stream::new(link.replay, Instant::now()).compressed(link.compression);
        let replication = Replication::new(link, counters, whom.clone(), short(&wire.peer));
        let mut pump = Pump::new(stream, local, Arc::clone(counters), shared.0, Some(replication));
        pump.police(self.refusals.as_ref().map(|refusals| Policed::new(refusals, &whom)));
        let stream = Who { id: hello.id, peer: wire.peer, from: &whom, has_program: true };
        let first = Fresh { wire, position: hello.position, rest };
        life::live(&self.context, pump, Some(first), Called(calls), guest, stream).await;
    }

    /// A stream of another process, whose other end will call.
    fn go_on(self: &Arc<Self>, moved: Moved) {
        let (id, peer) = (StreamId(moved.stream.id), Identity(moved.stream.peer));
        // It was let in before.
        let Some(open) = self.context.counters.open(usize::MAX) else { return };
        let guest = match self.context.keyring.admit(Proof::Key(peer)) {
            Ok(guest) => guest,
            Err(why) => return moved.refuse(&self.context, &why),
        };
        // At once, before the other end may ask for it.
        let (to, calls) = mpsc::unbounded_channel();
        let Some(seat) = self.seat(id, Seat { peer: guest.known(), to }) else {
            return moved.refuse(&self.context, "it is here already");
        };
        let exit = Arc::clone(self);
        self.context.threads.spawn(Box::new(move |shared| {
            Box::pin(async move {
                let (_open, _seat, context) = (open, seat, &exit.context);
                let Ok((stream, local, state)) = moved.unpack(context) else { return };
                let replication = moving::replication(context, &state, short(&peer));
                let mut pump = Pump::new(stream, local, Arc::clone(&context.counters), shared.0, replication);
                let refusals = exit.refusals.as_ref();
                pump.police(
                    refusals.map(|refusals| Policed::resumed(refusals, &state.from, state.numbers.is_untouched())),
                );
                let stream = Who { id, peer, from: &state.from, has_program: true };
                life::live(context, pump, None, Called(calls), guest, stream).await;
            })
        }));
    }

    async fn resume(&self, hello: Hello, wire: Wire, rest: Vec<u8>, from: SocketAddr) {
        let to = {
            let streams = lock(&self.streams);
            let known = streams.get(&hello.id);
            known.map(|seat| if seat.peer.is(&wire.peer) { Ok(seat.to.clone()) } else { Err(()) })
        };
        let refusal = match to {
            Some(Ok(to)) => match wire.pack() {
                // It may have ended at this moment; the entry then finds the wire closed, and asks again.
                Ok(wire) => return drop(to.send(Call { wire, position: hello.position, rest })),
                Err(_) => return,
            },
            Some(Err(())) => "it asks for another peer's stream",
            // It asks again in a moment, here or at the process that takes this one's place.
            None if self.expects.load(Relaxed) || self.context.change.is_under_way() => return,
            None => "there is no such stream any more; this end has restarted or given it up",
        };
        self.send_away(wire, from, Code::Unknown, refusal.to_owned()).await;
    }

    fn seat(self: &Arc<Self>, id: StreamId, seat: Seat) -> Option<Seated> {
        let mut streams = lock(&self.streams);
        if streams.contains_key(&id) {
            return None;
        }
        streams.insert(id, seat);
        Some(Seated { exit: Arc::clone(self), id })
    }

    async fn connect(&self, service: &str) -> Result<Socket, (Code, String)> {
        let End::Exit { services, .. } = &self.context.link.end else {
            return Err((Code::Service, "this is no exit".to_owned()));
        };
        let Some(targets) = services.get(service) else {
            let known: Vec<&str> = services.keys().map(String::as_str).collect();
            return Err((Code::Service, format!("the exit has no service '{service}', it has {}", known.join(", "))));
        };
        // The entry waits no longer than that for all of them.
        let share = u32::try_from(targets.len().max(1)).unwrap_or(u32::MAX);
        let timeout = self.context.link.connect_timeout / share;
        let mut failures = Vec::new();
        for target in targets {
            match reach(target, timeout).await {
                Ok(socket) => return Ok(socket),
                Err(why) => failures.push(why),
            }
        }
        let why = failures.join("; ");
        Err((Code::Target, format!("the target of service '{service}' cannot be reached: {why}")))
    }

    /// Without frames, for an end that is not Redan.
    async fn plain(&self, socket: TcpStream, from: SocketAddr, stranger: Stranger) {
        let shaken = async {
            net::tune_client(&socket, Some(KEEPALIVE)).map_err(|error| error.to_string())?;
            // As the files say at this moment.
            let tls = self.context.keyring.answers().ok_or("this link is an entry: a defect of Redan")?;
            let stream = TlsAcceptor::from(tls).accept(socket).await.map_err(|error| pinned::trouble(&error))?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
            Ok((stream, self.context.keyring.admit(Proof::Chain(chain))?))
        };
        let (stream, guest) = match self.in_time(shaken).await {
            Ok(shaken) => shaken,
            Err(why) => return self.refuse(from, &why),
        };
        drop(stranger);
        let Some(_open) = self.context.counters.open(self.context.link.max_connections) else {
            return self.refuse(from, "there are `max_connections` already");
        };
        let End::Exit { services, .. } = &self.context.link.end else { return };
        // Without frames nobody says which service; the configuration has one.
        let Some(service) = services.keys().next() else { return };
        match self.connect(service).await {
            Ok(local) => plain::join(&self.context, stream, local, guest, &from.to_string()).await,
            Err((_, why)) => self.refuse(from, &why),
        }
    }
}

async fn reach(target: &Target, timeout: Duration) -> Result<Socket, String> {
    match target {
        Target::Tcp(address) => net::dial(address, timeout).await.map(Socket::Tcp).map_err(|error| error.to_string()),
        Target::Unix(path) => {
            let socket = UnixStream::connect(path).await;
            socket.map(Socket::Unix).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

/// A stream in the table, until it ends.
struct Seated {
    exit: Arc<Exit>,
    id: StreamId,
}

impl Drop for Seated {
    fn drop(&mut self) {
        lock(&self.exit.streams).remove(&self.id);
    }
}

/// Waits until the entry calls.
struct Called(mpsc::UnboundedReceiver<Call>);

impl Called {
    async fn next(&mut self) -> Fresh {
        loop {
            match self.0.recv().await {
                // The seat, which holds the sender, lives as long as the stream.
                None => std::future::pending().await,
                Some(Call { wire, position, rest }) => {
                    if let Ok(wire) = wire.unpack() {
                        return Fresh { wire, position, rest };
                    }
                }
            }
        }
    }
}

impl Renew for Called {
    const ANSWERS: bool = true;

    async fn interrupted(&mut self) -> Fresh {
        self.next().await
    }

    async fn renew(&mut self, _: Position, _: Instant) -> Result<Fresh, NoMore> {
        Ok(self.next().await)
    }
}
