//! The end to which programs connect: for each connection a TLS connection to the exit, made again when it breaks.
//!
//! A program whose connection cannot be carried on is reset at once, so that it tries again instead of waiting.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_rustls::TlsConnector;

use super::counters::Open;
use super::frame::{Code, Control, Hello, Position, Reset, StreamId, short};
use super::keyring::{Guest, Keyring, Known, Proof};
use super::life::{self, Fresh, Greeting, NoMore, Renew};
use super::moving::{self, Arrivals, Moved, Who};
use super::pump::Pump;
use super::repeats::Repeats;
use super::replication::Replication;
use super::stream::Stream;
use super::threads::Shared;
use super::wire::Wire;
use super::{Context, Reconfigured, accept_failed, plain};
use crate::config::link::{End, Trust};
use crate::identity::Identity;
use crate::limits::{LINK_DIALS, LINK_HANDSHAKE};
use crate::net::{self, Caller, Callers, Listening, Socket};
use crate::rarely::Rarely;
use crate::tls::mutual;
use crate::tls::pinned;

/// Between two attempts to go on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why there is no wire.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed.
    Now(String),
    /// It will not.
    Ever(String),
    /// The exit does not know the stream.
    Unknown(String),
}

/// Who has connected.
pub(super) struct Program {
    /// For the log.
    from: String,
    /// A group of this process, which says itself what it could not reach.
    told: Option<oneshot::Sender<Result<(), String>>>,
}

impl Program {
    /// It has a way to the target. Returns its name.
    pub(super) fn accept(self) -> String {
        if let Some(told) = self.told {
            // Who has not waited for it has closed its socket, and the stream ends by that.
            let _ = told.send(Ok(()));
        }
        self.from
    }

    /// Its connection cannot be carried on.
    pub(super) fn refuse(self, context: &Context, refusals: &Repeats, local: &Socket, why: String) {
        context.counters.refused();
        if let Some(told) = self.told {
            // As above.
            let _ = told.send(Err(why));
        } else if let Some(again) = refusals.allow(&why, Instant::now()) {
            tracing::warn!("link '{}': the connection of {} is reset: {why}{again}", context.link.name, self.from);
        }
        local.reset_when_closed();
    }
}

/// What it takes to reach the exit.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) to: String,
    service: String,
    keyring: Arc<Keyring>,
    /// What the exit's certificate must be for, where a CA decides; with pinned keys it is not looked at.
    name: ServerName<'static>,
    timeout: Duration,
    /// The exit refuses whoever has too many handshakes under way.
    turns: Arc<Semaphore>,
    pub(super) refusals: Arc<Repeats>,
}

