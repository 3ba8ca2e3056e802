//! The `orderly` binary as its user meets it. These tests stand here and not in `tests/` because only the package
//! of a binary gets it built and named by cargo.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod audit;
mod bench;
mod examples;
mod import;
mod payments;
mod read_models;
mod refunds;
mod serve;
mod settings;
mod support;
