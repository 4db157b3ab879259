//! Sockets: how Redan dials, listens, and notices that a peer is gone.
//!
//! Used by the transport of the data path, the probes, the acceptor and admin. Never speaks a protocol.

mod shortcut;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as Raw, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

pub(crate) use shortcut::{Caller, Callers, Shortcuts};
pub(crate) use socket::Socket;

use crate::config::Bind;
use crate::limits;
use crate::topology::address::split_host_port;

/// Connections that may wait to be accepted: a whole fleet of clients reconnecting at once must not see
/// refused or retransmitted SYNs. The kernel lowers it to `net.core.somaxconn`, 4096 on current systems.
const BACKLOG: i32 = 4096;

/// An idle connection to a node is asked after 15 s, then every 5 s; after three unanswered questions, 15 + 3 × 5 = 30 s,
/// it is dead. NAT tables of clouds forget idle connections after 60 s or more, so this keeps them alive too.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Sent bytes that stay unacknowledged for so long end the connection. Without it the kernel retransmits for
/// about 15 minutes. Keepalive cannot help there: it is silent while bytes are in flight. The same 30 s.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why no connection came about. Each names the address, so that a log line needs no more context.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("'{0}' is not an address of the form host:port")]
    Malformed(String),
    #[error("the name in '{address}' cannot be resolved: {source}")]
    Unresolved { address: String, source: io::Error },
    #[error("no connection to {address} within {} ms", .timeout.as_millis())]
    Timeout { address: String, timeout: Duration },
    #[error("{address} refused the connection: nothing listens there")]
    Refused { address: String },
    #[error("cannot connect to {address}: {source}")]
    Failed { address: String, source: io::Error },
    /// The link through which it is reached has no way to it.
    #[error("{address}: {why}")]
    Link { address: String, why: String },
}

/// Connects to `host:port`, trying every address the name has; none may eat the time of those after it.
pub(crate) async fn dial(address: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + timeout;
    let late = || DialError::Timeout { address: address.to_owned(), timeout };
    if split_host_port(address).is_none() {
        return Err(DialError::Malformed(address.to_owned()));
    }
    let found = match tokio::time::timeout_at(deadline, tokio::net::lookup_host(address)).await {
        Err(_) => return Err(late()),
        Ok(Err(source)) => return Err(DialError::Unresolved { address: address.to_owned(), source }),
        Ok(Ok(found)) => found.collect::<Vec<SocketAddr>>(),
    };
    let mut last = None;
    for (index, target) in found.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let tries = u32::try_from(found.len() - index).unwrap_or(u32::MAX);
        match tokio::time::timeout(left / tries, connect(*target)).await {
            Ok(Ok(stream)) => {
                tune(&stream).map_err(|source| DialError::Failed { address: address.to_owned(), source })?;
                return Ok(stream);
            }
            Ok(Err(source)) => last = Some(source),
            Err(_) => last = last.or_else(|| Some(io::ErrorKind::TimedOut.into())),
        }
    }
    let address = address.to_owned();
    Err(match last {
        Some(source) if source.kind() == io::ErrorKind::ConnectionRefused => DialError::Refused { address },
        Some(source) if source.kind() == io::ErrorKind::TimedOut => DialError::Timeout { address, timeout },
        Some(source) => DialError::Failed { address, source },
        None => DialError::Unresolved { address, source: io::ErrorKind::NotFound.into() },
    })
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    leave_unpaced(&socket, target.ip());
    socket.connect(target).await
}

/// Gives a socket that stays on this machine, before it connects or listens, a congestion control that sets no timers. Where the
/// system's is BBR, every connection over loopback else waits for a timer between bursts, a fifth of a link's CPU and more.
/// Sockets that are accepted have that of their listener; BBR's timers outlive it where it is replaced later.
fn leave_unpaced(socket: &impl AsFd, address: IpAddr) {
    #[cfg(target_os = "linux")]
    if address.is_loopback() {
        // Every kernel has Reno and lets everybody use it; without it the connection is slower and no worse.
        let _ = SockRef::from(socket).set_tcp_congestion(b"reno");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, address);
}

/// What a connection to a node gets. NODELAY because Redan writes whole batches: a delayed last segment would only wait
/// for the peer's delayed ACK (40 ms).
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// What a connection between the two ends of a link gets: a peer that is gone must be found within `dead_after`.
pub(crate) fn tune_link(stream: &TcpStream, dead_after: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(dead_after))?;
    Ok(())
}

