//! One test binary: every end-to-end and property test is a module of it.

mod access;
mod addresses;
mod auth;
mod check;
mod clients;
mod config;
mod demo;
mod differential;
mod documents;
mod every_command;
mod hostile;
mod large;
mod layers;
mod marks;
mod metrics;
mod modules;
mod ordering;
mod pinned;
mod rolechange;
mod scans;
mod scripts;
mod sessions;
mod shutdown;
mod support;
mod versions;
