//! `POST /reload`: has the configuration read again, and says what came of it.
//!
//! Under the same conditions as a promotion: from this machine, and from no browser.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::AdminState;
use super::promote::order;

pub(super) async fn reload(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: &AdminState,
) -> Result<String, (StatusCode, String)> {
    order(request, peer, "reload").await?;
    let outcome = state.reloads.ask().await;
    let words = outcome.lines.join("\n");
    match (outcome.accepted, words.is_empty()) {
        (true, true) => Ok("nothing differs in the configuration".to_owned()),
        (true, false) => Ok(words),
        (false, _) => Err((StatusCode::CONFLICT, format!("{words}\nnothing was changed"))),
    }
}
