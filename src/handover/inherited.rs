//! Sockets that listen already when the process starts: the old process's, or systemd's (socket activation).
//!
//! `app` asks for each before it binds one of its own. A socket of the old process belongs to an address; one of systemd's to a
//! name as well (`FileDescriptorName=`). It must never give one socket to two.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use listenfd::ListenFd;

use super::Given;
use crate::config::Bind;
use crate::net::Listening;

/// The names of systemd's sockets, with colons between.
const NAMES: &str = "LISTEN_FDNAMES";

#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<(Given, Listening)>,
}

/// A socket of this process, to be given on one day.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) given: Given,
    pub(crate) socket: Arc<Listening>,
}

impl Inherited {
    /// What systemd, or whoever follows its protocol, has opened for this process.
    pub(crate) fn from_system() -> Result<Self, String> {
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':').map(ToOwned::to_owned);
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let (unix, socket) = match passed.take_tcp_listener(index) {
                Ok(Some(socket)) => (false, Listening::Tcp(socket)),
                _ => match passed.take_unix_listener(index) {
                    Ok(Some(socket)) => (true, Listening::Unix(socket)),
                    _ => return Err(format!("socket {index} of systemd, '{name}', is neither TCP nor a Unix stream")),
                },
            };
            let bind = address(&socket);
            inherited.add(Given { bind, name, by_name: true, unix }, socket).map_err(|error| error.to_string())?;
        }
        Ok(inherited)
    }

    /// One of the old process.
    pub(crate) fn receive(&mut self, given: Given, socket: OwnedFd) -> io::Result<()> {
        let socket = match given.unix {
            true => Listening::Unix(UnixListener::from(socket)),
            false => Listening::Tcp(TcpListener::from(socket)),
        };
        self.add(given, socket)
    }

    fn add(&mut self, given: Given, socket: Listening) -> io::Result<()> {
        match &socket {
            Listening::Tcp(socket) => socket.set_nonblocking(true)?,
            Listening::Unix(socket) => socket.set_nonblocking(true)?,
        }
        self.sockets.push((given, socket));
        Ok(())
    }

    /// The socket for whoever is to listen at `bind` and has this name; and whether it was found by its name alone.
    pub(crate) fn take(&mut self, name: &str, bind: &Bind) -> Option<(Listening, bool)> {
        let text = bind.to_string();
        let same = |(given, socket): &(Given, Listening)| given.bind == text || listens_at(socket, bind);
        let named = |(given, _): &(Given, Listening)| given.by_name && given.name == name;
        let at = self.sockets.iter().position(same).or_else(|| self.sockets.iter().position(named))?;
        let (given, socket) = self.sockets.swap_remove(at);
        Some((socket, given.by_name))
    }

    /// What nobody asked for, for the log. It is closed.
    pub(crate) fn rest(self) -> Vec<String> {
        self.sockets.into_iter().map(|(given, _)| format!("{} ('{}')", given.bind, given.name)).collect()
    }
}

impl Kept {
    pub(crate) fn new(name: &str, bind: &Bind, by_name: bool, socket: &Listening) -> io::Result<Self> {
        let (unix, socket) = (matches!(socket, Listening::Unix(_)), Arc::new(socket.try_clone()?));
        Ok(Self { given: Given { bind: bind.to_string(), name: name.to_owned(), by_name, unix }, socket })
    }
}

/// As a configuration would write it.
fn address(socket: &Listening) -> String {
    match socket {
        Listening::Tcp(socket) => socket.local_addr().map(|at| at.to_string()).unwrap_or_default(),
        Listening::Unix(socket) => {
            let at = socket.local_addr().ok();
            at.and_then(|at| Some(format!("unix:{}", at.as_pathname()?.display()))).unwrap_or_default()
        }
    }
}

fn listens_at(socket: &Listening, bind: &Bind) -> bool {
    let (Listening::Tcp(socket), Bind::Tcp(wanted)) = (socket, bind) else { return false };
    let Ok(at) = socket.local_addr() else { return false };
    // The kernel's wildcard of IPv6 takes IPv4 as well, and systemd opens that for a mere port.
    let everywhere = |at: &SocketAddr| at.ip().is_unspecified();
    wanted.port() != 0
        && (at == *wanted || (at.port() == wanted.port() && at.is_ipv6() && everywhere(&at) && everywhere(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(inherited: &mut Inherited, name: &str, by_name: bool, at: &str) -> SocketAddr {
        let socket = TcpListener::bind(at).expect("a port");
        let address = socket.local_addr().expect("bound");
        let given = Given { bind: at.to_owned(), name: name.to_owned(), by_name, unix: false };
        inherited.add(given, Listening::Tcp(socket)).expect("non-blocking");
        address
    }

    fn taken(inherited: &mut Inherited, name: &str, bind: &str) -> Option<SocketAddr> {
        let bind = Bind::Tcp(bind.parse().expect("an address"));
        match inherited.take(name, &bind)?.0 {
            Listening::Tcp(socket) => socket.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }

    #[test]
    fn sockets_go_by_address_and_those_of_systemd_by_name_as_well() {
        let mut inherited = Inherited::default();
        let app = one(&mut inherited, "app", false, "127.0.0.1:0");
        let other = one(&mut inherited, "other", true, "127.0.0.1:0");
        let wide = one(&mut inherited, "redan.socket", true, "[::]:0");
        assert_eq!(taken(&mut inherited, "app", "127.0.0.1:1"), None, "it listens elsewhere from now on");
        assert_eq!(taken(&mut inherited, "renamed", &app.to_string()), Some(app));
        assert_eq!(taken(&mut inherited, "renamed", &app.to_string()), None, "once");
        assert_eq!(taken(&mut inherited, "other", "10.0.0.1:6379"), Some(other));
        assert_eq!(taken(&mut inherited, "wide", &format!("0.0.0.0:{}", wide.port())), Some(wide));
        one(&mut inherited, "last", false, "127.0.0.1:0");
        let rest = inherited.rest();
        assert!(rest.len() == 1 && rest[0].contains("'last'"), "{rest:?}");
    }
}
