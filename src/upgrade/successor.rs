//! The old process's part: starts the new one, waits for its word, hands over.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, spawn_blocking};

use super::FROM;
use crate::handover::{Channel, Departure, Hello, Kept, Message, Outbox, PROTOCOL, Ready, Spares};
use crate::notify;

/// The old process may give numbers to some more clients while the new one begins: so many more than it can accept meanwhile.
const NUMBERS_LEFT_OUT: u64 = 65536;

/// A process whose end of the talk is closed has ended, or is about to.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// What an upgrade needs of the process that is to be replaced.
pub(crate) struct Plan {
    pub(crate) kept: Arc<Spares>,
    /// The names of groups that have a master now.
    pub(crate) mastered: Box<dyn Fn() -> Vec<String>>,
    pub(crate) sandboxed: bool,
    /// Set from the start of a process to its end, or to the end of this one.
    pub(crate) under_way: Arc<AtomicBool>,
    /// What CLIENT ID will answer the next client.
    pub(crate) next_id: Arc<AtomicU64>,
}

/// A process that is ready.
pub(crate) struct Successor {
    child: Infant,
    channel: Channel,
    ready: Ready,
    under_way: UnderWay,
}

/// A process that has begun; this one has nothing left to do but to hand over.
pub(crate) struct Leaving {
    pub(crate) outbox: Outbox,
    pub(crate) successor: u32,
    sent: JoinHandle<Sent>,
    /// So that the system's word of its end is taken, should it come first.
    _child: Child,
    _under_way: UnderWay,
}

/// How many clients and streams were handed over; and what went wrong in the end.
type Sent = (usize, usize, io::Result<()>);

/// Killed when dropped, unless it has grown up.
struct Infant(Option<Child>);

impl Drop for Infant {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It fails where it has ended already.
            let _ = child.start_kill();
        }
    }
}

/// True until it is dropped.
struct UnderWay(Arc<AtomicBool>);

