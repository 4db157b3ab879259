//! `redan promote`: asks the running Redan to make another node the master, and prints what it tells.
//!
//! It changes nothing itself: the Redan that holds the clients' writes has to do it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{Promote, UNAVAILABLE, with_config};
use crate::control::Ending;

/// Redan answers at once; what takes longer it tells line by line within the time it was given.
const SLACK: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Promote) -> ExitCode {
    with_admin(&arguments.config, arguments.admin, |admin| converse(arguments, admin))
}

/// Asks the running Redan at the address that is given, or that stands in the configuration. `ask` says whether it was done.
pub(super) fn with_admin(
    file: &Path,
    admin: Option<SocketAddr>,
    ask: impl FnOnce(SocketAddr) -> std::io::Result<bool>,
) -> ExitCode {
    let ask = |mut admin: SocketAddr| {
        if admin.ip().is_unspecified() {
            // It listens everywhere, so also here.
            let here = if admin.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            admin.set_ip(here);
        }
        match ask(admin) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("the Redan at {admin} cannot be asked: {error}");
                ExitCode::from(UNAVAILABLE)
            }
        }
    };
    let Some(admin) = admin else {
        return with_config(file, |config| match config.admin {
            Some(admin) => ask(admin),
            None => {
                let file = file.display();
                eprintln!("{file} has no `admin` address, by which the running Redan could be asked: add it");
                ExitCode::from(super::WRONG_CONFIGURATION)
            }
        });
    };
    ask(admin)
}

/// Whether it was done.
fn converse(arguments: &Promote, admin: SocketAddr) -> std::io::Result<bool> {
    let Promote { group, node, timeout, .. } = arguments;
    let body = format!("group={group}&node={node}&timeout_ms={}", timeout.as_millis());
    let (accepted, last) = order(admin, "promote", &body, *timeout)?;
    Ok(accepted && last.starts_with(&format!("{}: ", Ending::Done)))
}

/// Gives an order and prints what is answered. Whether it was accepted, and the last line.
pub(super) fn order(admin: SocketAddr, word: &str, body: &str, timeout: Duration) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, SLACK)?;
    stream.set_read_timeout(Some(timeout + SLACK))?;
    // By version 1.0 the answer is not cut into chunks.
    let request = format!(
        "POST /{word} HTTP/1.0\r\nHost: {admin}\r\nRedan-Command: {word}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().transpose()?.unwrap_or_default();
    let accepted = status.split(' ').nth(1) == Some("200");
    let mut last = String::new();
    let mut in_head = true;
    for line in lines {
        let line = line?;
        if in_head {
            in_head = !line.is_empty();
            continue;
        }
        println!("{line}");
        last = line;
    }
    if last.is_empty() {
        return Err(std::io::Error::other(format!("it ended without an answer ({status})")));
    }
    Ok((accepted, last))
}
