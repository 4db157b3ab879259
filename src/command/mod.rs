//! What each command is: where it may go and what it does to the session. One static table made from data.
//!
//! Pure. `route` and `session` ask it; it must never guess that a command only reads.

pub(crate) mod table;
