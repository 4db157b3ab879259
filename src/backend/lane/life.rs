//! The life of one lane: connect, serve, tell everyone who still waits.
//!
//! The pool starts it as a task. However it ends, also by a panic, nobody may wait for the lane for ever.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use super::super::dial::DialError;
use super::super::login::UserKey;
use super::super::pool::Pool;
use super::{End, Lane, Purpose};
use crate::topology::Node;
use crate::transport::Stream;

pub(in crate::backend) async fn drive(pool: Rc<Pool>, lane: Rc<Lane>, node: Node) {
    let address = Arc::clone(&node.address);
    let _fail_at_the_latest = FailOnDrop { pool: Rc::clone(&pool), lane: Rc::clone(&lane) };
    let dialed = tokio::select! {
        biased;
        dialed = pool.connect(&node, lane.key.dialect) => dialed,
        why = poll_fn(|cx| lane.poll_ordered_end(cx)) => Err(DialError::Unreachable(why.to_owned())),
    };
    let mut stream = match dialed {
        Ok(opened) => opened.stream,
        Err(error) => return not_opened(&pool, &lane, &address, error),
    };
    pool.reached(lane.key.node);
    pool.counters.lanes_open.increment();
    lane.counters().lanes.increment();
    let end = serve(&pool, &lane, &address, &mut stream).await;
    pool.counters.lanes_open.decrement();
    lane.counters().lanes.decrement();
    match end {
        End::Finished => {}
        // The reason has been said.
        End::Questioned => {}
        End::Ordered(why) => tracing::info!("closed a connection to {address}: {why}"),
        End::Broken(words) => broken(&pool, &lane, &address, &words),
    }
}

fn not_opened(pool: &Rc<Pool>, lane: &Lane, address: &str, error: DialError) {
    match error {
        DialError::Dialect(words) => {
            tracing::warn!("{address} refuses connections of this kind: {words}");
            lane.fail(Some(&words));
        }
        // Its sessions end, or read elsewhere.
        DialError::Login(_) => {}
        DialError::Unreachable(words) => {
            tracing::warn!("no connection for commands: {words}");
            pool.last_failure.replace(words);
            pool.interrupted(lane.key.node);
            pool.trouble(lane.key.node);
        }
    }
}

async fn serve(pool: &Rc<Pool>, lane: &Lane, address: &Arc<str>, stream: &mut Stream) -> End {
    loop {
        let end = poll_fn(|cx| {
            if lane.key.purpose == Purpose::Ordered {
                pool.note_acknowledged();
            }
            let end = lane.poll(cx, stream, &mut pool.cipher.borrow_mut(), pool.generation.get());
            if lane.load() > 0 {
                pool.keep_watch();
            }
            end
        })
        .await;
        if !matches!(end, End::Questioned) || pool.is_disbelieved(address, stream) {
            return end;
        }
    }
}

fn broken(pool: &Rc<Pool>, lane: &Lane, address: &str, words: &str) {
    tracing::warn!("lost a connection to {address} with {} commands unanswered: {words}", lane.load());
    // It may have been restarted, and be back before a probe sees it.
    pool.interrupted(lane.key.node);
    if lane.key.dialect.user != UserKey::GROUP {
        // The node closes the connections of a user that is deleted; it is well, and others need it.
        pool.counters_of(lane.key.node).failures.increment();
        pool.look();
        pool.suspect(lane.key.dialect.user);
    } else if lane.load() > 0 {
        // What is unanswered and may be asked again goes to another node first: this one accepts connections
        // and may break them over the same commands for ever.
        lane.usage().note_lost();
        pool.trouble(lane.key.node);
    } else {
        pool.counters_of(lane.key.node).failures.increment();
        pool.look();
    }
}

/// However a lane's task ends, also by a panic: nobody may wait for it for ever.
struct FailOnDrop {
    pool: Rc<Pool>,
    lane: Rc<Lane>,
}

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.pool.lanes.borrow_mut().retain(|lane| !Rc::ptr_eq(lane, &self.lane));
        let mut newest = self.pool.newest.borrow_mut();
        if newest.get(&self.lane.key).is_some_and(|lane| Rc::ptr_eq(lane, &self.lane)) {
            newest.remove(&self.lane.key);
        }
        // Whoever is told of the end may open another at once.
        drop(newest);
        self.lane.fail(None);
    }
}
