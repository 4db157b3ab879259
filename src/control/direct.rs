//! The operator's own command to one node, over a connection of its own, logged in as the group's user.
//!
//! Called on the thread of whoever asks, never on the one that watches groups. What the node answers is handed on as it is.

use std::time::Duration;

use super::connection::{Connection, Trust, broken};
use crate::config::Group;
use crate::net::Shortcuts;
use crate::resp::value::Value;
use crate::tls::keyring::Keyring;

/// Answers of administrators' commands are short; LATENCY or SLOWLOG of a busy server are a few hundred KiB.
const LONGEST: usize = 64 * 1024 * 1024;

/// The node's reply, which may be an error of its own. `Err` is a sentence for the operator.
pub(crate) async fn command(
    address: &str,
    group: &Group,
    keyring: &Keyring,
    shortcuts: &Shortcuts,
    words: &[Vec<u8>],
    patience: Duration,
) -> Result<Value, String> {
    let access = group.access_to(address);
    let opening = Connection::open(address, access, Trust::Keyring(keyring), shortcuts, group.connect_timeout);
    let mut connection = opening.await.map_err(|failure| format!("{address}: {}", failure.text))?;
    connection.longest = LONGEST;
    let commands = [words];
    match tokio::time::timeout(patience, connection.ask(&commands)).await {
        Ok(Ok(replies)) => replies.into_iter().next().ok_or_else(|| format!("{address} has not answered")),
        Ok(Err(error)) => Err(format!("{address}: {}", broken(&error).text)),
        Err(_) => Err(format!("{address} has not answered within {patience:?}; it may still carry the command out")),
    }
}
