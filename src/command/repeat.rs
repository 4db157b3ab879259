//! Writes that may be executed twice: the second time changes nothing that the first has not, and its reply misleads nobody.
//!
//! Pure. `session` asks it, on listeners with `retry = "idempotent"`, for a write whose connection died before its reply.
//! What is not listed may not be repeated; an option that is not listed neither.

use crate::resp::request::arguments;

/// What must hold of a listed command's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum If {
    Always,
    /// SET: only options that say how long the key lives. NX, XX and the like ask for the state before, which the first
    /// execution has changed, and GET returns it.
    OnlyLifetime,
    /// ZADD, GEOADD: no option stands where the first score may. INCR adds twice; NX, XX, GT and LT ask for the state before; CH
    /// counts what was changed, which is why it is there.
    NoOptionBeforeScores,
    /// EXPIRE and its kin: exactly a key and a time. NX, XX, GT and LT ask for the state before.
    KeyAndTime,
}

/// In `docs/configuration.md` too, which a test compares.
///
/// Listed although its reply counts what was changed, and so may say less the second time: DEL, UNLINK, HDEL, HSET, PERSIST,
/// PFADD, SADD, SREM, ZADD, ZREM, GEOADD. Who asked for the repetition prefers that to not knowing.
///
/// Not listed: SETBIT and GETSET, whose reply is the state before; SETNX, HSETNX and MSETNX, which are asked whether they
/// were first; LSET, LTRIM and ZREMRANGEBYRANK, whose positions move; SUNIONSTORE and its kin, BITOP, COPY, RENAME and SMOVE,
/// which read keys that may have changed since, their own destination among them; FLUSHALL, which would take more.
const REPEATABLE: &[(&[u8], If)] = &[
    (b"SET", If::OnlyLifetime),
    (b"SETEX", If::Always),
    (b"PSETEX", If::Always),
    (b"SETRANGE", If::Always),
    (b"MSET", If::Always),
    (b"DEL", If::Always),
    (b"UNLINK", If::Always),
    (b"HSET", If::Always),
    (b"HMSET", If::Always),
    (b"HDEL", If::Always),
    (b"SADD", If::Always),
    (b"SREM", If::Always),
    (b"ZADD", If::NoOptionBeforeScores),
    (b"ZREM", If::Always),
    (b"GEOADD", If::NoOptionBeforeScores),
    (b"PFADD", If::Always),
    (b"PFMERGE", If::Always),
    (b"EXPIRE", If::KeyAndTime),
    (b"PEXPIRE", If::KeyAndTime),
    (b"EXPIREAT", If::KeyAndTime),
    (b"PEXPIREAT", If::KeyAndTime),
    (b"PERSIST", If::Always),
];

/// Whether the command, complete and alone in `raw`, may be executed twice. Of several commands, a transaction, only the
/// first would be seen: those are the caller's to keep away.
pub(crate) fn may_be_repeated(raw: &[u8]) -> bool {
    let mut words = arguments(raw);
    let name = words.next().unwrap_or_default();
    let listed = REPEATABLE.iter().find(|(listed, _)| name.eq_ignore_ascii_case(listed));
    match listed.map(|(_, condition)| *condition) {
        None => false,
        Some(If::Always) => true,
        Some(If::KeyAndTime) => words.count() == 2,
        Some(If::NoOptionBeforeScores) => words.nth(1).is_some_and(is_number),
        Some(If::OnlyLifetime) => {
            // The key and the value.
            words.nth(1);
            while let Some(option) = words.next() {
                let timed = [&b"EX"[..], b"PX", b"EXAT", b"PXAT"].iter().any(|word| option.eq_ignore_ascii_case(word));
                if timed {
                    words.next();
                } else if !option.eq_ignore_ascii_case(b"KEEPTTL") {
                    return false;
                }
            }
            true
        }
    }
}

/// A score or a longitude, which no option looks like.
fn is_number(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn repeated(line: &str) -> bool {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut raw = Vec::new();
        encode::command(&mut raw, &words);
        may_be_repeated(&raw)
    }

    #[test]
    fn what_may_be_executed_twice() {
        for line in [
            "SET k v",
            "set k v",
            "SET k NX",
            "SET k v EX 10",
            "SET k v px 10",
            "SET k v EXAT 1700000000",
            "SET k v KEEPTTL",
            "SETEX k 10 v",
            "PSETEX k 10 v",
            "SETRANGE k 3 v",
            "MSET a 1 b 2",
            "DEL a b",
            "UNLINK a",
            "HSET h f v",
            "HMSET h f v",
            "HDEL h f",
            "SADD s a",
            "SREM s a",
            "ZADD z 1 a",
            "ZADD z -inf a 2.5 b",
            "ZREM z a",
            "GEOADD g 13.3 38.1 a",
            "PFADD h a",
            "PFMERGE d a b",
            "EXPIRE k 10",
            "PEXPIREAT k 1700000000000",
            "PERSIST k",
        ] {
            assert!(repeated(line), "{line}");
        }
    }

    #[test]
    fn what_may_not() {
        for line in [
            "SET k v NX",
            "SET k v XX",
            "SET k v GET",
            "SET k v EX 10 NX",
            "SET k v IFEQ w",
            "SETNX k v",
            "MSETNX a 1",
            "HSETNX h f v",
            "GETSET k v",
            "GETDEL k",
            "GETEX k EX 10",
            "SETBIT k 1 1",
            "INCR k",
            "INCRBYFLOAT k 1.5",
            "APPEND k v",
            "LPUSH l a",
            "RPUSH l a",
            "LPOP l",
            "LSET l 0 a",
            "LTRIM l 0 9",
            "LREM l 1 a",
            "SPOP s",
            "SMOVE s t a",
            "SUNIONSTORE d s t",
            "BITOP XOR d d s",
            "ZADD z NX 1 a",
            "ZADD z INCR 1 a",
            "ZADD z CH 1 a",
            "ZADD z GT 1 a",
            "ZINCRBY z 1 a",
            "ZPOPMIN z",
            "ZREMRANGEBYRANK z 0 1",
            "GEOADD g XX 13.3 38.1 a",
            "EXPIRE k 10 NX",
            "EXPIRE k",
            "RENAME a b",
            "COPY a b REPLACE",
            "XADD s * f v",
            "EVAL s 0",
            "EVALSHA d 0",
            "FCALL f 0",
            "PUBLISH c m",
            "FLUSHALL",
            "MULTI",
            "RESTORE k 0 x",
            "JSON.SET k $ 1",
        ] {
            assert!(!repeated(line), "{line}");
        }
    }

    #[test]
    fn the_reference_lists_them_all() {
        let reference = include_str!("../../docs/configuration.md");
        let (_, section) = reference.split_once("### Writes that are sent again").expect("the section");
        let section = section.split("\n#").next().unwrap_or_default();
        for (name, _) in REPEATABLE {
            let name = std::str::from_utf8(name).expect("ASCII");
            assert!(section.contains(&format!("`{name}`")), "docs/configuration.md does not list {name}");
        }
    }
}