/// Without a socket only groups of this process connect.
pub(super) async fn accept(
    mut context: Context,
    socket: Option<Listening>,
    mut callers: Callers,
    mut arrivals: Arrivals,
    mut changes: mpsc::UnboundedReceiver<Reconfigured>,
) {
    let Some(mut dialer) = Dialer::new(&context) else { return };
    let (mut opening, mut closing, mut stopping) =
        (context.change.clone(), context.change.clone(), context.change.clone());
    let accepting = async {
        let full = Rarely::default();
        let Ok(mut door) = Door::open(socket) else { return };
        let (mut open, mut closed) = (false, false);
        loop {
            let arrived = tokio::select! {
                biased;
                Some(Reconfigured { link, socket }) = changes.recv(), if !closed => {
                    context.link = link;
                    if let Some(now) = Dialer::new(&context) {
                        dialer = now.instead_of(&dialer);
                    }
                    match socket.map(Door::open) {
                        None => {}
                        Some(Ok(other)) => door = other,
                        Some(Err(error)) => accept_failed(&context.link.name, &error).await,
                    }
                    continue;
                }
                opens = opening.opens(), if !open && !closed => {
                    (open, closed) = (opens, !opens);
                    continue;
                }
                // Groups of this process go on as long as it does.
                () = closing.closes(), if !closed => {
                    (open, closed, door) = (false, true, Door::None);
                    continue;
                }
                Some(moved) = arrivals.recv() => {
                    go_on(&context, &dialer, moved);
                    continue;
                }
                arrived = door.next(), if open => arrived,
                Some(Caller { socket, told }) = callers.recv() => UnixStream::from_std(socket)
                    .map(|local| (Socket::Unix(local), Program { from: "this Redan".to_owned(), told: Some(told) })),
                // Nobody will come any more.
                else => std::future::pending().await,
            };
            match arrived {
                Ok((local, program)) => begin(&context, &dialer, local, program, &full),
                Err(error) => accept_failed(&context.link.name, &error).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopping.ends() => {}
    }
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
    None,
}

impl Door {
    fn open(socket: Option<Listening>) -> io::Result<Self> {
        Ok(match socket {
            Some(Listening::Tcp(socket)) => Self::Tcp(TcpListener::from_std(socket)?),
            Some(Listening::Unix(socket)) => Self::Unix(UnixListener::from_std(socket)?),
            None => Self::None,
        })
    }

    async fn next(&self) -> io::Result<(Socket, Program)> {
        let program = |from| Program { from, told: None };
        match self {
            Self::None => std::future::pending().await,
            Self::Tcp(listener) => {
                let (socket, from) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok((Socket::Tcp(socket), program(from.to_string())))
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                let from =
                    socket.peer_cred().map_or_else(|_| "a program".to_owned(), |who| format!("uid {}", who.uid()));
                Ok((Socket::Unix(socket), program(from)))
            }
        }
    }
}

/// Gives a connection to a thread.
fn begin(context: &Context, dialer: &Dialer, local: Socket, program: Program, full: &Rarely) {
    let limit = context.link.max_connections;
    let Some(open) = context.counters.open(limit) else {
        context.counters.refused();
        if let Some(more) = full.allow(Instant::now()) {
            let name = &context.link.name;
            let refused = more + 1;
            tracing::warn!(
                "link '{name}' refused {refused} connections: it has {limit}, its `max_connections`; raise it"
            );
        }
        if let Some(told) = program.told {
            // As in `refuse`.
            let _ = told.send(Err(format!("the link has {limit} connections, its `max_connections`")));
        }
        local.reset_when_closed();
        return;
    };
    // The socket belongs to this thread's event loop; where it goes is another's.
    let Ok(packed) = life::pack(local) else { return };
    let (context, dialer) = (context.clone(), dialer.clone());
    let threads = context.threads.clone();
    threads.spawn(Box::new(move |shared| {
        Box::pin(async move {
            if let Ok(local) = life::unpack(packed) {
                serve(context, dialer, local, program, open, shared).await;
            }
        })
    }));
}

async fn serve(context: Context, dialer: Dialer, local: Socket, program: Program, _open: Open, shared: Shared) {
    if !matches!(context.link.trust, Trust::Link(_)) {
        return plain::entry(context, dialer, local, program).await;
    }
    let mut id = [0; 16];
    if aws_lc_rs::rand::fill(&mut id).is_err() {
        return local.reset_when_closed();
    }
    let mut stream = Stream::new(context.link.replay, Instant::now()).compressed(context.link.compression);
    let mut redial = Redial { dialer, id: StreamId(id), peer: None, began: false };
    let began = redial.dial(stream.position()).await.and_then(|fresh| {
        let guest = context.keyring.admit(Proof::Key(fresh.wire.peer)).map_err(Failure::Now)?;
        Ok((fresh, guest))
    });
    let (fresh, guest) = match began {
        Ok(began) => began,
        Err(Failure::Now(why) | Failure::Ever(why) | Failure::Unknown(why)) => {
            return program.refuse(&context, &redial.dialer.refusals, &local, why);
        }
    };
    redial.began = true;
    redial.peer = Some(guest.known());
    // Redan is no replica, and nothing of what it says has to be looked at.
    let watched = program.told.is_none();
    let from = program.accept();
    // The port differs at each connection.
    let who = from.rsplit_once(':').map_or(from.as_str(), |(host, _)| host).to_owned();
    let replication = watched.then(|| Replication::new(&context.link, &context.counters, from.clone(), who));
    let pump = Pump::new(stream, local, Arc::clone(&context.counters), shared.0, replication);
    let stream = Who { id: redial.id, peer: fresh.wire.peer, from: &from, has_program: watched };
    life::live(&context, pump, Some(fresh), redial, guest, stream).await;
}

/// A stream of another process, whose other end waits.
fn go_on(context: &Context, dialer: &Dialer, moved: Moved) {
    let (id, peer) = (StreamId(moved.stream.id), Identity(moved.stream.peer));
    // It was let in before.
    let Some(open) = context.counters.open(usize::MAX) else { return };
    let guest = match context.keyring.admit(Proof::Key(peer)) {
        Ok(guest) => guest,
        Err(why) => return moved.refuse(context, &why),
    };
    let (context, dialer) = (context.clone(), dialer.clone());
    let threads = context.threads.clone();
    threads.spawn(Box::new(move |shared| {
        Box::pin(async move {
            let _open = open;
            let Ok((stream, local, state)) = moved.unpack(&context) else { return };
            let redial = Redial { dialer, id, peer: Some(guest.known()), began: true };
            let who = state.from.rsplit_once(':').map_or(state.from.as_str(), |(host, _)| host).to_owned();
            let replication = moving::replication(&context, &state, who);
            let pump = Pump::new(stream, local, Arc::clone(&context.counters), shared.0, replication);
            let stream = Who { id, peer, from: &state.from, has_program: true };
            life::live(&context, pump, None, redial, guest, stream).await;
        })
    }));
}

/// Makes the wire again.
struct Redial {
    dialer: Dialer,
    id: StreamId,
    /// Who was at the other end first; nobody else may go on in its place.
    peer: Option<Arc<Known>>,
    began: bool,
}

impl Redial {
    async fn dial(&self, position: Position) -> Result<Fresh, Failure> {
        let Dialer { to, service, timeout, .. } = &self.dialer;
        let hello = Control::Hello(Hello { id: self.id, resume: self.began, position, service: service.clone() });
        let turn = self.dialer.turns.acquire().await;
        let wire = self.dialer.shake_hands().await?;
        if self.peer.as_ref().is_some_and(|peer| !peer.is(&wire.peer)) {
            return Err(Failure::Ever(format!("{to} is now another peer, {}", short(&wire.peer))));
        }
        let greeting = tokio::time::timeout(*timeout, life::greet(wire, &hello));
        let silent = || Failure::Now(format!("{to} does not answer within {timeout:?}"));
        let greeting = greeting.await.map_err(|_| silent())?;
        drop(turn);
        match greeting {
            Err(why) => Err(Failure::Now(format!("{to}: {why}"))),
            Ok(Greeting { first: Control::Welcome(position), wire, rest }) => Ok(Fresh { wire, position, rest }),
            Ok(Greeting { first: Control::Reset(Reset { code, reason }), .. }) => {
                let why = format!("{to} refused it: {reason}");
                Err(if code == Code::Unknown { Failure::Unknown(why) } else { Failure::Ever(why) })
            }
            Ok(_) => Err(Failure::Ever(format!("{to} does not keep to the protocol: its first frame is no answer"))),
        }
    }
}

impl Dialer {
    /// As the link is configured now; `None`: it is no entry.
    fn new(context: &Context) -> Option<Self> {
        let End::Entry { to, service, .. } = &context.link.end else { return None };
        let name = match &context.link.trust {
            Trust::CaTls(files) => mutual::server_name(files, to),
            _ => ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()),
        };
        Some(Self {
            to: to.clone(),
            service: service.clone(),
            keyring: Arc::clone(&context.keyring),
            name,
            timeout: context.link.connect_timeout,
            turns: Arc::new(Semaphore::new(LINK_DIALS)),
            refusals: Arc::default(),
        })
    }

    /// Connections of both dial in turn.
    fn instead_of(self, before: &Self) -> Self {
        Self { turns: Arc::clone(&before.turns), refusals: Arc::clone(&before.refusals), ..self }
    }

    /// A connection whose other end has proven who it is.
    async fn shake_hands(&self) -> Result<Wire, Failure> {
        let socket = self.dial().await?;
        let wire = Wire::dialled(socket, self.tls_now()?, self.name.clone());
        self.in_time(wire).await
    }

    async fn dial(&self) -> Result<TcpStream, Failure> {
        net::dial(&self.to, self.timeout).await.map_err(|error| Failure::Now(error.to_string()))
    }

    /// A handshake, or why not.
    async fn in_time<T>(&self, handshake: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        let (to, timeout) = (&self.to, LINK_HANDSHAKE.min(self.timeout));
        match tokio::time::timeout(timeout, handshake).await {
            Err(_) => Err(Failure::Now(format!("{to} does not finish the handshake within {timeout:?}"))),
            Ok(Err(error)) => Err(Failure::Now(format!("{to}: {}", pinned::trouble(&error)))),
            Ok(Ok(done)) => Ok(done),
        }
    }

    /// Without frames, for an end that is not Redan.
    pub(super) async fn tls(&self) -> Result<(tokio_rustls::client::TlsStream<TcpStream>, Guest), Failure> {
        let socket = self.dial().await?;
        let connector = TlsConnector::from(self.tls_now()?);
        let stream = self.in_time(connector.connect(self.name.clone(), socket).into_future()).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let guest = self.keyring.admit(Proof::Chain(chain)).map_err(Failure::Now)?;
        Ok((stream, guest))
    }

    /// As the files say at this moment.
    fn tls_now(&self) -> Result<Arc<ClientConfig>, Failure> {
        self.keyring.dials().ok_or_else(|| Failure::Ever("this link is an exit: a defect of Redan".to_owned()))
    }
}

impl Renew for Redial {
    const ANSWERS: bool = false;

    async fn interrupted(&mut self) -> Fresh {
        // Only the exit is called by the other end.
        std::future::pending().await
    }

    async fn renew(&mut self, position: Position, until: Instant) -> Result<Fresh, NoMore> {
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.dial(position).await {
                Ok(fresh) => return Ok(fresh),
                Err(Failure::Ever(why)) => return Err(NoMore { why, unknown: false }),
                Err(Failure::Unknown(why)) => return Err(NoMore { why, unknown: true }),
                Err(Failure::Now(why)) => why,
            };
            if Instant::now() + pause >= until {
                return Err(NoMore { why: format!("the last attempt: {why}"), unknown: false });
            }
            tracing::debug!("not yet resumed: {why}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
