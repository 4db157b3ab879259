//! A command as people may see it: its first words, cut as servers cut them in their slow log, without passwords.
//!
//! It reads what was verified before, or the beginning of it, so it takes what there is and complains about nothing.

/// Words of one command that are kept, and bytes of each: as servers do.
const WORDS: usize = 32;
const BYTES: usize = 128;

const HIDDEN: &[u8] = b"(redacted)";

/// Settings whose value is a password, in the words of CONFIG SET and SENTINEL SET.
const SECRET_SETTINGS: [&[u8]; 8] = [
    b"requirepass",
    b"masterauth",
    b"primaryauth",
    b"tls-key-file-pass",
    b"tls-client-key-file-pass",
    b"sentinel-pass",
    b"auth-pass",
    b"auth-user",
];

/// The arguments of what begins at `raw[0]`, one after the other; of a transaction those of all its commands.
fn split(raw: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut rest = raw;
    let mut first = false;
    std::iter::from_fn(move || {
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let (mark, number) = line.split_first()?;
            rest = &rest[end + 1..];
            match mark {
                b'*' => first = true,
                b'$' => {
                    let length: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
                    let (bytes, behind) = rest.split_at(length.min(rest.len()));
                    rest = behind.strip_prefix(b"\r\n").unwrap_or_default();
                    return Some(Word { bytes, length, first: std::mem::take(&mut first) });
                }
                _ => return None,
            }
        }
    })
}

struct Word<'a> {
    bytes: &'a [u8],
    /// Of the whole, of which `bytes` may be the beginning.
    length: usize,
    /// It is a command's name.
    first: bool,
}

/// One argument, counted from the command's name.
pub(crate) fn nth(raw: &[u8], place: usize) -> Option<&[u8]> {
    split(raw).nth(place).filter(|word| word.bytes.len() == word.length).map(|word| word.bytes)
}

/// The words of a command, or of a transaction, whose commands `;` parts.
pub(crate) fn shown(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let (mut left_out, mut commands) = (0, 0);
    let mut guard = Guard::default();
    for word in split(raw) {
        if word.first {
            guard = Guard::default();
            commands += 1;
        }
        let hidden = guard.hides(word.bytes);
        if out.len() >= WORDS - 1 {
            left_out += 1;
            continue;
        }
        if word.first && commands > 1 {
            out.push(b";".to_vec());
        }
        out.push(if hidden { HIDDEN.to_vec() } else { cut(&word) });
    }
    if left_out > 0 {
        out.push(format!("... ({left_out} more arguments)").into_bytes());
    }
    out
}

fn cut(word: &Word<'_>) -> Vec<u8> {
    if word.length <= BYTES && word.bytes.len() == word.length {
        return word.bytes.to_vec();
    }
    let kept = &word.bytes[..word.bytes.len().min(BYTES)];
    let mut out = kept.to_vec();
    out.extend_from_slice(format!("... ({} more bytes)", word.length - kept.len()).as_bytes());
    out
}

