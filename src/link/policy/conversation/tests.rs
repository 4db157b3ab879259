//! Conversations with a target that answers each command by its name, late, and in pieces.

use super::*;
use crate::config::link::Commands;
use crate::resp::encode;

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    bytes
}

fn commands(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| command(&line.split(' ').collect::<Vec<_>>())).collect()
}

/// Both sides of a conversation.
struct Scene {
    policy: Policy,
    talk: Conversation,
    /// What the target has read.
    passed: Vec<u8>,
    scanned: usize,
    /// What the target has said and the program has not heard.
    replies: Vec<u8>,
    heard: Vec<u8>,
    closed: bool,
    broken: Option<String>,
}

impl Scene {
    fn new(commands: Commands) -> Self {
        Self {
            policy: Policy::new(commands).expect("one that refuses something"),
            talk: Conversation::new("here"),
            passed: Vec::new(),
            scanned: 0,
            replies: Vec::new(),
            heard: Vec::new(),
            closed: false,
            broken: None,
        }
    }

    /// The target answers what it has read.
    fn answer(&mut self) {
        while let Ok(Request::Command(frame)) =
            RequestScanner::new().scan(&self.passed[self.scanned..], &Bounds::AUTHENTICATED)
        {
            let name = frame.name.of(&self.passed[self.scanned..]).to_ascii_uppercase();
            self.scanned += frame.len;
            let reply: &[u8] = match &name[..] {
                b"PSYNC" => b"\n\n+FULLRESYNC 0123 7\r\n$3\r\n-ab",
                b"MGET" => b"*2\r\n$3\r\nabc\r\n$-1\r\n",
                b"GET" => b">2\r\n+invalidate\r\n*0\r\n$4\r\n-ERR\r\n",
                _ => b"+OK\r\n",
            };
            self.replies.extend_from_slice(reply);
        }
    }

    fn turn(&mut self, piece: usize) {
        let some: Vec<u8> = self.replies.drain(..piece.min(self.replies.len())).collect();
        self.heard.extend_from_slice(&some);
        self.talk.hear(&some);
        self.talk.go_on(&self.policy, &mut self.passed);
        if let Some(refusal) = self.talk.speak() {
            self.heard.extend_from_slice(&refusal.words);
            self.closed |= refusal.closes;
            self.talk.go_on(&self.policy, &mut self.passed);
        }
        self.broken = self.broken.take().or_else(|| self.talk.broken());
        let held = self.talk.held.len();
        assert!(held <= LONGEST + PIECE, "{held} bytes are held");
    }

    /// Everything that the program says, `piece` bytes at a time; the target answers when nothing else goes on.
    fn say(&mut self, mut said: &[u8], piece: usize) {
        while self.broken.is_none() {
            let taken = self.talk.take(&self.policy, &said[..piece.min(said.len())], &mut self.passed);
            said = &said[taken..];
            self.turn(0);
            if taken == 0 {
                if self.replies.is_empty() {
                    self.answer();
                }
                if self.replies.is_empty() {
                    break;
                }
                self.turn(piece);
            }
        }
        self.answer();
        while !self.replies.is_empty() && self.broken.is_none() {
            self.turn(piece);
        }
        assert!(said.is_empty() || self.broken.is_some(), "{} bytes were not taken", said.len());
    }
}

const PIECES: [usize; 6] = [1, 2, 7, 50, 4096, 1_000_000];

fn refusal(commands: &str, name: &str) -> String {
    format!("-NOPERM link 'here' carries `commands = \"{commands}\"`, and '{name}' is none of them\r\n")
}

#[test]
fn a_refusal_comes_in_its_turn_and_what_is_refused_never_passes() {
    let said = commands(&["GET a", "SET a b", "FLUSHALL", "MGET a b", "PING", "CONFIG GET requirepass", "GET b"]);
    for piece in PIECES {
        let mut scene = Scene::new(Commands::ReadOnly);
        scene.say(&said, piece);
        let get = ">2\r\n+invalidate\r\n*0\r\n$4\r\n-ERR\r\n";
        let expected = [
            get,
            &refusal("read-only", "SET"),
            &refusal("read-only", "FLUSHALL"),
            "*2\r\n$3\r\nabc\r\n$-1\r\n+OK\r\n",
            &refusal("read-only", "CONFIG"),
            get,
        ];
        assert_eq!(String::from_utf8_lossy(&scene.heard), expected.concat(), "pieces of {piece}");
        assert_eq!(scene.passed, commands(&["GET a", "MGET a b", "PING", "GET b"]), "pieces of {piece}");
        assert!(!scene.closed && scene.broken.is_none());
        assert_eq!(scene.talk.refused(), Some((3, "CONFIG")));
    }
}

