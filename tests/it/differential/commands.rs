//! The commands of the random streams, as lines with places for random keys, values and numbers.
//!
//! Only what has one right answer: nothing random, no clock, no address. Replies whose order is a hash table's are marked `~`.

use super::random::Random;

/// `s l h t z x p` in braces: a key that mostly holds a string, list, hash, set, sorted set, stream, HyperLogLog;
/// `v` a value, `f` a field or member, `n` a small number, `i` an index, `d` a score, `o` a time far in the future,
/// `e` an id of a stream's entry, `sha` of a script.
const COMMANDS: &[&str] = &[
    "SET {s} {v}",
    "SET {s} {n}",
    "SET {s} {v} NX",
    "SET {s} {v} XX GET",
    "SET {s} {v} KEEPTTL",
    "SET {s} {v} EXAT {o}",
    "SET {s} {v} EX 0",
    "SET {s} {v} NOSUCH",
    "SET {s}",
    "SETNX {s} {v}",
    "SETEX {s} 0 {v}",
    "PSETEX {s} x {v}",
    "GET {s}",
    "GET {s}",
    "GET {s}",
    "GET {s} {s}",
    "GETSET {s} {v}",
    "GETDEL {s}",
    "GETEX {s} EXAT {o}",
    "GETEX {s} PERSIST",
    "APPEND {s} {v}",
    "STRLEN {s}",
    "GETRANGE {s} {i} {i}",
    "SUBSTR {s} {i} {i}",
    "SETRANGE {s} {n} {v}",
    "MSET {s} {v} {s} {v}",
    "MSETNX {s} {v} {s} {v}",
    "MGET {s} {s} {l}",
    "INCR {s}",
    "INCRBY {s} {i}",
    "DECR {s}",
    "DECRBY {s} {n}",
    "INCRBYFLOAT {s} {d}",
    "LCS {s} {s}",
    "LCS {s} {s} IDX WITHMATCHLEN",
    "SETBIT {s} {n} 1",
    "GETBIT {s} {n}",
    "BITCOUNT {s}",
    "BITCOUNT {s} {i} {i} BIT",
    "BITPOS {s} 1",
    "BITOP XOR {s} {s} {s}",
    "BITFIELD {s} INCRBY u5 {n} 7 GET i4 {n}",
    "BITFIELD_RO {s} GET u8 {n}",
    "LPUSH {l} {v} {v}",
    "RPUSH {l} {f} {v}",
    "LPUSHX {l} {v}",
    "RPUSHX {l} {v}",
    "LPOP {l}",
    "RPOP {l} 2",
    "LLEN {l}",
    "LRANGE {l} {i} {i}",
    "LRANGE {l} 0 -1",
    "LINDEX {l} {i}",
    "LSET {l} {i} {v}",
    "LREM {l} {i} {f}",
    "LTRIM {l} {i} {i}",
    "LINSERT {l} BEFORE {f} {v}",
    "LPOS {l} {f} COUNT 0",
    "LMOVE {l} {l} LEFT RIGHT",
    "RPOPLPUSH {l} {l}",
    "LMPOP 2 {l} {l} LEFT COUNT 2",
    "SORT {l} ALPHA",
    "SORT {l} ALPHA DESC STORE {l}",
    "SORT_RO {l} ALPHA LIMIT 0 3",
    "SORT {l}",
    "HSET {h} {f} {v} {f} {n}",
    "HMSET {h} {f} {v}",
    "HSETNX {h} {f} {v}",
    "HGET {h} {f}",
    "HMGET {h} {f} {f}",
    "~HGETALL {h}",
    "~HKEYS {h}",
    "~HVALS {h}",
    "HLEN {h}",
    "HDEL {h} {f}",
    "HEXISTS {h} {f}",
    "HSTRLEN {h} {f}",
    "HINCRBY {h} {f} {i}",
    "HINCRBYFLOAT {h} {f} {d}",
    "~HRANDFIELD {h} 1000",
    "~HSCAN {h} 0 COUNT 10000",
    "HSET {h} {f}",
    "SADD {t} {f} {f}",
    "SADD {t} {n} {n}",
    "SREM {t} {f}",
    "SCARD {t}",
    "SISMEMBER {t} {f}",
    "SMISMEMBER {t} {f} {n}",
    "~SMEMBERS {t}",
    "SMOVE {t} {t} {f}",
    "~SPOP {t} 1000",
    "~SRANDMEMBER {t} 1000",
    "~SDIFF {t} {t}",
    "~SINTER {t} {t}",
    "~SUNION {t} {t}",
    "SDIFFSTORE {t} {t} {t}",
    "SINTERSTORE {t} {t} {t}",
    "SUNIONSTORE {t} {t} {t}",
    "SINTERCARD 2 {t} {t}",
    "~SSCAN {t} 0 COUNT 10000",
    "ZADD {z} {d} {f} {d} {f}",
    "ZADD {z} XX CH {d} {f}",
    "ZADD {z} GT {d} {f}",
    "ZADD {z} INCR {d} {f}",
    "ZINCRBY {z} {d} {f}",
    "ZSCORE {z} {f}",
    "ZMSCORE {z} {f} {f}",
    "ZCARD {z}",
    "ZCOUNT {z} {d} +inf",
    "ZRANK {z} {f}",
    "ZREVRANK {z} {f}",
    "ZRANGE {z} {i} {i}",
    "ZRANGE {z} 0 -1 WITHSCORES",
    "ZRANGE {z} {d} {d} BYSCORE LIMIT 0 3",
    "ZREVRANGE {z} {i} {i} WITHSCORES",
    "ZRANGEBYSCORE {z} -inf {d} WITHSCORES",
    "ZREVRANGEBYSCORE {z} {d} -inf",
    "ZRANGEBYLEX {z} - +",
    "ZLEXCOUNT {z} - +",
    "ZREM {z} {f}",
    "ZREMRANGEBYRANK {z} {i} {i}",
    "ZREMRANGEBYSCORE {z} {d} {d}",
    "ZPOPMIN {z}",
    "ZPOPMAX {z} 2",
    "ZMPOP 2 {z} {z} MIN",
    "ZUNION 2 {z} {z} WITHSCORES",
    "ZINTER 2 {z} {z}",
    "ZDIFF 2 {z} {z} WITHSCORES",
    "ZUNIONSTORE {z} 2 {z} {t}",
    "ZINTERSTORE {z} 2 {z} {z} AGGREGATE MAX",
    "ZRANGESTORE {z} {z} 0 2",
    "ZINTERCARD 2 {z} {z}",
    "~ZSCAN {z} 0 COUNT 10000",
    "GEOADD {z} 13.3 38.1 {f} 15.0 37.5 {f}",
    "GEOSEARCH {z} FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST",
    "GEOPOS {z} {f}",
    "GEODIST {z} {f} {f}",
    "GEORADIUS {z} 15 37 200 km ASC",
    "GEOHASH {z} {f}",
    "XADD {x} {e} {f} {v}",
    "XADD {x} MAXLEN 5 {e} {f} {v}",
    "XLEN {x}",
    "XRANGE {x} - +",
    "XREVRANGE {x} + - COUNT 2",
    "XREAD COUNT 2 STREAMS {x} 0",
    "XREAD STREAMS {x} {x} 0 {e}",
    "XDEL {x} {e}",
    "XTRIM {x} MAXLEN 3",
    "XGROUP CREATE {x} g 0 MKSTREAM",
    "XGROUP DESTROY {x} g",
    "XREADGROUP GROUP g c COUNT 2 STREAMS {x} >",
    "XREADGROUP GROUP g c STREAMS {x} 0",
    "XACK {x} g {e}",
    "XPENDING {x} g",
    "XCLAIM {x} g d 0 {e}",
    "XAUTOCLAIM {x} g d 0 0 COUNT 2",
    "XINFO STREAM {x}",
    "XINFO GROUPS {x}",
    "PFADD {p} {f} {v}",
    "PFCOUNT {p} {p}",
    "PFMERGE {p} {p}",
    "DEL {a} {a}",
    "UNLINK {a}",
    "EXISTS {a} {a}",
    "TYPE {a}",
    "TOUCH {a}",
    "COPY {a} {a} REPLACE",
    "RENAME {a} {a}",
    "RENAMENX {a} {a}",
    "EXPIREAT {a} {o}",
    "PEXPIREAT {a} {o}000",
    "EXPIRE {a} -1",
    "PERSIST {a}",
    "EXPIRETIME {a}",
    "PEXPIRETIME {a}",
    "OBJECT ENCODING {a}",
    "~KEYS *",
    "~SCAN 0 COUNT 100000",
    "MOVE {s} {n}",
    "EVAL \"return redis.call('GET', KEYS[1])\" 1 {s}",
    "EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 {s} {v}",
    "EVAL \"return {1, 'two', {3, false, true}, {err='MY error'}}\" 0",
    "EVAL \"return redis.call('RPUSH', KEYS[1], ARGV[1])\" 1 {a} {v}",
    "EVAL_RO \"return redis.call('LRANGE', KEYS[1], 0, -1)\" 1 {l}",
    "EVAL_RO \"return redis.call('DEL', KEYS[1])\" 1 {l}",
    "EVAL \"redis.setresp(3) return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')\" 1 {z}",
    "EVALSHA {sha} 1 {s}",
    "EVALSHA {sha} 1 {s}",
    "EVALSHA_RO {sha} 1 {s}",
    "EVALSHA_RO {sha} 1 {s}",
    "SCRIPT EXISTS {sha} {sha}",
    "SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"",
    "SCRIPT LOAD \"return redis.call('STRLEN', KEYS[1])\"",
    "SCRIPT FLUSH",
    "PING",
    "PING {v}",
    "ECHO {v}",
    "PUBLISH nobody {v}",
    "NOSUCH {v}",
    "GET",
    "LPUSH {l}",
    "CONFIG GET maxmemory",
    "WAIT 0 x",
    "COMMAND GETKEYS SET k v",
    "BLPOP {l} {l} 0.01",
    "BRPOP {l} 0.01",
    "BLMOVE {l} {l} LEFT LEFT 0.01",
    "BLMPOP 0.01 1 {l} RIGHT",
    "BZPOPMIN {z} 0.01",
    "BZMPOP 0.01 1 {z} MAX",
    "XREAD BLOCK 10 STREAMS {x} {e}",
    "BLPOP {l} x",
    "CLIENT SETNAME {n}",
    "CLIENT GETNAME",
    "FLUSHDB",
];

