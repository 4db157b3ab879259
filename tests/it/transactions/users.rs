//! Becoming another user inside MULTI.

use super::*;

const FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// The listener's users: who the client is changes at EXEC, and with it what the commands behind it may do.
#[test]
fn a_user_of_the_listener_takes_over_in_the_transaction() {
    let users = format!(
        "[[user]]\nname = \"all\"\npasswords = [\"{FOO}\"]\n[[user]]\nname = \"reader\"\npasswords = [\"{FOO}\"]\n\
         deny = [\"@write\"]\n"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("users.toml");
    std::fs::write(&file, users).expect("writable");
    let rules = ["all on >foo ~* &* +@all", "reader on >foo ~* &* +@all -@write"];
    let (reference, _redis, endpoint) = beside(&rules, &format!("users = {file:?}"));
    compare(
        &reference,
        &endpoint,
        &[
            &[
                "AUTH all foo",
                "MULTI",
                "SET k 1",
                "AUTH reader foo",
                "SET k 2",
                "GET k",
                "ACL WHOAMI",
                "EXEC",
                "SET k 3",
            ],
            &["AUTH all foo", "MULTI", "AUTH reader wrong", "SET k 2", "ACL WHOAMI", "EXEC", "SET k 3"],
            &["AUTH all foo", "MULTI", "HELLO 3 AUTH reader foo", "GET none", "EXEC", "GET none", "ACL WHOAMI"],
            &["AUTH reader foo", "MULTI", "AUTH all foo", "SET k 1", "EXEC", "SET k 9"],
            &["AUTH all foo", "MULTI", "AUTH reader foo", "NOSUCH", "EXEC", "ACL WHOAMI", "SET k 5"],
        ],
    );
}

/// The servers' users: the connection becomes another user's with its client.
#[test]
fn a_user_of_the_servers_takes_over_in_the_transaction() {
    let rules = ["a on >pass-a ~a:* &a:* &both +@all", "b on >pass-b ~b:* &b:* &both +@all"];
    let (reference, redis, endpoint) = beside(&rules, "auth = \"passthrough\"");
    compare(
        &reference,
        &endpoint,
        &[
            &["AUTH a pass-a", "MULTI", "SET a:k 1", "AUTH b pass-b", "SET b:k 1", "ACL WHOAMI", "EXEC", "GET b:k"],
            &["AUTH a pass-a", "MULTI", "SET b:k 1", "AUTH b pass-b", "EXEC", "ACL WHOAMI"],
            &["AUTH a pass-a", "MULTI", "AUTH b pass-b", "SET a:k 2", "EXEC", "GET a:k", "ACL WHOAMI"],
            &["AUTH a pass-a", "MULTI", "HELLO 3 AUTH b pass-b SETNAME x", "EXEC", "GET b:none", "GET a:k"],
            &["AUTH a pass-a", "MULTI", "AUTH b wrong", "ACL WHOAMI", "EXEC", "GET a:k", "GET b:k"],
            &["AUTH a pass-a", "MULTI", "AUTH b pass-b", "DISCARD", "GET a:k"],
            &["AUTH a pass-a", "HELLO 3", "MULTI", "AUTH b pass-b", "SUBSCRIBE both", "EXEC", "ACL WHOAMI", "GET b:k"],
            &["AUTH a pass-a", "MULTI", "SUBSCRIBE b:c", "EXEC", "GET a:k"],
        ],
    );
    // Each with connections of its own, after all of that.
    let mut a = endpoint.client();
    a.ok(&["AUTH", "a", "pass-a"]);
    for n in 0..20 {
        a.raw(&pipeline(&[&["MULTI"], &["CLIENT", "ID"], &["SET", "a:k", "1"], &["EXEC"]]));
        (0..3).for_each(|_| drop(a.reply()));
        assert!(a.reply().ends_with("+OK\r\n"), "round {n}");
    }
    drop(redis);
}