impl UnderWay {
    fn begin(flag: Arc<AtomicBool>) -> Self {
        flag.store(true, Relaxed);
        Self(flag)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl Plan {
    /// Starts the new process and waits until it is ready, for so long. Dropped before that, or failed, it leaves nothing behind.
    pub(crate) async fn start(&self, limit: Duration) -> Result<Successor, String> {
        if std::process::id() == 1 {
            return Err(
                "Redan is process 1 here, whose end is the end of the container: replace the container, or start \
                        Redan under an init (docker run --init)"
                    .to_owned(),
            );
        }
        let under_way = UnderWay::begin(Arc::clone(&self.under_way));
        let (program, arguments) = program().map_err(|error| format!("its own program is not found: {error}"))?;
        tracing::info!("upgrade: starting {}", program.display());
        let (channel, theirs) = Channel::pair().map_err(|error| format!("the system gives no sockets: {error}"))?;
        let child = Command::new(&program)
            .args(arguments)
            .env(FROM, std::process::id().to_string())
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        let mut child = Infant(Some(child));
        let talk = {
            let channel = channel.try_clone().map_err(|error| error.to_string())?;
            let kept = self.kept.all();
            let hello = self.hello(kept.len(), limit);
            spawn_blocking(move || introduce(channel, &hello, &kept))
        };
        let said = tokio::time::timeout(limit, talk).await;
        let said =
            said.map_err(|_| format!("the new process was not ready within {limit:?}, the `upgrade_timeout`"))?;
        match said.map_err(|_| "a defect of Redan, please report it".to_owned())? {
            Ok(Message::Ready(ready)) => Ok(Successor { child, channel, ready, under_way }),
            Ok(Message::Failed { why }) => Err(format!("the new process says: {why}")),
            Ok(_) => Err("the new process does not keep to the protocol".to_owned()),
            Err(error) => Err(last_breath(child.0.take(), &error).await),
        }
    }

    fn hello(&self, sockets: usize, limit: Duration) -> Hello {
        Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sockets,
            sandboxed: self.sandboxed,
            mastered: (self.mastered)(),
            patience_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The program that lies where this one was started from, and this one's arguments. A path is taken as it was written, so that a
/// symbolic link leads to what it leads to now.
pub(super) fn program() -> io::Result<(PathBuf, impl Iterator<Item = OsString>)> {
    let mut arguments = std::env::args_os();
    let named = arguments.next().map(PathBuf::from).filter(|name| name.components().count() > 1);
    let program = match named {
        Some(program) => program,
        None => {
            let running = std::fs::read_link("/proc/self/exe")?;
            let text = running.to_string_lossy();
            // What the system adds when another file has taken the place.
            text.strip_suffix(" (deleted)").map_or_else(|| running.clone(), PathBuf::from)
        }
    };
    Ok((program, arguments))
}

/// Hands over the sockets, and waits for the answer.
fn introduce(mut channel: Channel, hello: &Hello, kept: &[Kept]) -> io::Result<Message> {
    let hello = Hello { mastered: hello.mastered.clone(), version: hello.version.clone(), ..*hello };
    channel.send(&Message::Hello(hello), &[], None)?;
    for Kept { given, socket } in kept {
        channel.send(&Message::Socket(given.clone()), &[], Some(socket.as_fd()))?;
    }
    let answer = channel.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(answer.message)
}

async fn last_breath(child: Option<Child>, error: &io::Error) -> String {
    let mut child = Infant(child);
    let Some(running) = &mut child.0 else { return error.to_string() };
    let ended = tokio::time::timeout(LAST_BREATH, running.wait()).await;
    ended.ok().and_then(Result::ok).map_or_else(
        || format!("the new process does not answer: {error}"),
        |status: ExitStatus| format!("the new process ended with {status}; the lines above say why"),
    )
}

impl Successor {
    /// From here on the new process is in charge.
    pub(crate) fn begin(self, plan: &Plan) -> Result<Leaving, String> {
        let Self { mut child, mut channel, ready, under_way } = self;
        let next_id = plan.next_id.load(Relaxed) + NUMBERS_LEFT_OUT;
        let begun = channel.send(&Message::Begin { next_id }, &[], None);
        begun.map_err(|error| format!("the new process ended when it was to begin: {error}"))?;
        let child = child.0.take().ok_or("a defect of Redan, please report it")?;
        let successor = child.id().unwrap_or_default();
        notify::main_process(successor);
        let (sender, departures) = mpsc::channel();
        let sent = spawn_blocking(move || forward(channel, &departures));
        Ok(Leaving { outbox: Outbox::new(sender, ready), successor, sent, _child: child, _under_way: under_way })
    }
}

impl Leaving {
    /// Nobody is left to be handed over. Completes when the new process has been sent all of them.
    pub(crate) async fn end(self) -> Sent {
        self.outbox.put(Departure::End);
        self.sent.await.unwrap_or_else(|error| (0, 0, Err(io::Error::other(error))))
    }
}

fn forward(mut channel: Channel, departures: &Receiver<Departure>) -> Sent {
    let (mut clients, mut streams, mut trouble) = (0, 0, Ok(()));
    for departure in departures {
        let (message, bytes, socket) = match departure {
            Departure::End => break,
            Departure::Client(client, bytes, socket) => (Message::Client(client), bytes, socket),
            Departure::Stream(stream, bytes, socket) => (Message::Stream(stream), bytes, socket),
        };
        let (client, sent) =
            (matches!(message, Message::Client(_)), channel.send(&message, &[&bytes], Some(socket.as_fd())));
        match sent {
            Ok(()) if client => clients += 1,
            Ok(()) => streams += 1,
            // The new process is gone, and with it the service; what can be said is said once.
            Err(error) => trouble = Err(error),
        }
    }
    (clients, streams, trouble)
}
