//! The sample: the same keys at the master and at a replica, first as the servers write them down, then by what is in them.
//!
//! DUMP is quick but may differ for equal values: sets and hashes come in the order of each server's own hash table. So a
//! difference there is only a suspicion, and the content decides.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::{Findings, Pair};
use crate::control::order::Line;
use crate::resp::value::Value;

/// Keys asked for in one write.
const BATCH: usize = 64;

/// Version and checksum at the end of what DUMP writes, which differ between versions.
const TRAILER: usize = 10;

/// Before 7.0 a replica counts the time from when it heard of it.
const TTL_TOLERANCE: Duration = Duration::from_secs(1);

/// Names that are printed of each database.
const NAMED: usize = 20;

type Key = Vec<u8>;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// `None`: there is no such key.
    value: Option<Value>,
    /// Milliseconds; -1 is none.
    ttl: i64,
}

pub(super) async fn compare(pair: &mut Pair, db: u32, sample: usize, findings: &mut Findings) -> Result<(), String> {
    let number = db.to_string();
    let mut keys = BTreeSet::new();
    for line in [&mut pair.master, &mut pair.replica] {
        if let Some(error) = line.ask(&[&["SELECT", &number]]).await?.first().and_then(Value::error) {
            return Err(format!("{} refuses database {db}: {error}", line.station.address));
        }
        keys.extend(scan(line, sample).await?);
    }
    let keys: Vec<Key> = keys.into_iter().collect();
    let mut different = Vec::new();
    for batch in keys.chunks(BATCH) {
        let mut suspects = round(pair, batch, false).await?;
        for _ in 0..2 {
            if !suspects.is_empty() {
                let again: Vec<Key> = suspects.into_iter().map(|(key, _)| key).collect();
                suspects = round(pair, &again, true).await?;
            }
        }
        different.extend(suspects);
    }
    let more = different.len().saturating_sub(NAMED);
    for (key, how) in different.into_iter().take(NAMED) {
        let (key, address) = (String::from_utf8_lossy(&key).into_owned(), &pair.replica.station.address);
        findings.differences.push(format!("db {db}: {address}: key {key:?} {how}"));
    }
    if more > 0 {
        findings.differences.push(format!("db {db}: {more} more of {} compared keys", keys.len()));
    }
    Ok(())
}

/// The keys that differ while the master's stay as they are, with how.
async fn round(pair: &mut Pair, keys: &[Key], content: bool) -> Result<Vec<(Key, &'static str)>, String> {
    let began = Instant::now();
    let before = read(&mut pair.master, keys, content).await?;
    pair.catch_up_now().await?;
    let there = read(&mut pair.replica, keys, content).await?;
    let after = read(&mut pair.master, keys, content).await?;
    let tolerance = i64::try_from((TTL_TOLERANCE + began.elapsed()).as_millis()).unwrap_or(i64::MAX);
    let mut suspects = Vec::new();
    for (((key, before), there), after) in keys.iter().zip(before).zip(there).zip(after) {
        let steady = before.value == after.value && (before.ttl < 0) == (after.ttl < 0);
        let how = match (&before.value, &there.value) {
            _ if !steady => continue,
            (Some(_), None) => "is missing",
            (None, Some(_)) => "is not on the master",
            (a, b) if a != b => "has another value",
            _ if (before.ttl < 0) != (there.ttl < 0) => "expires on one of them only",
            // The replica was asked in between, so its time lies there too.
            _ if there.ttl > before.ttl + tolerance || there.ttl < after.ttl - tolerance => "expires at another time",
            _ => continue,
        };
        suspects.push((key.clone(), how));
    }
    Ok(suspects)
}

async fn read(line: &mut Line, keys: &[Key], content: bool) -> Result<Vec<Entry>, String> {
    let types = if content { ask(line, keys, &[b"TYPE"]).await? } else { Vec::new() };
    let mut values = Vec::with_capacity(keys.len());
    if content {
        for (key, kind) in keys.iter().zip(&types) {
            values.push(whole(line, key, kind.text().unwrap_or_default()).await?);
        }
    } else {
        values = ask(line, keys, &[b"DUMP"])
            .await?
            .into_iter()
            .map(|dump| Some(dump).filter(|dump| *dump != Value::Null))
            .collect();
        for value in values.iter_mut().flatten() {
            if let Value::Text(bytes) = value {
                bytes.truncate(bytes.len().saturating_sub(TRAILER));
            }
        }
    }
    let ttls = ask(line, keys, &[b"PTTL"]).await?;
    let entry = |(value, ttl): (Option<Value>, Value)| Entry { value, ttl: ttl.integer().unwrap_or(-1) };
    Ok(values.into_iter().zip(ttls).map(entry).collect())
}

/// All of a value, in an order that does not depend on the server.
async fn whole(line: &mut Line, key: &[u8], kind: &str) -> Result<Option<Value>, String> {
    let (words, ordered): (&[&[u8]], bool) = match kind {
        "none" => return Ok(None),
        "string" => (&[b"GET", key], true),
        "list" => (&[b"LRANGE", key, b"0", b"-1"], true),
        "set" => (&[b"SMEMBERS", key], false),
        "hash" => (&[b"HGETALL", key], false),
        "zset" => (&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], true),
        "stream" => (&[b"XRANGE", key, b"-", b"+"], true),
        _ => (&[b"DUMP", key], true),
    };
    let mut value = checked(line.ask(&[words]).await?, line)?.pop().unwrap_or(Value::Null);
    if let (Value::Array(items), false) = (&mut value, ordered) {
        let step = if kind == "hash" { 2 } else { 1 };
        let mut parts: Vec<Vec<Value>> = items.chunks(step).map(<[Value]>::to_vec).collect();
        parts.sort_by(|a, b| a.iter().map(Value::bytes).cmp(b.iter().map(Value::bytes)));
        *items = parts.concat();
    }
    Ok(Some(value).filter(|value| *value != Value::Null))
}

/// The same command for each key.
async fn ask(line: &mut Line, keys: &[Key], command: &[&[u8]]) -> Result<Vec<Value>, String> {
    let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| [command, &[key.as_slice()]].concat()).collect();
    let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
    checked(line.ask(&commands).await?, line)
}

fn checked(replies: Vec<Value>, line: &Line) -> Result<Vec<Value>, String> {
    match replies.iter().find_map(Value::error) {
        Some(error) => Err(format!("{} does not let its keys be read: {error}", line.station.address)),
        None => Ok(replies),
    }
}

/// Some keys, from a random place on.
async fn scan(line: &mut Line, wanted: usize) -> Result<BTreeSet<Key>, String> {
    let mut keys = BTreeSet::new();
    let mut cursor = (RandomState::new().hash_one(wanted) >> 12).to_string();
    let mut wrapped = false;
    while keys.len() < wanted {
        let replies = checked(line.ask(&[&["SCAN", &cursor, "COUNT", "200"]]).await?, line)?;
        let Some([next, page]) = replies.first().and_then(Value::items) else {
            return Err(format!("the answer of {} to SCAN makes no sense", line.station.address));
        };
        let page = page.items().into_iter().flatten().filter_map(Value::bytes).map(<[u8]>::to_vec);
        keys.extend(page);
        cursor = next.text().unwrap_or("0").to_owned();
        if cursor == "0" {
            if wrapped {
                break;
            }
            wrapped = true;
        }
    }
    Ok(keys.into_iter().take(wanted).collect())
}