/// Which of a command's words are secrets, word by word.
#[derive(Debug, Default)]
struct Guard {
    place: usize,
    command: Command,
    /// So many words that follow are secrets.
    next: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Command {
    #[default]
    Other,
    /// Everything behind its name is a secret.
    Auth,
    Hello,
    Migrate,
    /// A container; which of its subcommands decides.
    Acl,
    Config,
    AclSetUser,
    ConfigSet,
}

impl Guard {
    fn hides(&mut self, word: &[u8]) -> bool {
        let place = self.place;
        self.place += 1;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if place == 0 {
            self.command = match () {
                () if is(b"AUTH") => Command::Auth,
                () if is(b"HELLO") => Command::Hello,
                () if is(b"MIGRATE") => Command::Migrate,
                () if is(b"ACL") => Command::Acl,
                () if is(b"CONFIG") || is(b"SENTINEL") => Command::Config,
                () => Command::Other,
            };
            return false;
        }
        if self.next > 0 {
            self.next -= 1;
            return true;
        }
        match self.command {
            Command::Other => false,
            Command::Auth => true,
            Command::Hello | Command::Migrate => {
                let both = is(b"AUTH2") || (self.command == Command::Hello && is(b"AUTH"));
                self.next = if both { 2 } else { usize::from(is(b"AUTH")) };
                false
            }
            Command::Acl => {
                self.command = if is(b"SETUSER") { Command::AclSetUser } else { Command::Other };
                false
            }
            Command::Config => {
                self.command = if is(b"SET") || is(b"CONFIG") { Command::ConfigSet } else { Command::Other };
                false
            }
            // The user's name may be seen.
            Command::AclSetUser => place > 2,
            Command::ConfigSet => {
                self.next = usize::from(SECRET_SETTINGS.iter().any(|name| is(name)));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn raw(words: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        encode::command(&mut out, &words);
        out
    }

    fn line(raw: &[u8]) -> String {
        let words = shown(raw);
        words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_are_never_shown() {
        let table: &[(&[&str], &str)] = &[
            (&["AUTH", "hunter2"], "AUTH (redacted)"),
            (&["auth", "me", "hunter2"], "auth (redacted) (redacted)"),
            (&["HELLO", "3", "AUTH", "me", "hunter2", "SETNAME", "n"], "HELLO 3 AUTH (redacted) (redacted) SETNAME n"),
            (&["ACL", "SETUSER", "me", "on", ">hunter2", "~*"], "ACL SETUSER me (redacted) (redacted) (redacted)"),
            (&["ACL", "LIST"], "ACL LIST"),
            (
                &["CONFIG", "SET", "maxmemory", "1", "RequirePass", "hunter2", "hz", "10"],
                "CONFIG SET maxmemory 1 RequirePass (redacted) hz 10",
            ),
            (&["CONFIG", "SET", "masterauth", "hunter2"], "CONFIG SET masterauth (redacted)"),
            (&["CONFIG", "GET", "requirepass"], "CONFIG GET requirepass"),
            (&["SENTINEL", "SET", "m", "auth-pass", "hunter2"], "SENTINEL SET m auth-pass (redacted)"),
            (
                &["MIGRATE", "h", "1", "", "0", "5", "AUTH", "hunter2", "KEYS", "a"],
                "MIGRATE h 1  0 5 AUTH (redacted) KEYS a",
            ),
            (
                &["MIGRATE", "h", "1", "k", "0", "5", "AUTH2", "me", "hunter2", "KEYS", "a"],
                "MIGRATE h 1 k 0 5 AUTH2 (redacted) (redacted) KEYS a",
            ),
            (&["SET", "auth", "v"], "SET auth v"),
        ];
        for (words, expected) in table {
            assert_eq!(line(&raw(words)), *expected);
        }
    }

    #[test]
    fn what_is_long_is_cut_as_servers_cut_it() {
        let long = "x".repeat(200);
        assert_eq!(line(&raw(&["SET", "k", &long])), format!("SET k {}... (72 more bytes)", "x".repeat(128)));
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let words: Vec<&str> = std::iter::once("DEL").chain(many.iter().map(String::as_str)).collect();
        let shown = shown(&raw(&words));
        assert_eq!(shown.len(), 32);
        assert_eq!(shown[31], b"... (70 more arguments)");
        let whole = raw(&["SET", "key", "value"]);
        for end in 0..whole.len() {
            // Of the beginning of a command there is what there is.
            let shown = super::shown(&whole[..end]);
            assert!(shown.len() <= 3);
        }
        assert_eq!(line(&whole[..whole.len() - 4]), "SET key val... (2 more bytes)");
    }

    #[test]
    fn a_transaction_shows_its_commands_and_a_key_is_found() {
        let block = [raw(&["MULTI"]), raw(&["SET", "k", "v"]), raw(&["EXEC"])].concat();
        assert_eq!(line(&block), "MULTI ; SET k v ; EXEC");
        assert_eq!(nth(&raw(&["OBJECT", "ENCODING", "k"]), 2), Some(&b"k"[..]));
        assert_eq!(nth(&raw(&["GET"]), 1), None);
    }
}
