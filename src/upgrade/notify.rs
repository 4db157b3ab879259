//! Tells systemd which process is the service's main one now. Where no systemd listens nothing is done.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Must be said by the process that was it before: `NotifyAccess=main` believes no other.
pub(super) fn main_process(id: u32) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(format!("MAINPID={id}\n").as_bytes(), &address).map(drop)
}
