//! One test binary: every end-to-end and property test is a module of it.

mod access;
mod addresses;
mod auth;
mod check;
mod clients;
mod config;
mod demo;
mod documents;
mod hostile;
mod large;
mod layers;
mod limits;
mod marks;
mod memory;
mod metrics;
mod noise;
mod ordering;
mod pinned;
mod protocol;
mod rolechange;
mod sessions;
mod shutdown;
mod support;
mod versions;
