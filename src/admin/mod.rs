//! The admin endpoint: `GET /metrics`, `/status`, `/healthz`, `/readyz` and the page at `/` with its streams over HTTP/1.1, which
//! change nothing, save for `POST /order` of who has the token; and the admin socket, where the operator gives orders
//! (`socket`, `verbs`).
//!
//! `app` runs it on a thread of its own, so that neither a scrape nor a stuck client of it delays a probe or a
//! command. It reads what other threads publish and must never change it; orders it hands on to who carries them out.

mod body;
mod dashboard;
mod exposition;
mod health;
mod known;
mod live;
mod open_files;
mod order;
mod orders;
mod prometheus;
mod report;
mod since;
pub(crate) mod socket;
mod table;
mod verbs;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::chronicle::Chronicle;
use crate::memory::Memory;
use crate::metrics::{AcceptorCounters, TraceCounters, WorkerCounters};
use crate::reload::Reloads;
use crate::renewal::Renewals;
use crate::session::switchboard::Switchboard;

use body::Body;
pub(crate) use health::stalled;
pub(crate) use known::{Known, KnownGroup, KnownLink, KnownListener};
pub(crate) use live::Visitors;
pub(crate) use open_files::OpenFiles;
pub(crate) use orders::{Ask, GroupOrders, Orders, PausedUntil, SetLevel};
pub(crate) use report::{Crowd, Resident};
pub(crate) use since::Since;

/// What the endpoint reads. Made once by `app`.
pub(crate) struct AdminState {
    /// When the process started, on the clock that workers write their heartbeats by.
    pub(crate) started: Instant,
    /// The same moment as the world counts it.
    pub(crate) started_at: SystemTime,
    /// What is configured now, and what runs by it.
    pub(crate) now: Arc<ArcSwap<Known>>,
    pub(crate) resident: Resident,
    pub(crate) open_files: OpenFiles,
    pub(crate) workers: Vec<Arc<WorkerCounters>>,
    pub(crate) acceptor: Arc<AcceptorCounters>,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) traces: Arc<TraceCounters>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) chronicle: Arc<Chronicle>,
    pub(crate) visitors: Visitors,
    pub(crate) reloads: Arc<Reloads>,
    /// All listeners are bound.
    pub(crate) listening: Arc<AtomicBool>,
    /// The process is on its way out.
    pub(crate) draining: Arc<AtomicBool>,
    /// To all workers.
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) orders: Orders,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

impl AdminState {
    /// How long ago the worker's timer last ran.
    fn heartbeat_age(&self, worker: usize) -> Duration {
        health::age(self.started, &self.workers[worker])
    }
}

/// Connections served at the same time; the next waits in the kernel's queue. A scraper and a few health checks
/// need less than ten.
const CONNECTIONS: usize = 64;
/// One request and its answer. A peer that is slower does not get to hold one of the 64.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// One that is meant to go on: a stream, or an order as long as the longest promotion.
const LONG_TIME: Duration = Duration::from_secs(310);
/// The whole request head; a scraper's has less than 1 KiB.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// After a failed accept, which is almost always "too many open files" and does not pass sooner.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` completes; connections that are open then are closed.
pub(crate) async fn serve(listener: TcpListener, state: Arc<AdminState>, stop: impl Future<Output = ()>) {
    let registry = Arc::new(prometheus::registry(Arc::clone(&state)));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&state), Arc::clone(&registry)));
                }
                Err(error) => {
                    tracing::warn!("the admin endpoint cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One connection carries one request: then its time limit is the request's, and no idle connection is kept.
async fn connection(stream: TcpStream, state: Arc<AdminState>, registry: Arc<Registry>) {
    let takes_long = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&takes_long);
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, registry) = (Arc::clone(&state), Arc::clone(&registry));
        let noted = Arc::clone(&noted);
        async move {
            let path = request.uri().path();
            if request.method() == Method::POST && path == "/order" {
                if let Err(refusal) = order::admit(&request, &state).await {
                    return Ok(refusal.map(Body::Whole));
                }
                noted.store(true, Ordering::Relaxed);
                return Ok(order::take(request, &state).await.map(Body::Whole));
            }
            if let (&Method::GET, Some(wish)) = (request.method(), live::wish(path)) {
                let followed = follow(&request, &state, wish);
                noted.store(followed.status() == StatusCode::OK, Ordering::Relaxed);
                return Ok(followed);
            }
            Ok::<_, Infallible>(answer(&request, &state, &registry).map(Body::Whole))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut served = tokio::time::timeout(CONNECTION_TIME, &mut serving).await;
    if served.is_err() && takes_long.load(Ordering::Relaxed) {
        served = tokio::time::timeout(LONG_TIME, &mut serving).await;
    }
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a client of the admin endpoint misbehaved: {error}"),
        Err(_) => tracing::debug!("a client of the admin endpoint took longer than {CONNECTION_TIME:?}"),
    }
}

const STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

type Answer = Response<Full<Bytes>>;

fn answer<B>(request: &Request<B>, state: &AdminState, registry: &Registry) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    if path == "/order" {
        return not_allowed("POST");
    }
    let page = dashboard::file(path);
    let is_stream = live::wish(path).is_some();
    if page.is_none() && !is_stream && !matches!(path, "/metrics" | "/status" | "/healthz" | "/readyz") {
        let words = "not here; ask for /, /metrics, /status, /events, /healthz or /readyz\n";
        return text(StatusCode::NOT_FOUND, words.to_owned());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    match path {
        _ if is_stream => {
            let mut head = Response::new(Full::default());
            head.headers_mut().insert(CONTENT_TYPE, STREAM);
            head
        }
        "/metrics" => metrics(registry, request.headers().get(ACCEPT)),
        "/status" => status(state),
        "/healthz" => verdict(&health::unhealthy(state)),
        "/readyz" => verdict(&health::unready(state)),
        _ => page.unwrap_or_default(),
    }
}

/// A stream of what happens, for who says with `Last-Event-ID` or `after=` what it knows.
fn follow<B>(request: &Request<B>, state: &Arc<AdminState>, wish: live::Wish) -> Response<Body> {
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let after = request.uri().query().and_then(|query| query.strip_prefix("after="));
    let Some(stream) = live::begin(state, wish, header.or(after)) else {
        let words = "as many look already as may at the same time; close one of those pages\n";
        return text(StatusCode::SERVICE_UNAVAILABLE, words.to_owned()).map(Body::Whole);
    };
    let mut response = Response::new(Body::Stream(stream));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the process is doing, in JSON.
fn status(state: &AdminState) -> Answer {
    match serde_json::to_string(&report::report(state)) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body + "\n");
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            let words = format!("the report cannot be written: {error}: a defect of Redan\n");
            text(StatusCode::INTERNAL_SERVER_ERROR, words)
        }
    }
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {}\n", methods.replace(", ", " and ")));
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    refusal
}

fn verdict(reasons: &[String]) -> Answer {
    if reasons.is_empty() {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

fn metrics(registry: &Registry, accept: Option<&HeaderValue>) -> Answer {
    // Whoever sends what is no text gets the format that everybody reads.
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Ok((body, format)) = exposition::expose(registry, accept) else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written: a defect of Redan\n".to_owned(),
        );
    };
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, format);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A health that was true a minute ago is worse than none.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
