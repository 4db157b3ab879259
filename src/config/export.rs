//! `trace_export`: the collector to which sampled commands are sent, instead of to the log.
//!
//! Read with the rest of `[redan]`. A program that was built without the exporter refuses the setting: an operator who has
//! asked for traces must not find out later that there are none.

use super::section::Section;
use super::values;

/// An OpenTelemetry collector, spoken to over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nobody sends anything there"))]
pub(crate) struct Collector {
    /// `host:port`.
    pub(crate) address: String,
    /// Where it takes traces.
    pub(crate) path: String,
}

/// Whether this program can send anything. Tests read configurations for both.
const BUILT_IN: bool = cfg!(any(test, feature = "otel"));

/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

pub(super) fn read(section: &Section<'_>) -> Option<Collector> {
    read_as(section, BUILT_IN)
}

fn read_as(section: &Section<'_>, built_in: bool) -> Option<Collector> {
    let collector = section.parsed("trace_export", parse)?;
    if !built_in {
        let words = "`trace_export` needs a Redan that was built with the feature `otel`, which this one was not: build it with \
                     `cargo install --path . --features otel`, or remove this";
        section.error("trace_export", words);
    }
    if !section.has("trace_sample") {
        let words = "`trace_export` sends what `trace_sample` chooses, and without that nothing: add `trace_sample = 0.001`, or \
                     remove this";
        section.error("trace_export", words);
    }
    Some(collector)
}

fn parse(text: &str) -> Result<Collector, String> {
    let example = "write \"http://127.0.0.1:4318\"";
    if text.starts_with("https:") {
        return Err(format!(
            "{text:?} asks for TLS, which Redan does not speak to collectors: name one on this machine, which may send on over TLS; {example}"
        ));
    }
    let rest =
        text.strip_prefix("http://").ok_or_else(|| format!("{text:?} is not the address of a collector; {example}"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A port stands behind the last colon, unless that is inside the brackets of an IPv6 address.
    let has_port = authority.rfind(':').is_some_and(|colon| !authority[colon..].contains(']'));
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{PORT}") };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '\\');
    if values::node_address(&address).is_err() || authority.contains('@') || !path.chars().all(plain) {
        return Err(format!("{text:?} is not the address of a collector; {example}"));
    }
    Ok(Collector { address, path: format!("{}/v1/traces", path.trim_end_matches('/')) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toml::de::DeTable;

    use super::super::keys;
    use super::super::report::{Findings, Source};
    use super::*;

    #[test]
    fn where_a_collector_is() {
        for (text, address, path) in [
            ("http://127.0.0.1:4318", "127.0.0.1:4318", "/v1/traces"),
            ("http://collector", "collector:4318", "/v1/traces"),
            ("http://collector.example:80/", "collector.example:80", "/v1/traces"),
            ("http://[::1]", "[::1]:4318", "/v1/traces"),
            ("http://[::1]:99/otel/in/", "[::1]:99", "/otel/in/v1/traces"),
        ] {
            let expected = Collector { address: address.to_owned(), path: path.to_owned() };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "127.0.0.1:4318", "grpc://a:4317", "http://", "http://a:0x1", "http://u:p@a:1", "http://a/?b"]
        {
            assert!(parse(text).is_err_and(|words| words.contains("is not the address of a collector")), "{text}");
        }
        assert!(parse("https://collector:4318").is_err_and(|words| words.contains("TLS")));
    }

    /// What is said of `[redan]` with such settings.
    fn said(text: &str, built_in: bool) -> Vec<String> {
        let findings = Findings::default();
        let source = Source::new(&findings, Path::new("proxy.toml"), text);
        let table = DeTable::parse(text).expect("TOML");
        read_as(&Section::open(&source, &keys::REDAN, table.get_ref(), 0), built_in);
        findings.conclude().map_or_else(|errors| errors.lines().to_vec(), |_| Vec::new())
    }

    #[test]
    fn a_program_that_cannot_export_refuses_to_and_so_does_one_with_nothing_to_send() {
        let both = "trace_sample = 0.5\ntrace_export = \"http://127.0.0.1:4318\"";
        assert_eq!(said(both, true), Vec::<String>::new());
        let refused = said(both, false);
        assert!(refused.len() == 1 && refused[0].starts_with("proxy.toml:2: `trace_export` needs"), "{refused:?}");
        assert!(refused[0].contains("--features otel"), "{refused:?}");
        let without = said("trace_export = \"http://127.0.0.1:4318\"", true);
        assert!(without.len() == 1 && without[0].contains("add `trace_sample"), "{without:?}");
        assert_eq!(said("trace_sample = 0.5", false), Vec::<String>::new());
    }
}
