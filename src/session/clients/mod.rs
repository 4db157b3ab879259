//! CLIENT commands that speak of other clients: LIST, KILL, PAUSE, UNPAUSE, UNBLOCK.
//!
//! They mean the sessions of the caller's group, on all its listeners and all workers, never connections to nodes. The
//! session asks the workers over the switchboard and waits with the command in front of its input, which is handled again
//! until the answers are there.

pub(crate) mod answer;
mod arguments;
pub(crate) mod filter;
mod line;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task;
use std::time::{Duration, Instant};

use self::arguments::{Kill, Reader};
use super::switchboard::{Answer, Ask};
use super::{Flow, Inner, Session};
use crate::command::Local;
use crate::resp::encode;
use crate::resp::request;
use crate::topology::Version;
use crate::topology::edition::Since;

/// What the workers' answers come to.
pub(super) enum Outcome {
    Reply(Vec<u8>),
    /// The client is among those it asked to close.
    LastReply(Vec<u8>),
    /// The worker that serves the session asked for.
    Home(Option<usize>),
}

/// An answer that is awaited.
pub(super) type Asking = Pin<Box<dyn Future<Output = Outcome>>>;

/// What a pause may last at most, so that no arithmetic with it overflows; Redis takes any number of milliseconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many databases a server has unless it is told otherwise. Nobody is in one that Redan has not heard of.
const DATABASES: u32 = 16;

/// CLIENT LIST ID no longer lists clients as they were asked for.
const IN_ORDER_OF_IDS: Since = Since::valkey(Version(8, 1, 0));

const NO_ANSWER: &str = "ERR Redan: a worker has not answered within 5 s; its operator should look at the log";

impl Session {
    /// `None`: it is answered. Otherwise it stays in front and is handled again.
    pub(super) fn client_command(
        self: &Rc<Self>,
        inner: &mut Inner,
        local: Local,
        raw: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Option<Flow> {
        if inner.asking.is_none() {
            match self.question(inner, local, raw) {
                Ok(asking) => inner.asking = Some(asking),
                Err(words) => {
                    self.answer_error(inner, &words);
                    return None;
                }
            }
        }
        match self.asked(inner, cx)? {
            Ok(Outcome::Reply(reply)) => self.answer_with(inner, |out| out.extend_from_slice(&reply)),
            Ok(Outcome::LastReply(reply)) => {
                self.answer_with(inner, |out| out.extend_from_slice(&reply));
                inner.closing = true;
            }
            Ok(Outcome::Home(_)) => {}
            Err(flow) => return Some(flow),
        }
        None
    }

    /// What was asked, once it is answered; `None` when nothing was asked.
    pub(super) fn asked(&self, inner: &mut Inner, cx: &mut task::Context<'_>) -> Option<Result<Outcome, Flow>> {
        let asking = inner.asking.as_mut()?;
        match asking.as_mut().poll(cx) {
            task::Poll::Pending => Some(Err(Flow::Wait)),
            task::Poll::Ready(outcome) => {
                inner.asking = None;
                Some(Ok(outcome))
            }
        }
    }

    pub(super) fn question(&self, inner: &Inner, local: Local, raw: &[u8]) -> Result<Asking, String> {
        let words: Vec<&[u8]> = request::arguments(raw).skip(1).collect();
        // The arity was checked, so the subcommand is there.
        let (typed, words) = words.split_first().ok_or("ERR syntax error")?;
        let resp3 = inner.dialect.resp3;
        let knows_user = |name: &str| self.knows_user(name);
        match local {
            Local::ClientList => {
                let filter = self.reader(&knows_user).list(words)?;
                // Newer Valkey lists whom it was asked for in the order of its clients.
                let order =
                    if self.context.edition().has(IN_ORDER_OF_IDS) { None } else { filter.ids().map(Into::into) };
                Ok(self.ask_workers(Ask::List(filter), move |answers| Outcome::Reply(list(answers, order, resp3))))
            }
            Local::ClientKill => {
                let Kill { filter, skip_me, old_form } = self.reader(&knows_user).kill(words)?;
                let me = !skip_me && self.is_meant_by(inner, &filter, Instant::now());
                let ask = Ask::Kill { filter, by: self.id };
                Ok(self.ask_workers(ask, move |answers| {
                    let reply = killed(count(&answers) + u64::from(me), old_form);
                    if me { Outcome::LastReply(reply) } else { Outcome::Reply(reply) }
                }))
            }
            Local::ClientPause => {
                let (milliseconds, all) = arguments::pause(words, typed, self.context.edition())?;
                let until = Instant::now() + Duration::from_millis(milliseconds).min(LONGEST_PAUSE);
                Ok(self.ask_workers(Ask::Pause { until, all }, |_| Outcome::Reply(b"+OK\r\n".to_vec())))
            }
            Local::ClientUnpause => Ok(self.ask_workers(Ask::Unpause, |_| Outcome::Reply(b"+OK\r\n".to_vec()))),
            _ => {
                let (id, with_error) = arguments::unblock(words, typed, self.context.edition())?;
                Ok(self.ask_workers(Ask::Unblock { id, with_error }, |answers| Outcome::Reply(unblocked(&answers))))
            }
        }
    }

    fn reader<'a>(&self, knows_user: &'a dyn Fn(&str) -> bool) -> Reader<'a> {
        let databases = self.context.pool.known_databases().max(DATABASES - 1);
        Reader { edition: self.context.edition(), knows_user, databases, caller: self.id }
    }

    fn ask_workers(&self, ask: Ask, render: impl FnOnce(Vec<Answer>) -> Outcome + 'static) -> Asking {
        let switchboard = Arc::clone(&self.context.workspace.switchboard);
        let group = self.context.pool.group_index();
        Box::pin(async move {
            match switchboard.ask(group, ask).await {
                Some(answers) => render(answers),
                None => {
                    let mut reply = Vec::new();
                    encode::error(&mut reply, NO_ANSWER);
                    Outcome::Reply(reply)
                }
            }
        })
    }

    /// Asks which worker serves the session `id`.
    pub(super) fn ask_for_home(&self, id: u64) -> Asking {
        self.ask_workers(Ask::Exists(id), |answers| {
            let home = answers.iter().find_map(|answer| if let Answer::Here(at) = answer { Some(*at) } else { None });
            Outcome::Home(home)
        })
    }

    fn knows_user(&self, name: &str) -> bool {
        // Where nodes judge logins only they know their users: then nobody of that name is connected.
        let listener = &self.context.listener();
        name == "default" || listener.passthrough || listener.users.as_ref().is_some_and(|users| users.has(name))
    }
}

