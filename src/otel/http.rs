//! POST to a collector, over one connection that is kept: plaintext HTTP/1.1.
//!
//! Used by the exporter alone. It must never wait without a limit.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Collector;

/// From dialling to the end of the answer. What takes longer is as good as not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer says in a few bytes that all is well, and what is not in a sentence.
const ANSWER: usize = 64 * 1024;

pub(super) struct Client {
    collector: Collector,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// The batch was not taken.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// It may be another time.
    pub(super) again: bool,
    /// When, in the collector's own words.
    pub(super) after: Option<Duration>,
}

impl Failure {
    /// The network, or a collector that is about to be there again.
    fn passing(why: String) -> Self {
        Self { why, again: true, after: None }
    }
}

impl Client {
    pub(super) fn new(collector: Collector) -> Self {
        Self { collector, connection: None }
    }

    /// For the log.
    pub(super) fn name(&self) -> String {
        format!("http://{}{}", self.collector.address, self.collector.path)
    }

    /// What the collector answered to a body that it took.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Bytes, Failure> {
        // Taken out meanwhile: a connection on which an answer is still to come, because nobody waited for it, is not used again.
        let kept = self.connection.take();
        let late = |_| Failure::passing(format!("it did not answer within {} s", PATIENCE.as_secs()));
        let (connection, answer) = timeout(PATIENCE, self.exchange(kept, body)).await.map_err(late)??;
        self.connection = Some(connection);
        answer
    }

    async fn exchange(&self, kept: Option<SendRequest<Full<Bytes>>>, body: Bytes) -> Result<Exchanged, Failure> {
        let broken = |error: hyper::Error| Failure::passing(format!("the connection broke: {error}"));
        let kept = match kept {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let request = Request::post(&self.collector.path)
            .header(HOST, &self.collector.address)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("redan/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Failure { why: error.to_string(), again: false, after: None })?;
        let response = connection.send_request(request).await.map_err(broken)?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| Failure::passing(format!("its answer: {error}")))?.to_bytes();
        if status.is_success() {
            return Ok((connection, Ok(body)));
        }
        // The protocol names these as the ones that pass; any other would be the same next time.
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        Ok((connection, Err(Failure { why: format!("it answered {status}"), again, after })))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let refused = |error: std::io::Error| Failure::passing(error.to_string());
        let stream = TcpStream::connect(&self.collector.address).await.map_err(refused)?;
        let broken = |error: hyper::Error| Failure::passing(format!("the connection broke: {error}"));
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the connection, whose errors the sender hears of.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

type Exchanged = (SendRequest<Full<Bytes>>, Result<Bytes, Failure>);

/// In seconds; a date is left to the pause there would be anyway.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
