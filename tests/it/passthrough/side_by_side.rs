//! Several users at once, over the same Redan: none of them ever travels over another one's connection.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::support::stop::StopOnDrop;

/// One client that is `user` from the beginning on: its own keys are its own, the other ones are refused.
fn stay(endpoint: &Endpoint, user: &str, stopped: &AtomicBool, rounds: &AtomicUsize) {
    let (own, other) = (format!("{user}:k"), if user == "a" { "b:k" } else { "a:k" });
    let mut client = logged_in(endpoint, user);
    while !stopped.load(Relaxed) {
        client.raw(&pipeline(&[
            &["SET", &own, user],
            &["GET", &own],
            &["GET", other],
            &["SET", other, "stolen"],
            &["GET", &own],
        ]));
        let replies: Vec<String> = (0..5).map(|_| client.reply()).collect();
        let lost = |reply: &str| ["-INDOUBT", "-LOADING", "-TRYAGAIN"].iter().any(|code| reply.starts_with(code));
        for (reply, refused) in replies.iter().zip([false, false, true, true, false]) {
            assert!(!reply.contains("stolen"), "{user}: {replies:?}");
            assert!(lost(reply) || reply.starts_with("-NOPERM") == refused, "{user}: {replies:?}");
        }
        rounds.fetch_add(1, Relaxed);
    }
}

/// One connection that is two users by turns, in one piece.
fn take_turns(endpoint: &Endpoint, stopped: &AtomicBool) {
    let mut client = endpoint.client();
    while !stopped.load(Relaxed) {
        client.raw(&pipeline(&[
            &["AUTH", "a", "pass-a"],
            &["SET", "a:k", "a"],
            &["GET", "b:k"],
            &["AUTH", "b", "pass-b"],
            &["GET", "b:k"],
            &["GET", "a:k"],
        ]));
        let replies: Vec<String> = (0..6).map(|_| client.reply()).collect();
        for (login, others) in [(0, 2), (3, 5)] {
            let stolen = replies[login] == "+OK\r\n" && replies[others].starts_with('$');
            assert!(!stolen, "{replies:?}");
        }
        assert!(!replies[1].starts_with("-NOPERM") || replies[0] != "+OK\r\n", "{replies:?}");
    }
}

/// Reads and writes of three users side by side, pipelined, while their connections break and the master moves.
#[test]
fn two_users_never_share_a_connection() {
    let (master, replica) = group();
    set_user(&[&master, &replica], "c on >pass-c ~c:* &* +@all -@dangerous");
    let endpoint = Endpoint::of(&[&master, &replica], &format!("{PASSTHROUGH}\nreads = \"any\""));
    let (stopped, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let end = StopOnDrop(&stopped);
        for user in ["a", "b", "c", "a", "b", "c"] {
            scope.spawn(|| stay(&endpoint, user, &stopped, &rounds));
        }
        for _ in 0..2 {
            scope.spawn(|| take_turns(&endpoint, &stopped));
        }
        let after = |more: usize| {
            let goal = rounds.load(Relaxed) + more;
            eventually("the clients go on", || rounds.load(Relaxed) > goal);
        };
        after(100);
        for node in [&master, &replica] {
            node.ok(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        after(100);
        replica.replica_of(None);
        master.replica_of(Some(&replica));
        after(200);
        for node in [&master, &replica] {
            node.ok(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        after(100);
        let mut users = users_at(&replica);
        users.sort();
        users.dedup();
        // Redan's own questions come and go.
        users.retain(|user| user != "default");
        assert_eq!(users, ["a", "b", "c"]);
        drop(end);
    });
    for node in [&master, &replica] {
        for user in ["a", "b", "c"] {
            // The old master may still be copying the new one's data.
            eventually("its value is there", || node.command(&["GET", &format!("{user}:k")]) == bulk(user));
        }
    }
}
