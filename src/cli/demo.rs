//! `redan demo`: a real replication group on this machine with Redan in front of it, to look at and to try.
//!
//! Sets the stage, drives a little traffic, and shows what becomes of it until it is stopped; with `--tour` it walks
//! through a failover instead and judges it. However it ends, its servers and its directory go with it. It must
//! never touch a server that it did not start.

mod child;
mod client;
mod files;
mod numbers;
mod screen;
mod stage;
mod tour;
mod traffic;
mod view;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::numbers::Numbers;
use self::screen::Screen;
use self::stage::Stage;
use self::traffic::Traffic;
use self::view::Total;

/// EX_UNAVAILABLE: a program or a service that is needed is not there.
const MISSING: u8 = 69;
/// It did not work; the text says why.
const FAILED: u8 = 1;

/// Numbers change about this often; faster cannot be read.
const REFRESH: Duration = Duration::from_secs(1);

/// Why the demo cannot go on, for the person who started it.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self { code: FAILED, text: text.into() }
    }
}

/// How a demo that did not fail ended.
enum Ending {
    Finished,
    /// By this signal.
    Stopped(i32),
}

pub(super) fn run(demo: &super::Demo) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the demo cannot start: {error}");
            return ExitCode::from(super::DEFECT);
        }
    };
    let tour = demo.tour;
    let ended = runtime.block_on(async {
        if tour { until_stopped(tour::run(&mut Screen::new())).await } else { until_stopped(watch()).await }
    });
    match ended {
        Ok(Ending::Finished) => ExitCode::SUCCESS,
        // A tour that was stopped has shown nothing; whoever only watches ends it this way.
        Ok(Ending::Stopped(signal)) if tour => ExitCode::from(u8::try_from(128 + signal).unwrap_or(FAILED)),
        Ok(Ending::Stopped(_)) => {
            eprintln!("stopped; the servers and their directory are gone");
            ExitCode::SUCCESS
        }
        Err(Failure { code, text }) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

/// Runs `body` until it ends or a signal comes; either way everything it owns is dropped, and with it the servers.
async fn until_stopped(body: impl Future<Output = Result<(), Failure>>) -> Result<Ending, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("signals cannot be received: {error}")));
    // Before the first server starts, so that none is left behind.
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        ended = body => ended.map(|()| Ending::Finished),
        _ = interrupt.recv() => Ok(Ending::Stopped(SignalKind::interrupt().as_raw_value())),
        _ = terminate.recv() => Ok(Ending::Stopped(SignalKind::terminate().as_raw_value())),
        _ = hangup.recv() => Ok(Ending::Stopped(SignalKind::hangup().as_raw_value())),
    }
}

/// The demo to look at: ends by a signal only.
async fn watch() -> Result<(), Failure> {
    let mut screen = Screen::new();
    screen.say("Starting a master and two replicas, and Redan in front of them …")?;
    let mut stage = Stage::set().await?;
    let traffic = Traffic::begin(&stage)?;
    screen.say(&view::introduction(&stage))?;
    let in_place = io::stdout().is_terminal();
    let mut before: Option<Numbers> = None;
    loop {
        stage.check()?;
        let now = numbers::fetch(stage.admin()).await?;
        if let Some(before) = &before {
            let total = Total::of(traffic.tally());
            if in_place {
                screen.redraw(&view::table(before, &now, &total))?;
            } else {
                screen.say(&view::line(before, &now, &total))?;
            }
        }
        before = Some(now);
        tokio::time::sleep(REFRESH).await;
    }
}