fn list(answers: Vec<Answer>, order: Option<Vec<u64>>, resp3: bool) -> Vec<u8> {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for answer in answers {
        if let Answer::Lines(some) = answer {
            lines.extend(some);
        }
    }
    lines.sort_unstable_by_key(|(id, _)| *id);
    let mut text = String::new();
    match order {
        None => lines.iter().for_each(|(_, line)| text.push_str(line)),
        // In the order they were asked for, as often as they were.
        Some(ids) => {
            for id in ids {
                if let Ok(at) = lines.binary_search_by_key(&id, |(id, _)| *id) {
                    text.push_str(&lines[at].1);
                }
            }
        }
    }
    let mut reply = Vec::new();
    encode::verbatim(&mut reply, &text, resp3);
    reply
}

fn count(answers: &[Answer]) -> u64 {
    answers.iter().map(|answer| if let Answer::Count(n) = answer { *n } else { 0 }).sum()
}

fn killed(number: u64, old_form: bool) -> Vec<u8> {
    let mut reply = Vec::new();
    match (old_form, number) {
        (true, 0) => encode::error(&mut reply, "ERR No such client"),
        (true, _) => encode::simple(&mut reply, "OK"),
        (false, number) => encode::integer(&mut reply, i64::try_from(number).unwrap_or(i64::MAX)),
    }
    reply
}

fn unblocked(answers: &[Answer]) -> Vec<u8> {
    let mut reply = Vec::new();
    let refused =
        answers.iter().find_map(|answer| if let Answer::Refused(words) = answer { Some(words) } else { None });
    match refused {
        Some(words) => encode::error(&mut reply, words),
        None => encode::integer(&mut reply, i64::from(count(answers) > 0)),
    }
    reply
}
