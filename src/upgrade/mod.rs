//! One process replaces another without refusing a client: SIGUSR2, or whoever else asks.
//!
//! The old process starts the program that lies at its path now, gives it its sockets, and waits until it says that it is ready.
//! Only then does the new one begin, and the old one hands over its clients and ends. Whatever goes wrong before that ends the
//! new one alone. `successor` is the old process's part, `predecessor` the new one's; `drain` and `app` call them. It must never
//! touch a client.

mod predecessor;
mod successor;

pub(crate) use predecessor::{Legacy, Predecessor};
pub(crate) use successor::{Leaving, Plan};

/// What the program needs to be started again as it was: itself, and the files among its arguments.
pub(crate) fn files() -> Vec<std::path::PathBuf> {
    let Ok((program, arguments)) = successor::program() else { return Vec::new() };
    let arguments = arguments.map(std::path::PathBuf::from).filter(|argument| argument.is_file());
    std::iter::once(program).chain(arguments).collect()
}

/// Who has asked for an upgrade and waits for its outcome: the number of the process that is in charge now, or a sentence.
pub(crate) type Told = tokio::sync::oneshot::Sender<Result<u32, String>>;

/// Tells the new process which one started it, besides its standard input, which is the talk between the two.
const FROM: &str = "REDAN_UPGRADE_FROM";
