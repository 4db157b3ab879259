//! One test binary: every end-to-end and property test is a module of it.

mod access;
mod addresses;
mod auth;
mod blocking;
mod check;
mod clientcmds;
mod clients;
mod config;
mod demo;
mod documents;
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
mod tracking;
mod versions;
