//! What the service manager is told: ready, reading files anew, ending, and still alive, as sd_notify(3) has it.
//!
//! Used by `app`, `drain` and `renewal`; a few messages in a process's life, and nothing where no service manager asks for
//! them. It must never fail the process: a manager that cannot be told is one line of the log.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// All sockets are bound and clients are served.
pub(crate) fn ready() {
    tell("READY=1\nSTATUS=Serving clients");
}

/// From here to `ready` files are read again. The time is for systemd, which tells answers to its request from older ones.
pub(crate) fn reading_anew() {
    let now = clock_gettime(ClockId::Monotonic);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000));
}

pub(crate) fn stopping() {
    tell("STOPPING=1\nSTATUS=No new clients; the others may finish");
}

/// Whoever says it in every interval of `watchdog` is not restarted.
pub(crate) fn alive() {
    tell("WATCHDOG=1");
}

/// How often the service manager wants to hear that the process is alive: twice in the time after which it would end it.
/// `None` where it does not ask.
pub(crate) fn watchdog() -> Option<Duration> {
    let of = |name: &str| env::var(name).ok();
    watchdog_of(of("WATCHDOG_USEC").as_deref(), of("WATCHDOG_PID").as_deref(), std::process::id())
}

fn watchdog_of(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let whole = Duration::from_micros(usec?.parse().ok()?);
    // A child inherits the variables of a parent that is watched.
    let mine = pid.is_none_or(|pid| pid.parse() == Ok(own));
    (mine && !whole.is_zero()).then_some(whole / 2)
}

fn tell(state: &str) {
    let Some(place) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) =
        place.to_str().map_or_else(|| Err(io::ErrorKind::InvalidInput.into()), |place| send(place, state))
    {
        let what = state.lines().next().unwrap_or_default();
        tracing::warn!("the service manager cannot be told {what} at NOTIFY_SOCKET={}: {error}", place.display());
    }
}

/// A path, or with `@` in front a name in the abstract space.
fn send(place: &str, state: &str) -> io::Result<()> {
    let address = match place.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that reads nothing must not hold up this process.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_paths_and_at_abstract_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("redan-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).expect("a name");
        let sockets = [
            (path.display().to_string(), UnixDatagram::bind(&path).expect("bound")),
            (format!("@{name}"), UnixDatagram::bind_addr(&abstract_address).expect("bound")),
        ];
        for (place, socket) in sockets {
            send(&place, "READY=1").expect("sent");
            let mut buffer = [0; 64];
            let len = socket.recv(&mut buffer).expect("a message");
            assert_eq!(&buffer[..len], b"READY=1", "{place}");
        }
        assert!(send(&path.with_extension("gone").display().to_string(), "READY=1").is_err());
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time_and_only_by_whom_it_watches() {
        for (usec, pid, want) in [
            (None, None, None),
            (Some("30000000"), None, Some(15)),
            (Some("30000000"), Some("7"), Some(15)),
            (Some("30000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
        ] {
            assert_eq!(watchdog_of(usec, pid, 7), want.map(Duration::from_secs), "{usec:?} {pid:?}");
        }
    }
}
