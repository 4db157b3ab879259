//! The configuration is read again while clients are at work: what is different holds at once, and nobody whom it does not
//! concern notices.

mod beside;
mod refused;
mod sections;
mod settings;
mod traffic;
