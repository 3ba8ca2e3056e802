//! A simulation of the whole platform: the code of production over adapters in memory, on one thread, in virtual time.
//!
//! Everything that chance decides is drawn from a seed: what customers order and when, how long each step takes,
//! which step fails, loses its answer or is cut off by a crash. So a seed is a test that runs the same way each time.
//! [`oracle`] judges every answer when it is given, [`invariants`] the whole log at the end, and [`settled`] says what
//! is left undone once nothing fails any more. `docs/simulation.md` says how to use it.

pub mod memory;

mod customers;
mod invariants;
mod oracle;
mod plan;
mod platform;
mod provider;
mod request;
mod run;
mod settled;
mod world;

pub use run::{Outcome, run};
