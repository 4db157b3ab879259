//! Spans as the bytes of OTLP, and what a collector's answer says.
//!
//! Used by the exporter alone. It must decide nothing: what a span says is decided in `insight::spans`.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use crate::insight::spans::{self, Attribute, Kind, Value};

/// The version of the semantic conventions from which the names of attributes are.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.37.0";

/// In the trace flags: it was sampled.
const SAMPLED: u32 = 1;

pub(super) fn encode(resource: &[Attribute], spans: impl Iterator<Item = spans::Span>) -> Bytes {
    let scope = InstrumentationScope {
        name: "redan".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans { scope: Some(scope), spans: spans.map(span).collect(), schema_url: CONVENTIONS.to_owned() };
    let resource = Resource { attributes: resource.iter().cloned().map(attribute).collect(), ..Resource::default() };
    let spans =
        ResourceSpans { resource: Some(resource), scope_spans: vec![spans], schema_url: CONVENTIONS.to_owned() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec().into()
}

fn span(span: spans::Span) -> Span {
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let code = if span.failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_id: span.trace.to_be_bytes().into(),
        span_id: span.id.to_be_bytes().into(),
        parent_span_id: span.parent.map(|id| id.to_be_bytes().into()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        // A node's words may have a key in them; its code is an attribute.
        status: Some(Status { code: code.into(), message: String::new() }),
        ..Span::default()
    }
}

fn attribute((name, value): Attribute) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Spans that the collector did not want, and what it says. An answer that is not understood says nothing.
pub(super) fn remarks(answer: &[u8]) -> Option<(u64, String)> {
    let partial = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    (rejected > 0 || !partial.error_message.is_empty()).then_some((rejected, partial.error_message))
}
