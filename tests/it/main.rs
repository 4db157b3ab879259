//! One test binary: every end-to-end and property test is a module of it.

mod clients;
mod config;
mod ordering;
mod pinned;
mod sessions;
mod support;
