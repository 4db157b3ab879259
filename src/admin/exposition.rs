//! In which of its two text formats `/metrics` is written: OpenMetrics for those who ask for it, else Prometheus's own.
//!
//! Used by the endpoint alone. Prometheus asks for OpenMetrics; browsers would save it as a file, and agents that
//! know only the older format stumble over its types.

use std::fmt::{self, Write};

use hyper::header::HeaderValue;
use prometheus_client::registry::Registry;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The body and its content type. `accept` is the request's header of that name.
pub(super) fn expose(registry: &Registry, accept: &str) -> Result<(String, HeaderValue), fmt::Error> {
    let mut body = String::new();
    prometheus_client::encoding::text::encode(&mut body, registry)?;
    if accept.to_ascii_lowercase().contains(OPEN_METRICS) {
        return Ok((body, HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8")));
    }
    Ok((to_prometheus(&body)?, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8")))
}

/// The samples are written alike. The older format names a family as its samples are named, suffix included, has no
/// type `info`, and no end.
fn to_prometheus(text: &str) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# HELP ") {
            // Written with its family's type, which follows and decides the name.
            help = words.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|words| words.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::to_prometheus;

    #[test]
    fn families_are_named_as_their_samples_are() {
        let open = "# HELP a Some help\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP b About\n# TYPE b info\n\
                    b_info{v=\"1\"} 1\n# HELP c_seconds Time\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\n\
                    c_seconds 0.5\n# EOF\n";
        let older = "# HELP a_total Some help\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP b_info About\n\
                     # TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c_seconds Time\n# TYPE c_seconds gauge\nc_seconds 0.5\n";
        assert_eq!(to_prometheus(open).as_deref(), Ok(older));
    }
}
