//! What a node answers to HELLO: Redan's own answer says the same, field by field.
//!
//! Pure. Probes take it from RESP2, where maps are flat; sessions write it in either version. What speaks of the one
//! connection it was given on (its number, its protocol), or of one server and not of the endpoint, is replaced.

use crate::resp::encode;
use crate::resp::value::Value;

/// The fields in the node's order: `server`, `version` …, and whatever newer servers add.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Greeting(Vec<(String, Value)>);

impl Greeting {
    /// `None`: no answer to HELLO, or half of one.
    pub(super) fn of(hello: &Value) -> Option<Self> {
        let fields = match hello {
            Value::Map(pairs) => pairs.clone(),
            Value::Array(items) if items.len() % 2 == 0 => {
                items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
            }
            _ => return None,
        };
        let fields: Option<Vec<_>> =
            fields.into_iter().map(|(name, value)| Some((name.text()?.to_owned(), value))).collect();
        let fields = fields?;
        let has = |wanted: &str| fields.iter().any(|(name, _)| name == wanted);
        ["server", "version", "proto", "id", "mode", "role"].into_iter().all(has).then_some(Self(fields))
    }

    /// As one server that takes everything says it on connection number `id`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, resp3: bool, id: i64) {
        encode::map(out, self.0.len(), resp3);
        for (name, value) in &self.0 {
            encode::bulk(out, name.as_bytes());
            match name.as_str() {
                "proto" => encode::integer(out, if resp3 { 3 } else { 2 }),
                "id" => encode::integer(out, id),
                "mode" => encode::bulk(out, b"standalone"),
                "role" => encode::bulk(out, b"master"),
                "modules" => modules(out, value, resp3),
                _ => plain(out, value, resp3),
            }
        }
    }
}

/// A list of maps, which came flat.
fn modules(out: &mut Vec<u8>, list: &Value, resp3: bool) {
    let list = list.items().unwrap_or_default();
    encode::array(out, list.len());
    for module in list {
        match module.items() {
            Some(flat) if flat.len() % 2 == 0 => {
                encode::map(out, flat.len() / 2, resp3);
                flat.iter().for_each(|value| plain(out, value, resp3));
            }
            _ => plain(out, module, resp3),
        }
    }
}

/// No field has more than strings, numbers and lists.
fn plain(out: &mut Vec<u8>, value: &Value, resp3: bool) {
    match value {
        Value::Text(bytes) => encode::bulk(out, bytes),
        Value::Integer(number) => encode::integer(out, *number),
        Value::Array(items) => {
            encode::array(out, items.len());
            items.iter().for_each(|item| plain(out, item, resp3));
        }
        Value::Map(pairs) => {
            encode::map(out, pairs.len(), resp3);
            for (key, value) in pairs {
                plain(out, key, resp3);
                plain(out, value, resp3);
            }
        }
        Value::Error(_) | Value::Double(_) | Value::Boolean(_) | Value::Null => encode::null(out, resp3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::value::decode;

    /// What Redis 8.0 says over RESP2.
    const SAID: &str = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n8.0.6\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n\
        $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$7\r\nreplica\r\n$7\r\nmodules\r\n*1\r\n*8\r\n$4\r\nname\r\n$9\r\nvectorset\r\n\
        $3\r\nver\r\n:1\r\n$4\r\npath\r\n$0\r\n\r\n$4\r\nargs\r\n*0\r\n";

    fn said(text: &str) -> Option<Greeting> {
        Greeting::of(&decode(text.as_bytes(), false).expect("RESP").expect("all of it").0)
    }

    fn written(resp3: bool) -> String {
        let mut out = Vec::new();
        said(SAID).expect("a greeting").write(&mut out, resp3, 77);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn it_is_said_again_in_both_protocols_with_what_is_the_endpoints_own() {
        assert_eq!(written(false), SAID.replace(":3\r\n", ":77\r\n").replace("$7\r\nreplica", "$6\r\nmaster"));
        let maps = SAID.replacen("*14", "%7", 1).replace(":3\r\n", ":77\r\n").replace("$7\r\nreplica", "$6\r\nmaster");
        assert_eq!(written(true), maps.replace("proto\r\n:2", "proto\r\n:3").replace("*1\r\n*8", "*1\r\n%4"));
    }

    #[test]
    fn what_is_no_answer_to_hello_is_none() {
        for text in
            ["-ERR unknown command 'HELLO'\r\n", "*1\r\n$5\r\nproto\r\n", "*2\r\n$5\r\nproto\r\n:3\r\n", "+OK\r\n"]
        {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
