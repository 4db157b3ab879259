//! `POST /promote`: the greater of the two things that the admin endpoint lets one change. It hands the wish to control and
//! passes on what control tells of it, line by line.
//!
//! A browser must never get it done for a page that somebody looks at: such requests carry `Origin`, and none carries
//! the header that is asked for here without permission. And nobody who reaches the address from another machine, where
//! only the metrics are meant for them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, ORIGIN};
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::AdminState;

/// A wish, on its way to control.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Its name.
    pub(crate) group: String,
    pub(crate) node: String,
    pub(crate) timeout: Duration,
    /// Each step, a line; the last one begins with how it ended.
    pub(crate) progress: mpsc::UnboundedSender<String>,
}

/// Hands it on; `false`: nobody takes it.
pub(crate) type Promote = Box<dyn Fn(Ask) -> bool + Send + Sync>;

/// No page can send it to another origin without being allowed to.
pub(super) static GUARD: HeaderName = HeaderName::from_static("redan-command");

/// `group=…&node=…&timeout_ms=…` is less than 400 bytes.
const BODY_BYTES: usize = 4096;

/// Without a word of whoever asks, and the most that may be asked for.
const TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// What is answered: at once, or as it happens.
pub(super) enum Told {
    Whole(Full<Bytes>),
    Lines(mpsc::UnboundedReceiver<String>),
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Lines(_) => SizeHint::default(),
        }
    }

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Lines(lines) => {
                lines.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(Bytes::from(line + "\n")))))
            }
        }
    }
}

pub(super) async fn promote(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: &AdminState,
) -> Result<Response<Told>, (StatusCode, String)> {
    let text = order(request, peer, "promote").await?;
    let refused = |words: String| (StatusCode::BAD_REQUEST, words);
    let field = |name: &str| field(&text, name);
    let (Some(group), Some(node)) = (field("group"), field("node")) else {
        return Err(refused("write group=NAME&node=HOST:PORT, and &timeout_ms=N where 10000 is not meant".to_owned()));
    };
    let timeout = match field("timeout_ms").map(str::parse) {
        None => TIMEOUT,
        Some(Ok(ms)) if ms <= LONGEST.as_millis() as u64 => Duration::from_millis(ms),
        Some(_) => return Err(refused("timeout_ms is a number up to 300000".to_owned())),
    };
    let groups = state.groups.load();
    if !groups.iter().any(|known| known.name == group) {
        let names = groups.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err((StatusCode::NOT_FOUND, format!("no group is called '{group}'; there is {names}")));
    }
    let (progress, lines) = mpsc::unbounded_channel();
    if !(state.promote)(Ask { group: group.to_owned(), node: node.to_owned(), timeout, progress }) {
        let words = "Redan has other switches to carry out first; ask again".to_owned();
        return Err((StatusCode::SERVICE_UNAVAILABLE, words));
    }
    Ok(Response::new(Told::Lines(lines)))
}

/// The body of a request that gives an order, and may: `word` is what its header must say.
pub(super) async fn order(
    request: Request<Incoming>,
    peer: SocketAddr,
    word: &str,
) -> Result<String, (StatusCode, String)> {
    guard(&request, peer, word)?;
    let refused = |words: &str| (StatusCode::BAD_REQUEST, words.to_owned());
    let body = Limited::new(request.into_body(), BODY_BYTES).collect().await;
    let body = body.map_err(|_| refused("the request has no readable body of at most 4 KiB"))?.to_bytes();
    String::from_utf8(body.to_vec()).map_err(|_| refused("the body is not UTF-8"))
}

/// Of `name=value&name=value`.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.trim().split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn guard(request: &Request<Incoming>, peer: SocketAddr, word: &str) -> Result<(), (StatusCode, String)> {
    let refused = |words: &str| Err((StatusCode::FORBIDDEN, words.to_owned()));
    if !peer.ip().to_canonical().is_loopback() {
        return refused("orders are taken on the machine (or in the container) where Redan runs");
    }
    if request.headers().contains_key(ORIGIN) {
        return refused("orders are not taken from a browser");
    }
    if request.headers().get(&GUARD).is_none_or(|value| value != word) {
        return Err((StatusCode::FORBIDDEN, format!("this order carries the header `Redan-Command: {word}`")));
    }
    Ok(())
}
