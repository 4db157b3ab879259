//! Writes commands and replies: append-only, into a buffer the caller owns.
//!
//! Used for what Redan says itself: local answers, errors, and commands to nodes. Nothing here may let a CR or
//! an LF into a line, since one would turn text into protocol.

/// A command of `arguments`, as a client would send it.
pub(crate) fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array(out, arguments.len());
    for argument in arguments {
        bulk(out, argument);
    }
}

/// The command of a line of words with one space between them.
#[cfg(test)]
pub(crate) fn command_of(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    command(&mut out, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    out
}

/// `+text`.
pub(crate) fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// `-text`; `text` begins with its code (`ERR`, `LOADING` …).
pub(crate) fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    digits(out, value.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn bulk(out: &mut Vec<u8>, payload: &[u8]) {
    header(out, b'$', payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Text for people (CLIENT INFO …): a verbatim string under RESP3, a bulk under RESP2.
pub(crate) fn verbatim(out: &mut Vec<u8>, text: &str, resp3: bool) {
    if !resp3 {
        return bulk(out, text.as_bytes());
    }
    header(out, b'=', text.len() + 4);
    out.extend_from_slice(b"txt:");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The null of a value that would have been a bulk.
pub(crate) fn null(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// The null of a value that would have been an array, such as EXEC after a watched key changed.
pub(crate) fn null_array(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"*-1\r\n" });
}

/// The caller writes `len` values next.
pub(crate) fn array(out: &mut Vec<u8>, len: usize) {
    header(out, b'*', len);
}

/// The caller writes `pairs` keys and values next; RESP2 knows them as a flat array.
pub(crate) fn map(out: &mut Vec<u8>, pairs: usize, resp3: bool) {
    if resp3 {
        header(out, b'%', pairs);
    } else {
        header(out, b'*', pairs * 2);
    }
}

/// The caller writes `len` values next; an array under RESP2.
pub(crate) fn set(out: &mut Vec<u8>, len: usize, resp3: bool) {
    header(out, if resp3 { b'~' } else { b'*' }, len);
}

fn header(out: &mut Vec<u8>, kind: u8, len: usize) {
    out.push(kind);
    digits(out, len as u64);
    out.extend_from_slice(b"\r\n");
}

/// A line break in `text` becomes a space, as servers do it.
fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.reserve(text.len() + 3);
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn digits(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    // u64::MAX has 20 digits.
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[at..]);
}
