//! `POST /order`: a few of the operator's commands over HTTP, for the buttons of the dashboard, from who has the token.
//!
//! Without `admin_token_file` nobody gets anything done here. The token stands in a header that a browser sends for no other page,
//! not even after somebody logged in: nothing here depends on a cookie or on where a request comes from.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use tokio::sync::mpsc;

use super::verbs::{self, Call, Shown};
use super::{AdminState, Answer, text};

/// What a button may order. The rest is for the admin socket.
const ORDERS: [&str; 5] = ["PAUSE", "RESUME", "PROMOTE", "DRAIN", "UNDRAIN"];

/// Asks whether the token is right.
const PING: &str = "PING";

const BODY_BYTES: usize = 4096;

/// One guess a second, of all who guess together.
const GUESS: Duration = Duration::from_secs(1);

/// `Err`: what is answered to who may not.
pub(super) async fn admit<B>(request: &Request<B>, state: &AdminState) -> Result<(), Answer> {
    let config = Arc::clone(&state.now.load().config);
    let Some(token) = &config.admin_token else {
        let words = "orders are not taken here: `admin_token_file` is not set; use the admin socket\n";
        return Err(text(StatusCode::FORBIDDEN, words.to_owned()));
    };
    let said = request.headers().get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let said = said.strip_prefix(b"Bearer ").unwrap_or_default();
    if verify_slices_are_equal(said, token.reveal().as_bytes()).is_err() {
        let _turn = state.visitors.guesses.lock().await;
        tokio::time::sleep(GUESS).await;
        tracing::warn!("an order over HTTP was refused: its token is wrong");
        return Err(text(StatusCode::UNAUTHORIZED, "the token is wrong\n".to_owned()));
    }
    Ok(())
}

/// Carries it out, and tells every step and how it ended.
pub(super) async fn take(request: Request<Incoming>, state: &Arc<AdminState>) -> Answer {
    let body = Limited::new(request.into_body(), BODY_BYTES).collect().await;
    let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
        return text(StatusCode::BAD_REQUEST, "an order has at most 4 KiB\n".to_owned());
    };
    let words: Vec<Vec<u8>> =
        body.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
    let verb = words.first().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).unwrap_or_default();
    if verb == PING {
        return text(StatusCode::OK, "PONG\n".to_owned());
    }
    if !ORDERS.contains(&verb.as_str()) {
        let words = format!("not here: {} are taken, all others on the admin socket\n", ORDERS.join(", "));
        return text(StatusCode::BAD_REQUEST, words);
    }
    tracing::warn!("ordered over HTTP: {}", String::from_utf8_lossy(&words.join(&b' ')));
    let (told, mut steps) = mpsc::unbounded_channel();
    let outcome = verbs::run(Call::new(Arc::clone(state), words, told)).await;
    let mut said = Vec::new();
    while let Ok(step) = steps.try_recv() {
        said.push(step);
    }
    let status = if outcome.is_ok() { StatusCode::OK } else { StatusCode::CONFLICT };
    said.push(match outcome {
        Ok(Shown::Line(line) | Shown::Text(line) | Shown::Json(line)) => line,
        Ok(Shown::Raw(_)) => String::new(),
        Err(why) => why,
    });
    text(status, said.join("\n") + "\n")
}