/// What a client's connection gets. `after` is the listener's `tcp_keepalive`; further questions come after a third of it,
/// as Redis has it.
pub(crate) fn tune_client(stream: &impl AsFd, after: Option<Duration>) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    match after {
        None => socket.set_keepalive(false)?,
        // Systems count in whole seconds.
        Some(after) => socket.set_tcp_keepalive(&keepalive(after, (after / 3).max(Duration::from_secs(1))))?,
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(limits::STALLED_ALONE_S)))?;
    Ok(())
}

fn keepalive(idle: Duration, interval: Duration) -> TcpKeepalive {
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(KEEPALIVE_RETRIES)
}

/// A bound, listening, non-blocking socket, ready to be handed to the runtime of the thread that accepts.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// A second handle of the same socket, which goes on listening as long as either lives.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {bind}: {problem}")]
pub(crate) struct BindError {
    bind: Bind,
    problem: String,
}

/// Binds and listens.
pub(crate) fn bind(bind: &Bind) -> Result<Listening, BindError> {
    let refuse = |problem: String| BindError { bind: bind.clone(), problem };
    match bind {
        Bind::Tcp(address) => bind_tcp(*address).map(Listening::Tcp).map_err(|error| refuse(words(&error))),
        Bind::Unix { path, mode } => {
            refuse_if_used(path).map_err(refuse)?;
            bind_unix(path, *mode).map(Listening::Unix).map_err(|error| refuse(words(&error)))
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; stop it or choose another address".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this host has no such address; check `bind`".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, socket files a writable folder".to_owned()
        }
        io::ErrorKind::NotFound => "the folder does not exist; create it".to_owned(),
        _ => error.to_string(),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Raw::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old process's connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    leave_unpaced(&socket, address.ip());
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket file that nobody listens on is left over from a process that was killed, and is replaced.
/// Anything else at that path is not ours to remove.
fn refuse_if_used(path: &Path) -> Result<(), String> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err("the path exists and is not a socket; move it away or choose another path".to_owned());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("the socket exists and cannot be tried: {error}; remove it if it is stale")),
        Ok(_) => Err(words(&io::ErrorKind::AddrInUse.into())),
    }
}

/// Binds in a private folder, sets the permission bits, then moves the socket to its place: at no moment can
/// somebody connect whom `mode` forbids, and a stale socket is replaced in one step.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // A socket's path holds 107 bytes: the private name is kept short.
    let private = tempfile::Builder::new().prefix(".r").rand_bytes(6).tempdir_in(parent)?;
    let place = private.path().join("s");
    let socket = Raw::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&place)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&place, path)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dialling_tells_refused_from_malformed_from_unknown() {
        let free = bind(&Bind::Tcp(([127, 0, 0, 1], 0).into())).expect("bind");
        let Listening::Tcp(listener) = free else { panic!("a TCP listener") };
        let address = listener.local_addr().expect("bound").to_string();
        let second = Duration::from_secs(5);
        assert!(dial(&address, second).await.is_ok());
        drop(listener);
        assert!(matches!(dial(&address, second).await, Err(DialError::Refused { .. })));
        assert!(matches!(dial("nonsense", second).await, Err(DialError::Malformed(_))));
        assert!(matches!(
            dial("no.such.host.invalid:1", second).await,
            Err(DialError::Unresolved { .. } | DialError::Timeout { .. })
        ));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_on_this_machine_are_not_paced() {
        let Listening::Tcp(listener) = bind(&Bind::Tcp(([127, 0, 0, 1], 0).into())).expect("bind") else {
            panic!("a TCP listener")
        };
        let address = listener.local_addr().expect("bound").to_string();
        let dialled = dial(&address, Duration::from_secs(5)).await.expect("connected");
        listener.set_nonblocking(false).expect("a listener");
        let (accepted, _) = listener.accept().expect("it came");
        for socket in [SockRef::from(&dialled), SockRef::from(&accepted)] {
            let name = socket.tcp_congestion().expect("a name");
            assert!(name.starts_with(b"reno"), "{}", String::from_utf8_lossy(&name));
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("redis.sock");
        let unix = Bind::Unix { path: path.clone(), mode: 0o760 };
        let first = bind(&unix).expect("first");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o760);
        assert!(bind(&unix).expect_err("in use").to_string().contains("another process listens"));
        drop(first);
        let _second = bind(&unix).expect("the first one is stale now");
        UnixStream::connect(&path).expect("the second one listens");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1, "nothing is left behind");

        let file = folder.path().join("file");
        std::fs::write(&file, "precious").expect("write");
        let error = bind(&Bind::Unix { path: file.clone(), mode: 0o700 }).expect_err("not a socket");
        assert!(error.to_string().contains("not a socket"));
        assert!(file.exists());
    }
}
