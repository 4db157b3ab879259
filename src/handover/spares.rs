//! Second handles of the sockets that listen, to be given to the process that takes the place of this one.
//!
//! `app` fills it and keeps it in step with the configuration, `upgrade` gives all of them on, `drain` closes them. A socket
//! listens until its last handle is closed, so nothing may stay here from which nobody accepts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Kept;
use crate::config::Bind;

#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<Kept>>);

impl Spares {
    pub(crate) fn new(kept: Vec<Kept>) -> Self {
        Self(Mutex::new(kept))
    }

    pub(crate) fn all(&self) -> Vec<Kept> {
        self.lock().clone()
    }

    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    /// Listeners and links stood where `before` says and stand where `now` says; `bound` are the new ones among their sockets.
    pub(crate) fn follow(&self, before: &[(&str, &Bind)], now: &[(&str, &Bind)], bound: Vec<Kept>) {
        let mut all = self.lock();
        for (name, bind) in before.iter().filter(|stood| !now.contains(stood)) {
            let text = bind.to_string();
            let Some(at) = all.iter().position(|kept| kept.given.name == *name && kept.given.bind == text) else {
                continue;
            };
            let taken_over = |(_, other): &&(&str, &Bind)| other.to_string() == text && !other.is_any_port();
            match now.iter().find(taken_over).filter(|_| bound.iter().all(|kept| kept.given.bind != text)) {
                Some((other, _)) => (*other).clone_into(&mut all[at].given.name),
                None => drop(all.remove(at)),
            }
        }
        all.extend(bound);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::net::Listening;

    #[test]
    fn what_nobody_accepts_from_is_closed_and_what_another_takes_over_has_its_name() {
        let bind = |port: u16| Bind::Tcp(([127, 0, 0, 1], port).into());
        let kept = |name: &str, bind: &Bind| {
            let socket = Listening::Tcp(TcpListener::bind("127.0.0.1:0").expect("a port"));
            Kept::new(name, bind, false, &socket).expect("a handle")
        };
        let (one, two, three, any) = (bind(1), bind(2), bind(3), bind(0));
        let spares = Spares::new(vec![kept("admin", &any), kept("a", &one), kept("b", &two), kept("c", &any)]);
        let names = |spares: &Spares| spares.all().iter().map(|kept| kept.given.name.clone()).collect::<Vec<_>>();
        spares.follow(&[("a", &one), ("b", &two), ("c", &any)], &[("x", &one), ("c", &any)], vec![]);
        assert_eq!(names(&spares), ["admin", "x", "c"]);
        spares.follow(&[("x", &one), ("c", &any)], &[("x", &three)], vec![kept("x", &three)]);
        assert_eq!(names(&spares), ["admin", "x"]);
        assert_eq!(spares.all()[1].given.bind, "127.0.0.1:3");
        spares.close();
        assert!(spares.all().is_empty());
    }
}
