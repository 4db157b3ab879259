//! One worker's connections to the nodes: lanes that sessions share, pins lent to one, questions for marks.
//!
//! Used by sessions and by the worker that owns them. It never knows what a session is: replies go to a `Recipient`.

pub(crate) mod acknowledged;
pub(crate) mod assure;
mod belief;
mod choice;
mod connect;
pub(crate) mod dial;
mod fence;
pub(crate) mod hub;
mod give;
pub(crate) mod lane;
mod learn;
mod log;
pub(crate) mod login;
mod marker;
pub(crate) mod pause;
pub(crate) mod pin;
pub(crate) mod pool;
pub(crate) mod prove;
mod question;
pub(crate) mod recipient;
mod reconfigure;
pub(crate) mod refusal;
mod replies;
pub(crate) mod scripts;
mod steer;
mod trouble;
mod watch;
