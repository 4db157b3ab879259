//! The life of a hub's connection: to the master, to another node while there is none, moved when there is one again.
//!
//! A new connection is opened before the old one is closed, and asked for the subscriptions after that: what the old one
//! delivered was published before anything that the new one can deliver, so no message comes twice, and the gap is
//! one round trip where both nodes are there.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Hub;
use crate::backend::dial::DialError;
use crate::backend::pool::Pool;
use crate::limits;
use crate::topology::{Node, NodeId};
use crate::transport::{CipherBuffer, Stream};

/// After a failed attempt the next one waits 50 ms, doubled up to 1 s, as for lanes.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Dialing = Pin<Box<dyn Future<Output = Result<Stream, DialError>>>>;

struct Live {
    node: NodeId,
    address: Arc<str>,
    stream: Stream,
}

struct Driver {
    pool: Rc<Pool>,
    hub: Rc<Hub>,
    live: Option<Live>,
    dialing: Option<(Node, Dialing)>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    failures: u32,
    /// The pool's changes when the connection was last found to lead where it should.
    aimed_at: u64,
}

pub(super) async fn run(pool: Rc<Pool>, hub: Rc<Hub>) {
    let mut driver = Driver { pool, hub, live: None, dialing: None, pause: None, failures: 0, aimed_at: 0 };
    std::future::poll_fn(|cx| driver.poll(cx)).await;
}

impl Driver {
    /// `Ready` when nobody has wanted anything for a while.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.hub.remember(cx);
        loop {
            if self.hub.is_over() {
                return Poll::Ready(());
            }
            self.aim(cx);
            if self.poll_dial(cx) || self.poll_live(cx) {
                continue;
            }
            return Poll::Pending;
        }
    }

    /// Begins to dial the node that the connection should lead to, if it does not.
    fn aim(&mut self, cx: &mut Context<'_>) {
        let changes = self.pool.changes();
        if self.hub.table.borrow().is_empty() {
            self.dialing = None;
            // Whoever comes next must not be confirmed by a node that is not the master any more.
            if self.aimed_at != changes && self.live.take().is_some() {
                self.hub.disconnected();
            }
            return;
        }
        if self.live.is_some() && self.dialing.is_none() && self.aimed_at == changes {
            return;
        }
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
            return;
        }
        self.pause = None;
        let Some(node) = self.pool.hub_target(self.live.as_ref().map(|live| live.node)) else {
            self.dialing = None;
            self.hub.fails();
            return;
        };
        let (id, is) = (node.id, |other: NodeId| other == node.id);
        if self.live.as_ref().is_some_and(|live| is(live.node)) {
            self.aimed_at = changes;
            self.dialing = None;
        } else if self.dialing.as_ref().is_none_or(|(dialed, _)| dialed.id != id) {
            let (pool, to, dialect) = (Rc::clone(&self.pool), node.clone(), self.hub.dialect);
            self.dialing =
                Some((node, Box::pin(async move { pool.connect(&to, dialect).await.map(|opened| opened.stream) })));
        }
    }

    /// `true` when something came of it.
    fn poll_dial(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((_, future)) = &mut self.dialing else {
            return false;
        };
        let Poll::Ready(dialed) = future.as_mut().poll(cx) else {
            return false;
        };
        let Some((node, _)) = self.dialing.take() else {
            return false;
        };
        match dialed {
            Ok(stream) => {
                self.failures = 0;
                self.pool.reached(node.id);
                if let Some(old) = self.live.take() {
                    tracing::info!("subscriptions move from {} to {}", old.address, node.address);
                    self.hub.disconnected();
                }
                self.hub.connected(node.id);
                self.live = Some(Live { node: node.id, address: node.address, stream });
            }
            Err(DialError::Dialect(words) | DialError::Login(words)) => {
                tracing::warn!("{} refuses connections for subscriptions: {words}", node.address);
                self.hub.table.borrow_mut().refuse_everything(&words);
                self.pauses();
                self.hub.fails();
            }
            Err(DialError::Unreachable(words)) => {
                tracing::warn!("no connection for subscriptions: {words}");
                self.pool.last_failure.replace(words);
                self.pool.trouble(node.id);
                self.pauses();
                self.hub.fails();
            }
        }
        true
    }

    /// `true` when the connection ended.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(live) = &mut self.live else {
            return false;
        };
        let questioned = self.hub.questioned.take();
        if !questioned || !self.pool.is_disbelieved(&live.address, &live.stream) {
            let Err(words) = self.hub.turn(cx, &mut live.stream, &mut self.pool.cipher.borrow_mut()) else {
                return false;
            };
            tracing::warn!("lost the subscriptions at {}: {words}", live.address);
        }
        self.pool.counters_of(live.node).failures.increment();
        self.pool.look();
        self.live = None;
        self.hub.disconnected();
        // A node that takes connections and breaks them at once is not asked without end.
        self.pauses();
        true
    }

    fn pauses(&mut self) {
        let length = (FIRST_PAUSE * 2u32.pow(self.failures.min(5))).min(LONGEST_PAUSE);
        self.failures += 1;
        self.pause = Some(Box::pin(tokio::time::sleep(length)));
    }
}

