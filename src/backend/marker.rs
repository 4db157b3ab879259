//! Asks the questions behind marks: the master for its offset, then the replicas for theirs.
//!
//! One task per worker and group. It asks only while a session wants a mark, and at most once per [`INTERVAL`].

use std::cell::Cell;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use super::pool::Pool;
use super::question;
use crate::assurance::Place;
use crate::resp::value;
use crate::topology::{Node, Role, Snapshot, observe};

/// One question per node per 3 ms is 333 a second: about 0.5 % of what a server answers, and below the time a session
/// notices that its reads still go to the master.
const INTERVAL: Duration = Duration::from_millis(3);

/// A node that does not answer ROLE for so long has not caught anything.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who waits for a round is asked again after so long whether it goes on: a frozen master must not keep readers from the
/// replicas. An answer takes a millisecond, so 25 ms are a master that has other things to do.
const WAIT: Duration = Duration::from_millis(25);

/// In what form nodes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// ROLE: 65 bytes, of offsets alone.
    Offsets,
    /// INFO: ten times as much, with the history that the offset belongs to.
    Histories,
}

pub(super) async fn run(pool: Weak<Pool>) {
    loop {
        let Some(strong) = pool.upgrade() else {
            return;
        };
        let wanted = strong.mark_wanted.notified();
        // Looked at again now and then, so that the task ends with its worker.
        let _ = tokio::time::timeout(Duration::from_secs(5), wanted).await;
        if strong.waiting_for_mark.borrow().is_empty() && !strong.take_mark_request() {
            continue;
        }
        let started = tokio::time::Instant::now();
        let mut round = pin!(round(&strong, Question::Offsets));
        while tokio::time::timeout(WAIT, round.as_mut()).await.is_err() {
            strong.wake_waiting_for_mark();
        }
        tokio::time::sleep_until(started + INTERVAL).await;
        // Also those for whom nothing new is known: how long they go on waiting is theirs to bound.
        strong.wake_waiting_for_mark();
    }
}

/// Replicas whose word on what they have applied counts.
pub(super) fn witnesses(snapshot: &Snapshot) -> impl Iterator<Item = &Node> {
    let master = snapshot.master().map(|master| master.id);
    let fit = move |node: &&Node| Some(node.id) != master && node.readable.is_ok() && node.offsets_comparable;
    snapshot.nodes.iter().filter(fit)
}

/// Closes a generation and learns who has caught it.
pub(super) async fn round(pool: &Rc<Pool>, question: Question) {
    let (master, replicas) = {
        let snapshot = pool.snapshot();
        let Some(master) = snapshot.master().cloned() else {
            return;
        };
        (master, witnesses(&snapshot).cloned().collect::<Vec<_>>())
    };
    let (epoch, generation) = {
        let mut marks = pool.marks.borrow_mut();
        (marks.epoch(), marks.ask())
    };
    pool.generation.set(pool.marks.borrow().current());
    pool.counters.marks_asked.increment();
    let Some(said) = place_of(pool, &master, Asked::Master, question).await else {
        return;
    };
    pool.marks.borrow_mut().master_at(epoch, generation, said.offset);
    if let Some(place) = &said.place {
        pool.assured_master_at(epoch, master.id, generation, place);
    }
    let missing = Rc::new(Cell::new(replicas.len()));
    for replica in replicas {
        let (pool, missing) = (Rc::clone(pool), Rc::clone(&missing));
        tokio::task::spawn_local(async move {
            if let Some(said) = place_of(&pool, &replica, Asked::Replica, question).await {
                pool.marks.borrow_mut().replica_at(epoch, replica.id, said.offset);
                if let Some(place) = &said.place {
                    pool.assured_replica_at(epoch, replica.id, place);
                }
            }
            missing.set(missing.get() - 1);
            // Not at the first answer: everyone would go to the one replica that was a little faster.
            if missing.get() == 0 {
                pool.wake_waiting_for_mark();
            }
        });
    }
}

/// What a node said.
struct Said {
    offset: u64,
    /// Where it was asked for histories, and has one.
    place: Option<Place>,
}

/// The node's place in its history; `None` when it does not tell, or is a replica that is not connected.
async fn place_of(pool: &Rc<Pool>, node: &Node, asked: Asked, question: Question) -> Option<Said> {
    let command: &[u8] = match question {
        Question::Offsets => b"*1\r\n$4\r\nROLE\r\n",
        Question::Histories => b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n",
    };
    // Of a master with a thousand replicas either is too long to be gathered; it is no answer then.
    let reply = question::ask(pool, node, command, PATIENCE).await?;
    match question {
        Question::Offsets => offset_in(&reply, asked).map(|offset| Said { offset, place: None }),
        Question::Histories => place_in(&reply, asked),
    }
}

