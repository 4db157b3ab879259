//! A worker: one thread that serves its share of the clients with backend connections of its own.
//!
//! `app` starts it, the acceptor gives it sockets, control tells it of new snapshots; all through its [`Mailbox`].
//! Everything else in here stays on the thread: `Rc`, `Cell`, `RefCell`. It must never wait for another thread.

mod certificate;
mod change;
mod farewell;
mod handshake;
mod lingering;
mod mailbox;
mod seat;
mod trust;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::MissedTickBehavior;

use self::certificate::Standing;
pub(crate) use self::change::Change;
pub(crate) use self::farewell::{Refused, Tickets};
use self::handshake::{Failure, Handshakes};
use self::lingering::Lingerer;
use self::mailbox::Mail;
pub(crate) use self::mailbox::{Arrival, Bell, Letters, Mailbox, Socket, mailbox};
pub(crate) use self::seat::{Seat, Seats};
use crate::backend::pool::{GroupSetup, Pool};
use crate::config::{Listener, User};
use crate::handover::{Client, Outbox};
use crate::insight::trace::Outlet;
use crate::insight::{self, Insight};
use crate::memory::{Account, Memory};
use crate::metrics::WorkerCounters;
use crate::session::clients::answer;
use crate::session::context::{Context, Live, Workspace};
use crate::session::holding::Holding;
use crate::session::switchboard::{Answer, Ask, Question, Switchboard};
use crate::session::{Peer, Session, relieve};
use crate::throttle::Throttle;
use crate::tls::server::Serving;
use crate::transport::{CipherBuffer, Stream};

/// How often the worker shows that it lives and looks for clients that are idle or slow.
const BEAT: Duration = Duration::from_secs(1);

/// What a worker is made of.
pub(crate) struct Setup {
    /// When the process started.
    pub(crate) started: Instant,
    pub(crate) counters: Arc<WorkerCounters>,
    /// By their numbers: in the order of `Config::groups`, at the start.
    pub(crate) groups: Vec<GroupSetup>,
    /// By their numbers: in the order of `Config::listeners`, at the start.
    pub(crate) doors: Vec<Door>,
    pub(crate) throttle: Arc<Mutex<Throttle>>,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) insight: insight::Settings,
    /// Who is told of sampled commands; `None`: the log.
    pub(crate) outlet: Option<Outlet>,
    /// Its place among the workers, and how many there are.
    pub(crate) number: usize,
    pub(crate) workers: usize,
    /// Spreads load differently on each worker.
    pub(crate) seed: u64,
}

/// A listener and what it presents to clients.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) listener: Arc<Listener>,
    pub(crate) tls: Option<Arc<Serving>>,
    /// Shared by all workers.
    pub(crate) holding: Arc<Holding>,
}

/// The same to this worker.
struct Doorway {
    context: Rc<Context>,
    /// What holds now; `None` is plaintext.
    tls: RefCell<Option<Arc<Serving>>>,
}

impl Doorway {
    fn serving(&self) -> Option<Arc<Serving>> {
        self.tls.borrow().clone()
    }
}

/// Where a listener does not say.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until drained or stopped; returns how many sessions were cut off. To be called on a thread of its own.
pub(crate) fn run(setup: Setup, letters: Letters) -> io::Result<usize> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    // Sessions that are left when this returns are closed when the runtime is dropped.
    Ok(runtime.block_on(async { Worker::new(setup).serve(letters).await }))
}

struct Worker {
    number: usize,
    started: Instant,
    counters: Arc<WorkerCounters>,
    workspace: Rc<Workspace>,
    cipher: Rc<RefCell<CipherBuffer>>,
    seed: u64,
    /// By the numbers of groups; `None` is one that is gone.
    pools: RefCell<Vec<Option<Rc<Pool>>>>,
    /// By the numbers of listeners.
    doors: RefCell<Vec<Option<Rc<Doorway>>>>,
    handshakes: Handshakes,
    /// Sessions past their handshake, by id.
    live: Live,
    /// Clients that were told of the end and may not know it yet.
    lingering: Cell<usize>,
    /// While draining: a session ended.
    ended: Notify,
}

impl Worker {
    fn new(setup: Setup) -> Rc<Self> {
        let Setup { started, counters, groups, doors, throttle, switchboard, memory, number, seed, .. } = setup;
        counters.notable.slow_from(setup.insight.slow_micros());
        counters.notable.big_from(setup.insight.big);
        let insight = Insight::new(&setup.insight, number, setup.workers, seed);
        let cipher = Rc::new(RefCell::new(CipherBuffer::new()));
        let account = Account::new(memory, number);
        let (own, cipher_of_all) = (Arc::clone(&counters), Rc::clone(&cipher));
        let workspace = Workspace::new(own, cipher_of_all, throttle, switchboard, account, insight, setup.outlet);
        let workspace = Rc::new(workspace);
        let (handshakes, live, ended) = (Handshakes::new(), Live::clone(&workspace.live), Notify::new());
        let worker = Self {
            number,
            started,
            counters,
            workspace,
            cipher,
            seed,
            pools: RefCell::default(),
            doors: RefCell::default(),
            handshakes,
            live,
            lingering: Cell::new(0),
            ended,
        };
        groups.into_iter().for_each(|group| worker.add_group(group));
        doors.into_iter().enumerate().for_each(|(number, door)| worker.add_door(number, door));
        Rc::new(worker)
    }

