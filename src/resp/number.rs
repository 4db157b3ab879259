//! Reads the decimal numbers of header lines, which both scanners must read alike.
//!
//! Strict as a server's own reader: `+1`, `01` and `-0` are no numbers, or one side could count other bytes than
//! the other.

/// The canonical number between the type byte at `at` and CRLF, and where the next line begins. At most nine
/// digits, which cannot overflow and hold every length in bounds; the slow path reads longer ones.
#[inline(always)]
pub(super) fn number(buf: &[u8], at: usize) -> Option<(u32, usize)> {
    let line = buf.get(at + 1..)?;
    let mut value = u32::from(line.first()?.wrapping_sub(b'0'));
    if value > 9 {
        return None;
    }
    let mut digits = 1;
    loop {
        let byte = *line.get(digits)?;
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            let ends = byte == b'\r' && *line.get(digits + 1)? == b'\n';
            return ends.then_some((value, at + digits + 3));
        }
        if value == 0 || digits == 9 {
            return None;
        }
        value = value * 10 + digit;
        digits += 1;
    }
}

/// A number as Redis writes it: no sign but a minus, no leading zero, nothing around it.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] if !negative => return Some(0),
        [b'0', ..] => return None,
        // i64::MAX has 19 digits; checked arithmetic below refuses the few of them that do not fit.
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        let digit = i64::from(digit);
        let shifted = value.checked_mul(10)?;
        value = if negative { shifted.checked_sub(digit)? } else { shifted.checked_add(digit)? };
    }
    Some(value)
}
