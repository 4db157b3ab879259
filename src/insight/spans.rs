//! What a sampled command is in the words of OpenTelemetry: spans with times and attributes.
//!
//! Pure; `otel` sends them. The names are those of the semantic conventions for databases, as far as there are any; Redan's own
//! begin with `redan.`. The client's request is a span of a server, its way to a node one of a client below it, and a wait for a
//! master another. No attribute may hold a key, a value or another word of the client's.

use super::trace::{Outcome, Traced, Way, mix};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Server,
    Client,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

pub(crate) type Attribute = (&'static str, Value);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: u128,
    pub(crate) id: u64,
    /// `None`: the request.
    pub(crate) parent: Option<u64>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) failed: bool,
}

/// Tells one span below a request from another.
#[derive(Clone, Copy)]
enum Below {
    Hold = 1,
    Node = 2,
}

/// All that is known of the command. Of one that is sent again the request itself comes with its last attempt.
pub(crate) fn spans(traced: &Traced) -> Vec<Span> {
    let mut spans = Vec::new();
    let began = traced.ended_us.saturating_sub(traced.total_us);
    if traced.whole {
        let mut attributes = of_command(traced);
        attributes.extend(of_request(traced));
        let times = (began, traced.ended_us);
        spans.push(span(traced, (traced.ids.span, None), operation(traced), Kind::Server, times, attributes));
    }
    let below = |which: Below, from: u64| {
        // An attempt is told from the next by when it began.
        let id = mix(traced.ids.span ^ mix(from << 2 | which as u64)).max(1);
        (id, Some(traced.ids.span))
    };
    if let Some((from, to)) = traced.held {
        let times = (began + from, began + to);
        let mut hold =
            span(traced, below(Below::Hold, times.0), "hold".to_owned(), Kind::Internal, times, group(traced).into());
        // That nobody came is told by the request.
        hold.failed = false;
        spans.push(hold);
    }
    if let Some(address) = &traced.node {
        let mut attributes = of_command(traced);
        attributes.extend(of_node(address));
        // What the client did not take, it did not take from Redan: the node had said it.
        let times = (began + traced.waited_us, traced.ended_us.saturating_sub(traced.stalled_us));
        spans.push(span(traced, below(Below::Node, times.0), operation(traced), Kind::Client, times, attributes));
    }
    spans
}

fn span(
    traced: &Traced,
    (id, parent): (u64, Option<u64>),
    name: String,
    kind: Kind,
    (from_us, to_us): (u64, u64),
    attributes: Vec<Attribute>,
) -> Span {
    let (start, end) = (from_us * 1000, to_us.max(from_us) * 1000);
    let failed = traced.outcome != Outcome::Answered;
    Span { trace: traced.ids.trace, id, parent, name, kind, start, end, attributes, failed }
}

/// `CONFIG SET`. A command that is in no table has no name here: it may be anything.
fn operation(traced: &Traced) -> String {
    traced.command.map_or_else(|| SYSTEM.to_owned(), |command| command.replace('|', " ").to_uppercase())
}

