//! `redan passwd`: makes the hash that a users file holds for a password.
//!
//! Standard output gets what a script wants: the hash, and with `--generate` the password on a line before it.
//! What a person wants to read goes to standard error. A password must never be an argument: arguments show in
//! `ps` and in the shell's history.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// EX_DATAERR: what was typed cannot be used.
const UNUSABLE: u8 = 65;

/// Far below the 16 KiB that a client may send before it has logged in.
const LONGEST_PASSWORD: usize = 4096;

/// 256 bits: a plain SHA-256 of that cannot be searched.
const RANDOM_BYTES: usize = 32;

pub(super) fn run(generate: bool) -> ExitCode {
    let printed = if generate { random() } else { read() }.and_then(|(password, hash)| {
        let mut out = io::stdout().lock();
        let shown = if generate { [&password[..], b"\n"].concat() } else { Vec::new() };
        let wrote = out.write_all(&shown).and_then(|()| writeln!(out, "{hash}"));
        wrote.map_err(|error| format!("standard output cannot be written: {error}"))
    });
    match printed {
        Ok(()) => {
            if io::stdout().is_terminal() {
                eprintln!("Put the sha256: line into `passwords = [\"…\"]` of a [[user]] in the users file.");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(UNUSABLE)
        }
    }
}

type PasswordAndHash = (Vec<u8>, String);

fn with_hash(password: Vec<u8>) -> PasswordAndHash {
    let hash = format!("sha256:{}", hex(digest(&SHA256, &password).as_ref()));
    (password, hash)
}

fn random() -> Result<PasswordAndHash, String> {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| "the operating system gives no random bytes; nothing was made".to_owned())?;
    // Hexadecimal, because it needs no escaping in a URL, a shell or a configuration file.
    Ok(with_hash(hex(&bytes).into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read() -> Result<PasswordAndHash, String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return usable(piped(stdin.lock())?).map(with_hash);
    }
    let quiet = NoEcho::begin();
    let first = usable(ask("Password: ")?)?;
    let again = ask("Again: ")?;
    drop(quiet);
    if first != again {
        return Err("the two are not the same; nothing was made".to_owned());
    }
    Ok(with_hash(first))
}

/// All of standard input, without the one newline that `echo` adds.
fn piped(input: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let limit = LONGEST_PASSWORD as u64 + 3;
    input.take(limit).read_to_end(&mut bytes).map_err(|error| format!("standard input cannot be read: {error}"))?;
    without_newline(&mut bytes);
    Ok(bytes)
}

fn ask(prompt: &str) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("the terminal cannot be used: {error}");
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush()).map_err(failed)?;
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).map_err(failed)?;
    // The Enter was not echoed either.
    eprintln!();
    without_newline(&mut line);
    Ok(line)
}

fn without_newline(bytes: &mut Vec<u8>) {
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
}

fn usable(password: Vec<u8>) -> Result<Vec<u8>, String> {
    let why = if password.is_empty() {
        "the password is empty"
    } else if password.len() > LONGEST_PASSWORD {
        "the password is longer than 4096 bytes"
    } else if password.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'\0')) {
        "the password has more than one line"
    } else {
        return Ok(password);
    };
    Err(format!("{why}; nothing was made"))
}

/// While it lives, the terminal does not show what is typed.
struct NoEcho(Termios);

impl NoEcho {
    /// `None` where the terminal cannot do that; the password then shows, as it would without Redan's doing.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        // Where this fails the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_as_they_are_without_one_newline() {
        for (input, expected) in [
            (&b"foo"[..], Some(&b"foo"[..])),
            (b"foo\n", Some(b"foo")),
            (b"foo\r\n", Some(b"foo")),
            (b" f o o ", Some(b" f o o ")),
            (b"\xff\xfe", Some(b"\xff\xfe")),
            (b"", None),
            (b"\n", None),
            (b"foo\n\n", None),
            (b"foo\nbar\n", None),
            (b"foo\0", None),
        ] {
            assert_eq!(piped(input).and_then(usable).ok().as_deref(), expected, "{input:?}");
        }
        assert!(piped(&[b'x'; LONGEST_PASSWORD][..]).and_then(usable).is_ok());
        assert!(piped(&[b'x'; LONGEST_PASSWORD + 1][..]).and_then(usable).is_err());
    }

    #[test]
    fn random_passwords_are_long_and_never_the_same() {
        let (one, two) = (random().unwrap(), random().unwrap());
        assert_eq!((one.0.len(), two.0.len()), (2 * RANDOM_BYTES, 2 * RANDOM_BYTES));
        assert_ne!(one, two);
    }
}
