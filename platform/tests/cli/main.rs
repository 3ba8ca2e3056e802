//! Tests of the `orderly` binary from the outside. They are in this package and not in `tests/` because cargo
//! builds a binary, and sets its path, only for tests of its own package.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod audit;
mod audit_page;
mod backup;
mod bench;
mod configuration;
mod damage;
mod demo;
mod dev;
mod earlier_builds;
mod examples;
mod file_modes;
mod health;
mod import;
mod imports_again;
mod imports_of_other_files;
mod keys;
mod measurements;
mod money;
mod openapi;
mod payments;
mod reactions;
mod read_models;
mod refunds;
mod restored_log;
mod serve;
mod settings;
mod started;
mod support;
mod tls;
mod traces;
