//! Another configuration, as it comes to a worker: listeners and groups that are new, different or gone.
//!
//! `app` sends it when everything is prepared. Listeners and groups have numbers that are not given again, so what is
//! connected never finds itself under another's. A session looks at its listener's policy whenever it needs it, and gets
//! the new one by that; what it has taken from it for itself it is told here, between two of its turns.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::{Door, Doorway, Worker};
use crate::backend::dial::Dialer;
use crate::backend::pool::{GroupSetup, Pool};
use crate::config::Listener;
use crate::insight;
use crate::session::context::Context;
use crate::tls::server::Serving;

#[derive(Clone)]
pub(crate) enum Change {
    /// Its number is the next one.
    AddGroup(GroupSetup),
    /// Its nodes, how they are reached, and when reads are asked elsewhere. `anew`: over other connections.
    Group {
        number: usize,
        dialer: Arc<Dialer>,
        anew: bool,
    },
    /// What is remembered of single commands.
    Insight(insight::Settings),
    /// Nobody serves it any more.
    DropGroup(usize),
    AddListener(usize, Door),
    /// Another policy for the same sessions; other TLS, where that has changed.
    Listener {
        number: usize,
        listener: Arc<Listener>,
        tls: Option<Arc<Serving>>,
    },
    /// Its sessions end when nothing is owed to them, or after so long. A new one may have been put in its place before.
    DropListener {
        number: usize,
        within: Duration,
    },
    /// The same for its sessions, and a new listener under its number.
    ReplaceListener {
        number: usize,
        door: Door,
        within: Duration,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Change")
    }
}

impl Worker {
    pub(super) fn change(self: &Rc<Self>, change: Change) {
        match change {
            Change::Insight(settings) => self.observe(&settings),
            Change::AddGroup(group) => self.add_group(group),
            Change::Group { number, dialer, anew } => {
                let Some(pool) = self.pool(number) else { return };
                pool.reconfigure(dialer, anew);
                for session in self.live.borrow().values().filter(|session| session.group() == number) {
                    session.question_pin();
                }
            }
            Change::DropGroup(number) => {
                let gone = self.pools.borrow_mut().get_mut(number).and_then(Option::take);
                if let Some(pool) = gone {
                    pool.close();
                }
            }
            Change::AddListener(number, door) => self.add_door(number, door),
            Change::Listener { number, listener, tls } => self.reconfigure(number, listener, tls),
            Change::DropListener { number, within } => {
                let gone = self.doors.borrow_mut().get_mut(number).and_then(Option::take);
                if let Some(door) = gone {
                    self.leave(&door.context, within);
                }
            }
            Change::ReplaceListener { number, door, within } => {
                let before = self.door(number);
                self.add_door(number, door);
                if let Some(before) = before {
                    self.leave(&before.context, within);
                }
            }
        }
    }

    fn observe(&self, settings: &insight::Settings) {
        self.counters.notable.slow_from(settings.slow_micros());
        self.counters.notable.big_from(settings.big);
        self.workspace.follow(settings);
    }

    pub(super) fn add_group(&self, group: GroupSetup) {
        let number = group.view.index;
        let pool = Pool::new(group, Arc::clone(&self.counters), Rc::clone(&self.cipher), self.seed);
        put(&mut self.pools.borrow_mut(), number, pool);
    }

    pub(super) fn add_door(&self, number: usize, door: Door) {
        // `Config` holds that a listener's group exists.
        let Some(pool) = self.pool(door.listener.group) else { return };
        if door.listener.writes.durable > 0 {
            pool.expect_assurance();
        }
        let context = Context::new(number, door.listener, pool, Rc::clone(&self.workspace), door.holding);
        let doorway = Doorway { context: Rc::new(context), tls: door.tls.into() };
        put(&mut self.doors.borrow_mut(), number, Rc::new(doorway));
    }

    fn reconfigure(self: &Rc<Self>, number: usize, listener: Arc<Listener>, tls: Option<Arc<Serving>>) {
        let Some(door) = self.door(number) else { return };
        if listener.writes.durable > 0 {
            door.context.pool.expect_assurance();
        }
        door.context.take(listener);
        let live = self.live.borrow();
        let of_door = live.values().filter(|session| session.is_of(&door.context));
        let closed = of_door.filter(|session| !session.policy_changed()).count();
        if closed > 0 {
            let name = &door.context.listener().name;
            tracing::warn!("reload: closed {closed} clients of listener '{name}' whose users are gone");
        }
        drop(live);
        if let Some(serving) = tls {
            door.tls.replace(Some(Arc::clone(&serving)));
            self.look_again(door, serving);
        }
    }

    /// The sessions of a listener that is no more.
    fn leave(self: &Rc<Self>, context: &Rc<Context>, within: Duration) {
        context.leave();
        for session in self.live.borrow().values().filter(|session| session.is_of(context)) {
            session.wake();
        }
        let (worker, context) = (Rc::clone(self), Rc::clone(context));
        spawn_local(async move {
            tokio::time::sleep(within).await;
            let mut closed = 0;
            for session in worker.live.borrow().values().filter(|session| session.is_of(&context)) {
                session.disconnect();
                closed += 1;
            }
            if closed > 0 {
                let name = &context.listener().name;
                tracing::warn!("reload: closed {closed} clients of listener '{name}' that had not finished in time");
            }
        });
    }
}

fn put<T>(table: &mut Vec<Option<T>>, number: usize, value: T) {
    if table.len() <= number {
        table.resize_with(number + 1, || None);
    }
    table[number] = Some(value);
}
