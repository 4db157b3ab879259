//! Standard output of the demo: lines one after the other, or a picture drawn again in its place.

use std::io::{self, Write};

use super::Failure;

pub(super) struct Screen {
    /// Lines of the picture that is on the terminal.
    drawn: usize,
}

impl Screen {
    pub(super) const fn new() -> Self {
        Self { drawn: 0 }
    }

    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.drawn = 0;
        write(&format!("{text}\n"))
    }

    /// Draws `picture` over the last one. Its lines must fit the terminal's width: one that wraps is two.
    pub(super) fn redraw(&mut self, picture: &str) -> Result<(), Failure> {
        // Up to the first line of the last picture, and clear from there.
        let back = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\x1b[J", self.drawn) };
        self.drawn = picture.lines().count();
        write(&format!("{back}{picture}"))
    }
}

/// `print!` would panic when nobody reads any more, as behind `redan demo | head`.
fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("the demo ends, because standard output cannot be written: {error}")))
}
