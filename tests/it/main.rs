//! One test binary: every end-to-end and property test is a module of it.

mod auth;
mod clients;
mod config;
mod hostile;
mod large;
mod ordering;
mod pinned;
mod sessions;
mod support;
