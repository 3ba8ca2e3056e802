//! Simulates the whole platform: production code over in-memory adapters, on one thread, in virtual time.
//!
//! A seed determines all random choices: what clients order and when, how long each step takes, and which
//! step fails, loses its answer or is cut off by a crash. So a seed is a test that runs the same way each
//! time. [`oracle`] checks every answer at once. [`invariants`] checks the log after each life and the read
//! models at the end. [`unfinished`] lists the work that is still open after the last fault.
//! `docs/simulation.md` explains the use.

pub mod memory;

mod clients;
mod environment;
mod exchanges;
mod invariants;
mod isolation;
mod ledger;
mod oracle;
mod own_moves;
mod plan;
mod platform;
mod provider;
mod receipts;
mod request;
mod restored;
mod run;
mod shopper;
mod unfinished;
mod wall_clock;

pub use run::{Outcome, run};
