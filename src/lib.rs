//! Redan: one endpoint for a Redis or Valkey replication group.
//!
//! Modules in reading order. The first block is the core: it decides and never does I/O. The second is the
//! shell at the bottom, the third the data plane, the fourth what stands around it. Imports go one way:
//! `app → {admin, control, acceptor} → worker → session → backend → transport → tls → net → config → core`;
//! a test enforces it.

// Core.
mod limits;
mod identity;
mod resp;
mod command;
mod topology;
mod mark;
mod reading;
mod events;
mod assurance;
mod insight;
mod rarely;
mod route;
mod throttle;
// Shell, bottom.
mod config;
mod metrics;
mod chronicle;
mod memory;
mod net;
mod notify;
mod handover;
mod reload;
mod tls;
mod link;
mod transport;
// Data plane.
mod backend;
mod session;
mod worker;
// Around it.
mod renewal;
#[cfg(feature = "otel")]
mod otel;
mod upgrade;
mod acceptor;
mod control;
mod admin;
mod drain;
mod app;
pub mod cli;
// For the test that counts allocations alone: it must share a process with what it counts.
#[doc(hidden)]
pub mod testing;
// For the fuzzer and property tests alone.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
