//! Whether an XREAD or XREADGROUP waits, which decides between a lane and a connection of its own.

/// Whether `arguments` (the command's name first) ask to wait: `BLOCK` as an option, not as the name of a group, a
/// consumer or a stream, nor as another option's value.
///
/// An option it does not know is passed over alone. Should a later server give it a value, and should that be
/// `BLOCK`, the answer is true where it should be false: that costs a pin, the other error would stall a lane.
pub(crate) fn has_block_option<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut arguments = arguments.into_iter().skip(1);
    while let Some(option) = arguments.next() {
        let values = if option.eq_ignore_ascii_case(b"STREAMS") {
            return false;
        } else if option.eq_ignore_ascii_case(b"BLOCK") {
            return true;
        } else if option.eq_ignore_ascii_case(b"GROUP") {
            2
        } else {
            // CLAIM (Redis 8.4) and COUNT take a number, NOACK nothing.
            usize::from(option.eq_ignore_ascii_case(b"COUNT") || option.eq_ignore_ascii_case(b"CLAIM"))
        };
        for _ in 0..values {
            arguments.next();
        }
    }
    false
}