const SYSTEM: &str = "redis";

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn number(value: u64) -> Value {
    Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

fn of_command(traced: &Traced) -> Vec<Attribute> {
    let mut attributes = vec![("db.system.name", text(SYSTEM))];
    if traced.command.is_some() {
        attributes.push(("db.operation.name", Value::Text(operation(traced))));
    }
    attributes.push(("db.namespace", Value::Text(traced.database.to_string())));
    match traced.outcome {
        Outcome::Answered => {}
        Outcome::Refused(code) => {
            attributes.extend([("db.response.status_code", text(code)), ("error.type", text(code))]);
        }
        Outcome::Lost(why) => attributes.push(("error.type", text(why))),
    }
    attributes
}

fn group(traced: &Traced) -> [Attribute; 2] {
    [("redan.listener", text(&traced.listener)), ("redan.group", text(&traced.group))]
}

fn of_request(traced: &Traced) -> Vec<Attribute> {
    let mut attributes = Vec::from(group(traced));
    let way = match traced.way {
        Way::Ordered => Some(("redan.lane", "ordered")),
        Way::Reads => Some(("redan.lane", "reads")),
        Way::Pin(reason) => Some(("redan.pin", reason)),
        Way::Nowhere => None,
    };
    attributes.extend(way.map(|(name, value)| (name, text(value))));
    if let Some(client) = traced.client {
        attributes.push(("client.address", Value::Text(client.ip().to_string())));
        attributes.push(("client.port", number(client.port().into())));
    }
    attributes.push(("redan.wait_us", number(traced.waited_us)));
    if let Some((from, to)) = traced.held {
        attributes.push(("redan.hold_us", number(to - from)));
    }
    if traced.stalled_us > 0 {
        attributes.push(("redan.client_stall_us", number(traced.stalled_us)));
    }
    attributes.push(("redan.reply_bytes", number(traced.bytes)));
    attributes
}

/// `host:port` as it is dialled. What has no port is a link.
fn of_node(address: &str) -> Vec<Attribute> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = parts else {
        return vec![("server.address", text(address))];
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut attributes = vec![("server.address", text(host)), ("server.port", number(port.into()))];
    // A name may stand for several addresses, and which of them was dialled is not known here.
    if host.parse::<std::net::IpAddr>().is_ok() {
        attributes.extend([
            ("network.peer.address", text(host)),
            ("network.peer.port", number(port.into())),
            ("network.transport", text("tcp")),
        ]);
    }
    attributes
}

/// What all spans of this process have in common. `run` tells it from every other, also from one that gets its number later.
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nobody sends them"))]
pub(crate) fn resource(machine: &str, process: u32, run: u64) -> Vec<Attribute> {
    vec![
        ("service.name", text("redan")),
        ("service.version", text(env!("CARGO_PKG_VERSION"))),
        ("service.instance.id", Value::Text(format!("{run:016x}"))),
        ("host.name", text(machine)),
        ("process.pid", number(process.into())),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::get;
    use super::*;

    fn said<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
        span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    #[test]
    fn a_request_has_its_way_to_the_node_below_it() {
        let spans = spans(&get());
        let [request, node] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((request.kind, request.parent, &*request.name), (Kind::Server, None, "GET"));
        assert_eq!((request.start, request.end), (999_500_000, 1_000_000_000));
        assert_eq!((node.kind, node.parent, node.trace), (Kind::Client, Some(request.id), request.trace));
        assert_eq!((node.start, node.end), (999_700_000, 1_000_000_000));
        assert_ne!(node.id, request.id);
        for (span, name, value) in [
            (request, "db.system.name", text("redis")),
            (request, "db.operation.name", text("GET")),
            (request, "db.namespace", text("3")),
            (request, "redan.listener", text("app")),
            (request, "redan.group", text("main")),
            (request, "redan.lane", text("reads")),
            (request, "redan.wait_us", number(200)),
            (request, "client.address", text("10.0.0.9")),
            (request, "client.port", number(4000)),
            (request, "redan.reply_bytes", number(11)),
            (node, "db.system.name", text("redis")),
            (node, "db.operation.name", text("GET")),
            (node, "server.address", text("10.0.0.1")),
            (node, "server.port", number(6379)),
            (node, "network.peer.address", text("10.0.0.1")),
            (node, "network.peer.port", number(6379)),
        ] {
            assert_eq!(said(span, name), Some(&value), "{name}");
        }
        assert!(!request.failed && !node.failed && said(request, "error.type").is_none());
    }

    #[test]
    fn errors_have_their_code_and_what_is_lost_has_none() {
        for span in spans(&Traced { outcome: Outcome::Refused("WRONGTYPE"), ..get() }) {
            assert!(span.failed);
            assert_eq!(said(&span, "db.response.status_code"), Some(&text("WRONGTYPE")));
            assert_eq!(said(&span, "error.type"), Some(&text("WRONGTYPE")));
        }
        for span in spans(&Traced { outcome: Outcome::Lost("late"), ..get() }) {
            assert!(span.failed);
            assert_eq!(said(&span, "db.response.status_code"), None);
            assert_eq!(said(&span, "error.type"), Some(&text("late")));
        }
    }

    #[test]
    fn an_attempt_is_below_the_request_that_comes_with_the_next() {
        let first = Traced { whole: false, outcome: Outcome::Refused("READONLY"), ended_us: 600_000, ..get() };
        let held = Some((150, 7_000_000));
        let last = Traced { held, ended_us: 8_000_000, total_us: 7_400_500, waited_us: 7_400_000, ..get() };
        let (first, last) = (spans(&first), spans(&last));
        let ([attempt], [request, hold, node]) = (&first[..], &last[..]) else { panic!("{first:?} {last:?}") };
        assert_eq!((attempt.kind, attempt.parent), (Kind::Client, Some(request.id)));
        assert_eq!((&*hold.name, hold.kind, hold.parent), ("hold", Kind::Internal, Some(request.id)));
        assert_eq!((hold.start, hold.end), (599_650_000, 7_599_500_000));
        assert!(request.start <= attempt.start && hold.end <= node.start && node.end == request.end);
        assert!(attempt.failed && !hold.failed && !node.failed);
        let ids = std::collections::BTreeSet::from([attempt.id, request.id, hold.id, node.id]);
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn names_are_those_of_tables_and_places_are_understood() {
        let name = |command| spans(&Traced { command, ..get() })[0].name.clone();
        assert_eq!((name(Some("config|set")).as_str(), name(None).as_str()), ("CONFIG SET", "redis"));
        let unknown = spans(&Traced { command: None, ..get() });
        assert_eq!(said(&unknown[0], "db.operation.name"), None);
        for (address, host, port, peer) in [
            ("redis-0:6379", "redis-0", Some(6379), false),
            ("[::1]:7000", "::1", Some(7000), true),
            ("link:dc2", "link:dc2", None, false),
        ] {
            let spans = spans(&Traced { node: Some(address.into()), ..get() });
            assert_eq!(said(&spans[1], "server.address"), Some(&text(host)), "{address}");
            assert_eq!(said(&spans[1], "server.port"), port.map(number).as_ref(), "{address}");
            assert_eq!(said(&spans[1], "network.peer.address").is_some(), peer, "{address}");
        }
        let nowhere = spans(&Traced { node: None, way: Way::Nowhere, ..get() });
        assert_eq!(nowhere.len(), 1);
        let pinned = spans(&Traced { way: Way::Pin("multi"), ..get() });
        assert_eq!(said(&pinned[0], "redan.pin"), Some(&text("multi")));
        let unix = spans(&Traced { client: None, ..get() });
        assert_eq!(said(&unix[0], "client.address"), None);
    }
}