    /// `None`: it is gone.
    fn pool(&self, group: usize) -> Option<Rc<Pool>> {
        self.pools.borrow().get(group)?.clone()
    }

    /// `None`: it is gone.
    fn door(&self, listener: usize) -> Option<Rc<Doorway>> {
        self.doors.borrow().get(listener)?.clone()
    }

    async fn serve(self: Rc<Self>, mut letters: Letters) -> usize {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let draining = self.workspace.draining.get();
            if draining && self.has_nobody() {
                return 0;
            }
            tokio::select! {
                mail = letters.next() => match mail {
                    Some(Mail::Accepted(arrival)) => self.admit(arrival),
                    Some(Mail::Refused(refused)) => self.turn_away(refused),
                    // Control and workers number the groups alike.
                    Some(Mail::Topology(group, _)) => self.topology(group),
                    Some(Mail::Ask(question)) => self.answer(question),
                    Some(Mail::Serving(listener, serving)) => self.present(listener, serving),
                    Some(Mail::Keyring(group)) => self.keyring(group),
                    Some(Mail::HandOver(outbox)) => self.hand_over(outbox),
                    Some(Mail::Change(change)) => self.change(change),
                    Some(Mail::Drain) => self.drain(),
                    Some(Mail::Stop) | None => return self.live.borrow().len(),
                },
                _ = beat.tick() => self.beat(),
                () = self.workspace.account.called() => relieve(&self.workspace),
                () = self.ended.notified(), if draining => {}
            }
        }
    }

    /// Where another process has taken the place, nobody may be left in a handshake either: a client that was accepted is served.
    fn has_nobody(&self) -> bool {
        let shaking = self.workspace.is_patient() && self.counters.sessions_open.get() > 0;
        self.live.borrow().is_empty() && !shaking && self.lingering.get() == 0
    }

    fn beat(&self) {
        let now = Instant::now();
        let age = now.saturating_duration_since(self.started);
        self.counters.heartbeat_ms.set(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let mut longest_hold = Duration::ZERO;
        for session in self.live.borrow().values() {
            session.tick(now);
            longest_hold = longest_hold.max(session.held_for(now));
        }
        self.counters.longest_hold_ms.set(u64::try_from(longest_hold.as_millis()).unwrap_or(u64::MAX));
        for pool in self.pools.borrow().iter().flatten() {
            pool.tick(now);
        }
        self.workspace.tick();
        self.workspace.insight.borrow_mut().slow.tick();
        if self.workspace.account.memory().is_over() {
            relieve(&self.workspace);
        }
    }

    /// A session that waits for its own connection to a master that was, and has fallen silent, would wait for ever.
    fn topology(&self, group: usize) {
        let Some(pool) = self.pool(group) else { return };
        let before = Arc::clone(&pool.snapshot());
        pool.topology_changed();
        if pool.snapshot().gives_up_more_than(&before) {
            for session in self.live.borrow().values() {
                session.wake();
            }
        }
    }

    fn answer(&self, question: Question) {
        if let Ask::Insight(ask) = &*question.ask {
            let answer = self.workspace.insight.borrow_mut().answer(*ask);
            // Who asked may have lost patience.
            let _ = question.answers.send(Answer::Insight(answer));
            return;
        }
        let group = question.group;
        let Some(pool) = self.pool(group) else { return };
        let live = self.live.borrow();
        let of_group = |session: &&Rc<Session>| session.group() == group;
        let one = |id| live.get(&id).filter(of_group);
        answer::answer(question, self.number, &pool, live.values().filter(of_group), one);
    }

    fn hand_over(&self, outbox: Outbox) {
        self.workspace.hand_over(outbox);
        self.wake_all();
    }

    /// Handshakes that are under way get no answer any more: nothing is owed to those clients.
    fn drain(&self) {
        self.workspace.drain();
        self.wake_all();
    }

    fn wake_all(&self) {
        for session in self.live.borrow().values() {
            session.wake();
        }
    }

    /// A socket from the acceptor becomes a session, through a handshake where the listener has TLS.
    fn admit(self: &Rc<Self>, arrival: Arrival) {
        let Arrival { id, socket, peer, listener, seat, was } = arrival;
        // It was accepted before the listener was closed.
        let Some(door) = self.door(listener) else { return };
        self.counters.sessions_total.increment();
        self.counters.sessions_open.increment();
        let presence = Presence { worker: Rc::clone(self), id, _seat: seat };
        let context = Rc::clone(&door.context);
        let admitted = match (socket, door.serving()) {
            (Socket::Tcp(tcp), Some(serving)) => tokio::net::TcpStream::from_std(tcp).map(|tcp| {
                spawn_local(Self::shake(presence, door, serving, tcp, peer));
            }),
            (Socket::Tcp(tcp), None) => tokio::net::TcpStream::from_std(tcp).map(|tcp| {
                presence.open(tcp.into(), peer, context, None, was);
            }),
            (Socket::Unix(unix), _) => tokio::net::UnixStream::from_std(unix).map(|unix| {
                presence.open(unix.into(), peer, context, None, was);
            }),
        };
        if let Err(error) = admitted {
            self.counters.sessions_rejected.increment();
            tracing::error!("closed a new client: the system cannot watch its socket: {error}; raise its limits");
        }
    }

    fn turn_away(self: &Rc<Self>, refused: Refused) {
        let worker = Rc::clone(self);
        // A listener without TLS tells its clients itself.
        if let Some(serving) = self.door(refused.listener).and_then(|door| door.serving()) {
            spawn_local(async move { farewell::say(refused, &serving, &worker.handshakes).await });
        }
    }

    async fn shake(
        presence: Presence,
        door: Rc<Doorway>,
        serving: Arc<Serving>,
        tcp: tokio::net::TcpStream,
        peer: Peer,
    ) {
        let worker = Rc::clone(&presence.worker);
        let context = Rc::clone(&door.context);
        // A listener of TLS has a limit.
        let limit = context.listener().tls.as_ref().map_or(LONGEST_HANDSHAKE, |tls| tls.handshake_timeout);
        let shaken = worker.handshakes.accept(Arc::clone(&serving.config), limit, tcp).await;
        match shaken.and_then(|stream| worker.believe(&door, &serving, stream)) {
            Ok(stream) => {
                worker.counters.tls_handshakes.increment();
                let listener = Arc::clone(&context.listener());
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let user = match certificate::standing(&listener, shown) {
                    Standing::Known(user) => Some(user),
                    Standing::Unknown(why) => {
                        if let Some(why) = why {
                            worker.handshakes.complain(&listener.name, "no user by its certificate for", &peer, &why);
                        }
                        None
                    }
                    Standing::Refused(why) => {
                        worker.counters.auth_failures.increment();
                        return worker.handshakes.complain(&listener.name, "closed client", &peer, &why);
                    }
                };
                presence.open(stream.into(), peer, context, user, None);
            }
            Err(Failure::Silent) => {}
            Err(Failure::Refused(why)) => {
                worker.counters.tls_failures.increment();
                worker.handshakes.complain(&context.listener().name, "no TLS session with", &peer, &why);
            }
        }
    }
}

