//! RESP on the wire: where values end, what a client asked, how to write replies.
//!
//! Pure. The scanners find boundaries without building trees, because the data path forwards bytes;
//! `value` builds trees for the control plane only.

mod arguments;
pub(crate) mod encode;
pub(crate) mod inline;
mod number;
pub(crate) mod reply;
pub(crate) mod request;
#[cfg(test)]
mod tests;
pub(crate) mod value;
