//! Replies that prove a command was not executed, and that another node, or the same one later, would execute it.
//!
//! Pure; lanes and pins ask it for every error reply. A script may return any error text itself, so a prefix alone
//! proves nothing: the server's own wording must follow it.

/// Why a node did not execute a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not the master (any more).
    NotMaster,
    /// It is loading, or its master is down and it may not serve stale data.
    NotReady,
    /// It does not have the script. Only a master's word on that is final.
    NoScript,
    /// It does not have the command. Only a master's word on that is final, too.
    NotKnown,
    /// A blocked command was ended because the node's role changed; nothing was popped.
    Unblocked,
}

/// Judges one complete error reply, `-` and CRLF included.
pub(crate) fn refusal(reply: &[u8]) -> Option<Refusal> {
    let text = reply.strip_prefix(b"-")?;
    match *text.first()? {
        b'R' if text.starts_with(b"READONLY You can't write against a read only") => Some(Refusal::NotMaster),
        b'R' if text.starts_with(b"REDIRECT ") => Some(Refusal::NotMaster),
        b'L' if text.starts_with(b"LOADING Redis is loading") || text.starts_with(b"LOADING Valkey is loading") => {
            Some(Refusal::NotReady)
        }
        b'M' if text.starts_with(b"MASTERDOWN Link with MASTER is down") => Some(Refusal::NotReady),
        b'N' if text.starts_with(b"NOSCRIPT No matching script") => Some(Refusal::NoScript),
        b'U' if text.starts_with(b"UNBLOCKED force unblock from blocking operation, instance state changed") => {
            Some(Refusal::Unblocked)
        }
        // The transaction was thrown away because of where it was, not because of what it says.
        b'E' if text.starts_with(b"EXECABORT Transaction discarded because of: READONLY") => Some(Refusal::NotMaster),
        b'E' if text.starts_with(b"EXECABORT Transaction discarded because of: LOADING") => Some(Refusal::NotReady),
        b'E' if text.starts_with(b"EXECABORT Transaction discarded because of: MASTERDOWN") => Some(Refusal::NotReady),
        b'E' if text.starts_with(b"ERR unknown command ") => Some(Refusal::NotKnown),
        // Up to 6.2 a script's refused write comes wrapped. The replica refused every write of it.
        b'E' if text.starts_with(b"ERR Error running script") && contains(text, WRAPPED) => Some(Refusal::NotMaster),
        b'@' if text.starts_with(b"@user_script") && contains(text, WRAPPED) => Some(Refusal::NotMaster),
        _ => None,
    }
}

const WRAPPED: &[u8] = b"-READONLY You can't write against a read only";

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_words_prove_it() {
        #[rustfmt::skip]
        let table: &[(&str, Option<Refusal>)] = &[
            ("-READONLY You can't write against a read only replica.\r\n", Some(Refusal::NotMaster)),
            ("-READONLY You can't write against a read only slave.\r\n", Some(Refusal::NotMaster)),
            ("-READONLY You can't write against a read only replica. script: 5f, on @user_script:1.\r\n", Some(Refusal::NotMaster)),
            ("-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. \r\n", Some(Refusal::NotMaster)),
            ("-READONLY of my own making\r\n", None),
            ("-LOADING Redis is loading the dataset in memory\r\n", Some(Refusal::NotReady)),
            ("-LOADING Valkey is loading the dataset in memory\r\n", Some(Refusal::NotReady)),
            ("-LOADING Redan has had no master\r\n", None),
            ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", Some(Refusal::NotReady)),
            ("-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n", Some(Refusal::NotMaster)),
            ("-EXECABORT Transaction discarded because of previous errors.\r\n", None),
            ("-REDIRECT 127.0.0.1:6380\r\n", Some(Refusal::NotMaster)),
            ("-NOSCRIPT No matching script. Please use EVAL.\r\n", Some(Refusal::NoScript)),
            ("-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n", Some(Refusal::Unblocked)),
            ("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n", None),
            ("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", None),
            ("-ERR unknown command 'FOO'\r\n", Some(Refusal::NotKnown)),
            ("-ERR unknown commands\r\n", None),
            ("+READONLY\r\n", None),
            ("-\r\n", None),
        ];
        for (reply, expected) in table {
            assert_eq!(refusal(reply.as_bytes()), *expected, "{reply}");
        }
    }
}
