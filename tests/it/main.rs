//! One test binary: every end-to-end and property test is a module of it.

mod addresses;
mod check;
mod clients;
mod config;
mod demo;
mod documents;
mod layers;
mod shutdown;
mod support;
mod versions;