/// A client's being here, from the acceptor's hand to its end, however that comes: its seat, its count, its entry.
struct Presence {
    worker: Rc<Worker>,
    id: u64,
    _seat: Seat,
}

impl Presence {
    /// `user` is whom the client's certificate has named, `was` what the client was in another process.
    fn open(
        self,
        stream: Stream,
        peer: Peer,
        context: Rc<Context>,
        user: Option<&User>,
        was: Option<Box<(Client, Vec<u8>)>>,
    ) {
        let session = Session::new(self.id, stream, peer, context);
        if let Some(user) = user {
            session.recognise(user);
        }
        if let Some(was) = was {
            let (client, sent) = *was;
            session.goes_on(client, sent);
        }
        self.worker.live.borrow_mut().insert(self.id, Rc::clone(&session));
        spawn_local(live(self, session));
    }
}

/// The task of a session. It lives as long as the client, mostly idle, so it must stay small.
async fn live(presence: Presence, session: Rc<Session>) {
    Rc::clone(&session).run().await;
    let (worker, socket) = (Rc::clone(&presence.worker), session.lingers());
    drop((session, presence));
    if let Some(socket) = socket {
        // Its state is freed with it; a session's task stays small.
        spawn_local(lingering::linger(Lingerer::new(worker), socket));
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let counters = &self.worker.counters;
        if std::thread::panicking() {
            counters.panics.increment();
            tracing::error!("client {} was closed by a defect of Redan: please report the panic logged above", self.id);
        }
        let session = self.worker.live.borrow_mut().remove(&self.id);
        // Not within the borrow: what goes with the session may look at the worker.
        drop(session);
        counters.sessions_open.decrement();
        if self.worker.workspace.draining.get() {
            self.worker.ended.notify_one();
        }
    }
}
