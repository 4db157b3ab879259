//! redis-rs: blocking and asynchronous (multiplexed), in RESP2 and RESP3, in plaintext and TLS.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use redis::{
    AsyncCommands, Client, Commands, Connection, ErrorKind, RedisError, ServerErrorKind, TlsCertificates, Value,
};

type Outcome<T = ()> = Result<T, RedisError>;

/// All checks against `address`; the error says what differed.
pub(crate) fn check(address: &str, ca: Option<&Path>) -> Result<(), String> {
    for protocol in ["resp2", "resp3"] {
        let failed = |what: &str, error: RedisError| format!("redis-rs, {protocol}, {what}: {error} ({error:?})");
        let client = open(address, ca, protocol).map_err(|error| failed("open", error))?;
        blocking(&client, protocol).map_err(|error| failed("blocking client", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(multiplexed(&client, protocol)).map_err(|error| failed("multiplexed client", error))?;
    }
    Ok(())
}

fn open(address: &str, ca: Option<&Path>, protocol: &str) -> Outcome<Client> {
    let Some(ca) = ca else { return Client::open(format!("redis://{address}/?protocol={protocol}")) };
    // Another test may have installed it already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root_cert = Some(fs::read(ca)?);
    Client::build_with_tls(
        format!("rediss://{address}/?protocol={protocol}"),
        TlsCertificates { client_tls: None, root_cert },
    )
}

fn connect(client: &Client) -> Outcome<Connection> {
    let connection = client.get_connection_with_timeout(Duration::from_secs(10))?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(connection)
}

fn blocking(client: &Client, protocol: &str) -> Outcome {
    let key = |name: &str| format!("redis-rs:{protocol}:{name}");
    let mut c = connect(client)?;
    forget(&mut c, protocol)?;

    same("GET of nothing", c.get::<_, Option<String>>(key("none"))?, None);
    let every_byte: Vec<u8> = (0..=255).collect();
    let () = c.set(key("bytes"), &every_byte)?;
    same("every byte", c.get::<_, Vec<u8>>(key("bytes"))?, every_byte);
    let () = c.hset_multiple(key("hash"), &[("a", 1), ("b", 2)])?;
    let hash: HashMap<String, i64> = c.hgetall(key("hash"))?;
    same("HGETALL", hash, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
    let () = c.zadd_multiple(key("zset"), &[(1.0, "a"), (2.5, "b")])?;
    let scored: Vec<(String, f64)> = c.zrange_withscores(key("zset"), 0, -1)?;
    same("ZRANGE WITHSCORES", scored, vec![("a".to_owned(), 1.0), ("b".to_owned(), 2.5)]);
    for n in 0..300 {
        let () = c.set(key("own"), n)?;
        same("GET after own SET", c.get::<_, i64>(key("own"))?, n);
    }
    for size in [16_384, 1_000_000, 8_000_000] {
        let value = vec![b'v'; size];
        let () = c.set(key("large"), &value)?;
        assert!(c.get::<_, Vec<u8>>(key("large"))? == value, "GET of {size} bytes gave something else");
    }
    let wrong = c.lpush::<_, _, i64>(key("bytes"), "x").expect_err("LPUSH on a string");
    same("WRONGTYPE", wrong.code(), Some("WRONGTYPE"));
    let unknown = redis::cmd("NOSUCHCOMMAND").query::<Value>(&mut c).expect_err("an unknown command");
    same("unknown command", unknown.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));

    pipelines(&mut c, &key)?;
    databases(&mut c, &key)?;
    waiting(client, &key)?;
    messages(client, &key)?;
    let script = redis::Script::new("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    same("script", script.key(key("script")).arg("lua").invoke::<String>(&mut c)?, "lua".to_owned());
    let sha: String = redis::cmd("SCRIPT").arg("LOAD").arg("return redis.call('GET', KEYS[1])").query(&mut c)?;
    for command in ["EVALSHA", "EVALSHA_RO"] {
        let read: String = redis::cmd(command).arg(&sha).arg(1).arg(key("script")).query(&mut c)?;
        same(command, read, "lua".to_owned());
    }
    scans(&mut c, &key)?;
    forget(&mut c, protocol)
}

fn scans(c: &mut Connection, key: &impl Fn(&str) -> String) -> Outcome {
    let names: Vec<String> = (0..500).map(|n| key(&format!("scan:{n}"))).collect();
    let pairs: Vec<(&String, i64)> = names.iter().map(|name| (name, 1)).collect();
    let () = c.mset(&pairs)?;
    let found: Outcome<std::collections::HashSet<String>> = c.scan_match(key("scan:*"))?.collect();
    same("SCAN", found?, names.iter().cloned().collect());
    let () = c.sadd(key("members"), &names)?;
    let found: Outcome<std::collections::HashSet<String>> = c.sscan(key("members"))?.collect();
    same("SSCAN", found?, names.into_iter().collect());
    Ok(())
}

fn pipelines(c: &mut Connection, key: &impl Fn(&str) -> String) -> Outcome {
    let mut pipe = redis::pipe();
    for n in 0..500 {
        pipe.set(key(&format!("pipe:{n}")), n).ignore().get(key(&format!("pipe:{n}")));
    }
    same("pipeline", pipe.query::<Vec<i64>>(c)?, (0..500).collect());
    same("MULTI", pipe.atomic().query::<Vec<i64>>(c)?, (0..500).collect());
    let counted: i64 = redis::transaction(c, &[key("watched")], |c, pipe| {
        let before: Option<i64> = c.get(key("watched"))?;
        let answer: Option<(i64,)> =
            pipe.set(key("watched"), before.unwrap_or(0) + 1).ignore().get(key("watched")).query(c)?;
        Ok(answer.map(|(count,)| count))
    })?;
    same("WATCH and MULTI", counted, 1);
    Ok(())
}

fn databases(c: &mut Connection, key: &impl Fn(&str) -> String) -> Outcome {
    let select = |c: &mut Connection, db: i64| redis::cmd("SELECT").arg(db).query::<()>(c);
    let () = c.set(key("db"), "zero")?;
    select(c, 3)?;
    let () = c.set(key("db"), "three")?;
    same("db 3", c.get::<_, String>(key("db"))?, "three".to_owned());
    select(c, 0)?;
    same("db 0", c.get::<_, String>(key("db"))?, "zero".to_owned());
    select(c, 3)?;
    same("DEL in db 3", c.del::<_, i64>(key("db"))?, 1);
    select(c, 0)
}

/// BLPOP on one connection while others go on.
fn waiting(client: &Client, key: &impl Fn(&str) -> String) -> Outcome {
    let (mut waiter, mut pusher) = (connect(client)?, connect(client)?);
    let queue = key("queue");
    let nothing: Option<(String, String)> = waiter.blpop(&queue, 1.0)?;
    same("BLPOP of nothing", nothing, None);
    let taken = thread::spawn({
        let queue = queue.clone();
        move || waiter.blpop::<_, Option<(String, String)>>(queue, 15.0)
    });
    for n in 0..50 {
        let () = pusher.set(key("beside"), n)?;
    }
    let () = pusher.rpush(&queue, "job")?;
    let taken = taken.join().expect("a thread that returns its errors")?;
    same("BLPOP", taken, Some((queue, "job".to_owned())));
    Ok(())
}

fn messages(client: &Client, key: &impl Fn(&str) -> String) -> Outcome {
    let (mut subscriber, mut publisher) = (connect(client)?, connect(client)?);
    let mut pubsub = subscriber.as_pubsub();
    pubsub.set_read_timeout(Some(Duration::from_secs(10)))?;
    pubsub.subscribe(key("channel"))?;
    pubsub.psubscribe(key("pattern:*"))?;
    same("PUBLISH", publisher.publish::<_, _, i64>(key("pattern:x"), "first")?, 1);
    let message = pubsub.get_message()?;
    same("pmessage", message.get_payload::<String>()?, "first".to_owned());
    for n in 0..1000 {
        let () = publisher.publish(key("channel"), n)?;
    }
    for n in 0..1000 {
        same("messages in order", pubsub.get_message()?.get_payload::<i64>()?, n);
    }
    pubsub.unsubscribe(key("channel"))?;
    same("PUBLISH to nobody", publisher.publish::<_, _, i64>(key("channel"), "x")?, 0);
    Ok(())
}

async fn multiplexed(client: &Client, protocol: &str) -> Outcome {
    let key = |name: &str| format!("redis-rs:{protocol}:{name}");
    let c = client.get_multiplexed_async_connection().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..100 {
        let (mut c, own) = (c.clone(), key(&format!("task:{task}")));
        tasks.spawn(async move {
            for n in 0..50 {
                let () = c.set(&own, n).await?;
                same("GET after own SET", c.get::<_, i64>(&own).await?, n);
            }
            Outcome::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a task that returns its errors")?;
    }
    let mut c = c;
    let both: (i64, i64) = redis::pipe().atomic().incr(key("n"), 1).incr(key("n"), 1).query_async(&mut c).await?;
    same("MULTI", both, (1, 2));
    let mut c = connect(client)?;
    forget(&mut c, protocol)
}

fn forget(c: &mut Connection, protocol: &str) -> Outcome {
    let keys: Vec<String> = c.keys(format!("redis-rs:{protocol}:*"))?;
    if !keys.is_empty() {
        let () = c.del(keys)?;
    }
    Ok(())
}

#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) {
    assert!(got == wanted, "redis-rs: {what}: got {got:?}, wanted {wanted:?}");
}