/// However it ends, also by a panic: its clients believe that they are subscribed, so they must learn that they are not.
impl Drop for Driver {
    fn drop(&mut self) {
        self.pool.hubs.borrow_mut().retain(|hub| !Rc::ptr_eq(hub, &self.hub));
        if let Ok(mut table) = self.hub.table.try_borrow_mut() {
            table.disconnected();
            table.refuse_everything("Redan cannot carry its subscriptions any more");
        }
    }
}

impl Hub {
    fn connected(&self, node: NodeId) {
        self.failing.set(false);
        self.silent_ticks.set(0);
        self.feed.borrow_mut().reset();
        let mut table = self.table.borrow_mut();
        table.connected(node);
        // Whoever waits, waits for the node's word from now on, not for a node.
        table.wake_waiting();
    }

    /// There is no node to ask now. Whoever waits learns it, once, and decides how long to wait.
    fn fails(&self) {
        if !self.is_connected() && !self.failing.replace(true) {
            self.table.borrow().wake_waiting();
        }
    }

    fn disconnected(&self) {
        let mut table = self.table.borrow_mut();
        if table.has_confirmed() && self.broken_since.get().is_none() {
            self.broken_since.set(Some(Instant::now()));
        }
        table.disconnected();
    }

    /// Sends what was asked for and hands on what came, until both would wait. An error is the connection's end.
    fn turn(&self, cx: &mut Context<'_>, stream: &mut Stream, cipher: &mut CipherBuffer) -> Result<(), String> {
        let table = &mut *self.table.borrow_mut();
        let feed = &mut *self.feed.borrow_mut();
        if self.silent_ticks.get() >= limits::HUB_DEAD_AFTER_S {
            return Err(format!("the node has said nothing for {} s", limits::HUB_DEAD_AFTER_S));
        }
        loop {
            table.prepare();
            send(&mut table.out, cx, stream).map_err(|error| error.to_string())?;
            match stream.poll_read(cx, cipher, feed.room()) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err("the node closed the connection".to_owned()),
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Ready(Ok(n)) => {
                    self.silent_ticks.set(0);
                    feed.came(n, table, &self.counters)?;
                }
            }
            if table.is_restored()
                && let Some(since) = self.broken_since.take()
            {
                self.counters.resubscriptions.increment();
                let gap = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.counters.subscription_gap_us.add(gap);
                tracing::info!("all subscriptions are there again after {gap} µs");
            }
        }
    }
}

/// Sends what the socket takes of `out`.
fn send(out: &mut Vec<u8>, cx: &mut Context<'_>, stream: &mut Stream) -> std::io::Result<()> {
    while !out.is_empty() || stream.wants_flush() {
        let result = if out.is_empty() { stream.flush().map(|_| 0) } else { stream.try_write(out) };
        match result {
            Ok(n) => drop(out.drain(..n)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if (!out.is_empty() || stream.wants_flush()) && stream.poll_write_ready(cx)?.is_pending() {
            return Ok(());
        }
    }
    out.shrink_to(limits::KEPT_BUFFER);
    Ok(())
}

impl Pool {
    /// Where subscriptions belong: at the master, where keyspace notifications come from. While there is none, where they
    /// are, or else at a node that is there.
    fn hub_target(&self, live: Option<NodeId>) -> Option<Node> {
        let snapshot = self.snapshot();
        if let Some(master) = snapshot.master() {
            return Some(master.clone());
        }
        let here = live.and_then(|id| snapshot.node(id));
        let healthy = || {
            let there = |node: &&Node| node.trouble.is_none() && !self.is_troubled(node.id);
            let nodes = || snapshot.nodes.iter().filter(there);
            nodes().find(|node| node.readable.is_ok()).or_else(|| nodes().next())
        };
        here.or_else(healthy).cloned()
    }
}
