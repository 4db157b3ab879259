//! Turns an inline command (a line of text, as typed into telnet) into the protocol's own form.
//!
//! The session calls it for `Request::Inline`. Quoting is Redis's: `"\x41 \n"`, `'single'`. Inline text is never
//! forwarded as it came, because a node would have to guess at its end again.

use super::encode;
use super::request::RequestError;

/// Appends the command that `line` (with or without its newline) spells, and tells its number of arguments.
/// Zero is a blank line; then, and after an error, nothing was appended.
pub(crate) fn to_multibulk(line: &[u8], out: &mut Vec<u8>) -> Result<u32, RequestError> {
    // A NUL is a byte like any other. Servers search lines as C strings and would wait behind it for ever.
    let mut rest = line.strip_suffix(b"\n").unwrap_or(line);
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    loop {
        while let [space, after @ ..] = rest
            && is_space(*space)
        {
            rest = after;
        }
        if rest.is_empty() {
            break;
        }
        let mut argument = Vec::new();
        rest = word(rest, &mut argument)?;
        arguments.push(argument);
    }
    if !arguments.is_empty() {
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        encode::command(out, &slices);
    }
    // One argument per two bytes at most, of a line that fits a session's buffer.
    Ok(arguments.len() as u32)
}

/// Reads one argument, up to a space outside quotes; returns what follows it.
fn word<'a>(mut rest: &'a [u8], argument: &mut Vec<u8>) -> Result<&'a [u8], RequestError> {
    loop {
        match rest {
            // Vertical tab and form feed separate arguments but do not end one: so Redis has it.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', after @ ..] => return double_quoted(after, argument),
            [b'\'', after @ ..] => return single_quoted(after, argument),
            [byte, after @ ..] => {
                argument.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], argument: &mut Vec<u8>) -> Result<&'a [u8], RequestError> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                argument.push(nibble(*high) << 4 | nibble(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                argument.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [b'"', after @ ..] => return closed(after),
            [byte, after @ ..] => {
                argument.push(*byte);
                after
            }
            [] => return Err(RequestError::UnbalancedQuotes),
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], argument: &mut Vec<u8>) -> Result<&'a [u8], RequestError> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                argument.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return closed(after),
            [byte, after @ ..] => {
                argument.push(*byte);
                after
            }
            [] => return Err(RequestError::UnbalancedQuotes),
        }
    }
}

/// A closing quote ends the argument: a space or nothing may follow.
fn closed(rest: &[u8]) -> Result<&[u8], RequestError> {
    match rest.first() {
        Some(byte) if !is_space(*byte) => Err(RequestError::UnbalancedQuotes),
        _ => Ok(rest),
    }
}

/// C's `isspace`; Rust's ASCII white space lacks the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}
