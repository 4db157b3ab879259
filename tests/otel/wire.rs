//! Reads the bytes that a collector is sent: the protocol buffers of OTLP, as far as Redan writes them.
//!
//! Written from the protocol's definition and not with the library that writes them, so that the two check each other.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    /// Empty: it has none.
    pub(crate) parent: Vec<u8>,
    pub(crate) name: String,
    pub(crate) kind: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// 0: nothing is said, 2: an error.
    pub(crate) status: u64,
    /// Of the process.
    pub(crate) resource: BTreeMap<String, String>,
}

pub(crate) const INTERNAL: u64 = 1;
pub(crate) const SERVER: u64 = 2;
pub(crate) const CLIENT: u64 = 3;

impl Span {
    pub(crate) fn says(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.says(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name}: {self:?}"))
    }

    pub(crate) fn is_below(&self, request: &Self) -> bool {
        self.trace == request.trace && self.parent == request.id
    }
}

#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} where bytes belong"),
        }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }

    fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(bytes) => panic!("{bytes:?} where a number belongs"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

/// The fields of a message with their numbers, in their order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let len = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(len);
                bytes = rest;
                Field::Bytes(value)
            }
            kind @ (1 | 5) => {
                let (value, rest) = bytes.split_at(if kind == 1 { 8 } else { 4 });
                bytes = rest;
                Field::Number(value.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            }
            kind => panic!("no field has the wire type {kind}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn all<'a>(message: &[(u64, Field<'a>)], number: u64) -> Vec<Field<'a>> {
    message.iter().filter(|(known, _)| *known == number).map(|(_, field)| *field).collect()
}

fn one<'a>(message: &[(u64, Field<'a>)], number: u64) -> Option<Field<'a>> {
    all(message, number).last().copied()
}

/// Repeated KeyValue: key = 1, value = 2, of which string_value = 1 and int_value = 3.
fn attributes(message: &[(u64, Field<'_>)], number: u64) -> BTreeMap<String, String> {
    let pair = |field: Field<'_>| {
        let pair = fields(field.bytes());
        let value = fields(one(&pair, 2).expect("a value").bytes());
        let value = match value[..] {
            [(1, text)] => text.text(),
            [(3, number)] => number.number().to_string(),
            ref other => panic!("an attribute of another kind: {other:?}"),
        };
        (one(&pair, 1).expect("a key").text(), value)
    };
    all(message, number).into_iter().map(pair).collect()
}

/// All spans of an ExportTraceServiceRequest: resource_spans = 1, in it resource = 1 and scope_spans = 2, in it spans = 2.
pub(crate) fn spans(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in all(&fields(body), 1) {
        let of_resource = fields(of_resource.bytes());
        let resource = attributes(&fields(one(&of_resource, 1).expect("a resource").bytes()), 1);
        for of_scope in all(&of_resource, 2) {
            for field in all(&fields(of_scope.bytes()), 2) {
                spans.push(span(&fields(field.bytes()), &resource));
            }
        }
    }
    spans
}

fn span(message: &[(u64, Field<'_>)], resource: &BTreeMap<String, String>) -> Span {
    let bytes = |number| one(message, number).map_or_else(Vec::new, |field| field.bytes().to_vec());
    let number = |number| one(message, number).map_or(0, Field::number);
    let status = one(message, 15).map(|status| fields(status.bytes()));
    Span {
        trace: bytes(1),
        id: bytes(2),
        parent: bytes(4),
        name: one(message, 5).expect("a name").text(),
        kind: number(6),
        start: number(7),
        end: number(8),
        attributes: attributes(message, 9),
        status: status.and_then(|status| one(&status, 3)).map_or(0, Field::number),
        resource: resource.clone(),
    }
}
