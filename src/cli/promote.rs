//! `redan promote`: asks the running Redan to make another node the master, and prints what it tells.
//!
//! It changes nothing itself: the Redan that holds the clients' writes has to do it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{Promote, UNAVAILABLE, with_config};
use crate::control::Ending;

/// Redan answers at once; what takes longer it tells line by line within the time it was given.
const SLACK: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Promote) -> ExitCode {
    let Some(admin) = arguments.admin else {
        return with_config(&arguments.config, |config| match config.admin {
            Some(admin) => ask(arguments, admin),
            None => {
                let file = arguments.config.display();
                eprintln!("{file} has no `admin` address, by which the running Redan could be asked: add it");
                ExitCode::from(super::WRONG_CONFIGURATION)
            }
        });
    };
    ask(arguments, admin)
}

fn ask(arguments: &Promote, mut admin: SocketAddr) -> ExitCode {
    if admin.ip().is_unspecified() {
        // It listens everywhere, so also here.
        let here = if admin.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        admin.set_ip(here);
    }
    match converse(arguments, admin) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the Redan at {admin} cannot be asked: {error}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

/// Whether it was done.
fn converse(arguments: &Promote, admin: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&admin, SLACK)?;
    stream.set_read_timeout(Some(arguments.timeout + SLACK))?;
    let Promote { group, node, timeout, .. } = arguments;
    let body = format!("group={group}&node={node}&timeout_ms={}", timeout.as_millis());
    // By version 1.0 the answer is not cut into chunks.
    let request = format!(
        "POST /promote HTTP/1.0\r\nHost: {admin}\r\nRedan-Command: promote\r\nContent-Length: {}\r\n\r\n{body}",
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
    Ok(accepted && last.starts_with(&format!("{}: ", Ending::Done)))
}