/// What only Redan can answer, or changes the connection: inside a transaction, where it must keep its place.
const OF_THE_CONNECTION: &[&str] = &[
    "HELLO 2",
    "HELLO 3",
    "HELLO 3",
    "HELLO",
    "HELLO 3 SETNAME {n}",
    "HELLO 4",
    "HELLO 3 NOSUCH",
    "AUTH default {v}",
    "AUTH {n}",
    "CLIENT GETNAME",
    "CLIENT SETNAME {n}",
    "CLIENT LIST ID 99999999",
    "CLIENT LIST NOSUCH",
    "CLIENT KILL ID 99999999",
    "CLIENT KILL 1.2.3.4:5",
    "CLIENT UNBLOCK 99999999",
    "CLIENT PAUSE 0",
    "CLIENT UNPAUSE",
    "CLIENT NO-EVICT ON",
    "CLIENT TRACKINGINFO",
    "CLIENT GETREDIR",
    "CLIENT TRACKING OFF",
    "CLIENT TRACKING NOSUCH",
    "CLIENT KILL",
    "ACL WHOAMI",
    "UNSUBSCRIBE none",
    "PUBSUB NUMSUB {v}",
    "PING",
];

/// Of the two scripts that are loaded by the commands above, and of none.
const SCRIPTS: [&str; 3] = [
    "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f",
    "bd073fcdc117441586925b65a5c9230a1ea9fe42",
    "0000000000000000000000000000000000000000",
];

