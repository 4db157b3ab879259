//! `redan top`: what the running Redan does, live in the terminal.
//!
//! Reads the same stream as the dashboard and changes nothing. The terminal is put back as it was however it ends: by a key,
//! a signal or a panic.

mod feed;
mod model;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{DEFECT, UNAVAILABLE, WRONG_CONFIGURATION, with_config};
use crate::config::admin_socket::{self, Reach};
use feed::{News, Source};
use model::{Key, Model};

/// The arguments of `redan top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The configuration file of the running Redan, for its `admin` address or admin socket
    #[arg(long, default_value = "proxy.toml")]
    config: PathBuf,
    /// The address itself; the configuration file is not read then
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    admin: Option<SocketAddr>,
    /// Its admin socket, a path or IP:PORT; the configuration file is not read then
    #[arg(long, value_name = "SOCKET", value_parser = admin_socket::place, conflicts_with = "admin")]
    socket: Option<admin_socket::Place>,
    /// The file with the password of an admin socket on IP:PORT, with --socket
    #[arg(long, value_name = "FILE", requires = "socket")]
    password_file: Option<PathBuf>,
}

/// Also as a browser has it.
fn address(text: &str) -> Result<SocketAddr, std::net::AddrParseError> {
    text.trim_start_matches("http://").trim_end_matches('/').parse()
}

/// A key is answered within this.
const KEYS: Duration = Duration::from_millis(40);

/// Lines of events that a page moves.
const PAGE: usize = 10;

pub(super) fn run(arguments: &Top) -> ExitCode {
    let Top { config: file, admin, socket, password_file } = arguments;
    if let Some(admin) = admin {
        return watch(Source::Http(here(*admin)));
    }
    if let Some(socket) = socket {
        let reach = Reach { sockets: vec![socket.clone()], password_file: password_file.clone() };
        return watch(Source::Orders(reach, file.clone()));
    }
    let over_the_socket = || match admin_socket::reach(file) {
        Ok(reach) => watch(Source::Orders(reach, file.clone())),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(WRONG_CONFIGURATION)
        }
    };
    // Without a file it may be one that runs by its environment.
    if !file.exists() {
        return over_the_socket();
    }
    with_config(file, |config| match config.admin {
        // Whoever may not use the socket may look all the same.
        Some(admin) => watch(Source::Http(here(admin))),
        None => over_the_socket(),
    })
}

/// What listens everywhere listens also here.
fn here(mut admin: SocketAddr) -> SocketAddr {
    if admin.ip().is_unspecified() {
        admin.set_ip(if admin.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    admin
}

fn watch(source: Source) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the system refuses an event loop: {error}");
            return ExitCode::from(DEFECT);
        }
    };
    let code = runtime.block_on(async {
        let (news, mut stream) = mpsc::channel(16);
        let place = source.name();
        feed::follow(source, news);
        // Before the terminal is changed: an address where nothing listens is told in the ordinary way.
        let first = match stream.recv().await {
            Some(News::Lost(why)) => {
                eprintln!("the Redan at {place} cannot be watched: {why}");
                return ExitCode::from(UNAVAILABLE);
            }
            Some(first) => first,
            None => return ExitCode::from(DEFECT),
        };
        match on_screen(&place, first, stream).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the terminal cannot be used: {error}");
                ExitCode::from(UNAVAILABLE)
            }
        }
    });
    // Whatever waits for an answer still need not have it.
    runtime.shutdown_background();
    code
}

/// The terminal is the page's, and put back as it was.
async fn on_screen(place: &str, first: News, stream: mpsc::Receiver<News>) -> io::Result<()> {
    // From here on a panic puts it back too.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, place, first, stream).await;
    ratatui::try_restore()?;
    shown
}

async fn show(
    terminal: &mut DefaultTerminal,
    place: &str,
    first: News,
    mut stream: mpsc::Receiver<News>,
) -> io::Result<()> {
    let mut ends = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    let mut model = Model::default();
    model.take(first);
    let [terminate, hangup, interrupt, quit] = &mut ends[..] else { return Ok(()) };
    loop {
        terminal.draw(|frame| view::draw(frame, &model, place))?;
        tokio::select! {
            Some(news) = stream.recv() => model.take(news),
            () = tokio::time::sleep(KEYS) => {}
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = quit.recv() => return Ok(()),
        }
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && pressed(&mut model, key)
            {
                return Ok(());
            }
        }
    }
}

/// Whether that was enough.
fn pressed(model: &mut Model, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let wish = match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('p' | ' ') => Key::Freeze,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Char('w') => Key::Warnings,
        KeyCode::Down | KeyCode::Char('j') => Key::Older(1),
        KeyCode::Up | KeyCode::Char('k') => Key::Newer(1),
        KeyCode::PageDown => Key::Older(PAGE),
        KeyCode::PageUp => Key::Newer(PAGE),
        KeyCode::Home => Key::Newer(usize::MAX),
        _ => return false,
    };
    model.press(wish);
    false
}
