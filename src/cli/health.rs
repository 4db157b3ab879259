//! `redan health`: asks the running Redan whether it is healthy, or ready, for container engines and scripts without curl.
//!
//! It asks the admin endpoint what an orchestrator would, and has no opinion of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{UNAVAILABLE, WRONG_CONFIGURATION, config, with_config};

/// The arguments of `redan health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Whether sending clients to it makes sense now, instead of whether it works
    #[arg(long)]
    ready: bool,
    /// The configuration file of the running Redan, for its `admin` address; without it the variable REDAN_ADMIN
    #[arg(long)]
    config: Option<PathBuf>,
    /// The address itself; neither file nor variable is looked at then
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
    /// How long the answer may take
    #[arg(long, default_value = "3s", value_parser = config::duration)]
    timeout: Duration,
}

pub(super) fn run(arguments: &Health) -> ExitCode {
    match (arguments.admin, &arguments.config) {
        (Some(admin), _) => judge(admin, arguments),
        (None, Some(file)) => with_config(file, |config| match config.admin {
            Some(admin) => judge(admin, arguments),
            None => {
                let file = file.display();
                eprintln!("{file} has no `admin` address, by which the running Redan could be asked: add it");
                ExitCode::from(WRONG_CONFIGURATION)
            }
        }),
        (None, None) => match from_environment() {
            Ok(admin) => judge(admin, arguments),
            Err(why) => {
                eprintln!("{why}");
                ExitCode::from(WRONG_CONFIGURATION)
            }
        },
    }
}

fn judge(mut admin: SocketAddr, arguments: &Health) -> ExitCode {
    if admin.ip().is_unspecified() {
        // It listens everywhere, so also here.
        let here = if admin.is_ipv4() { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() };
        admin.set_ip(here);
    }
    match ask(admin, arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the Redan at {admin} cannot be asked: {error}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn from_environment() -> Result<SocketAddr, String> {
    let text = std::env::var("REDAN_ADMIN").unwrap_or_default();
    let advice = "name the running Redan's `admin` address with --admin, or its file with --config";
    if text.is_empty() {
        return Err(format!("the variable REDAN_ADMIN is not set; {advice}"));
    }
    text.parse().map_err(|_| format!("REDAN_ADMIN is \"{text}\", which is no IP address and port; {advice}"))
}

/// Prints what is answered; whether it is good.
fn ask(admin: SocketAddr, arguments: &Health) -> io::Result<bool> {
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let mut stream = TcpStream::connect_timeout(&admin, arguments.timeout)?;
    stream.set_read_timeout(Some(arguments.timeout))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !matches!(status, "200" | "503") {
        return Err(io::Error::other(format!(
            "it answers {path} with status \"{status}\": is it Redan's `admin` address?"
        )));
    }
    print!("{body}");
    Ok(status == "200")
}
