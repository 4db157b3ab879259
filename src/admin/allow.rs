//! `POST /link-allow`: lets full syncs over a link pass for a while that its guard refuses, because the operator means them.
//!
//! Under the same conditions as a promotion: from this machine, and from no browser.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::AdminState;
use super::promote::{field, order};

/// Replicas ask again every second.
const USUAL: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) async fn allow(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: &AdminState,
) -> Result<String, (StatusCode, String)> {
    let text = order(request, peer, "link-allow").await?;
    let refused = |words: &str| (StatusCode::BAD_REQUEST, words.to_owned());
    let name =
        field(&text, "link").ok_or_else(|| refused("write link=NAME, and &for_ms=N where 60000 is not meant"))?;
    let time = match field(&text, "for_ms").map(str::parse) {
        None => USUAL,
        Some(Ok(ms)) if ms <= LONGEST.as_millis() as u64 => Duration::from_millis(ms),
        Some(_) => return Err(refused("for_ms is a number up to 3600000")),
    };
    let links = state.links.load();
    let Some((name, counters)) = links.iter().find(|(link, _)| link == name) else {
        let names = links.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        return Err((StatusCode::NOT_FOUND, format!("no link is called '{name}'; there is {names}")));
    };
    counters.desk.allow(time);
    tracing::warn!("link '{name}': for {time:?}, as ordered, a master that came back empty may empty its replicas");
    Ok(format!("link '{name}' lets every full sync pass for {time:?}"))
}
