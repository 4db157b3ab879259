//! Redan: one endpoint for a Redis or Valkey replication group.
//!
//! Modules in reading order. The first block is the core: it decides and never does I/O. The second is the
//! shell at the bottom, the third the data plane, the fourth what stands around it. Imports go one way:
//! `app → {admin, control, acceptor} → worker → session → backend → transport → tls → net → config → core`;
//! a test enforces it.

// Core.
mod command;
mod limits;
mod mark;
mod resp;
mod route;
mod topology;
// Shell, bottom.
mod config;
mod metrics;
mod net;
mod tls;
mod transport;
// Data plane.
mod acceptor;
mod backend;
mod session;
mod worker;
// Around it.
mod admin;
mod app;
pub mod cli;
mod control;
mod drain;
