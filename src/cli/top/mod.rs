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
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::promote::with_admin;
use feed::News;
use model::{Key, Model};

/// The arguments of `redan top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The configuration file of the running Redan, for its `admin` address
    #[arg(long, default_value = "proxy.toml")]
    config: PathBuf,
    /// The address itself; the configuration file is not read then
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    admin: Option<SocketAddr>,
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
    with_admin(&arguments.config, arguments.admin, |admin| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Before the terminal is changed: an address where nothing listens is told in the ordinary way.
        let (news, stream) = mpsc::channel(16);
        let first = runtime.block_on(async {
            tokio::spawn(feed::follow(admin, news));
            let mut stream = stream;
            (stream.recv().await, stream)
        });
        let (first, stream) = match first {
            (Some(News::Lost(why)), _) => return Err(io::Error::other(why)),
            (Some(first), stream) => (first, stream),
            (None, _) => return Ok(false),
        };
        // From here on a panic puts the terminal back too.
        let mut terminal = ratatui::try_init()?;
        let shown = runtime.block_on(show(&mut terminal, admin, first, stream));
        ratatui::try_restore()?;
        shown.map(|()| true)
    })
}

async fn show(
    terminal: &mut DefaultTerminal,
    admin: SocketAddr,
    first: News,
    mut stream: mpsc::Receiver<News>,
) -> io::Result<()> {
    let mut ends = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    let mut model = Model::default();
    model.take(first);
    let place = admin.to_string();
    let [terminate, hangup, interrupt, quit] = &mut ends[..] else { return Ok(()) };
    loop {
        terminal.draw(|frame| view::draw(frame, &model, &place))?;
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