#[test]
fn lines_and_long_arguments() {
    let long = "x".repeat(100_000);
    let said = [
        b"GET a\r\n  \r\nset a b\r\n\r\nMGET \"a b\" c\r\n".to_vec(),
        command(&["SET", "key", &long]),
        command(&["SET", &long, "value"]),
        command(&["MGET", &long, &long]),
        command(&[&long, "a"]),
        command(&["GET", "key"]),
    ];
    for piece in PIECES {
        let mut scene = Scene::new(Commands::ReadOnly);
        scene.say(&said.concat(), piece);
        let passed =
            [command(&["GET", "a"]), command(&["MGET", "a b", "c"]), command(&["MGET", &long, &long])].concat();
        assert!(scene.passed == [passed, command(&["GET", "key"])].concat(), "pieces of {piece}");
        let heard = String::from_utf8_lossy(&scene.heard).into_owned();
        let at = |text: &str| heard.find(text).unwrap_or_else(|| panic!("{text} in {heard}"));
        assert!(at("'set'") < at("'SET'") && at("'SET'") < at("'a command"), "{heard}");
        assert_eq!(heard.matches("-NOPERM").count(), 4, "pieces of {piece}");
    }
}

#[test]
fn behind_a_sync_only_a_replica_is_heard() {
    let sync = commands(&["PING", "AUTH x", "REPLCONF listening-port 1", "PSYNC ? -1"]);
    let goes_on = [b"\n".to_vec(), command(&["REPLCONF", "ACK", "7"]), b"\n".to_vec()].concat();
    for piece in PIECES {
        let mut scene = Scene::new(Commands::Replication);
        scene.say(&[&sync[..], &goes_on].concat(), piece);
        assert_eq!(scene.passed, [&sync[..], &goes_on].concat(), "pieces of {piece}");
        assert!(scene.heard.ends_with(b"+FULLRESYNC 0123 7\r\n$3\r\n-ab"), "pieces of {piece}");
        assert!(scene.broken.is_none());
        let mut scene = Scene::new(Commands::Replication);
        scene.say(&[&sync[..], &command(&["FLUSHALL"])].concat(), piece);
        assert_eq!(scene.passed, sync, "pieces of {piece}");
        assert!(scene.broken.is_some_and(|why| why.contains("'FLUSHALL'")));
    }
    // A sync that is refused changes nothing.
    for answer in ["-NOMASTERLINK x\r\n", "\n-ERR unknown\r\n"] {
        let mut scene = Scene::new(Commands::Replication);
        let mut passed = Vec::new();
        let said = commands(&["PSYNC ? -1", "FLUSHALL"]);
        assert_eq!(scene.talk.take(&scene.policy, &said, &mut passed), said.len());
        assert!(!scene.talk.is_through() && scene.talk.speak().is_none());
        scene.talk.hear(answer.as_bytes());
        scene.talk.go_on(&scene.policy, &mut passed);
        assert_eq!(passed, command(&["PSYNC", "?", "-1"]));
        assert!(scene.talk.speak().is_some_and(|refusal| refusal.words.starts_with(b"-NOPERM")));
    }
}

#[test]
fn a_refusal_in_a_transaction_ends_it_and_on_a_subscription_the_connection() {
    for piece in PIECES {
        let mut scene = Scene::new(Commands::Sentinel);
        scene.say(&commands(&["MULTI", "SLAVEOF NO ONE", "FLUSHALL", "EXEC"]), piece);
        assert_eq!(scene.passed, commands(&["MULTI", "SLAVEOF NO ONE"]));
        assert!(scene.closed && scene.heard.ends_with(refusal("sentinel", "FLUSHALL").as_bytes()));
        let mut scene = Scene::new(Commands::Sentinel);
        scene.say(&commands(&["SUBSCRIBE __sentinel__:hello", "PING", "SUBSCRIBE news"]), piece);
        assert_eq!(scene.passed, commands(&["SUBSCRIBE __sentinel__:hello", "PING"]));
        assert!(scene.broken.is_some());
    }
}

#[test]
fn what_is_no_command_closes_the_connection_behind_the_replies() {
    for bad in ["*x\r\n", "*1\r\n+GET\r\n", "*1\r\n$3\r\nGETxx", "GET \"a\r\n"] {
        for piece in PIECES {
            let mut scene = Scene::new(Commands::ReadOnly);
            scene.say(&[&command(&["PING"])[..], bad.as_bytes(), &command(&["PING"])].concat(), piece);
            assert_eq!(scene.passed, command(&["PING"]), "{bad:?}");
            let heard = String::from_utf8_lossy(&scene.heard).into_owned();
            assert!(scene.closed && heard.starts_with("+OK\r\n-ERR Protocol error: "), "{bad:?}: {heard}");
        }
    }
}

#[test]
fn a_program_that_has_ended_does_not_wait_for_ever() {
    let mut scene = Scene::new(Commands::ReadOnly);
    let said = commands(&["GET a", "FLUSHALL", "GET b"]);
    assert_eq!(scene.talk.take(&scene.policy, &said, &mut scene.passed), said.len());
    assert!(!scene.talk.is_through());
    assert_eq!(scene.talk.take(&scene.policy, &said, &mut scene.passed), 0, "what waits is all that is held");
    scene.talk.hurry();
    assert!(scene.talk.is_through());
    assert_eq!(scene.talk.take(&scene.policy, &said, &mut scene.passed), said.len());
    assert_eq!(scene.passed, command(&["GET", "a"]));
}
