//! The admin endpoint: `GET /metrics`, `/healthz` and `/readyz`, `POST /promote`, `/link-allow` and
//! `/reload`, over HTTP/1.1.
//!
//! `app` runs it on a thread of its own, so that neither a scrape nor a stuck client of it delays a probe or a
//! command. It reads what other threads publish and must never change it; what `redan promote` and `redan link` ask for it
//! hands on.

mod allow;
mod exposition;
mod health;
mod prometheus;
mod promote;
mod reload;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
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

use crate::link::LinkCounters;
use crate::memory::Memory;
use crate::metrics::{AcceptorCounters, WorkerCounters};
use crate::reload::Reloads;
use crate::renewal::Renewals;
use crate::topology::Snapshot;

pub(crate) use promote::{Ask, Promote};
use promote::{LONGEST, Told};

/// What the endpoint reads. Made once by `app`.
pub(crate) struct AdminState {
    /// When the process started, on the clock that workers write their heartbeats by.
    pub(crate) started: Instant,
    /// The same moment as the world counts it.
    pub(crate) started_at: SystemTime,
    pub(crate) workers: Vec<Arc<WorkerCounters>>,
    pub(crate) acceptor: Arc<AcceptorCounters>,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) memory: Arc<Memory>,
    /// As they are configured now, in the order of `Config::groups`.
    pub(crate) groups: Arc<ArcSwap<Vec<KnownGroup>>>,
    /// Name and numbers of each link as they are configured now, in the order of `Config::links`.
    pub(crate) links: KnownLinks,
    pub(crate) reloads: Arc<Reloads>,
    /// All listeners are bound.
    pub(crate) listening: Arc<AtomicBool>,
    /// The process is on its way out.
    pub(crate) draining: Arc<AtomicBool>,
    /// Where a promotion is handed on.
    pub(crate) promote: Promote,
}

/// Each link's name and numbers.
pub(crate) type KnownLinks = Arc<ArcSwap<Vec<(String, Arc<LinkCounters>)>>>;

/// A group, and where its newest snapshot is.
#[derive(Clone, Debug)]
pub(crate) struct KnownGroup {
    /// By which workers count for it.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

impl AdminState {
    /// How long ago the worker's timer last ran.
    fn heartbeat_age(&self, worker: usize) -> Duration {
        let beat = Duration::from_millis(self.workers[worker].heartbeat_ms.get());
        self.started.elapsed().saturating_sub(beat)
    }
}

/// Connections served at the same time; the next waits in the kernel's queue. A scraper and a few health checks
/// need less than ten.
const CONNECTIONS: usize = 64;
/// One request and its answer. A peer that is slower does not get to hold one of the 64.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
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
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, Arc::clone(&state), Arc::clone(&registry)));
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
async fn connection(stream: TcpStream, peer: SocketAddr, state: Arc<AdminState>, registry: Arc<Registry>) {
    let promotes = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&promotes);
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, registry) = (Arc::clone(&state), Arc::clone(&registry));
        let noted = Arc::clone(&noted);
        async move {
            let is_order = request.method() == Method::POST;
            if is_order && request.uri().path() == "/link-allow" {
                let told = allow::allow(request, peer, &state).await.map(|words| (StatusCode::OK, words));
                let (status, words) = told.unwrap_or_else(|refusal| refusal);
                return Ok(text(status, words + "\n").map(Told::Whole));
            }
            if is_order && request.uri().path() == "/reload" {
                let told = reload::reload(request, peer, &state).await.map(|words| (StatusCode::OK, words));
                let (status, words) = told.unwrap_or_else(|refusal| refusal);
                return Ok(text(status, words + "\n").map(Told::Whole));
            }
            if !is_order || request.uri().path() != "/promote" {
                return Ok::<_, Infallible>(answer(&request, &state, &registry).map(Told::Whole));
            }
            let told = promote::promote(request, peer, &state).await;
            noted.store(told.is_ok(), Ordering::Relaxed);
            let refused = |(status, words)| text(status, words + "\n").map(Told::Whole);
            Ok(told.unwrap_or_else(refused))
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
    if served.is_err() && promotes.load(Ordering::Relaxed) {
        served = tokio::time::timeout(LONGEST, &mut serving).await;
    }
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a client of the admin endpoint misbehaved: {error}"),
        Err(_) => tracing::debug!("a client of the admin endpoint took longer than {CONNECTION_TIME:?}"),
    }
}

type Answer = Response<Full<Bytes>>;

fn answer<B>(request: &Request<B>, state: &AdminState, registry: &Registry) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    if !matches!(path, "/metrics" | "/healthz" | "/readyz" | "/promote" | "/link-allow" | "/reload") {
        return text(StatusCode::NOT_FOUND, "not here; ask for /metrics, /healthz or /readyz\n".to_owned());
    }
    if matches!(path, "/promote" | "/link-allow" | "/reload") {
        return not_allowed("POST");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    match path {
        "/metrics" => metrics(registry, request.headers().get(ACCEPT)),
        "/healthz" => verdict(&health::unhealthy(state)),
        _ => verdict(&health::unready(state)),
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