/// The same in a reply to INFO. A replica in the middle of a full sync has no place.
fn place_in(reply: &[u8], asked: Asked) -> Option<Said> {
    let (value, _) = value::decode(reply, false).ok()??;
    let seen = observe::from_info(value.text()?);
    let as_asked = match asked {
        Asked::Master => seen.role == Role::Master,
        Asked::Replica => seen.role == Role::Replica && seen.link_up == Some(true) && seen.syncing != Some(true),
    };
    let offset = seen.offset.filter(|_| as_asked)?;
    let before = seen.replid2.zip(seen.second_offset);
    Some(Said { offset, place: seen.replid.map(|history| Place { history, offset, before }) })
}

/// As what a node was asked. One that has changed its role meanwhile counts in another history, and tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Master,
    Replica,
}

/// The offset in a reply to ROLE: of a master its own, of a connected replica what it has applied.
fn offset_in(reply: &[u8], asked: Asked) -> Option<u64> {
    let (value, _) = value::decode(reply, false).ok()??;
    let items = value.items()?;
    let offset = match items.first()?.text()? {
        "master" if asked == Asked::Master => items.get(1)?,
        "slave" if asked == Asked::Replica && items.get(3)?.text()? == "connected" => items.get(4)?,
        _ => return None,
    };
    offset.integer().and_then(|offset| u64::try_from(offset).ok())
}

impl Pool {
    /// A session could read from a replica if a mark proved it.
    pub(crate) fn want_mark(&self) {
        self.mark_request.set(true);
        self.mark_wanted.notify_one();
    }

    /// The same, and the session waits for it.
    pub(crate) fn wait_for_mark(&self, waker: &Waker) {
        self.waiting_for_mark.borrow_mut().push(waker.clone());
        self.want_mark();
    }

    fn wake_waiting_for_mark(&self) {
        self.waiting_for_mark.take().into_iter().for_each(Waker::wake);
    }

    fn take_mark_request(&self) -> bool {
        self.mark_request.take()
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, offset_in, place_in};

    #[test]
    fn only_a_connected_node_tells_an_offset() {
        #[rustfmt::skip]
        let table: &[(&str, Asked, Option<u64>)] = &[
            ("*3\r\n$6\r\nmaster\r\n:3129659\r\n*0\r\n", Asked::Master, Some(3_129_659)),
            ("*3\r\n$6\r\nmaster\r\n:77\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$2\r\n76\r\n", Asked::Master, Some(77)),
            ("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3167038\r\n", Asked::Replica, Some(3_167_038)),
            ("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$4\r\nsync\r\n:-1\r\n", Asked::Replica, None),
            ("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$7\r\nconnect\r\n:55\r\n", Asked::Replica, None),
            ("-NOPERM this user has no permissions to run the 'role' command\r\n", Asked::Replica, None),
            ("*2\r\n$8\r\nsentinel\r\n*0\r\n", Asked::Replica, None),
            ("*3\r\n$6\r\nmaster\r\n:77\r\n*0\r\n", Asked::Replica, None),
            ("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3167038\r\n", Asked::Master, None),
        ];
        for (reply, asked, expected) in table {
            assert_eq!(offset_in(reply.as_bytes(), *asked), *expected, "{asked:?} {reply}");
        }
    }

    #[test]
    fn a_place_names_its_history() {
        let said = |lines: &str, asked| {
            let text = lines.replace(' ', "\r\n") + "\r\n";
            let said = place_in(format!("${}\r\n{text}\r\n", text.len()).as_bytes(), asked)?;
            Some((said.offset, said.place.map(|place| (place.history.to_string(), place.before.map(|(_, at)| at)))))
        };
        let master = "role:master master_replid:x master_replid2:y second_repl_offset:51 master_repl_offset:77";
        assert_eq!(said(master, Asked::Master), Some((77, Some(("x".to_owned(), Some(51))))));
        assert_eq!(said(master, Asked::Replica), None);
        let replica = "role:slave master_link_status:up slave_repl_offset:70 slave_read_repl_offset:75 \
                       master_sync_in_progress:0 master_replid:x master_replid2:000 second_repl_offset:-1 \
                       master_repl_offset:70";
        assert_eq!(said(replica, Asked::Replica), Some((70, Some(("x".to_owned(), None)))));
        assert_eq!(said(&replica.replace("status:up", "status:down"), Asked::Replica), None);
        assert_eq!(said(&replica.replace("in_progress:0", "in_progress:1"), Asked::Replica), None);
        // Before 4.0 histories have no names.
        assert_eq!(said("role:master master_repl_offset:77", Asked::Master), Some((77, None)));
    }
}