/// Far enough that no run sees it pass.
const FUTURE: usize = 33_177_117_420;

/// One command.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) words: Vec<Vec<u8>>,
    /// Its elements come in any order.
    pub(super) any_order: bool,
}

impl Command {
    pub(super) fn of(words: &[&str]) -> Self {
        Self { words: words.iter().map(|word| word.as_bytes().to_vec()).collect(), any_order: false }
    }

    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(&self.words[0]).to_ascii_uppercase()
    }

    /// Whether it can be written as a line of text without quotes.
    pub(super) fn is_plain(&self) -> bool {
        let fits = |word: &Vec<u8>| {
            !word.is_empty() && word.len() < 1000 && word.iter().all(|byte| byte.is_ascii_alphanumeric())
        };
        self.words.iter().all(fits)
    }

    pub(super) fn show(&self) -> String {
        let words = self.words.iter().map(|word| {
            let text = word.escape_ascii().to_string();
            if text.len() > 60 { format!("{}…({} bytes)", &text[..40], word.len()) } else { text }
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn random(random: &mut Random) -> Command {
    let line = random.of(COMMANDS);
    // It empties everything: rarely, or there is never anything.
    let line = if *line == "FLUSHDB" && !random.once_in(10) { "DEL {a}" } else { line };
    // Waiting in vain takes time.
    let line = if line.contains(" 0.01") && !random.once_in(5) { "LLEN {l}" } else { line };
    let (any_order, line) = line.strip_prefix('~').map_or((false, line), |line| (true, line));
    let mut words = crate::support::beside::words(line);
    for word in &mut words {
        *word = fill(word, random);
    }
    Command { words, any_order }
}

/// For a place inside a transaction.
pub(super) fn of_the_connection(random: &mut Random) -> Command {
    let line = random.of(OF_THE_CONNECTION);
    let mut words = crate::support::beside::words(line);
    for word in &mut words {
        *word = fill(word, random);
    }
    Command { words, any_order: false }
}

fn fill(word: &[u8], random: &mut Random) -> Vec<u8> {
    let Some(start) = word.iter().position(|byte| *byte == b'{').filter(|start| word[*start..].contains(&b'}')) else {
        return word.to_vec();
    };
    let end = start + word[start..].iter().position(|byte| *byte == b'}').expect("seen");
    let kind = std::str::from_utf8(&word[start + 1..end]).unwrap_or_default();
    let Some(filled) = place(kind, random) else {
        // A brace of a script.
        return word.to_vec();
    };
    [&word[..start], &filled, &word[end + 1..]].concat()
}

fn place(kind: &str, random: &mut Random) -> Option<Vec<u8>> {
    Some(match kind {
        "s" | "l" | "h" | "t" | "z" | "x" | "p" | "a" => {
            let kinds = ["s", "l", "h", "t", "z", "x", "p"];
            // Now and then a key of another type.
            let kind = if kind == "a" || random.once_in(15) { *random.of(&kinds) } else { kind };
            format!("{kind}{}", random.below(4)).into_bytes()
        }
        "v" => value(random),
        "f" => format!("f{}", random.below(6)).into_bytes(),
        "n" => random.below(16).to_string().into_bytes(),
        "i" => (i64::try_from(random.below(9)).expect("small") - 4).to_string().into_bytes(),
        "d" => (*random.of(&["0", "1", "-1", "2.5", "1e10", "3.1415926", "-0.001", "inf"])).as_bytes().to_vec(),
        "o" => (FUTURE + random.below(100)).to_string().into_bytes(),
        "e" => format!("{}-{}", random.below(30), random.below(3)).into_bytes(),
        "sha" => (*random.of(&SCRIPTS)).as_bytes().to_vec(),
        _ => return None,
    })
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(200) {
        0 => vec![b'L'; 40_000],
        // Longer than what is gathered: it is streamed.
        1 if random.once_in(10) => vec![b'X'; 300_000],
        2..20 => (0..random.below(20)).map(|_| random.next().to_le_bytes()[0]).collect(),
        20..30 => Vec::new(),
        _ => format!("v{}", random.below(50)).into_bytes(),
    }
}
