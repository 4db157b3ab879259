//! Users whose rights are taken back, or who get other ones, while clients are logged in as them.

use super::*;

/// A shared connection of the open `default` user must not let in who comes after it was closed.
#[test]
fn a_password_that_is_set_later_holds_for_new_clients() {
    let node = Redis::start();
    let endpoint = Endpoint::of(&[&node], PASSTHROUGH);
    let mut early = endpoint.client();
    early.ok(&["SET", "k", "v"]);
    assert_eq!(early.text(&["GET", "k"]).as_deref(), Some("v"));
    node.ok(&["ACL", "SETUSER", "default", "resetpass", ">secret"]);
    assert_eq!(endpoint.client().ask(&["GET", "k"]), NOT_YET);
    assert_eq!(early.text(&["GET", "k"]).as_deref(), Some("v"), "as with a server, whoever is in stays in");
}

#[test]
fn a_user_that_is_deleted_loses_its_clients_and_nobody_else_does() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let mut others: Vec<Client> = (0..3).map(|_| logged_in(&endpoint, "b")).collect();
    let mut idle = logged_in(&endpoint, "a");
    let mut busy = logged_in(&endpoint, "a");
    let mut pinned = logged_in(&endpoint, "a");
    idle.ok(&["SET", "a:k", "v"]);
    busy.ok(&["SET", "a:k", "v"]);
    pinned.send(&["BLPOP", "a:list", "0"]);
    eventually("it waits at the node", || master.info("blocked_clients").as_deref() == Some("1"));
    for node in [&master, &replica] {
        node.ok(&["ACL", "DELUSER", "a"]);
    }
    for client in [&mut idle, &mut pinned] {
        // Nothing is said to them, unless it is that the outcome of what they asked is unknown.
        let rest = client.rest();
        assert!(rest.is_empty() || rest.starts_with("-INDOUBT"), "{rest}");
    }
    busy.send(&["GET", "a:k"]);
    assert_eq!(busy.rest(), "");
    for other in &mut others {
        other.ok(&["SET", "b:k", "v"]);
        assert_eq!(other.text(&["GET", "b:k"]).as_deref(), Some("v"));
    }
    let said = endpoint.said();
    assert_eq!(said.matches("clients that had logged in as 'a'").count(), 1, "{said}");
    assert_eq!(endpoint.client().ask(&["AUTH", "a", "pass-a"]), WRONG);
    // A user of the same name is another user.
    set_user(&[&master, &replica], "a on >pass-a ~other:* +@all");
    let mut again = logged_in(&endpoint, "a");
    again.ok(&["SET", "other:k", "v"]);
    assert!(again.ask(&["GET", "a:k"]).starts_with("-NOPERM"));
}

/// The password changes, and then the node closes the connection: it cannot be had again.
#[test]
fn a_connection_that_cannot_be_opened_again_ends_its_sessions() {
    let (master, replica) = group();
    let endpoint = Endpoint::of(&[&master, &replica], PASSTHROUGH);
    let mut a = logged_in(&endpoint, "a");
    let mut b = logged_in(&endpoint, "b");
    a.ok(&["SET", "a:k", "v"]);
    b.ok(&["SET", "b:k", "v"]);
    set_user(&[&master, &replica], "a resetpass >newer");
    for node in [&master, &replica] {
        node.ok(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    assert_eq!(a.rest(), "");
    assert_eq!(b.text(&["GET", "b:k"]).as_deref(), Some("v"));
    b.ok(&["SET", "b:k", "again"]);
}
