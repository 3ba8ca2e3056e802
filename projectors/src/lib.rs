//! Projections: from events to the rows that queries read.
//!
//! Each read model is a pure fold ([`stock`], [`orders`], [`payments`], [`sales`]); [`fold`] runs them over a set
//! of rows, whatever database those came from. [`runner`] does so live, batch by batch; [`rebuild`] for the whole
//! log at once; [`verify`] compares the two; [`retry`] takes up a stream that was parked.

// An event that a projection does not name would be skipped in silence.
#![deny(clippy::wildcard_enum_match_arm)]

mod cache;
pub mod fold;
pub mod log;
mod orders;
mod payments;
pub mod rebuild;
pub mod retry;
pub mod runner;
mod sales;
mod stock;
pub mod verify;
