//! Clients that wait for what others send: lists that are popped from, and channels that are heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clients::{Answer, Client, number, turns, words};
use crate::resp::Reply;

/// Between two things that are sent.
const PERIOD: Duration = Duration::from_millis(100);

/// How long a subscriber may hear nothing although there is a master: a lost subscription is silent for ever.
const DEAF: Duration = Duration::from_secs(90);

/// One pushes numbers, the other pops them: in their order, each once.
pub(crate) fn spawn_list(tasks: &mut JoinSet<()>, pair: [Client; 2], name: String, stop: &Arc<AtomicBool>) {
    let [taker, giver] = pair;
    let key = format!("list:{name}");
    tasks.spawn(give(giver, "RPUSH", key.clone(), Arc::clone(stop)));
    tasks.spawn(take(taker, key, Arc::clone(stop)));
}

/// One publishes numbers, the other hears them: in their order, each at most once, and of its own channel alone.
pub(crate) fn spawn_channel(tasks: &mut JoinSet<()>, pair: [Client; 2], name: String, stop: &Arc<AtomicBool>) {
    let [hearer, speaker] = pair;
    let channel = format!("channel:{name}");
    tasks.spawn(give(speaker, "PUBLISH", channel.clone(), Arc::clone(stop)));
    tasks.spawn(hear(hearer, channel, Arc::clone(stop)));
}

async fn give(mut client: Client, verb: &str, key: String, stop: Arc<AtomicBool>) {
    let (mut turns, mut next) = (turns(PERIOD), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turns.tick().await;
        next += 1;
        if let Answer::Reply(reply) = client.ask(&[verb, &key, &next.to_string()]).await
            && number(&reply).is_none()
        {
            client.wrong(&key, &format!("{verb}: {reply:?}"));
        }
    }
}

async fn take(mut client: Client, key: String, stop: Arc<AtomicBool>) {
    let (mut last, mut doubt) = (0, false);
    while !stop.load(Ordering::Relaxed) {
        match client.ask(&["BLPOP", &key, "2"]).await {
            // What was taken and not assured may be there again.
            Answer::Doubt => doubt = true,
            Answer::Refused | Answer::Reply(Reply::Nil) => {}
            Answer::Reply(reply) => match reply.items() {
                [list, value] if list.text() == Some(&key) && number(value).is_some() => {
                    let value = number(value).unwrap_or(0);
                    if value <= last && !doubt {
                        client.wrong(&key, &format!("BLPOP: {value} after {last}"));
                    }
                    (last, doubt) = (value, false);
                }
                _ => client.wrong(&key, &format!("BLPOP: {reply:?}")),
            },
        }
    }
}

async fn hear(mut client: Client, channel: String, stop: Arc<AtomicBool>) {
    let mut last = 0;
    'anew: while !stop.load(Ordering::Relaxed) {
        let Some(replies) = client.all(&[words(&["SUBSCRIBE", &channel])]).await else { continue };
        if replies[0].items().first().and_then(Reply::text) != Some("subscribe") {
            // Without a master it may be refused.
            client.answer(replies[0].clone());
            client.connection = None;
            continue;
        }
        let mut heard = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let Some(connection) = &mut client.connection else { continue 'anew };
            let reply = match connection.reply_within(Duration::from_secs(1)).await {
                Ok(reply) => reply,
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    if heard.elapsed() > DEAF {
                        client.wrong(&channel, &format!("nothing was heard for {DEAF:?}"));
                        client.connection = None;
                        continue 'anew;
                    }
                    continue;
                }
                Err(error) => {
                    client.is_cut_off(&error).await;
                    continue 'anew;
                }
            };
            heard = Instant::now();
            client.tally.replies(client.kind, 1);
            match reply.items() {
                [kind, from, value]
                    if kind.text() == Some("message")
                        && from.text() == Some(&channel)
                        && number(value).is_some_and(|value| value > last) =>
                {
                    let value = number(value).unwrap_or(0);
                    client.tally.missed(value - last - 1);
                    last = value;
                }
                _ => client.wrong(&channel, &format!("{reply:?} after {last}")),
            }
        }
    }
}
